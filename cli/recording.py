"""Recording a request, and what is said when it is in the ledger but not in the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cli.exit_codes import CommandError, ExitCode
from cli.options import INVOCATION
from ledger.errors import LedgerBusyError, LedgerEndedError, LedgerUnavailableError, OutcomeUnknownError
from ledger.text import Lines, lines_of

if TYPE_CHECKING:
    from cli.session import Session
    from ledger.app import Life
    from ledger.commands import Command
    from ledger.ledger import Outcome, Plan
    from ledger.request import Request
    from ledger.spec import AppId

CLOCK_WARNING_US = 5 * 60 * 1_000_000

LEDGER_FAILURES = (LedgerBusyError, LedgerUnavailableError, LedgerEndedError, OutcomeUnknownError)
"""Failures of the ledger after the request itself was recorded, where their own hints would mislead."""


def way_on(release: int) -> str:
    """What leads on from pods of a release that will not become ready; before the first there is none to go back to."""
    if release == 1:
        return "Deploy an image that works: 1ctl deploy --image IMAGE"
    return "Deploy an image that works, or go back to a release that did: 1ctl deploy rollback"


def record(
    session: Session,
    app_id: AppId,
    command: Command,
    request: Request,
    *,
    secret_values: Mapping[str, bytes] | None = None,
    life: str | None = None,
    asked: Command | None = None,
    applies: bool = True,
) -> Outcome:
    """Record a command; says so on stderr if it was recorded before, or if this machine's clock is far behind.

    Args:
        session: This run's session.
        app_id: The app.
        command: What is asked for.
        request: Who asks and why.
        secret_values: As for `Ledger.execute`.
        life: The same; what a command found, was asked about or was given with ``-d`` is what it changes.
        asked: The same.
        applies: Whether this run also applies it.
    """
    if applies:
        session.applying.prepare()
    outcome = session.ledger.execute(app_id, command, request, secret_values=secret_values, life=life, asked=asked)
    INVOCATION.recorded = bool(outcome.recorded)
    if outcome.repeated:
        notice_repeated(session, request)
    if outcome.clock_behind_us > CLOCK_WARNING_US:
        minutes = outcome.clock_behind_us // 60_000_000
        session.terminal.warn(
            f"This machine's clock is {minutes} minutes behind the ledger; the ledger's time is kept."
        )
    return outcome


def notice_repeated(session: Session, request: Request) -> None:
    """Say that a request was recorded before."""
    session.terminal.notice(f'Request "{request.request_id}" was recorded before; it is not recorded again.')


def show_plan(
    session: Session,
    app_id: AppId,
    command: Command,
    request: Request,
    *,
    secret_values: Mapping[str, bytes] | None = None,
) -> Plan:
    """Print what a command would record and change, for `--dry-run`; neither is done. What was printed.

    Raises:
        RefusedError: The command would be refused.
    """
    from cli.dry_run import show  # noqa: PLC0415 - it knows how objects are made

    return show(session, app_id, command, request, secret_values=secret_values)


def not_applied(message: str, *, hint: str | None, again: str, repeatable: bool = False) -> CommandError:
    """The error of a request that is in the ledger but not in the cluster.

    Args:
        message: Why.
        hint: What to do about that, or None.
        again: Who applies it, and when.
        repeatable: Whether the same command, given again, applies it; where a worker does, it would only look on.
    """
    lines = [*(lines_of(hint) if hint else []), f"It is recorded. {again}"]
    if repeatable and INVOCATION.recorded:
        lines.append(
            f"The very same command does it, too, but only with --request-id {INVOCATION.request_id}: "
            "without, it is recorded once more."
        )
    return CommandError(f"recorded, but not applied: {message}", code=ExitCode.NOT_APPLIED, hint=Lines(*lines))


def not_watched(why: str, life: Life) -> CommandError:
    """The error of a request that is applied, where nobody can say what became of the pods."""
    return CommandError(f"applied, but {why}", code=ExitCode.TIMED_OUT, hint=status_hint(life))


def counted(replicas: int) -> str:
    """So many replicas, in words."""
    return f"{replicas} replica{'' if replicas == 1 else 's'}"


def healthy(life: Life) -> str:
    """What is said when all pods that are asked for are ready."""
    return f"Deployment is healthy — {'pods Running' if life.spec.replicas else 'scaled to 0, no pods'}"


def status_hint(life: Life) -> str:
    """How to see what becomes of a rollout."""
    return f"Use '1ctl deploy status --deployment-id {life.deployment_id}' to monitor progress."
