"""The list of apps at an earlier position, folded from the ledger's first line up to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.codec import recorded
from projections.app_list import APP_LIST, AppListRow

if TYPE_CHECKING:
    from ledger.store import Store

PAGE = 5000


def app_list_at(store: Store, cluster: str, namespace: str, position: int, *, ended: bool = False) -> list[AppListRow]:
    """The lives in one namespace as they were at a position, oldest first. Costs a read of all lines before it.

    Args:
        store: The ledger's storage.
        cluster: Cluster name.
        namespace: Kubernetes namespace.
        position: The newest line that counts.
        ended: Whether lives destroyed by then are wanted as well.
    """
    rows: dict[str, AppListRow] = {}
    start = 1
    while page := store.positions(start, position, limit=PAGE):
        for row in page:
            if row.topic not in APP_LIST.ignored:
                APP_LIST.apply(rows, recorded(row))
        start = page[-1].position + 1
    wanted = [
        row
        for row in rows.values()
        if (row.cluster, row.namespace) == (cluster, namespace) and (ended or row.destroyed_us is None)
    ]
    return sorted(wanted, key=lambda row: row.opened)
