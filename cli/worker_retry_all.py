"""`1ctl worker retry --all`: every app that is parked, each by a request of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli import origin
from cli.answers import after_recording
from cli.exit_codes import CommandError, ExitCode
from cli.recording import record
from cli.worker_status import parked_apps
from ledger.commands import RetryApply

if TYPE_CHECKING:
    from cli.session import Session
    from cli.worker_status import ParkedApp


def retry_all(session: Session, reason: str | None) -> None:
    """Ask for each parked app of the cluster to be tried again, one after the other; says how each went.

    May be repeated: an app that is not parked any more is left alone.

    Args:
        session: This run's session.
        reason: Why; kept in the ledger with each.

    Raises:
        CommandError: Some were refused again; each was asked for (exit code 8).
        RefusedError: Nothing is recorded in this ledger any more.
    """
    terminal, cluster = session.terminal, session.place.cluster
    session.require_named_ledger()
    session.reader.refuse_ended()
    parked = list(parked_apps(session))
    tried: list[dict[str, object]] = []
    try:
        for each in parked:
            tried.append(_tried(session, each, reason))  # noqa: PERF401 - what was tried before a failure is told
    finally:
        if terminal.json and (tried or not parked):
            terminal.document({"cluster": cluster, "apps": tried})
    failed = [app for app in tried if not app["applied"]]
    if failed:
        raise CommandError(
            f"{len(failed)} of {len(tried)} apps are not applied",
            code=ExitCode.NOT_APPLIED,
            hint="It is recorded that each be tried again. See what is in the way: 1ctl worker status",
        )
    if not parked:
        terminal.info(f"Nothing is parked in cluster {cluster} — no change.")


def _tried(session: Session, app: ParkedApp, reason: str | None) -> dict[str, object]:
    """How it went with one app."""
    request, name = origin.request(reason=reason), f"{app.app_id.namespace}/{app.app_id.name}"
    outcome = record(session, app.app_id, RetryApply(), request)
    failure: str | None = None
    try:
        with after_recording():
            session.applying.apply(app.app_id, request)
        session.terminal.success(f"What was refused of {name} is applied")
    except CommandError as error:
        failure = error.message
        session.terminal.warn(f"{name}: {failure}")
    return {
        "namespace": app.app_id.namespace,
        "app_label": app.app_id.name,
        "deployment_id": app.deployment_id,
        "retried": bool(outcome.recorded),
        "applied": failure is None,
        "why": failure,
        "request_id": request.request_id,
    }
