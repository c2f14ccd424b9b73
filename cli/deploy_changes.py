"""`1ctl deploy scale|restart|destroy`: changes that are not releases."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from cli import answers, origin
from cli.deadline import Deadline
from cli.options import Change, Waiting, Which, YesOption
from cli.recording import counted, record, show_plan, status_hint
from cli.session import Session
from cli.target import meant, named, running, target
from ledger.app import App, destroyed_error
from ledger.commands import Destroy, Restart, Scale

if TYPE_CHECKING:
    from ledger.request import Request
    from ledger.spec import AppId

_DESTROYED_BEFORE = "Another request has destroyed it: what is left is removed, and nothing is recorded."


def scale(
    replicas: Annotated[int, typer.Option(metavar="N", help="Number of pods.")],
    *,
    waiting: Waiting,
    which: Which,
    change: Change,
) -> None:
    """Change the number of pods.

    Example:  1ctl deploy scale --replicas 3 --wait
    """
    session = Session()
    seconds = waiting.seconds()
    request = origin.request(request_id=change.request_id, reason=change.reason)
    app = meant(session, request, which)
    if change.dry_run:
        show_plan(session, app.id, Scale(replicas=replicas), request)
        return
    session.applying.look_back(app, request)
    outcome = record(session, app.id, Scale(replicas=replicas), request, life=app.deployment_id)
    life = answers.own_life(outcome)
    content = {"replicas": replicas, "changed": bool(outcome.recorded)}
    with answers.answering(session, request, outcome, lambda: content):
        deadline = Deadline.after(seconds) if waiting.wait else None
        applies = outcome.recorded or waiting.wait
        applied = session.applying.apply(app.id, request, deadline=deadline) if applies else app
        if outcome.recorded:
            session.terminal.success(f"Scaled deployment {life.deployment_id} to {counted(replicas)}")
        else:
            session.terminal.info(f"Deployment {life.deployment_id} already at {counted(replicas)} — no change.")
        if deadline is not None:
            answers.wait_scaled(session, applied, outcome, request, deadline, replicas=replicas)


def restart(*, waiting: Waiting, which: Which, change: Change) -> None:
    """Replace the pods one by one.

    The new pods read the environment values and secrets that are set by now.

    Example:  1ctl deploy restart --wait
    """
    session = Session()
    seconds = waiting.seconds()
    request = origin.request(request_id=change.request_id, reason=change.reason)
    app = meant(session, request, which)
    session.applying.check_roll(app, request)
    if change.dry_run:
        show_plan(session, app.id, Restart(), request)
        return
    session.applying.look_back(app, request)
    outcome = record(session, app.id, Restart(), request, life=app.deployment_id)
    life = answers.own_life(outcome)
    with answers.answering(session, request, outcome, lambda: {"restarted": True}):
        session.announce_sandbox()
        session.terminal.info(f"Initiating rolling restart for deployment {life.deployment_id}...")
        deadline = Deadline.after(seconds) if waiting.wait else None
        applied = session.applying.apply(app.id, request, deadline=deadline)
        session.terminal.success("Rolling restart initiated. Pods are being replaced one by one.")
        session.terminal.info(status_hint(life))
        if deadline is not None:
            answers.wait(session, applied, outcome, request, deadline)


def destroy(
    yes: YesOption = False,
    *,
    which: Which,
    change: Change,
) -> None:
    """Remove an app from the cluster; its history stays.

    Its secrets are shredded: nobody can read them any more, not even from the ledger.

    Example:  1ctl deploy destroy -y --reason "replaced by v2"
    """
    session = Session()
    request = origin.request(request_id=change.request_id, reason=change.reason)
    app_id = target(session, which, ended=True)
    session.require_named_ledger()
    app = session.ledger.app(app_id)
    if change.dry_run:
        is_new = session.store.request(request.request_id) is None
        if is_new:
            _ending(session, app, which.deployment_id)
        if is_new and app.life is None:
            from cli.dry_run import object_changes, tell  # noqa: PLC0415 - the projections are needed here only

            session.terminal.notice(_DESTROYED_BEFORE)
            tell(session, (), object_changes(session, replace(app, life=app.leaving), app))
        else:
            show_plan(session, app_id, Destroy(), request)
        return
    before = _repeated(session, app_id, request)
    ending: str | None = before or _ending(session, app, which.deployment_id)
    session.announce_sandbox()
    if before is None and app.life is not None:
        if not yes and not session.terminal.confirm(_question(app)):
            answers.declined(session, answers.with_names(request, {"destroyed": False}, deployment_id=ending))
            return
        ending = answers.own_deployment(record(session, app_id, Destroy(), request, life=ending))
    elif before is None:
        session.terminal.notice(_DESTROYED_BEFORE)
    content, repeated = {"destroyed": True}, before is not None
    with (
        answers.documented(session, request, lambda: content, deployment_id=ending, repeated=repeated),
        answers.after_recording(),
    ):
        session.terminal.info(f"Destroying deployment {ending}...")
        session.applying.apply(app_id, request)
        session.terminal.success(f"Deployment {ending} destroyed successfully")


def _question(app: App) -> str:
    return (
        f"Destroy {named(app)}? This will delete its pods, service, public route, configuration and secrets. "
        "Its secrets and its domain cannot be brought back; the rest can: deploy restore."
    )


def _ending(session: Session, app: App, named: str | None) -> str:
    """The deployment to destroy; also one whose destruction was recorded before but not finished, to finish it.

    Raises:
        AppNotFoundError: There is none, or the one named is not the one that runs.
    """
    life = app.life or app.leaving or running(session, app)
    if named is not None and named != life.deployment_id:
        raise destroyed_error(app.id, named)
    return life.deployment_id


def _repeated(session: Session, app_id: AppId, request: Request) -> str | None:
    """The deployment that this very request destroyed before, whatever was deployed since; None if it is new.

    Raises:
        RequestReusedError: The request id stands for another request.
    """
    if session.store.request(request.request_id) is None:
        return None
    outcome = record(session, app_id, Destroy(), request)
    return answers.own_deployment(outcome)
