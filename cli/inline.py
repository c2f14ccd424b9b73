"""What follows a recorded request when no worker runs: this process applies it, and may wait for its pods."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from cli.exit_codes import CommandError, ExitCode
from effects.cluster import ClusterError, LogsUnavailableError
from effects.reconcile import ParkedError, Progress
from ledger.errors import (
    ConflictError,
    LedgerBusyError,
    LedgerEndedError,
    LedgerUnavailableError,
    OutcomeUnknownError,
    RefusedError,
    SealedError,
)

if TYPE_CHECKING:
    from cli.session import Session
    from effects.rollout import Progress as RolloutProgress
    from ledger.app import App, Life
    from ledger.commands import Command
    from ledger.ledger import Outcome
    from ledger.request import Request
    from ledger.spec import AppId

CLOCK_WARNING_US = 5 * 60 * 1_000_000
LOG_LINES = 20

LEDGER_FAILURES = (LedgerBusyError, LedgerUnavailableError, LedgerEndedError, OutcomeUnknownError)
"""What may fail about recording a fact observed, after the request itself was recorded. Its own hint would mislead."""


def look_back(session: Session, app: App, request: Request) -> None:
    """Record what became of the newest roll, before a change makes it impossible to tell.

    Without a worker nobody watches when no command waits, so each command that changes an app looks first. Where the
    cluster cannot be asked, the change itself will say so.
    """
    life = app.life
    if life is None or life.dirty or life.rollout != "pending":
        return
    with suppress(ClusterError):
        session.watch(request).look(app.id, life)


def record(
    session: Session,
    app_id: AppId,
    command: Command,
    request: Request,
    *,
    secret_values: Mapping[str, bytes] | None = None,
    applies: bool = True,
) -> Outcome:
    """Record a command; says so on stderr if it was recorded before, or if this machine's clock is far behind."""
    if applies:
        _ = session.cluster  # what is wrong with it is told before anything is recorded
    outcome = session.ledger.execute(app_id, command, request, secret_values=secret_values)
    if outcome.repeated:
        session.terminal.notice(f'Request "{request.request_id}" was recorded before; it is not recorded again.')
    if outcome.clock_behind_us > CLOCK_WARNING_US:
        minutes = outcome.clock_behind_us // 60_000_000
        session.terminal.warn(
            f"This machine's clock is {minutes} minutes behind the ledger; the ledger's time is kept."
        )
    return outcome


def apply(session: Session, app_id: AppId, request: Request, progress: Progress | None = None) -> App:
    """Make the cluster equal to the ledger.

    Raises:
        CommandError: It is recorded, but not applied (exit code 8).
        RefusedError: This is a replica, a backup, or a ledger that goes on elsewhere.
    """
    if not session.reader.may_append():
        raise RefusedError(
            "this ledger is only read here, so nothing is applied from it",
            hint="See where it goes on: 1ctl ledger status",
        )
    try:
        return session.reconciler(request).reconcile(app_id, progress)
    except ParkedError as error:
        raise not_applied(f"the cluster refused ({error.reason}): {error.message}", hint=error.hint) from error
    except (ClusterError, SealedError, ConflictError, *LEDGER_FAILURES) as error:
        ours = isinstance(error, LEDGER_FAILURES)
        raise not_applied(error.message, hint=None if ours else error.hint) from error


def not_applied(message: str, *, hint: str | None) -> CommandError:
    """The error of a request that is in the ledger but not in the cluster."""
    again = "It is recorded. 1ctl deploy status applies it and shows where it stands."
    return CommandError(
        f"recorded, but not applied: {message}", code=ExitCode.NOT_APPLIED, hint=f"{hint}\n{again}" if hint else again
    )


def refuse_unreadable_roll(session: Session, app: App) -> None:
    """Refuse, before it is recorded, a roll whose pods would need secrets that this machine cannot open.

    Raises:
        RefusedError: They cannot be opened here.
    """
    if app.life is not None and app.life.secrets and not session.ledger.can_open_secrets(app.life):
        raise RefusedError(
            f'app "{app.id.name}" has secrets that this machine cannot open',
            hint="Run the command where the identity is, or point ONECTL_IDENTITY to it",
        )


def wait_until_ready(session: Session, app: App, life: Life, request: Request, *, timeout: float) -> None:
    """Wait until the newest roll's pods are ready, saying how far they are whenever that changes.

    Raises:
        CommandError: The rollout failed or was superseded (exit code 4), or took too long (exit code 5).
    """
    terminal = session.terminal
    terminal.info("Waiting for deployment to become healthy...")
    said, progress = None, None
    if life.rollout == "pending":
        # That is what is known now, also where the pods are quicker than the first look at them.
        terminal.info("Deployment status: NotReady (0 pct)")
        said = 0
    try:
        for progress in session.watch(request).wait(app.id, life, timeout=timeout):
            # All ready and still waiting: older pods are going, or the cluster has yet to count. No news for a person.
            if progress.verdict == "waiting" and progress.percent != said and progress.ready < progress.desired:
                terminal.info(f"Deployment status: NotReady ({progress.percent} pct)")
                said = progress.percent
    except (ClusterError, *LEDGER_FAILURES) as error:
        raise CommandError(
            f"applied, but the pods cannot be watched: {error.message}",
            code=ExitCode.TIMED_OUT,
            hint=_status_hint(life),
        ) from error
    assert progress is not None
    match progress.verdict:
        case "completed":
            terminal.success("Deployment is healthy — pods Running")
        case "failed":
            raise _failed(session, app, life, progress)
        case "superseded":
            raise CommandError(
                f"release {life.release} was superseded before its pods were ready", code=ExitCode.ROLLOUT_FAILED
            )
        case "waiting":
            raise CommandError(
                f"the pods were not ready within {timeout:g} s ({progress.ready} of {progress.desired} ready)"
                + _why_not_ready(progress),
                code=ExitCode.TIMED_OUT,
                hint=_status_hint(life),
            )


def _failed(session: Session, app: App, life: Life, progress: RolloutProgress) -> CommandError:
    reason, message = progress.reason or ("Unknown", "")
    _print_logs(session, app, progress)
    serving = ""
    if progress.rollout is not None and progress.rollout.old_ready:
        serving = " The pods of the earlier release keep running."
    return CommandError(
        f"release {life.release} failed: {reason}: {message}.{serving}".replace("..", "."),
        code=ExitCode.ROLLOUT_FAILED,
        hint=_status_hint(life),
    )


def _print_logs(session: Session, app: App, progress: RolloutProgress) -> None:
    crashed = [pod for pod in (progress.rollout.pods if progress.rollout else ()) if pod.restarts and not pod.ready]
    for pod in crashed[:1]:
        try:
            lines = session.cluster.logs(app.id.namespace, pod.name, lines=LOG_LINES)
        except LogsUnavailableError as error:
            session.terminal.notice(error.message)
        except ClusterError as error:
            session.terminal.notice(f"The log of pod {pod.name} cannot be read: {error.message}")
        else:
            session.terminal.notice(f"Last lines of pod {pod.name}:")
            for line in lines:
                session.terminal.notice_line(line)


def _why_not_ready(progress: RolloutProgress) -> str:
    waiting = [pod for pod in (progress.rollout.pods if progress.rollout else ()) if not pod.ready and pod.reason]
    if not waiting:
        return ""
    return f": {waiting[0].reason}" + (f": {waiting[0].message}" if waiting[0].message else "")


def _status_hint(life: Life) -> str:
    return f"Use '1ctl deploy status --deployment-id {life.deployment_id}' to monitor progress."
