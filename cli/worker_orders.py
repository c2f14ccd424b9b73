"""`1ctl worker retry|enable|disable`: what a person may tell a worker, through the ledger."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import origin
from cli.answers import answering, declined
from cli.exit_codes import UsageError
from cli.options import INVOCATION, ReasonOption, RequestIdOption, Which, YesOption, offer
from cli.recording import record
from cli.rights import require_worker
from cli.session import Session
from cli.target import running, target

_WHO = "Who applies is for the worker's role to say: use a login of onectl_worker, or be the owner."


def retry(
    app: Annotated[
        str | None,
        typer.Argument(metavar="[APP]", autocompletion=offer("apps"), help="Name of the app [that of satusky.toml]."),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every app of the cluster that 'worker status' shows.")] = False,
    *,
    which: Which,
    reason: ReasonOption = None,
    request_id: RequestIdOption = None,
) -> None:
    """Try again what the cluster refused.

    Fix first what `worker status` shows. With --all, an app that is refused again keeps no other from being tried.

    Example:  1ctl worker retry order-service
    """
    from ledger.commands import RetryApply  # noqa: PLC0415
    from ledger.values import app_name  # noqa: PLC0415

    if app is not None and any(each is not None for each in which):
        raise UsageError("APP says which app: leave --name, --deployment-id and --config out")
    if all_:
        if app is not None or any(each is not None for each in which):
            raise UsageError("--all is about every app: leave APP, --name, --deployment-id and --config out")
        if request_id is not None:
            raise UsageError(
                "--all asks for each app under an id of its own: leave --request-id and ONECTL_REQUEST_ID out",
                hint="Repeating is safe: what is not refused any more is left alone.",
            )
        from cli.worker_retry_all import retry_all  # noqa: PLC0415

        retry_all(Session(), reason)
        return
    session = Session()
    request = origin.request(request_id=request_id, reason=reason)
    if app is not None:
        INVOCATION.name = app  # as if it was given with --name: the next commands are about it
    app_id = session.app_id(app_name(app)) if app is not None else target(session, which, ended=True)
    known = session.reader.app(app_id)
    if not known.lives:
        running(session, known)  # says which name may be meant
    outcome = record(session, app_id, RetryApply(), request)
    content = {"app_label": app_id.name, "retried": bool(outcome.recorded)}
    with answering(session, request, outcome, lambda: content):
        if outcome.recorded:
            session.applying.apply(app_id, request)
            session.terminal.success(f"What was refused of {app_id.name} is applied")
        else:
            session.terminal.info(f"Nothing of {app_id.name} was refused — no change.")


def enable(reason: ReasonOption = None) -> None:
    """Let workers apply what commands record, after 'worker disable'.

    Workers that wait go on at once; without one, what is recorded waits until one runs.

    Example:  1ctl worker enable --reason "the move is done"
    """
    from ledger.events import WorkerEnabled  # noqa: PLC0415

    session = Session()
    request = origin.request(reason=reason)
    cluster = session.place.cluster
    changes = not session.reader.has_worker(cluster)
    if changes:
        require_worker(session.store, _WHO)
        session.ledger.create(request)
        session.ledger.mark(WorkerEnabled(cluster=cluster), request)
        session.terminal.success(f"A worker is enabled for cluster {cluster}: commands only record")
    else:
        session.terminal.info(f"A worker is enabled for cluster {cluster} already — no change.")
    if session.terminal.json:
        session.terminal.document({"cluster": cluster, "enabled": changes})


def disable(yes: YesOption = False, reason: ReasonOption = None) -> None:
    """Let commands apply what they record again.

    Workers of this cluster end by themselves. One that is started again waits until 'worker enable'.

    Example:  1ctl worker disable -y --reason "moved to another cluster"
    """
    from ledger.events import WorkerDisabled  # noqa: PLC0415

    session = Session()
    session.require_named_ledger()
    request = origin.request(reason=reason)
    cluster = session.place.cluster
    enabled = session.reader.has_worker(cluster)
    if enabled:
        require_worker(session.store, _WHO)
        question = f"Disable the worker of cluster {cluster}? Whoever deploys then needs rights in the cluster."
        if not yes and not session.terminal.confirm(question):
            declined(session, {"cluster": cluster, "disabled": False})
            return
        session.ledger.mark(WorkerDisabled(cluster=cluster), request)
        session.terminal.success(f"The worker of cluster {cluster} is disabled: commands apply what they record")
        session.terminal.notice("Workers end; one that is started again waits until: 1ctl worker enable")
    else:
        session.terminal.info(f"No worker is enabled for cluster {cluster} — no change.")
    if session.terminal.json:
        session.terminal.document({"cluster": cluster, "disabled": enabled})
