"""`1ctl deploy get|list|releases`: what the ledger knows. None of them asks the cluster or writes anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli.age import age
from cli.moment import AsOfOption, AtPositionOption, AtReleaseOption, When, resolve
from cli.options import ConfigOption, DeploymentIdOption
from cli.past import asked
from cli.session import Session
from cli.target import target
from ledger.app import App, open_life
from ledger.clock import SystemClock, from_micros

if TYPE_CHECKING:
    from ledger.envelope import Recorded
    from ledger.moments import Moment
    from ledger.spec import AppId
    from projections.app_views import Deployment
    from projections.releases import Release


def get(
    deployment_id: DeploymentIdOption = None,
    config: ConfigOption = None,
    at_release: AtReleaseOption = None,
    as_of: AsOfOption = None,
    at_position: AtPositionOption = None,
) -> None:
    """Show an app: what runs, and at which URL.

    Example:  1ctl -o json deploy get | jq -r .domain
    """
    from projections.app_views import deployment  # noqa: PLC0415

    when = When(at_release=at_release, as_of=as_of, at_position=at_position)
    question = asked(when, deployment_id=deployment_id, config=config)
    session = question.session
    view = deployment(question.app.id, question.life)
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
    as_of: AsOfOption = None,
    at_position: AtPositionOption = None,
    all_: Annotated[bool, typer.Option("--all", help="Destroyed ones too.")] = False,
) -> None:
    """List the apps of the namespace, oldest first.

    Example:  1ctl -o json deploy list | jq -r '.[].app_label'
    """
    session = Session()
    moment = resolve(session, When(as_of=as_of, at_position=at_position), app_id=None, deployment_id=None)
    rows = listed(session, moment, ended=all_)
    if session.terminal.json:
        session.terminal.document([row.to_json() for row in rows])
        return
    if not rows:
        session.terminal.info("No deployments found")
        return
    now = moment.at_us if moment else SystemClock().now_us()
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


def listed(session: Session, moment: Moment | None, *, ended: bool) -> list[Deployment]:
    """The lives of the namespace, oldest first, now or at a moment; destroyed ones if wanted."""
    place = session.place
    if moment is not None:
        from projections.app_list_past import app_list_at  # noqa: PLC0415

        past = app_list_at(session.store, place.cluster, place.namespace, moment.position, ended=ended)
        return [row.deployment() for row in past]
    from projections.app_list import app_list  # noqa: PLC0415

    return [row.deployment() for row in app_list(session.store, place.cluster, place.namespace, ended=ended)]


def releases(
    wide: Annotated[
        bool, typer.Option("--wide", help="With actor, changes, reason, and what can be rolled back to.")
    ] = False,
    deployment_id: DeploymentIdOption = None,
    config: ConfigOption = None,
    at_release: AtReleaseOption = None,
    as_of: AsOfOption = None,
    at_position: AtPositionOption = None,
) -> None:
    """List an app's releases, newest first.

    If it was destroyed, those of its last life: the ledger remembers.

    Example:  1ctl deploy releases
    """
    from projections.releases import releases as history_of  # noqa: PLC0415

    session = Session()
    app_id = target(session, deployment_id=deployment_id, config=config, ended=True)
    when = When(at_release=at_release, as_of=as_of, at_position=at_position)
    moment = resolve(session, when, app_id=app_id, deployment_id=deployment_id)
    history = session.reader.history(app_id, upto=moment.position if moment else None)
    lives = [life for life in history_of(history) if deployment_id in (None, life.deployment_id)]
    if not lives:
        open_life(App(id=app_id))
    life = lives[-1]
    newest_first = list(reversed(life.releases))
    if session.terminal.json or wide:
        _details(session, app_id, history, newest_first)
        return
    now_us = moment.at_us if moment else SystemClock().now_us()
    if life.destroyed_us is not None:
        session.terminal.notice(f"Deployment {life.deployment_id} was destroyed {age(life.destroyed_us, now_us)}.")
    session.terminal.table(
        ["VERSION", "IMAGE", "STATUS", "DEPLOYED"],
        [[str(each.number), each.image, each.status, age(each.deployed_us, now_us)] for each in newest_first],
    )


def _details(session: Session, app_id: AppId, history: Sequence[Recorded], newest_first: Sequence[Release]) -> None:
    """The releases with all that is known about them."""
    from projections.fingerprints import fingerprints  # noqa: PLC0415
    from projections.release_details import release_details  # noqa: PLC0415

    details = release_details(app_id, history, newest_first)
    if session.terminal.json:
        known = fingerprints(history, newest_first[0].deployment_id)
        session.terminal.document([each.to_json(known) for each in details])
        return
    session.terminal.table(
        ["VERSION", "IMAGE", "STATUS", "DEPLOYED", "ACTOR", "CHANGES", "ROLLBACK", "REASON"],
        [
            [
                str(each.release.number),
                each.release.image,
                each.release.status,
                _moment(each.release.deployed_us),
                each.release.actor,
                each.sentence,
                each.past.obstacle or "possible",
                each.release.reason or "-",
            ]
            for each in details
        ],
    )


def _moment(micros: int) -> str:
    """Local time with its offset, to the second."""
    return from_micros(micros).astimezone().isoformat(sep=" ", timespec="seconds")
