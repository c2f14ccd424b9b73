"""`1ctl deploy restore`: a new life for a destroyed app, from what the ledger remembers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import answers, origin
from cli.deadline import Deadline
from cli.options import Change, Waiting, Which
from cli.recording import record, show_plan
from cli.session import Session
from cli.target import target
from ledger.candidates import ended_life
from ledger.commands import Restore
from ledger.events import Deployed

if TYPE_CHECKING:
    from ledger.app import App


def restore(
    kv_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its secrets, KEY=VALUE lines; - is stdin.")
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option("--key", "-k", metavar="KEY", help="Ask for this secret's value; repeatable.")
    ] = None,
    without_secrets: Annotated[bool, typer.Option("--without-secrets", help="Leave out secrets not given.")] = False,
    *,
    waiting: Waiting,
    which: Which,
    change: Change,
) -> None:
    """Deploy a destroyed app again as it last was.

    It gets a new id and a new domain.

    Its secrets were shredded, so they have to be given again.

    Example:  1ctl deploy restore --kv-file secrets.env --wait
    """
    from cli.secret_input import given_secrets  # noqa: PLC0415

    session = Session()
    seconds = waiting.seconds()
    app_id = target(session, which, ended=True)
    given = given_secrets(session.terminal, pairs=[], file=kv_file, ask=key or []) if kv_file or key else {}
    request = origin.request(request_id=change.request_id, reason=change.reason)
    command = Restore(
        deployment_id=which.deployment_id, secret_keys=tuple(sorted(given)), without_secrets=without_secrets
    )
    session.applying.check_place(session.ledger.app(app_id), request)
    if change.dry_run:
        show_plan(session, app_id, command, request, secret_values=given)
        _warn_of_failure(session, session.reader.app(app_id), which.deployment_id)
        return
    outcome = record(session, app_id, command, request, secret_values=given)
    life = answers.own_life(outcome)
    content = {"app_label": app_id.name, "domain": f"https://{life.domain}"}
    with answers.answering(session, request, outcome, lambda: content):
        (first,) = (each.event for each in outcome.recorded if isinstance(each.event, Deployed))
        _warn_of_failure(session, outcome.app, first.restored_from)
        deadline = Deadline.after(seconds) if waiting.wait else None
        applied = session.applying.apply(app_id, request, deadline=deadline)
        session.terminal.success(f"App {app_id.name} is restored. Your app is live at: https://{life.domain}")
        session.terminal.line(f"Deployment ID: {life.deployment_id}")
        if deadline is not None:
            answers.wait(session, applied, outcome, request, deadline)


def _warn_of_failure(session: Session, app: App, deployment_id: str | None) -> None:
    """Say so if the newest pods of the destroyed deployment had failed: those of the new one may fail alike."""
    ended = ended_life(session.reader, app, deployment_id)
    if ended is not None and ended.rollout == "failed":
        why = answers.sentence(*(ended.rollout_failure or ("Unknown", "")))
        session.terminal.warn(
            f"Release {ended.release} of {ended.deployment_id} had failed: {why}"
            " If this one does, too, deploy an image that works: 1ctl deploy --image IMAGE"
        )
