"""`1ctl worker status`: who leads, how far it has got, and what the cluster refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cli.follow_up import completed, naming
from cli.parked_hints import parked_hint
from cli.session import Session
from ledger.spec import AppId
from ledger.text import Lines, lines_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ledger.app import Parked
    from ledger.lease import LeaseRow, Trouble


class ParkedApp(NamedTuple):
    """An app that the cluster refuses."""

    app_id: AppId
    deployment_id: str
    parked: Parked


def status() -> None:
    """Show who applies what is recorded, and what is parked.

    Example:  1ctl worker status
    """
    session = Session.for_questions()
    cluster = session.place.cluster
    enabled = session.reader.has_worker(cluster)
    lease = session.store.lease_row(cluster)
    head = session.store.head().position
    # Without a leader, what nobody has worked on since the last one; without a worker, commands apply what they record.
    lag = head - lease.position if lease is not None and (lease.valid or enabled) else None
    parked = list(parked_apps(session))
    if session.terminal.json:
        session.terminal.document(
            {
                "cluster": cluster,
                "enabled": enabled,
                "leader": _leader(lease),
                "position": head,
                "trouble": _trouble(lease),
                "lag": lag,
                "parked": [
                    {
                        "namespace": each.app_id.namespace,
                        "app": each.app_id.name,
                        "reason": each.parked.reason,
                        "message": each.parked.message,
                    }
                    for each in parked
                ],
            }
        )
        return
    session.terminal.fields(
        "Worker",
        {
            "Cluster": cluster,
            "Applies": "a resident worker"
            if enabled
            else completed(f"each command what it records ({session.lets_worker_apply} changes that)"),
            "Leader": _shown(lease),
            "Lag": f"{lag} position{'' if lag == 1 else 's'}" if lag is not None else "-",
            "Parked": str(len(parked)),
            "Failing": shown_trouble(lease) or "no",
        },
    )
    if parked:
        session.terminal.line()
        rows = [[each.app_id.namespace, each.app_id.name, each.parked.reason, each.parked.message] for each in parked]
        session.terminal.table(["NAMESPACE", "APP", "REASON", "MESSAGE"], rows)
        for each in parked:
            *first, retry = lines_of(parked_hint(each.app_id, each.parked))
            name = f"--name {each.app_id.name}"
            if each.app_id.namespace != session.place.namespace:
                name = f"-d {each.deployment_id}"
                retry = f"When that is fixed: 1ctl worker retry {name}"
            said, *more = (naming(line, name) for line in (*first, retry))
            session.terminal.notice(Lines(f"{each.app_id.name}: {said}", *more))
        if len(parked) > 1:
            session.terminal.notice("When all of that is fixed: 1ctl worker retry --all")


def _leader(lease: LeaseRow | None) -> dict[str, object] | None:
    if lease is None or not lease.valid:
        return None
    return {
        "holder": lease.holder,
        "where": lease.note,
        "term": lease.epoch,
        "renewed_seconds_ago": round(lease.age, 3),
        "position": lease.position,
    }


def _trouble(lease: LeaseRow | None) -> dict[str, object] | None:
    found = current_trouble(lease)
    return None if found is None else {**found._asdict(), "seconds": round(found.seconds, 3)}


def current_trouble(lease: LeaseRow | None) -> Trouble | None:
    """What keeps the leader from working, for as long as it has by now; None if there is no leader or all is well."""
    if lease is None or not lease.valid or lease.trouble is None:
        return None
    return lease.trouble._replace(seconds=lease.trouble.seconds + lease.age)


def shown_trouble(lease: LeaseRow | None, app_id: AppId | None = None) -> str | None:
    """What keeps the leader from working, as a sentence; of an app, only what concerns it."""
    found = current_trouble(lease)
    if found is None or (app_id is not None and found.app not in (None, f"{app_id.namespace}/{app_id.name}")):
        return None
    about = f"{found.app}: " if found.app is not None and app_id is None else ""
    return f"{about}{found.message} ({found.reason}, for {found.seconds:.0f} s)"


def _shown(lease: LeaseRow | None) -> str:
    if lease is None:
        return "none was ever seen"
    if not lease.valid:
        return f"none; the last one was seen {lease.age:.0f} s ago: {lease.note}"
    return f"{lease.note}, seen {lease.age:.1f} s ago"


def parked_apps(session: Session) -> Iterator[ParkedApp]:
    """The apps of the cluster that were refused last: the list of all apps says which to look at."""
    from projections.app_list import app_list  # noqa: PLC0415

    cluster = session.place.cluster
    for namespace in sorted({app_id.namespace for app_id in session.reader.apps(cluster)}):
        rows = app_list(session.store, cluster, namespace, ended=True)
        for name in dict.fromkeys(row.app for row in rows if row.status in ("failed", "pending")):
            app_id = AppId(cluster, namespace, name)
            app = session.reader.app(app_id)
            life = app.leaving or app.life
            if life is not None and life.parked is not None:
                yield ParkedApp(app_id, life.deployment_id, life.parked)
