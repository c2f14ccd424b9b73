"""F4, F5: the disk cannot sync, or has no room, at each place where a command writes; then it is mended."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults import dose
from tests.faults.calls import LEDGER, Calls, one_by_one
from tests.faults.dose import Cases
from tests.faults.scenes import AGAIN, COMMANDS, POSTGRES, SQLITE, WAL, Command, Kind, Scene

pytestmark = pytest.mark.timeout(3600)

KINDS: Sequence[Kind] = dose.of(few=[SQLITE], short=[SQLITE], long=[SQLITE, WAL, POSTGRES])
FEW: Sequence[Command] = dose.of(few=[AGAIN], short=COMMANDS, long=COMMANDS)
SYNCS = [Calls(call, dose.of(few=5, short=1, long=1)) for call in ("fsync", "fdatasync")]
WRITES = [
    Calls("pwrite64", dose.of(few=31, short=5, long=1), LEDGER),
    *(Calls(call, dose.of(few=5, short=1, long=1)) for call in ("write", "link", "mkdir", "ftruncate")),
]


@pytest.mark.fault("F4", on="kind")
@pytest.mark.parametrize("command", FEW, ids=lambda each: each.name)
@pytest.mark.parametrize("kind", KINDS)
def test_a_sync_that_fails_is_told_and_mended_by_repeating(
    kind: Kind, command: Command, prepared: Callable[..., Scene], cases: Cases, tmp_path: Path
) -> None:
    runs = one_by_one(prepared(kind, command), command, SYNCS, "error=EIO", cases, tmp_path)
    for scene, result, number in runs:
        scene.settle(command, result, number=number)


@pytest.mark.fault("F5", on="kind")
@dose.not_few("it is tried call by call")
@pytest.mark.parametrize("command", FEW, ids=lambda each: each.name)
@pytest.mark.parametrize("kind", KINDS)
def test_a_write_without_room_is_told_and_mended_by_repeating(
    kind: Kind, command: Command, prepared: Callable[..., Scene], cases: Cases, tmp_path: Path
) -> None:
    runs = one_by_one(prepared(kind, command), command, WRITES, "error=ENOSPC", cases, tmp_path)
    for scene, result, number in runs:
        scene.settle(command, result, number=number)


SIZE = 2 << 20
BLOCK = 4096


@contextmanager
def small_disk(directory: Path) -> Iterator[Path]:
    """A file system of 2 MiB; where none can be mounted, the test is skipped."""
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here: a full disk is only simulated, call by call")
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


@pytest.mark.fault("F5", on="a full file system")
@pytest.mark.parametrize("command", FEW, ids=lambda each: each.name)
def test_on_a_file_system_that_fills_up_nothing_that_was_told_is_wrong(
    command: Command, prepared: Callable[..., Scene], cases: Cases, tmp_path: Path
) -> None:
    original = prepared(SQLITE, command)
    done = False
    for blocks in cases.each(range(0, 80, dose.of(few=17, short=4, long=1))):
        with small_disk(tmp_path / "disk") as disk:
            scene = original.moved(disk / "user")
            filler = disk / "filler"
            fill(filler, leaving=blocks)
            result = scene.run(command)
            filler.unlink()
            scene.settle(command, result, number=blocks)
            done = result.code == 0
        (tmp_path / "disk").rmdir()
        if done:
            break
    assert done or dose.ONLY is not None, "the disk was never large enough"


def fill(path: Path, *, leaving: int) -> None:
    """Take all room but some blocks."""
    free = os.statvfs(path.parent).f_bavail
    with path.open("wb") as file:
        for _ in range(free - leaving):
            file.write(bytes(BLOCK))
