"""F12: wake-ups are lost, doubled and reordered; a resync makes good what that did."""

from __future__ import annotations

from pathlib import Path

import pytest

from effects import term
from effects.work_queue import WorkQueue
from tests.faults import dose
from tests.faults.crowds import a_crowd, usual_places
from tests.faults.dose import Cases
from tests.faults.wake_ups import Forgetful, Meddler, forgetful_queue
from tests.worker.crews import working

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

COMMANDS = 12


@pytest.mark.fault("F12", on="place")
@pytest.mark.parametrize("seed", dose.seeds(few=1, short=3, long=60))
@pytest.mark.parametrize("place", usual_places())
def test_whatever_becomes_of_wake_ups_a_resync_repairs_it(
    place: str, seed: int, cases: Cases, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases.now, cases.count = seed, 1
    meddler = Meddler(seed)
    monkeypatch.setattr(term, "WorkQueue", forgetful_queue(meddler))
    server = request.getfixturevalue("postgres") if "PostgreSQL" in place else None
    with a_crowd(tmp_path, place, seed, server) as crowd:
        with working(crowd.world, Forgetful(crowd.world.cluster, meddler), resync_seconds=0.5):
            for _ in range(COMMANDS):
                crowd.ask()
            crowd.assert_quiet()
        with working(crowd.world, resync_seconds=0.5):  # what the last one left to be done when it ended
            crowd.assert_quiet()
    assert meddler.meddled
    cases.count = meddler.meddled


def test_a_queue_that_loses_every_wake_up_of_a_resync_too_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lossy(WorkQueue):
        def add(self, *args: object, **more: object) -> None:
            """Loses it."""

    monkeypatch.setattr(term, "WorkQueue", Lossy)
    with a_crowd(tmp_path, "sandbox, SQLite", 0, None) as crowd:
        with working(crowd.world, resync_seconds=0.2) as member:
            crowd.ask()
            for _ in range(3):
                assert member.worker.term is not None
                assert member.worker.term._looked.wait(20)
                member.worker.term._looked.clear()
        assert crowd.violations()
