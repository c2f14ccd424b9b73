"""`1ctl deploy diff|blame|events`: what changed, who changed it, and everything that happened to an app."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated

import typer

from cli.age import local_time
from cli.exit_codes import UsageError
from cli.moment import When, parse_time, resolve
from cli.options import DIGITS, Which, countable, offer
from cli.past import refuse_another
from cli.session import Session
from cli.target import loaded, running, target
from ledger.app import App, open_life
from ledger.audit_log import Filter
from ledger.clock import SystemClock, iso
from ledger.errors import RefusedError
from ledger.spec import Spec
from ledger.streams import app_stream
from projections.settings import blame as blamed
from projections.settings import difference, unset_by

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledger.app import Life
    from ledger.spec import AppId
    from projections.settings import Blame


def diff(
    before: Annotated[
        str,
        typer.Argument(
            metavar="A",
            autocompletion=offer("moments"),
            help="A release (1), a position (@42), a time ('2h ago'), or live.",
        ),
    ],
    after: Annotated[
        str,
        typer.Argument(
            metavar="[B]", autocompletion=offer("moments"), help="Likewise; default: now.", show_default=False
        ),
    ] = "now",
    *,
    which: Which,
) -> None:
    """Compare an app at two moments.

    A moment is a release, a position of the ledger, or a time.

    Example:  1ctl deploy diff 1 2
    """
    session = Session.for_questions()
    if "live" in (before, after):
        if {before, after} != {"live", "now"}:
            raise UsageError(
                "live is the cluster as it is now: it is compared with the present only", hint="1ctl deploy diff live"
            )
        _diff_live(session, which)
        return
    app_id = target(session, which, ended=True)
    app = session.reader.app(app_id)
    if app.lives == 0:
        open_life(app)
    old = _life_at(session, app_id, before, which.deployment_id)
    new = _life_at(session, app_id, after, which.deployment_id)
    changes = difference(old, new)
    if session.terminal.json:
        session.terminal.document([change._asdict() for change in changes])
    elif not changes:
        session.terminal.info("No difference")
    else:
        rows = [[change.setting, _shown(change.before), _shown(change.after)] for change in changes]
        session.terminal.table(["SETTING", "BEFORE", "AFTER"], rows)


def _diff_live(session: Session, which: Which) -> None:
    """How the cluster differs from the ledger, asked with the caller's own rights there. Secrets are not read."""
    from cli.live import differences_of  # noqa: PLC0415 - asks the cluster

    app = loaded(session, which)
    found = differences_of(session, app)
    if session.terminal.json:
        session.terminal.document(
            [
                {
                    "kind": each.ref.kind,
                    "name": each.ref.name,
                    "field": each.field,
                    "ledger": each.wanted,
                    "live": each.found,
                }
                for each in found
            ]
        )
    elif not found:
        session.terminal.info("No difference: the cluster is as the ledger says (contents of Secrets are not read)")
    else:
        rows = [[str(each.ref), each.field or "-", _text(each.wanted), _text(each.found)] for each in found]
        session.terminal.table(["OBJECT", "FIELD", "LEDGER", "CLUSTER"], rows)


def blame(
    key: Annotated[
        str | None,
        typer.Argument(
            metavar="[KEY]",
            autocompletion=offer("settings"),
            help="A setting, environment or secret key; default: all.",
        ),
    ] = None,
    *,
    which: Which,
) -> None:
    """Show who gave each setting its present value, when and why.

    Example:  1ctl deploy blame DATABASE_URL
    """
    session = Session.for_questions()
    app_id = target(session, which)
    running(session, session.reader.app(app_id))
    present = found = blamed(App(id=app_id), session.reader.asked(app_id))
    if key is not None:
        wanted = {key, f"env.{key}", f"secrets.{key}", f"pods.env.{key}", f"pods.secrets.{key}"}
        found = [each for each in present if each.setting in wanted]
        if not found:
            _say_unset(session, app_id, key, wanted, present)
    if session.terminal.json:
        session.terminal.document(
            [
                {
                    "setting": each.setting,
                    "value": each.value,
                    "position": each.recorded.position,
                    "recorded_at": iso(each.recorded.recorded_us),
                    "kind": each.recorded.kind,
                    "actor": each.recorded.envelope.actor,
                    "reason": each.recorded.envelope.reason,
                    "request_id": each.recorded.envelope.request_id,
                }
                for each in found
            ]
        )
    elif found:
        session.terminal.table(
            ["SETTING", "VALUE", "EVENT", "ACTOR", "WHEN", "WHY"],
            [
                [
                    each.setting,
                    each.value,
                    f"{each.recorded.kind} @{each.recorded.position}",
                    each.recorded.envelope.actor,
                    local_time(each.recorded.recorded_us),
                    each.recorded.envelope.reason or "-",
                ]
                for each in found
            ],
        )


