"""`1ctl deploy adopt`: take over an object that somebody else made."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import origin
from cli.answers import answering, own_deployment, own_life
from cli.dry_run import planned, tell
from cli.exit_codes import UsageError
from cli.options import DryRunOption, RequestIdOption, Which
from cli.recording import record
from cli.session import Session
from cli.target import target
from effects.cluster import LEDGER_LABEL, Ref
from effects.desired import named_objects
from ledger.commands import AdoptObject
from ledger.errors import RefusedError
from ledger.spec import AppId


def adopt(
    named: Annotated[str, typer.Argument(metavar="KIND/NAME", help="The object: service/shop.")],
    uid: Annotated[
        str,
        typer.Option(metavar="UID", help="The object's uid, so that another object of the same name is not adopted."),
    ],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; kept in the ledger.")],
    *,
    which: Which,
    request_id: RequestIdOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Take over an object that somebody else made.

    Fields that the app sets are taken from whoever set them; the rest of the object stays. From then on it belongs to
    the app, and is removed with it.

    Example:  1ctl deploy adopt service/shop --uid 5b4a3c2d-... --reason ours
    """
    session = Session()
    request = origin.request(request_id=request_id, reason=reason)
    app_id = target(session, which, ended=True)
    ref = _ref(app_id, named)
    repeated = session.store.request(request.request_id) is not None
    if not repeated and not session.reader.has_worker(session.place.cluster):
        _check(session, ref, uid)
    command = AdoptObject(kind=ref.kind, name=ref.name, uid=uid)
    if dry_run:
        plan = planned(session, app_id, command, request)
        changes = plan.events and plan.after.life is not None
        tell(session, plan.events, [("update", ref.kind, ref.name)] if changes else [])
        return
    outcome = record(session, app_id, command, request)
    if own_deployment(outcome) is not None:
        own_life(outcome)
    content = {"app_label": app_id.name, "kind": ref.kind, "name": ref.name, "uid": uid}
    with answering(session, request, outcome, lambda: content):
        if outcome.app.life is not None:
            session.applying.apply(app_id, request)
            session.terminal.success(f"{ref} belongs to {app_id.name} now")
        else:
            session.terminal.success(f"{ref} may be taken over: the next deploy of {app_id.name} does it")


def _ref(app_id: AppId, named: str) -> Ref:
    """The object that is meant.

    Raises:
        UsageError: It is not an object that an app has, or it is a Secret.
    """
    kind, _, name = named.partition("/")
    own = [ref for ref in named_objects(app_id.name, app_id.namespace) if ref.kind != "Secret"]
    found = next((ref for ref in own if (ref.kind.lower(), ref.name) == (kind.lower(), name)), None)
    if found is None:
        if kind.lower() == "secret":
            raise UsageError(
                "a Secret cannot be adopted: it is never read, so nobody could tell which one is taken",
                hint="Remove it, and set its values again: 1ctl secret create",
            )
        raise UsageError(
            f'"{named}" is not an object of app "{app_id.name}"', hint=f"Those are: {', '.join(map(str, own))}"
        )
    return found


def _check(session: Session, ref: Ref, uid: str) -> None:
    """Refuse an object that is missing, has another uid, or already belongs to this ledger.

    Raises:
        RefusedError: One of these holds.
    """
    ledger_id = session.reader.ledger_id() or ""
    seen = session.cluster.look(ref, ledger_id=ledger_id)
    if seen is None:
        raise RefusedError(f"{ref} is not there", hint="Nothing has to be adopted: 1ctl deploy")
    if seen.uid != uid:
        raise RefusedError(f"{ref} has another uid: {seen.uid}", hint="Look at it before you take it over.")
    if ledger_id and seen.labels.get(LEDGER_LABEL) == ledger_id:
        raise RefusedError(f"{ref} is this ledger's already", hint="See its app: 1ctl deploy status")
