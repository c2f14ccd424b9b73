"""`1ctl deploy get|list|releases`: what the ledger knows. None of them asks the cluster or writes anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.age import age, local_time
from cli.exit_codes import UsageError
from cli.moment import When, life_of, resolve, resolve_for_all
from cli.options import LimitOption, Which, offer
from cli.past import asked
from cli.session import Session
from cli.target import target
from ledger.clock import SystemClock
from ledger.spec import AppId

if TYPE_CHECKING:
    from ledger.landmarks import LifeSpan
    from projections.app_views import Deployment
    from projections.release_page import ReleasePage


PAGE = 50
"""Rows that fit a person; programs get all of them."""


def get(*, which: Which, when: When) -> None:
    """Show an app: what runs, and at which URL.

    Example:  1ctl -o json deploy get | jq -r .domain
    """
    from projections.app_views import deployment  # noqa: PLC0415

    session = Session.for_questions()
    question = asked(session, when, which)
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
            "Status": f"{view.status}, but its pods failed" if view.rollout == "failed" else view.status,
            "URL": view.url or "none",
            "Release": str(view.release),
            "Image": view.image,
            "Machines": ", ".join(view.hostnames) or "any",
            "Replicas": str(view.replicas),
            "Port": str(view.port),
            "CPU": view.cpu,
            "Memory": view.memory,
            "Created": local_time(view.created_us),
            "Last Updated": local_time(view.updated_us),
        },
    )


def list_deployments(
    wide: Annotated[bool, typer.Option("--wide", help="With what each runs, and whether its pods are ready.")] = False,
    limit: LimitOption = None,
    after: Annotated[
        str | None,
        typer.Option(metavar="ID", autocompletion=offer("deployments"), help="Only those after this deployment id."),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Destroyed ones too.")] = False,
    *,
    when: When,
) -> None:
    """List the apps of the namespace, oldest first.

    --at-release N counts releases of the app in this directory.

    Example:  1ctl deploy list --wide
    """
    from projections.app_list import app_list_page  # noqa: PLC0415

    session = Session.for_questions()
    place = session.place
    moment = resolve_for_all(session, when)
    page = app_list_page(
        session.store,
        place.cluster,
        place.namespace,
        ended=all_,
        after=_opened(session, after) if after is not None else 0,
        limit=page_size(session, limit),
        position=moment.position if moment else None,
    )
    rows = [row.deployment() for row in page.rows]
    if wide:
        rows = [_with_rollout(session, row, moment.position if moment else None) for row in rows]
    if session.terminal.json:
        session.terminal.document([row.to_json() for row in rows])
    elif rows:
        now = moment.at_us if moment else SystemClock().now_us()
        session.terminal.table(
            ["DEPLOYMENT ID", "HOSTNAMES", "TYPE", "STATUS", "CREATED", *(_WIDE if wide else ())],
            [[*_cells(row, now), *(_wide_cells(row) if wide else ())] for row in rows],
        )
    else:
        session.terminal.info("No deployments found")
    if page.more:
        one = page.more == 1
        after = f"add --after {rows[-1].deployment_id}"
        session.terminal.notice(
            f"{page.more} more {'is' if one else 'are'} not shown. The next {'one' if one else 'ones'}: {after}"
        )


_WIDE = ("APP", "RELEASE", "IMAGE", "PODS")


def _cells(row: Deployment, now_us: int) -> list[str]:
    return [
        row.deployment_id,
        ",".join(row.hostnames) or "any",
        "production",
        row.status,
        age(row.created_us, now_us),
    ]


def _wide_cells(row: Deployment) -> list[str]:
    pods = "ready" if row.rollout == "completed" else row.rollout or "-"
    return [row.app_label, str(row.release), row.image, pods]


def _with_rollout(session: Session, row: Deployment, upto: int | None) -> Deployment:
    """A line of the list with what is known about its pods. The list itself does not keep that: each app is folded."""
    life = session.reader.app(AppId(row.cluster, row.namespace, row.app_label), upto=upto).life
    if life is None or life.deployment_id != row.deployment_id:
        return row
    return row._replace(rollout=life.rollout)


def _opened(session: Session, deployment_id: str) -> int:
    """The position of a life's first release."""
    from ledger.streams import app_stream  # noqa: PLC0415

    app_id = target(session, Which(deployment_id=deployment_id), ended=True)
    life = life_of(session, app_id, deployment_id)
    return session.store.landmarks(app_stream(app_id).bytes, start=life.start, limit=1)[0].position


def releases(
    wide: Annotated[
        bool, typer.Option("--wide", help="With all that is known of each, and whether it can be rolled back to.")
    ] = False,
    limit: LimitOption = None,
    all_: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    *,
    which: Which,
    when: When,
) -> None:
    """List an app's releases, newest first.

    If it was destroyed, those of its last life: the ledger remembers.

    Example:  1ctl deploy releases
    """
    from projections.release_page import release_page  # noqa: PLC0415

    if all_ and limit is not None:
        raise UsageError("--all and --limit exclude each other")
    session = Session.for_questions()
    app_id = target(session, which, ended=True)
    moment = resolve(session, when, app_id=app_id, deployment_id=which.deployment_id)
    upto = moment.position if moment else None
    life = life_of(session, app_id, which.deployment_id, upto=upto)
    page = release_page(session.reader, life, page_size(session, limit, all_=all_), upto=upto)
    if session.terminal.json or wide:
        _details(session, life, page, upto)
    else:
        _table(session, life, page, moment.at_us if moment else SystemClock().now_us())
    if page.older:
        releases = "older release is" if page.older == 1 else "older releases are"
        session.terminal.notice(f"{page.older} {releases} not shown. To see all: add --all")


def _table(session: Session, life: LifeSpan, page: ReleasePage, now_us: int) -> None:
    if page.destroyed_us is not None:
        session.terminal.notice(f"Deployment {life.deployment_id} was destroyed {age(page.destroyed_us, now_us)}.")
    session.terminal.table(
        ["VERSION", "IMAGE", "STATUS", "DEPLOYED"],
        [[str(each.number), each.image, each.status, age(each.deployed_us, now_us)] for each in page.newest_first],
    )


def _details(session: Session, life: LifeSpan, page: ReleasePage, upto: int | None) -> None:
    """The releases with all that is known about them."""
    from projections.fingerprints import life_fingerprints  # noqa: PLC0415
    from projections.release_details import page_details  # noqa: PLC0415

    known = life_fingerprints(session.store, life)
    details = page_details(session.reader, life, page, known, upto=upto)
    if session.terminal.json:
        session.terminal.document([each.to_json(known) for each in details])
        return
    session.terminal.table(
        [
            "VERSION",
            "IMAGE",
            "STATUS",
            "DEPLOYED",
            "ACTOR",
            "CHANGES",
            "ROLLBACK",
            "REASON",
            "OUTCOME",
            "IN PODS",
            "DOMAIN",
            "COMMIT",
            "CI",
            "DIGEST",
        ],
        [
            [
                str(each.release.number),
                each.release.image,
                each.release.status,
                local_time(each.release.deployed_us),
                each.release.actor,
                each.sentence,
                each.past.obstacle or "possible",
                each.release.reason or "-",
                each.outcome,
                each.in_pods or "-",
                each.domain or "-",
                each.commit or "-",
                each.ci or "-",
                each.image_digest or "-",
            ]
            for each in details
        ],
    )


def page_size(session: Session, limit: int | None, *, all_: bool = False) -> int | None:
    """How many rows are wanted; None for all, which is what programs that read JSON get unless they ask for fewer."""
    return limit if limit is not None or all_ or session.terminal.json else PAGE
