"""Which app a command is about: ``--name``, ``--deployment-id``, else the satusky.toml named or found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cli.exit_codes import UsageError
from cli.options import INVOCATION
from ledger import values
from ledger.errors import AppNotFoundError, RefusedError
from ledger.text import Lines

if TYPE_CHECKING:
    from cli.options import Which
    from cli.session import Session
    from ledger.app import App, Life
    from ledger.request import Request
    from ledger.spec import AppId


def target(session: Session, which: Which, *, ended: bool = False) -> AppId:
    """The app; it need not be deployed, unless it is named by its deployment id.

    Args:
        session: Where to look.
        which: The app, as given.
        ended: Whether a deployment id may be that of a destroyed life.

    Raises:
        UsageError: More than one of name, deployment id and file says which.
        RefusedError: Nothing says which app.
        AppNotFoundError: The deployment id is unknown, or its life has ended.
    """
    if which.config is not None and (which.name or which.deployment_id) is not None:
        given = "--name" if which.name is not None else "--deployment-id"
        raise UsageError(f"{given} and --config exclude each other here: both say which app")
    if which.name is not None:
        if which.deployment_id is not None:
            raise UsageError("--name and --deployment-id exclude each other")
        return session.app_id(values.app_name(which.name))
    if which.deployment_id is not None:
        return _by_deployment_id(session, which.deployment_id, ended=ended)
    from cli import satusky_toml  # noqa: PLC0415 - not needed with a deployment id

    path = satusky_toml.find(which.config, working_directory())
    if path is None:
        raise RefusedError(
            "no --deployment-id and no satusky.toml found",
            hint="Run '1ctl deploy' in your project directory or pass --deployment-id, --name or --config",
        )
    return session.app_id(satusky_toml.read(path).name)


def working_directory() -> Path:
    """The current directory.

    Raises:
        RefusedError: The directory was removed meanwhile.
    """
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise RefusedError("the current directory does not exist any more", hint="Go to another: cd ~") from None


def _by_deployment_id(session: Session, deployment_id: str, *, ended: bool) -> AppId:
    app_id = session.reader.find(deployment_id)
    if app_id is None:
        raise AppNotFoundError(f'no deployment "{deployment_id}" in this ledger', hint=_of_an_id(deployment_id))
    if (app_id.cluster, app_id.namespace) != (session.place.cluster, session.place.namespace):
        raise RefusedError(
            f'deployment "{deployment_id}" is in {app_id.cluster}/{app_id.namespace}, '
            f"not in {session.place.cluster}/{session.place.namespace}",
            hint="Choose its profile: 1ctl -p NAME ...",
        )
    if not ended:
        from ledger.app import open_life  # noqa: PLC0415 - not needed where the life may have ended

        open_life(session.reader.app(app_id), deployment_id)
    return app_id


def _of_an_id(given: str) -> str:
    """What to do about a deployment id that there is not: it may be the beginning of one, or the name of an app."""
    from cli.offers import offers  # noqa: PLC0415 - needed for an error only

    given = given.strip()
    close = [
        each for each in offers("deployments") if given and (each[0].startswith(given.lower()) or each[1] == given)
    ]
    did_you_mean = f'Did you mean {close[0][0]}, of app "{close[0][1]}"? ' if len(close) == 1 else ""
    return f"{did_you_mean}See which there are: 1ctl deploy list --all --wide"


def meant(session: Session, request: Request, which: Which) -> App:
    """The app that a request is about: with an open life, or whatever became of it if the request is a repeated one.

    Raises:
        AppNotFoundError: It is a new request, and the app has no open life.
    """
    session.require_named_ledger()
    if session.store.request(request.request_id) is None:
        return loaded(session, which)
    return session.reader.app(target(session, which, ended=True))


def running(session: Session, app: App, *, upto: int | None = None) -> Life:
    """The app's open life.

    Args:
        session: Where to look for when it ended.
        app: The app, as it was at that position.
        upto: That position; None means now.

    Raises:
        AppNotFoundError: There is none. It says when the last one ended, or when the first one began.
    """
    from ledger.app import open_life  # noqa: PLC0415

    try:
        return open_life(app)
    except AppNotFoundError as error:
        ended = _ended(session, app.id, upto=upto)
        message = error.message if ended is None else f"{error.message} {ended}"
        hint = None if upto is None else _hint_of_then(session, app.id, ended)
        if hint is None and ended is None and INVOCATION.name == app.id.name:
            hint = _of_a_name(session, app.id)
        raise AppNotFoundError(message, hint=hint or error.hint) from None


def _hint_of_then(session: Session, app_id: AppId, ended: str | None) -> str | None:
    """What to do about an app that was not deployed at a moment; None if it never was.

    The message is the one that was given then.
    """
    from cli.age import local_time  # noqa: PLC0415 - needed for an error only
    from ledger.streams import app_stream  # noqa: PLC0415

    first = session.store.landmarks(app_stream(app_id).bytes, limit=1)
    if not first:
        return None
    if ended is not None:
        return "See when it was deployed: 1ctl deploy events"
    return Lines(
        f"It was first deployed at position {first[0].position}, {local_time(first[0].recorded_us)}.",
        "See all that happened to it: 1ctl deploy events",
    )


def not_open(deployment_id: str, upto: int) -> AppNotFoundError:
    """The error for a moment at which a life was not open."""
    return AppNotFoundError(
        f'deployment "{deployment_id}" was not open at position {upto}',
        hint=f"See when it was: 1ctl deploy events --deployment-id {deployment_id}",
    )


def _of_a_name(session: Session, app_id: AppId) -> str:
    """What to do about a name that was typed and that no app has: deploying it would make one."""
    from difflib import get_close_matches  # noqa: PLC0415 - needed for an error only

    here = [each.name for each in session.reader.apps(app_id.cluster) if each.namespace == app_id.namespace]
    close = get_close_matches(app_id.name, here, 1)
    return (f'Did you mean "{close[0]}"? ' if close else "") + "See which there are: 1ctl deploy list --all --wide"


def _ended(session: Session, app_id: AppId, *, upto: int | None) -> str | None:
    """The local time at which the app's newest life was destroyed; None if there was none, or it is open."""
    from cli.age import local_time  # noqa: PLC0415 - needed for an error only
    from ledger.landmarks import newest_releases, span  # noqa: PLC0415

    life = span(session.store, app_id, None, upto=upto)
    end = newest_releases(session.store, life, 1).destroyed if life is not None else None
    if end is None:
        return None
    return local_time(end.recorded_us)


def loaded(session: Session, which: Which) -> App:
    """The app with an open life: the one that is named, if its deployment id is given.

    Raises:
        AppNotFoundError: It has none, or another one.
    """
    from ledger.app import open_life  # noqa: PLC0415

    app = session.reader.app(target(session, which, ended=True))
    if which.deployment_id is not None:
        open_life(app, which.deployment_id)
    else:
        running(session, app)
    return app


def named(app: App) -> str:
    """An app for whoever is asked about it: its name, its deployment, and where that is."""
    return f'app "{app.id.name}" (deployment {app.deployment_id}) in {app.id.cluster}/{app.id.namespace}'
