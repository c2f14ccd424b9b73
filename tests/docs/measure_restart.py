"""What a worker costs that comes back to a cluster in order: memory, requests, and apps looked at each second.

.venv/bin/python -m tests.docs.measure_restart 10000

The cluster is the sandbox, in memory, and so is the ledger. A child process records and applies; another one starts.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from effects.sandbox import SandboxCluster
from ledger.spec import AppId
from tests.effects.worlds import image, sandbox_world
from tests.system.simulated import Weather, WeatherCluster
from tests.worker.crews import hire


class Counting(Weather):
    """Counts calls instead of failing them."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def at(self, call: str) -> None:
        self.count[call.partition(" ")[0]] += 1


def prepare(directory: Path, apps: int) -> None:
    with sandbox_world(directory) as world:
        assert isinstance(world.cluster, SandboxCluster)
        for number in range(apps):
            world.app_id = AppId("test", "default", f"app-{number:05}")
            world.ask(image(replicas=0))
            world.reconcile()
            world.watch().look(world.app_id, world.life)


def measure(directory: Path, apps: int) -> None:
    with sandbox_world(directory) as world:
        weather = Counting()
        cluster = WeatherCluster(world.cluster, weather, Random(0), lambda *_: lambda: None, telling=None)
        head, cpu, began = world.ledger.store.head(), time.process_time(), time.monotonic()
        member = hire(world, cluster, threads=8, lease_seconds=5.0)
        while member.tally.outcomes.get("done", 0) < apps:
            assert not member.ended
            time.sleep(0.05)
        took = time.monotonic() - began
        cpu = time.process_time() - cpu
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        member.end()
        print(
            f"{apps:,} apps: {took:.1f} s, {apps / cpu:.0f} apps a CPU second, {resident:.0f} MiB, {dict(weather.count)}"
        )
        print(f"recorded since: {world.ledger.store.head().position - head.position}")


if __name__ == "__main__":
    if len(sys.argv) == 2:
        with TemporaryDirectory(dir="/dev/shm") as place:
            for step in ("prepare", "measure"):
                subprocess.run(
                    [sys.executable, "-m", "tests.docs.measure_restart", sys.argv[1], step, place], check=True
                )
    else:
        {"prepare": prepare, "measure": measure}[sys.argv[2]](Path(sys.argv[3]), int(sys.argv[1]))
