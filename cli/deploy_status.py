"""`1ctl deploy status`: how an app is doing now. It asks the cluster, finishes what was left undone, and records it."""

from __future__ import annotations

from dataclasses import dataclass

from cli import inline, origin
from cli.moment import AsOfOption, AtPositionOption, AtReleaseOption, When
from cli.options import ConfigOption, DeploymentIdOption
from cli.past import Asked, asked
from cli.session import Session
from cli.target import destroyed_error, target
from effects.rollout import Progress
from ledger.app import App, Life, open_life


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


def status(
    deployment_id: DeploymentIdOption = None,
    config: ConfigOption = None,
    at_release: AtReleaseOption = None,
    as_of: AsOfOption = None,
    at_position: AtPositionOption = None,
) -> None:
    """Show how an app is doing now.

    It asks the cluster, and finishes applying what a command that was cut short left undone.

    Example:  1ctl deploy status
    """
    when = When(at_release=at_release, as_of=as_of, at_position=at_position)
    if not when.is_now:
        _past(asked(when, deployment_id=deployment_id, config=config))
        return
    session = Session()
    if not session.reader.may_append():
        session.terminal.notice("This ledger is only read here, so the cluster is not asked.")
        _past(asked(when, deployment_id=deployment_id, config=config))
        return
    request = origin.request()
    app = session.reader.app(target(session, deployment_id=deployment_id, config=config, ended=True))
    if app.life is None and app.leaving is None:
        open_life(app)
    running = app.life or app.leaving
    if deployment_id is not None and running is not None and running.deployment_id != deployment_id:
        raise destroyed_error(app.id, deployment_id)
    if app.dirty:
        app = inline.apply(session, app.id, request)
    if app.life is None:
        session.terminal.info("Destroyed: nothing of it is left in the cluster.")
        _document(session, app, Status(status="Destroyed", message="Nothing is left in the cluster.", progress=0))
        return
    found = _describe(app.life, session.watch(request).look(app.id, app.life))
    _print(session, app, app.life, found)


def _past(question: Asked) -> None:
    """What the ledger knew then; the cluster of the past cannot be asked."""
    life = question.life
    reason, message = life.rollout_failure or ("", "")
    words = {
        "completed": Status(status="Running", message="Its pods were ready", progress=100),
        "failed": Status(status="Failed", message=f"Release {life.release}: {reason}: {message}", progress=0),
        "pending": Status(status="NotReady", message="Its pods were not known to be ready", progress=0),
    }
    found = words[life.rollout]
    _print(question.session, question.app, life, found)


def _print(session: Session, app: App, life: Life, found: Status) -> None:
    session.terminal.fields(
        "Deployment Status",
        {
            "App": app.id.name,
            "Deployment ID": life.deployment_id,
            "URL": f"https://{life.domain}",
            "Release": str(life.release),
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
    if progress.ready >= progress.desired:
        return Status(status="NotReady", message="Its pods are ready; older ones are still going", progress=99)
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
