"""What was acknowledged is there: after the process was killed, and, by its system calls, after the power was cut."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from ledger.sqlite_store import SqliteStore
from tests.faults import dose
from tests.ledger.support import APPENDER, PATIENCE, assert_sound, stream_named

KILLS = 30
pytestmark = pytest.mark.crash


@dose.not_few("processes are killed again and again")
def test_every_acknowledged_position_survives_a_kill_at_any_time(tmp_path: Path) -> None:
    seed = int(os.environ.get("ONECTL_TEST_SEED", random.SystemRandom().randrange(2**32)))
    print(f"ONECTL_TEST_SEED={seed}")
    chance = random.Random(seed)
    path = tmp_path / "ledger.db"
    acknowledged: list[int] = []
    for _ in range(KILLS):
        lines = _killed(path, tmp_path / "said", chance).splitlines(keepends=True)
        acknowledged += [int(line) for line in lines if line.endswith("\n")]
        with closing(SqliteStore(path)) as store:
            assert_sound(store)
            head = store.head().position
            assert head in {len(acknowledged), len(acknowledged) + 1}, "at most one more than was acknowledged"
            assert store.stream_version(stream_named("s")) == head
            if head > len(acknowledged):
                acknowledged.append(head)  # recorded, and killed before it could say so
    assert acknowledged == list(range(1, len(acknowledged) + 1))
    assert len(acknowledged) > KILLS, "the children hardly ever came to append"


def _killed(path: Path, said: Path, chance: random.Random) -> str:
    """What a child acknowledged that was killed: one in four while it starts, the others while it appends."""
    with said.open("w") as file:
        child = subprocess.Popen([sys.executable, "-S", APPENDER, "append", path, "s", "100000"], stdout=file)
    deadline = time.monotonic() + PATIENCE / 4
    if chance.random() < 0.75:
        while said.stat().st_size == 0:
            assert child.poll() is None, "the child failed by itself"
            assert time.monotonic() < deadline, "the child never came to append"
            time.sleep(0.001)
    time.sleep(chance.uniform(0, 0.06))
    child.kill()
    child.wait(PATIENCE)
    return said.read_text()


def test_an_append_is_acknowledged_only_after_all_it_wrote_was_synced(tmp_path: Path) -> None:
    strace = _strace()
    trace = tmp_path / "trace"
    calls = "trace=pwrite64,write,ftruncate,fsync,fdatasync"
    child = [sys.executable, "-S", str(APPENDER), "append", str(tmp_path / "home" / "ledger.db"), "s", "6"]
    subprocess.run([strace, "-f", "-y", "-e", calls, "-o", trace, *child], check=True, stdout=subprocess.PIPE)
    unsynced: set[str] = set()
    synced, acknowledged = 0, 0
    for line in trace.read_text().splitlines():
        found = re.search(r"(pwrite64|write|ftruncate|fsync|fdatasync)\((\d+)<([^>]*)>", line)
        if found is None:
            continue
        call, descriptor, file = found.groups()
        if call in {"fsync", "fdatasync"}:
            assert line.endswith("= 0")
            unsynced.discard(file)
            synced += 1
        elif "ledger.db" in file and ".lock" not in file and not file.endswith("-shm"):
            unsynced.add(file)
        elif call == "write" and descriptor == "1":
            assert unsynced == set()
            assert synced >= 1
            acknowledged, synced = acknowledged + 1, 0
    assert acknowledged == 6


def test_the_names_of_a_new_ledger_and_its_directories_are_synced(tmp_path: Path) -> None:
    strace = _strace()
    trace = tmp_path / "trace"
    home = tmp_path / "one" / "two"
    child = [sys.executable, "-S", str(APPENDER), "append", str(home / "ledger.db"), "s", "1"]
    subprocess.run(
        [strace, "-f", "-y", "-e", "trace=fsync,fdatasync", "-o", trace, *child], check=True, stdout=subprocess.PIPE
    )
    synced = set(re.findall(r"sync\(\d+<([^>]*)>", trace.read_text()))
    assert {str(tmp_path), str(tmp_path / "one"), str(home)} <= synced


def _strace() -> str:
    strace = shutil.which("strace")
    if strace is None or subprocess.run([strace, "-qq", "true"], capture_output=True, check=False).returncode:
        message = "strace is not there, or may not trace: nothing was learnt about syncing"
        if os.environ.get("ONECTL_TEST_REQUIRE"):
            pytest.fail(message)
        pytest.skip(message)
    return strace
