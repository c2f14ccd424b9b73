"""What a worker asks of a cluster in order when it comes back: a list of each kind, whatever there is of each."""

from __future__ import annotations

from pathlib import Path
from random import Random

from effects.listing import WATCHED
from tests.docs.measure_restart import Counting, prepare
from tests.effects.worlds import eventually, sandbox_world
from tests.system.simulated import WeatherCluster
from tests.worker.crews import hire

APPS = 25


def test_it_lists_each_kind_once_and_looks_at_and_writes_nothing(tmp_path: Path) -> None:
    prepare(tmp_path, APPS)
    with sandbox_world(tmp_path) as world:
        weather = Counting()
        cluster = WeatherCluster(world.cluster, weather, Random(0), lambda *_: lambda: None, telling=None)
        head = world.ledger.store.head().position
        member = hire(world, cluster, threads=8, lease_seconds=5.0)
        eventually(lambda: member.tally.outcomes.get("done", 0) >= APPS)
        member.end()
        asked = {call: number for call, number in weather.count.items() if call != "watch"}
        assert asked == {"list": len(WATCHED)}
        assert world.ledger.store.head().position == head
