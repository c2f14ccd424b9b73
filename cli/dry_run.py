"""``--dry-run``: what a command would record and change, without doing either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from cli.answers import own_deployment, own_life
from cli.recording import record
from effects.cluster import Ref
from effects.desired import DesiredObject, Surroundings, desired
from ledger.commands import Destroy
from ledger.ledger import Plan
from projections.changes import changes, in_words

if TYPE_CHECKING:
    from cli.session import Session
    from ledger.app import App
    from ledger.commands import Command
    from ledger.events import Event
    from ledger.request import Request
    from ledger.spec import AppId


def show(
    session: Session,
    app_id: AppId,
    command: Command,
    request: Request,
    *,
    secret_values: Mapping[str, bytes] | None = None,
) -> Plan:
    """Print the events that would be recorded, what they change, and the objects that would change in the cluster.

    Raises:
        RefusedError: The command would be refused.
    """
    plan = planned(session, app_id, command, request, secret_values=secret_values)
    changed = in_words(changes(plan.before.life, plan.after.life))
    tell(session, [*plan.events, *plan.claims], object_changes(session, plan.before, plan.after), changed=changed)
    return plan


def planned(
    session: Session,
    app_id: AppId,
    command: Command,
    request: Request,
    *,
    secret_values: Mapping[str, bytes] | None = None,
) -> Plan:
    """What a command would lead to: nothing, if the request was recorded before, which is said.

    Raises:
        RefusedError: The command would be refused.
    """
    session.reader.refuse_ended()
    if session.store.request(request.request_id) is None:
        return session.ledger.plan(app_id, command, secret_values=secret_values)
    outcome = record(session, app_id, command, request, applies=False)  # it is answered from the ledger, or refused
    if not isinstance(command, Destroy) and own_deployment(outcome) is not None:  # what a destroy is about has ended
        own_life(outcome)
    return Plan(events=(), before=outcome.app, after=outcome.app)


def tell(
    session: Session, events: Sequence[Event], objects: Sequence[tuple[str, str, str]], *, changed: str = ""
) -> None:
    """Print what would be recorded, what that changes, in words, and what would change in the cluster."""
    terminal = session.terminal
    if terminal.json:
        terminal.document(
            {
                "dry_run": True,
                "events": [{"kind": type(event).__name__, "data": asdict(event)} for event in events],
                "objects": [{"change": change, "kind": kind, "name": name} for change, kind, name in objects],
            }
        )
        return
    terminal.notice("Dry run: nothing is recorded, nothing is changed.")
    if not events and not objects:
        terminal.info("Nothing would change.")
        return
    if events:
        terminal.line("Would record: " + ", ".join(type(event).__name__ for event in events))
    if changed:
        terminal.line(f"Would change: {changed}")
    terminal.table(["CHANGE", "KIND", "NAME"], objects)


def object_changes(session: Session, before: App, after: App) -> Sequence[tuple[str, str, str]]:
    """By kind and name, what differs between the objects that two states ask for: create, update or delete."""
    old, new = _by_ref(session, before), _by_ref(session, after)
    changes = []
    for ref in sorted({*old, *new}):
        if ref not in old:
            changes.append(("create", ref.kind, ref.name))
        elif ref not in new:
            changes.append(("delete", ref.kind, ref.name))
        elif old[ref].digest != new[ref].digest:
            changes.append(("update", ref.kind, ref.name))
    return changes


def _by_ref(session: Session, app: App) -> dict[Ref, DesiredObject]:
    if app.life is None:
        return {}
    around = Surroundings(ledger_id=session.reader.ledger_id() or "(new)", gateway=session.place.gateway)
    return {entry.ref: entry for entry in desired(app, app.life, around)}