def _say_unset(session: Session, app_id: AppId, key: str, names: set[str], present: Sequence[Blame]) -> None:
    """What became of a setting that has no value now.

    Raises:
        RefusedError: There never was one of that name.
    """
    if key in {each.name for each in fields(Spec)}:
        session.terminal.info(f"{key} is not set")
        return
    gone = unset_by(App(id=app_id), session.reader.asked(app_id), names)
    if gone is None:
        raise RefusedError(
            f'{key} was never set for app "{app_id.name}"',
            hint=f"Settings that have a value: {', '.join(each.setting for each in present)}",
        )
    by = f"{gone.kind} @{gone.position}, {gone.envelope.actor}, {local_time(gone.recorded_us)}"
    session.terminal.info(f"{key} is not set any more: {by}")


def events(
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, callback=countable, help="The last N [50; JSON: all].")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new ones as they come.")] = False,
    *,
    which: Which,
) -> None:
    """Show everything recorded about an app.

    Its destroyed lives are included; the oldest comes first.

    Example:  1ctl deploy events --follow
    """
    from cli.audit_show import show  # noqa: PLC0415

    session = Session.for_questions()
    app_id = target(session, which, ended=True)
    if which.name is not None and not follow:  # the first event may be waited for
        _refuse_unknown(session, app_id)
    wanted = Filter(
        cluster=app_id.cluster, namespace=app_id.namespace, app=app_id.name, deployment_id=which.deployment_id
    )
    show(session, wanted, limit=limit, follow=follow, upto=None)


def _refuse_unknown(session: Session, app_id: AppId) -> None:
    """Refuse a name that no app ever had: "nothing found" would be misleading.

    Raises:
        AppNotFoundError: Nothing was ever recorded about it.
    """
    if session.store.stream_version(app_stream(app_id).bytes) == 0:
        running(session, App(id=app_id))


def _life_at(session: Session, app_id: AppId, text: str, deployment_id: str | None) -> Life | None:
    """The app's life at a moment named on the command line; None if none was open then.

    Raises:
        AppNotFoundError: A deployment is named, and it was not open then.
    """
    upto = None if text == "now" else _position(session, app_id, text, deployment_id)
    app = session.reader.app(app_id, upto=upto)
    refuse_another(app, deployment_id, upto=upto)
    return app.life


def _position(session: Session, app_id: AppId, text: str, deployment_id: str | None) -> int:
    number = text.removeprefix("@")
    if number.isdecimal() and len(number) <= DIGITS:
        when = When(at_position=int(number)) if text.startswith("@") else When(at_release=int(number))
    else:
        try:
            parse_time(text, SystemClock().now_us())
        except RefusedError as error:
            raise RefusedError(
                f'"{text}" is not a release, a position or a time',
                hint="Examples: 1ctl deploy diff 1 2, @42, 2026-05-01T12:00, '2h ago', live",
            ) from error
        when = When(as_of=text)
    moment = resolve(session, when, app_id=app_id, deployment_id=deployment_id)
    assert moment is not None
    return moment.position


def _text(value: object) -> str:
    return "-" if value is None else str(value)


def _shown(value: str | None) -> str:
    return "-" if value is None else value
