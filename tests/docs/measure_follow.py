"""How soon who follows a ledger knows of an append: ``python -m tests.docs.measure_follow``.

The figures of docs/adr/0016-leadership.md come from it. Another process appends every 30 ms; the delay is from its
acknowledgement to the end of `Follower.wait`. The first line is what polling a file costs.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from ledger.follow import Follower
from ledger.sqlite_growth import POLL_SECONDS
from ledger.stores import open_store
from tests.postgres_support import Server

TIMES = 300
_APPENDS = """
import sys, time
from ledger.store import NewRow
from ledger.stores import open_store

store = open_store(sys.argv[1])
for version in range(1, int(sys.argv[2]) + 1):
    store.append([NewRow(b"f" * 16, version, "Noted", b"x" * 600)], clock_us=1)
    print(time.monotonic())
    time.sleep(0.03)
store.close()
"""


def main() -> None:
    """Print median and 99th percentile in milliseconds, and the processor's share of polling."""
    server = Server()
    try:
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
            path = str(Path(directory) / "ledger.db")
            _print("SQLite", path)
            print(f"polling every {POLL_SECONDS * 1000:g} ms takes {_polling(path):.2%} of a processor")
        _print("PostgreSQL", server.new_database())
    finally:
        server.close()


def _print(kind: str, address: str) -> None:
    delays = _delays(address)
    median, late = statistics.median(delays), statistics.quantiles(delays, n=100)[-1]
    print(f"{kind}: median {median * 1000:.1f} ms, 99 of 100 within {late * 1000:.1f} ms")


def _delays(address: str) -> list[float]:
    woke: dict[int, float] = {}
    with closing(open_store(address)) as store, closing(Follower(store, 0)) as follower:
        store.prepare()
        appends = [sys.executable, "-c", _APPENDS, address, str(TIMES)]
        with subprocess.Popen(appends, stdout=subprocess.PIPE, text=True) as process:
            while follower.position < TIMES and follower.wait(30):
                now = time.monotonic()
                woke |= {row.position: now for row in follower.read(100)}
            said, _ = process.communicate()
    appended = [float(line) for line in said.split()]
    return [woke[position] - moment for position, moment in enumerate(appended, start=1)]


def _polling(address: str) -> float:
    with closing(open_store(address)) as store, closing(Follower(store, TIMES)) as follower:
        used, began = time.process_time(), time.monotonic()
        follower.wait(5)
        return (time.process_time() - used) / (time.monotonic() - began)


if __name__ == "__main__":
    main()
