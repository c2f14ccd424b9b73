"""F8: the server is killed while it appends."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import pytest

from ledger.errors import LedgerUnavailableError, OutcomeUnknownError
from ledger.postgres_store import PostgresStore
from ledger.store import Beside, NewRow, RequestRow
from ledger.verify import verify_chain
from tests.postgres_support import Server
from tests.seeds import seeds

pytestmark = pytest.mark.crash


@pytest.fixture(scope="module")
def mortal() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


class Writer(threading.Thread):
    """Appends until it fails; remembers what was acknowledged, and what was not."""

    def __init__(self, store: PostgresStore, number: int) -> None:
        super().__init__()
        self.store, self.number = store, number
        self.acknowledged: dict[str, int] = {}
        self.unknown: str | None = None
        self.refused: str | None = None

    def run(self) -> None:
        """Append one line after another."""
        for version in range(1, 100_000):
            request = f"{self.number}-{version}"
            try:
                self.acknowledged[request] = append(self.store, self.number, version, request)
            except OutcomeUnknownError:
                self.unknown = request
                return
            except LedgerUnavailableError:
                self.refused = request
                return


def append(store: PostgresStore, number: int, version: int, request: str) -> int:
    beside = Beside(request=RequestRow(request, b"s" * 16, b"d" * 32, 0, 0))
    row = NewRow(bytes([number]) * 16, version, "Noted", request.encode())
    return store.append([row], clock_us=1, beside=beside)[0].position


@pytest.mark.parametrize("seed", seeds(2))
def test_every_acknowledged_append_survives_a_server_that_is_killed(mortal: Server, seed: int) -> None:
    store = PostgresStore(mortal.new_database())
    writers = [Writer(store, number) for number in range(2)]
    for writer in writers:
        writer.start()
    while min(len(writer.acknowledged) for writer in writers) < 5:
        time.sleep(0.01)
    time.sleep(random.Random(seed).uniform(0, 0.2))
    mortal.kill()
    for writer in writers:
        writer.join(30)
    mortal.start_again()
    lines = store.positions(1, limit=100_000)
    assert [row.position for row in lines] == list(range(1, len(lines) + 1))
    assert verify_chain(store).damage is None
    for writer in writers:
        assert len(writer.acknowledged) > 0
        for request, position in writer.acknowledged.items():
            assert lines[position - 1].state == request.encode()
        assert writer.refused is None or store.request(writer.refused) is None
        pending = writer.unknown or writer.refused
        assert pending is not None
        if store.request(pending) is None:
            append(store, writer.number, int(pending.split("-")[1]), pending)
        recorded = store.request(pending)
        assert recorded is not None
        assert [row.state.decode() for row in store.positions(1, limit=100_000)].count(pending) == 1
    store.close()
