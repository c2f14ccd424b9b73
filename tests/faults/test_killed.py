"""F1: a command is killed before each of its writes, syncs and sends, one after the other, and is simply run again."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.faults import dose
from tests.faults.dose import Cases
from tests.faults.scenes import COMMANDS, POSTGRES, SQLITE, WAL, Command, Kind, Scene

pytestmark = [pytest.mark.crash, pytest.mark.timeout(3600)]

EACH = 10_000
"""Case 30,017 is the 17th call of the kind with index 3."""


def kinds_of_calls(kind: Kind) -> list[tuple[tuple[str, ...], str, int]]:
    """Files (all if none), system call, and how many of the calls to step over at a time.

    The simulated cluster is written in many small steps, and is not what is put to the test here.
    """
    ledger = tuple(f"home/ledgers/sandbox.db{suffix}" for suffix in ("", "-journal", "-wal"))
    cluster = tuple(f"home/sandbox.db{suffix}" for suffix in ("", "-journal"))
    of_ledger = [] if kind == POSTGRES else [(ledger, "pwrite64", dose.of(few=19, short=1, long=1))]
    more = [((), call, dose.of(few=7, short=1, long=1)) for call in ("write", "fdatasync", "fsync", "ftruncate")]
    names = [((), call, dose.of(few=3, short=1, long=1)) for call in ("link", "rename", "unlink", "sendto")]
    return [*of_ledger, *more, *names, (cluster, "pwrite64", dose.of(few=97, short=7, long=1))]


@pytest.mark.fault("F1", on="kind")
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
@pytest.mark.parametrize("kind", dose.of(few=[SQLITE], short=[SQLITE, POSTGRES], long=[SQLITE, WAL, POSTGRES]))
def test_a_command_that_is_killed_at_any_call_is_finished_by_repeating_it(
    kind: Kind, command: Command, prepared: Callable[..., Scene], cases: Cases, tmp_path: Path
) -> None:
    original = prepared(kind, command)
    for index, (files, call, step) in enumerate(kinds_of_calls(kind)):
        for number in cases.each(_numbers(index, step)):
            if number // EACH != index:
                break
            scene = original.moved(tmp_path / str(number))
            paths = [option for file in files for option in ("-P", str(scene.cli.home.parent / file))]
            when = f"inject={call}:signal=SIGKILL:when={number % EACH}"
            result = scene.run(command, *paths, "-e", f"trace={call}", "-e", when)
            assert result.code in {0, -signal.SIGKILL}, result
            scene.settle(command, result, number=number)
            scene.gone()
            if result.code == 0:
                break


def _numbers(index: int, step: int) -> Iterator[int]:
    return count(index * EACH + 1, step)
