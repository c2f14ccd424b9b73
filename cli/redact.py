"""`1ctl ledger redact`: blank a field of one event, and say what that does to the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer

from cli import origin
from cli.answers import declined, documented, with_names
from cli.dry_run import object_changes, tell
from cli.options import DryRunOption, RequestIdOption, YesOption, countable
from cli.recording import notice_repeated
from cli.rights import require_worker
from cli.session import Session
from ledger.app import App, fold
from ledger.codec import decode, recorded, subject_of
from ledger.commands import Redact
from ledger.envelope import Subject
from ledger.redaction import also_in, asks_for, texts
from ledger.spec import BLANK, AppId
from ledger.streams import app_stream, observed_stream


def redact(
    position: Annotated[int, typer.Option(metavar="P", callback=countable, help="Position of the event.")],
    field: Annotated[
        str,
        typer.Option(
            metavar="FIELD", help="What to blank: values.KEY, env.KEY, message, reason, fields.N.wanted or .found."
        ),
    ],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; kept in the ledger.")],
    yes: YesOption = False,
    request_id: RequestIdOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Blank a field of one event for ever.

    For instance a password that was put into an environment value.

    Chain and proofs stay valid; that something was blanked, by whom and why, stays in the ledger.

    Example:  1ctl ledger redact --position 12 --field values.PW --reason leaked
    """
    session = Session()
    terminal = session.terminal
    request = origin.request(request_id=request_id, reason=reason)
    session.reader.refuse_ended()
    repeated = session.ledger.answered(Redact(position=position, field=field), request) is not None
    if dry_run and repeated:
        notice_repeated(session, request)
        tell(session, (), ())
        return
    if dry_run:
        event, remaining = session.ledger.plan_redaction(position, field)
        before, after = _around(session, position, remaining)
        tell(session, [event], _object_changes(session, before, after))
        _warn(session, after)
        _tell_where_else(session, _also(session, position, field))
        return
    also: Sequence[tuple[int, str]] | None = None  # of a repeated one, nobody knows the text any more
    if not repeated:
        require_worker(session.store, "A redaction cannot be undone: use a login of onectl_worker, or be the owner.")
        _, remaining = session.ledger.plan_redaction(position, field)  # what is refused is not asked about
        _warn(session, _around(session, position, remaining)[1])
        also = _also(session, position, field)
        if not yes and not terminal.confirm(f"Blank {field} at position {position}? It cannot be read again."):
            declined(session, with_names(request, {"redacted": False}, deployment_id=None))
            return
    about = _subject(session, position)
    recorded_at = session.ledger.redact(position, field, request).position  # all that may fail comes before it
    content = {
        "redacted": True,
        "position": position,
        "field": field,
        "recorded_at_position": recorded_at,
        "also_in": None if also is None else [{"position": at, "field": held} for at, held in also],
    }
    deployment_id = about.deployment_id if about is not None else None
    with documented(session, request, lambda: content, deployment_id=deployment_id, repeated=repeated):
        if repeated:
            notice_repeated(session, request)
        terminal.success(f"{field} at position {position} is blank")
        terminal.notice("Running pods, the cluster's ConfigMap and backups still hold it: change it there too.")
        if asks_for(field):
            terminal.notice(
                "A short value may still be guessed from the digests of the objects that were applied, and is in copies and"
                " exports made before: change the value itself as well."
            )
        if also is None:
            terminal.notice("Where else the text stands cannot be told any more.")
        else:
            _tell_where_else(session, also)


def _around(session: Session, position: int, remaining: bytes) -> tuple[App | None, App | None]:
    """The app that an event is about as it is, and as it would be if the event were made of these bytes."""
    subject = _subject(session, position)
    if subject is None:
        return None, None
    app_id = AppId(subject.cluster, subject.namespace, subject.app)
    (row,) = session.store.positions(position, position, limit=1)
    event, _ = decode(row.topic, remaining)
    history = session.reader.history(app_id)
    without = [replace(line, event=event) if line.position == position else line for line in history]
    return fold(App(id=app_id), history), fold(App(id=app_id), without)


def _also(session: Session, position: int, field: str) -> Sequence[tuple[int, str]]:
    """Where else in the app's history the text to be blanked stands."""
    (row,) = session.store.positions(position, position, limit=1)
    subject, text = subject_of(row.state), texts(row).get(field)
    if subject is None or text is None or text == BLANK:
        return ()
    stream = app_stream(subject.app_id)
    rows = session.store.two_streams(stream.bytes, observed_stream(stream).bytes)
    return also_in((each for each in rows if each.position != position), text)


def _tell_where_else(session: Session, also: Sequence[tuple[int, str]]) -> None:
    if also:
        places = ", ".join(f"{field} at position {position}" for position, field in also)
        session.terminal.warn(f"The same text is also in {places}. Redact it there, too.")


def _subject(session: Session, position: int) -> Subject | None:
    """What the event at a position is about; None for the ledger itself."""
    (row,) = session.store.positions(position, position, limit=1)
    return recorded(row).envelope.subject


def _object_changes(session: Session, before: App | None, after: App | None) -> Sequence[tuple[str, str, str]]:
    """What would change in the cluster: nothing, where nobody would know any more what pods are to read."""
    if before is None or after is None or (after.life is not None and after.life.roll.configuration.blanked):
        return ()
    return object_changes(session, before, after)


def _warn(session: Session, after: App | None) -> None:
    """Say what is stopped by a redaction of what is set, or of what pods read."""
    life = after.life if after is not None else None
    if life is None:
        return
    if life.configuration.blanked:
        session.terminal.warn(
            "It is still set: no release or restart is accepted until it is set again, and pods keep what they have."
            " Set it again and restart first, if you can: 1ctl env create --help"
        )
    elif life.roll.configuration.blanked:
        session.terminal.warn(
            "Pods still read it: nothing of the app is applied until they are replaced. Do that first, if you can:"
            f" 1ctl deploy restart --deployment-id {life.deployment_id}"
        )
