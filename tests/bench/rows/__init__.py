"""The rows of the table; one file for a row, or for several that measure the same thing."""

from __future__ import annotations

from tests.bench.rows import appending, cold, deploying, history, proving, rebuilding, requests, scale, worker
from tests.bench.run import Row

ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        cold.ROW,
        deploying.DURABLE,
        deploying.APPLIED,
        requests.ROW,
        history.GROWING_LEDGER,
        history.LONG_HISTORY,
        appending.ROW,
        rebuilding.ROW,
        proving.ROW,
        worker.THROUGHPUT,
        worker.LATENCY,
        scale.ROW,
        worker.RESTART,
    )
}
"""By name, in the order of the table."""
