"""`1ctl worker status`: who leads, how far it has got, and what the cluster refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cli.follow_up import completed
from cli.session import Session
from ledger.spec import AppId

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ledger.app import App, Parked
    from ledger.lease import LeaseRow


class ParkedApp(NamedTuple):
    """An app that the cluster refuses."""

    app_id: AppId
    parked: Parked


def status() -> None:
    """Show who applies what is recorded, and what is parked.

    Example:  1ctl worker status
    """
    session = Session()
    cluster = session.place.cluster
    enabled = session.reader.has_worker(cluster)
    lease = session.store.lease_row(cluster)
    head = session.store.head().position
    parked = list(_parked(session))
    if session.terminal.json:
        session.terminal.document(
            {
                "cluster": cluster,
                "enabled": enabled,
                "leader": _leader(lease),
                "position": head,
                "lag": head - lease.position if lease is not None and lease.valid else None,
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
            else completed("each command what it records (1ctl worker run changes that)"),
            "Leader": _shown(lease),
            "Lag": f"{head - lease.position} positions" if lease is not None and lease.valid else "-",
            "Parked": str(len(parked)),
        },
    )
    if parked:
        session.terminal.line()
        rows = [[each.app_id.namespace, each.app_id.name, each.parked.reason, each.parked.message] for each in parked]
        session.terminal.table(["NAMESPACE", "APP", "REASON", "MESSAGE"], rows)
        session.terminal.notice("When that is mended: 1ctl worker retry APP")


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


def _shown(lease: LeaseRow | None) -> str:
    if lease is None:
        return "none was ever seen"
    if not lease.valid:
        return f"none; the last one was seen {lease.age:.0f} s ago: {lease.note}"
    return f"{lease.note}, seen {lease.age:.1f} s ago"


def _parked(session: Session) -> Iterator[ParkedApp]:
    """Those whose newest word is a refusal: the list of all apps says which to look at."""
    from projections.app_list import app_list  # noqa: PLC0415

    cluster = session.place.cluster
    for namespace in sorted({app_id.namespace for app_id in session.reader.apps(cluster)}):
        rows = app_list(session.store, cluster, namespace, ended=True)
        for name in dict.fromkeys(row.app for row in rows if row.status in ("failed", "pending")):
            app_id = AppId(cluster, namespace, name)
            found = _refused(session.reader.app(app_id))
            if found is not None:
                yield ParkedApp(app_id, found)


def _refused(app: App) -> Parked | None:
    life = app.leaving or app.life
    return life.parked if life is not None else None
