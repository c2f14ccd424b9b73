"""An app is folded to its end, however its events are spread over its two streams."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from ledger import snapshots
from ledger.codec import encode
from ledger.reader import LedgerReader
from ledger.sqlite_store import SqliteStore
from ledger.store import NewRow
from tests.projections.histories import APPS, START_US, Script

APP = APPS[0]


def history(own: int, observed: int) -> Script:
    """An app with so many events in each stream; the first deploy is two of its own."""
    script = Script()
    script.deploy(APP)
    for number in range(own - 2):
        script.scale(APP, number)
    for _ in range(observed):
        script.applied(APP)
    return script


@pytest.mark.parametrize("own", [snapshots.STEP + extra for extra in range(4)] + [3 * snapshots.STEP])
@pytest.mark.parametrize("observed", [0, 1, 2 * snapshots.STEP])
def test_an_app_with_many_events_in_either_stream_is_folded_to_its_end(tmp_path: Path, own: int, observed: int) -> None:
    script = history(own, observed)
    with closing(SqliteStore(tmp_path / "ledger.db")) as store:
        store.append(
            [
                NewRow(line.stream.bytes, line.version, line.kind, encode(line.event, line.envelope))
                for line in script.lines
            ],
            clock_us=START_US,
        )

        for _ in range(2):  # without a snapshot, and with those that the first one left
            app = LedgerReader(store).app(APP)
            assert (app.version, app.observed_version) == (own, observed)
            assert app.head == max(line.position for line in script.lines if line.stream in {app.stream, app.observed})
