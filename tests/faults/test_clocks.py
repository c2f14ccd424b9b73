"""F16: the machine's clock goes back three days, forward a year, or jumps while a command runs (libfaketime)."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from tests.faults import dose
from tests.faults import ledger_invariants as invariants
from tests.faults.scenes import (
    AGAIN,
    ENV,
    FIRST,
    POSTGRES,
    RESTART,
    ROLLBACK,
    SCALE,
    SECRET,
    SQLITE,
    Command,
    Kind,
    Scene,
)

pytestmark = pytest.mark.timeout(600)

KINDS: Sequence[Kind] = (SQLITE, SQLITE, POSTGRES)
WAITING = Command("waiting", ("deploy", "--image", "nginx:3", "--wait", "--timeout", "2s"))
STORY = (AGAIN, ENV, SECRET, SCALE, RESTART, ROLLBACK, WAITING)
CLOCKS = ("-3d", "+1y", "-3d", "+1y", "+0", "jumps")
JUMPS = ("-3d", "+1y", "-1h", "+10m", "+0", "-1y")
FORWARD_US = 366 * 86_400 * 1_000_000


def faketime() -> Path:
    """The library; where it is not there, the test is skipped, or fails if it is required."""
    found = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if found is not None:
        return found
    message = "libfaketime is not there (Debian: faketime): no clock can be made to jump"
    if os.environ.get("ONECTL_TEST_REQUIRE"):
        pytest.fail(message)
    pytest.skip(message)


@contextmanager
def clock(scene: Scene, which: str, directory: Path, chance: random.Random) -> Iterator[Scene]:
    """The same user while their machine's clock is wrong. What only measures how long things take goes on.

    The directory is the same for all tests: libfaketime learns of the file that sets the clock when a process starts.
    """
    at = directory / "clock"
    _set(at, JUMPS[0] if which == "jumps" else which)
    wrong = replace(
        scene,
        cli=replace(
            scene.cli.having(
                LD_PRELOAD=str(faketime()),
                FAKETIME_TIMESTAMP_FILE=str(at),
                FAKETIME_NO_CACHE="1",
                FAKETIME_DONT_FAKE_MONOTONIC="1",
            ),
            change="tests.faults.changes:sleep_under_libfaketime",
        ),
    )
    done = threading.Event()

    def jump() -> None:
        while not done.wait(chance.uniform(0.001, 0.1)):
            _set(at, chance.choice(JUMPS))

    jumping = threading.Thread(target=jump)
    if which == "jumps":
        jumping.start()
    try:
        yield wrong
    finally:
        done.set()
        if which == "jumps":
            jumping.join()


def _set(at: Path, clock: str) -> None:
    """In one step: a reader sees the old time or the new one."""
    draft = at.with_suffix(".new")
    draft.write_text(f"{clock}\n")
    draft.replace(at)


@pytest.mark.fault("F16", on="libfaketime")
@pytest.mark.parametrize("seed", dose.seeds(few=1, short=20, long=300))
def test_a_clock_that_is_wrong_or_jumps_harms_nothing_that_is_recorded(
    seed: int, prepared: Callable[..., Scene], in_memory: Path, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    is_new = seed % 5 == 4
    scene = prepared(KINDS[seed % len(KINDS)], FIRST if is_new else AGAIN).moved(tmp_path / "user")
    commands = [*([FIRST] if is_new else []), *chance.sample(STORY[:3] if is_new else STORY, 3)]
    kind, is_there = KINDS[seed % len(KINDS)], not is_new
    for number, command in enumerate(commands):
        which = chance.choice(CLOCKS)
        with clock(scene, which, in_memory, chance) as wrong:
            result = wrong.run(command.named(f"clock-{number}"))
        # There may be nothing to roll back to yet, and simulated pods are ready when the clock says so.
        other = {ROLLBACK: ExitCode.REFUSED, WAITING: ExitCode.TIMED_OUT}.get(command, 0)
        # A database has a clock of its own, and takes nothing from one that is a day ahead of it.
        is_ahead = kind is POSTGRES and "a day ahead" in result.stderr and which in ("+1y", "jumps")
        is_missing = not is_there and "not found" in result.stderr
        invariants.hold(result.code in {0, other} or is_ahead or is_missing, f"7: at {which}: {result}")
        is_there = is_there or scene.recorded(command.named(f"clock-{number}"))
        invariants.end_is_true(result, was_recorded=scene.recorded(command.named(f"clock-{number}")))
    with scene.store() as store:
        rows = store.positions(1, limit=invariants.ALL)
    times = [row.recorded_us for row in rows]
    invariants.hold(times == sorted(times), "5: recorded time goes back")
    result = scene.run(AGAIN.named("afterwards"))
    scene.settle(AGAIN.named("afterwards"), result, number=seed)
    behind = bool(times) and times[-1] - times[0] > FORWARD_US // 2
    invariants.hold(not behind or "clock is" in result.stderr, f"a clock that is far behind is not told of: {result}")
    scene.gone()
