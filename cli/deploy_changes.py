"""`1ctl deploy scale|restart|destroy`: changes that are not releases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli import inline, origin
from cli.options import ConfigOption, DeploymentIdOption, ReasonOption, RequestIdOption, YesOption
from cli.session import Session
from cli.target import loaded, target
from ledger.commands import Destroy, Restart, Scale
from ledger.decide import open_life

if TYPE_CHECKING:
    from ledger.app import App
    from ledger.request import Request


def scale(
    replicas: Annotated[int, typer.Option(metavar="N", help="Number of pods.")],
    deployment_id: DeploymentIdOption = None,
    config: ConfigOption = None,
    reason: ReasonOption = None,
    request_id: RequestIdOption = None,
) -> None:
    """Change the number of pods.

    Example:  1ctl deploy scale --replicas 3
    """
    session = Session()
    request = origin.request(request_id=request_id, reason=reason)
    app = loaded(session, deployment_id=deployment_id, config=config)
    outcome = inline.record(session, app.id, Scale(replicas=replicas), request)
    life = outcome.app.life
    assert life is not None
    if outcome.recorded:
        inline.apply(session, app.id, request)
        session.terminal.success(f"Scaled deployment {life.deployment_id} to {replicas} replicas")
    else:
        session.terminal.info(f"Deployment {life.deployment_id} already at {replicas} replicas — no change.")
    _document(session, life.deployment_id, request, replicas=replicas, changed=bool(outcome.recorded))


def restart(
    deployment_id: DeploymentIdOption = None,
    config: ConfigOption = None,
    reason: ReasonOption = None,
    request_id: RequestIdOption = None,
) -> None:
    """Replace the pods one by one; new ones read the configuration set by now.

    Example:  1ctl deploy restart
    """
    session = Session()
    request = origin.request(request_id=request_id, reason=reason)
    app = loaded(session, deployment_id=deployment_id, config=config)
    inline.refuse_unreadable_roll(session, app)
    outcome = inline.record(session, app.id, Restart(), request)
    life = outcome.app.life
    assert life is not None
    session.terminal.info(f"Initiating rolling restart for deployment {life.deployment_id}...")
    inline.apply(session, app.id, request)
    session.terminal.success("Rolling restart initiated. Pods are being replaced one by one.")
    session.terminal.info(f"Use '1ctl deploy status --deployment-id {life.deployment_id}' to monitor progress.")
    _document(session, life.deployment_id, request, restarted=True)


def destroy(
    yes: YesOption = False,
    deployment_id: DeploymentIdOption = None,
    config: ConfigOption = None,
    reason: ReasonOption = None,
    request_id: RequestIdOption = None,
) -> None:
    """Remove an app from the cluster and shred its secrets. Its history stays in the ledger.

    Example:  1ctl deploy destroy -y --reason "replaced by v2"
    """
    session = Session()
    request = origin.request(request_id=request_id, reason=reason)
    app = _to_destroy(session, request, deployment_id=deployment_id, config=config)
    life = app.life or app.leaving
    assert life is not None
    if app.life is not None and not yes and not session.terminal.confirm(_question(life.deployment_id)):
        session.terminal.info("Aborted.")
        _document(session, life.deployment_id, request, destroyed=False)
        return
    session.terminal.info(f"Destroying deployment {life.deployment_id}...")
    if app.life is not None:
        inline.record(session, app.id, Destroy(), request)
    inline.apply(session, app.id, request)
    session.terminal.success(f"Deployment {life.deployment_id} destroyed successfully")
    _document(session, life.deployment_id, request, destroyed=True)


def _question(deployment_id: str) -> str:
    return (
        f"Destroy deployment {deployment_id}? This will delete its pods, service, public route, configuration and "
        "secrets. This cannot be undone."
    )


def _to_destroy(session: Session, request: Request, *, deployment_id: str | None, config: str | None) -> App:
    """The app to destroy; also one whose destruction was recorded before but not finished, to finish it."""
    app_id = target(session, deployment_id=deployment_id, config=config, ended=True)
    app = session.ledger.app(app_id)
    if app.life is None and app.leaving is None:
        known = session.store.request(request.request_id)
        if known is not None:  # the very request that destroyed it
            session.terminal.notice(f'Request "{request.request_id}" was recorded before, and is done.')
            raise typer.Exit
        open_life(app)
    return app


def _document(session: Session, deployment_id: str, request: Request, **content: object) -> None:
    if session.terminal.json:
        session.terminal.document({"deployment_id": deployment_id, **content, "request_id": request.request_id})
