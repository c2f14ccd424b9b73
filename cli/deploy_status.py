"""`1ctl deploy status`: how an app is doing now. It asks the cluster, finishes what was left undone, and records it."""

from __future__ import annotations

from dataclasses import dataclass

from cli import inline, origin
from cli.options import ConfigOption, DeploymentIdOption
from cli.session import Session
from cli.target import target
from effects.rollout import Progress
from ledger.app import App, Life
from ledger.decide import open_life


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How an app is doing.

    Attributes:
        status: ``Running``, ``NotReady`` or ``Failed``.
        message: One sentence.
        progress: Ready pods of those asked for, 0 to 100.
    """

    status: str
    message: str
    progress: int


def status(deployment_id: DeploymentIdOption = None, config: ConfigOption = None) -> None:
    """Show how an app is doing now, and finish applying it if a command was cut short.

    Example:  1ctl deploy status
    """
    session = Session()
    request = origin.request()
    app = session.ledger.app(target(session, deployment_id=deployment_id, config=config, ended=True))
    if app.life is None and app.leaving is None:
        open_life(app)
    if app.dirty:
        app = inline.apply(session, app.id, request)
    if app.life is None:
        session.terminal.info("Destroyed: nothing of it is left in the cluster.")
        _document(session, app, Status(status="Destroyed", message="Nothing is left in the cluster.", progress=0))
        return
    found = _describe(app.life, session.watch(request).look(app.id, app.life))
    session.terminal.fields(
        "Deployment Status",
        {
            "App": app.id.name,
            "Deployment ID": app.life.deployment_id,
            "URL": f"https://{app.life.domain}",
            "Release": str(app.life.release),
            "Status": found.status,
            "Message": found.message,
            "Progress": f"{found.progress}%",
        },
    )
    _document(session, app, found)


def _describe(life: Life, progress: Progress) -> Status:
    if progress.verdict == "completed":
        return Status(status="Running", message="Deployment is running normally", progress=100)
    if progress.verdict == "failed":
        reason, message = progress.reason or ("Unknown", "")
        return Status(
            status="Failed", message=f"Release {life.release}: {reason}: {message}", progress=progress.percent
        )
    waiting = [pod for pod in (progress.rollout.pods if progress.rollout else ()) if not pod.ready and pod.reason]
    why = f" ({waiting[0].reason})" if waiting else ""
    return Status(
        status="NotReady",
        message=f"{progress.ready} of {progress.desired} pods are ready{why}",
        progress=progress.percent,
    )


def _document(session: Session, app: App, found: Status) -> None:
    if not session.terminal.json:
        return
    life = app.life
    session.terminal.document(
        {
            "deployment_id": life.deployment_id if life else None,
            "app_label": app.id.name,
            "status": found.status,
            "message": found.message,
            "progress": found.progress,
            "release": life.release if life else None,
        }
    )
