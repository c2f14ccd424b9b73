"""`1ctl deploy get|list|releases`: what the ledger knows. None of them asks the cluster or writes anything."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.age import age
from cli.options import ConfigOption, DeploymentIdOption
from cli.session import Session
from cli.target import loaded, target
from ledger.clock import SystemClock, from_micros
from ledger.decide import open_life


def get(deployment_id: DeploymentIdOption = None, config: ConfigOption = None) -> None:
    """Show an app: what runs, where it is reached.

    Example:  1ctl -o json deploy get | jq -r .domain
    """
    from projections.app_views import deployment  # noqa: PLC0415

    session = Session()
    app = loaded(session, deployment_id=deployment_id, config=config)
    assert app.life is not None
    view = deployment(app.id, app.life)
    if session.terminal.json:
        session.terminal.document(view.to_json())
        return
    session.terminal.fields(
        "Deployment Details",
        {
            "Deployment ID": view.deployment_id,
            "App": view.app_label,
            "Namespace": view.namespace,
            "Status": view.status,
            "URL": view.url or "none",
            "Release": str(view.release),
            "Image": view.image,
            "Machines": ", ".join(view.hostnames) or "any",
            "Replicas": str(view.replicas),
            "Port": str(view.port),
            "CPU": view.cpu,
            "Memory": view.memory,
            "Created": _moment(view.created_us),
            "Last Updated": _moment(view.updated_us),
        },
    )


def list_deployments(
    all_: Annotated[bool, typer.Option("--all", help="Destroyed ones too.")] = False,
) -> None:
    """List the apps of the namespace, oldest first.

    Example:  1ctl -o json deploy list | jq -r '.[].app_label'
    """
    from projections.app_list import app_list  # noqa: PLC0415

    session = Session()
    place = session.place
    rows = [row.deployment() for row in app_list(session.store, place.cluster, place.namespace, ended=all_)]
    if session.terminal.json:
        session.terminal.document([row.to_json() for row in rows])
        return
    if not rows:
        session.terminal.info("No deployments found")
        return
    now = SystemClock().now_us()
    session.terminal.table(
        ["DEPLOYMENT ID", "HOSTNAMES", "TYPE", "STATUS", "CREATED"],
        [
            [
                row.deployment_id,
                ",".join(row.hostnames) or "any",
                "production",
                "destroyed" if row.destroyed_us is not None else row.status,
                age(row.created_us, now),
            ]
            for row in rows
        ],
    )


def releases(deployment_id: DeploymentIdOption = None, config: ConfigOption = None) -> None:
    """List an app's releases, newest first; those of its last life if it was destroyed.

    Example:  1ctl deploy releases
    """
    from projections.releases import releases as history_of  # noqa: PLC0415

    session = Session()
    app_id = target(session, deployment_id=deployment_id, config=config, ended=True)
    lives = history_of(session.ledger.history(app_id))
    wanted = [life for life in lives if deployment_id in (None, life.deployment_id)]
    if not wanted:
        open_life(session.ledger.app(app_id))
    newest_first = list(reversed(wanted[-1].releases))
    if session.terminal.json:
        session.terminal.document([release.to_json() for release in newest_first])
        return
    if wanted[-1].destroyed_us is not None:
        session.terminal.notice(f"Deployment {wanted[-1].deployment_id} was destroyed {_ago(wanted[-1].destroyed_us)}.")
    session.terminal.table(
        ["VERSION", "IMAGE", "STATUS", "DEPLOYED"],
        [[str(each.number), each.image, each.status, _ago(each.deployed_us)] for each in newest_first],
    )


def _ago(micros: int) -> str:
    return age(micros, SystemClock().now_us())


def _moment(micros: int) -> str:
    """Local time with its offset, to the second."""
    return from_micros(micros).astimezone().isoformat(sep=" ", timespec="seconds")
