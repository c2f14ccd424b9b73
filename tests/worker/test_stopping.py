"""A worker ends when it is told to, whatever it does just then, and hears no signal that it shall not hear."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from cli.worker_stop import Stop
from effects.cluster import Manifest, Seen
from effects.worker import STOP_SECONDS
from tests.cli_support import Cli, write_toml
from tests.effects.worlds import Meddled, World, eventually, image
from tests.worker.crews import working

SIGNALLED_AT_ANY_TIME = """
import random, signal
from cli.worker_stop import Stop
chance = random.Random(1)
for _ in range(5000):
    stop = Stop()
    signal.signal(signal.SIGALRM, lambda *_: stop.set())
    signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 2e-4))
    while not stop.is_set():
        stop.wait(1e-5)
print("ended")
"""


def test_a_signal_is_heard_whatever_the_thread_that_waits_does_just_then() -> None:
    said = subprocess.check_output([sys.executable, "-c", SIGNALLED_AT_ANY_TIME], text=True, timeout=60)
    assert said == "ended\n"


def test_who_waits_is_woken_at_once_and_otherwise_waits_as_long_as_asked() -> None:
    stop = Stop()
    began = time.monotonic()
    assert not stop.wait(0.1)
    assert time.monotonic() - began >= 0.1
    timer = threading.Timer(0.1, stop.set)
    timer.start()
    assert stop.wait(20)
    assert time.monotonic() - began < 10
    stop.set()
    assert stop.is_set()
    assert stop.wait(20)


def test_a_worker_ends_by_no_signal_that_whoever_started_it_ignores(tmp_path: Path) -> None:
    write_toml(tmp_path / "svc", "user-service")
    cli = Cli(tmp_path / "home", tmp_path / "svc")
    log = tmp_path / "worker.log"
    ignoring = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *cli.argv("worker", "run", "--listen", "none")]
    with log.open("wb") as out:
        process = subprocess.Popen(ignoring, cwd=cli.cwd, env=cli.environ(), stdout=out, stderr=out)
    try:
        eventually(lambda: "leading" in log.read_text())
        process.send_signal(signal.SIGINT)
        time.sleep(1)
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


class Hung(Meddled):
    """A cluster of which a write gets no answer until `let_go`."""

    def __init__(self, world: World) -> None:
        super().__init__(world.cluster)
        self.asked, self.let_go = threading.Event(), threading.Event()

    def apply(self, manifest: Manifest, *, manager: str, expect: Seen | None, force: bool = False) -> Seen:
        self.asked.set()
        self.let_go.wait(60)
        return super().apply(manifest, manager=manager, expect=expect, force=force)


def test_a_worker_told_to_end_while_it_waits_for_a_cluster_after_it_lost_the_lease_waits_no_longer_for_it(
    world: World,
) -> None:
    cluster = Hung(world)
    world.ask(image())
    with working(world, cluster) as member:
        assert cluster.asked.wait(20)
        member.worker._lease.release()
        time.sleep(1)  # by now it waits for what is in work
        began = time.monotonic()
        member.stop.set()
        member.thread.join(2 * STOP_SECONDS)
        took = time.monotonic() - began
        cluster.let_go.set()
    assert took < STOP_SECONDS + 2
