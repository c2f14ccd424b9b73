"""Which app a command is about: ``--deployment-id``, else the satusky.toml named or found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ledger.errors import AppNotFoundError, RefusedError

if TYPE_CHECKING:
    from cli.session import Session
    from ledger.app import App
    from ledger.request import Request
    from ledger.spec import AppId


def target(session: Session, *, deployment_id: str | None, config: str | None, ended: bool = False) -> AppId:
    """The app; it need not be deployed, unless it is named by its deployment id.

    Args:
        session: Where to look.
        deployment_id: As given, or None.
        config: As given, or None.
        ended: Whether a deployment id may be that of a destroyed life.

    Raises:
        RefusedError: Nothing says which app.
        AppNotFoundError: The deployment id is unknown, or its life has ended.
    """
    if deployment_id is not None:
        return _by_deployment_id(session, deployment_id, ended=ended)
    from cli import satusky_toml  # noqa: PLC0415 - not needed with a deployment id

    path = satusky_toml.find(config, working_directory())
    if path is None:
        raise RefusedError(
            "no --deployment-id and no satusky.toml found",
            hint="Run '1ctl deploy' in your project directory or pass --deployment-id",
        )
    return session.app_id(satusky_toml.read(path).name)


def working_directory() -> Path:
    """Where the user stands.

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
        raise AppNotFoundError(
            f'no deployment "{deployment_id}" in this ledger', hint="See which there are: 1ctl deploy list --all"
        )
    if (app_id.cluster, app_id.namespace) != (session.place.cluster, session.place.namespace):
        raise RefusedError(
            f'deployment "{deployment_id}" is in {app_id.cluster}/{app_id.namespace}, '
            f"not in {session.place.cluster}/{session.place.namespace}",
            hint="Choose its profile: 1ctl -p NAME ...",
        )
    if ended:
        return app_id
    app = session.reader.app(app_id)
    if app.life is None or app.life.deployment_id != deployment_id:
        raise destroyed_error(app_id, deployment_id)
    return app_id


def destroyed_error(app_id: AppId, deployment_id: str) -> AppNotFoundError:
    """The error for a deployment id whose life has ended."""
    return AppNotFoundError(
        f'deployment "{deployment_id}" of app "{app_id.name}" was destroyed',
        hint=f"Its history is still there: 1ctl deploy releases --deployment-id {deployment_id}",
    )


def meant(session: Session, request: Request, *, deployment_id: str | None, config: str | None) -> App:
    """The app that a request is about: with an open life, or whatever became of it if the request is a repeated one.

    Raises:
        AppNotFoundError: It is a new request, and the app has no open life.
    """
    if session.store.request(request.request_id) is None:
        return loaded(session, deployment_id=deployment_id, config=config)
    return session.reader.app(target(session, deployment_id=deployment_id, config=config, ended=True))


def loaded(session: Session, *, deployment_id: str | None, config: str | None) -> App:
    """The app with an open life.

    Raises:
        AppNotFoundError: It has none.
    """
    from ledger.app import open_life  # noqa: PLC0415

    app = session.reader.app(target(session, deployment_id=deployment_id, config=config))
    open_life(app)
    return app
