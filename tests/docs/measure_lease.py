"""How long a cluster is without a leader, for each way of losing one: ``python -m tests.docs.measure_lease``.

The figures of docs/adr/0016-leadership.md come from it. Three candidates try every 0.25 s; each hand-over is from the
signal to the next leader's first moment.
"""

from __future__ import annotations

import random
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.candidates import EVERY, Candidate, Election, election
from tests.postgres_support import Server

TIMES = 15
QUICK, SLOW = 2.0, 30.0
_WAYS: tuple[tuple[str, float, Callable[[Candidate], None]], ...] = (
    ("clean exit", SLOW, Candidate.leave),
    ("kill -9", SLOW, Candidate.kill),
    ("stopped, lease of 2 s", QUICK, lambda leader: leader.signal(signal.SIGSTOP)),
)


def main() -> None:
    """Print median and maximum of each, in seconds."""
    server = Server()
    try:
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
            for number, (way, seconds, lose) in enumerate(_WAYS):
                for kind in ("SQLite", "PostgreSQL"):
                    place = Path(directory) / f"{kind}{number}"
                    address = str(place / "ledger.db") if kind == "SQLite" else server.new_database()
                    with election(address, place, seconds=seconds) as held:
                        took = [_hand_over(held, lose) for _ in range(TIMES)]
                        assert held.overlap() < 0
                    print(f"{kind}, {way}: median {statistics.median(took):.2f} s, longest {max(took):.2f} s")
    finally:
        server.close()


def _hand_over(held: Election, lose: Callable[[Candidate], None]) -> float:
    time.sleep(
        random.uniform(1, 1 + EVERY)
    )  # until the newest candidate has started, and at no certain moment of a round
    leader = held.leader()
    since = time.monotonic()
    lose(leader)
    took = held.taken_over(since, leader)
    if leader.is_stopped:
        leader.kill()
    held.join()
    return took


if __name__ == "__main__":
    main()
