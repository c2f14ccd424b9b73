"""F15: a command gets a signal at any moment, or what it prints has nowhere to go."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from tests.cli_support import Result
from tests.faults import dose
from tests.faults import ledger_invariants as invariants
from tests.faults.scenes import AGAIN, COMMANDS, FIRST, POSTGRES, SQLITE, Command, Kind, Scene

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]

ENDING = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
    signal.SIGHUP: ExitCode.HUNG_UP,
}
CALLS = {
    "pwrite64": 150,
    "fcntl": 120,
    "read": 40,
    "openat": 30,
    "fdatasync": 15,
    "write": 13,
    "fsync": 7,
    "sendto": 20,
}
"""System calls to be interrupted, and about how many of them a command makes."""

STARTING = """
import sys
from cli.start import process

class Told:
    @staticmethod
    def find_spec(name, *_):
        if name == "cli.ending":
            open({!r}, "w").close()

sys.meta_path.insert(0, Told)
sys.exit(process())
"""
"""A command that makes a file when it imports the first of what takes long.

Python's own start comes before, and what it takes to find us and to tell Python not to answer an interrupt; nobody but
Python can answer there.
"""

KINDS: Sequence[Kind] = (SQLITE, SQLITE, SQLITE, POSTGRES)


def scene_of(seed: int, prepared: Callable[..., Scene], directory: Path) -> tuple[Scene, Command]:
    """A user and what they ask for."""
    command = COMMANDS[seed // 4 % len(COMMANDS)]
    return prepared(KINDS[seed % len(KINDS)], command).moved(directory), command


@pytest.mark.fault("F15", on="signals")
@pytest.mark.parametrize("seed", dose.seeds(few=6, short=120, long=1200))
def test_a_signal_ends_a_command_in_order_at_any_moment(
    seed: int, prepared: Callable[..., Scene], tmp_path: Path
) -> None:
    chance = random.Random(seed)
    number = chance.choice(list(ENDING))
    scene, command = scene_of(seed, prepared, tmp_path)
    call = chance.choice(list(CALLS))
    when = f"inject={call}:signal={number.name}:when={chance.randint(1, CALLS[call])}"
    result = scene.run(command, "-o", os.devnull, "-e", f"trace={call}", "-e", when)
    invariants.hold(result.code in {0, ENDING[number], -number}, f"7: {number.name}: {result}")
    scene.settle(command, result, number=seed)
    scene.gone()


@pytest.mark.fault("F15", on="signals, one after the other")
@pytest.mark.parametrize("seed", dose.seeds(few=2, short=20, long=200))
def test_signals_that_rain_down_do_no_more_than_one(seed: int, prepared: Callable[..., Scene], tmp_path: Path) -> None:
    chance = random.Random(seed)
    numbers = [each.name for each in ENDING]
    scene, command = scene_of(seed, prepared, tmp_path)
    first, step = chance.randint(1, 30), chance.randint(1, 3)
    injections = [
        option
        for call in chance.sample(list(CALLS), 4)
        for option in ("-e", f"inject={call}:signal={chance.choice(numbers)}:when={first}+{step}")
    ]
    result = scene.run(command, "-o", os.devnull, "-e", f"trace={','.join(CALLS)}", *injections)
    invariants.hold(result.code in {0, *ENDING.values(), *(-each for each in ENDING)}, f"7: {result}")
    scene.settle(command, result, number=seed)
    scene.gone()


@pytest.mark.fault("F15", on="a reader that goes away")
@pytest.mark.parametrize("seed", dose.seeds(few=2, short=30, long=300))
def test_a_reader_that_goes_away_changes_nothing_of_what_is_recorded(
    seed: int, prepared: Callable[..., Scene], tmp_path: Path
) -> None:
    chance = random.Random(seed)
    scene, command = scene_of(seed, prepared, tmp_path)
    reader, writer = os.pipe()
    wanted = chance.choice((0, 1, chance.randint(1, 500)))

    def read() -> None:
        left = wanted
        while left > 0 and (got := os.read(reader, left)):
            left -= len(got)
        os.close(reader)

    going = threading.Thread(target=read)
    going.start()
    try:
        result = scene.run(command, stdout=writer)
    finally:
        os.close(writer)
        going.join()
    invariants.hold(result.code in {0, ExitCode.BROKEN_PIPE}, f"7: {result}")
    scene.settle(command, result, number=seed)
    scene.gone()


@pytest.mark.fault("F15", on="no output, or a full one")
@pytest.mark.parametrize("seed", dose.seeds(few=2, short=30, long=300))
def test_output_that_cannot_be_written_is_not_taken_for_a_failure_to_record(
    seed: int, prepared: Callable[..., Scene], tmp_path: Path
) -> None:
    scene, command = scene_of(seed, prepared, tmp_path)
    if seed % 3 == 0:
        closed = replace(scene, cli=replace(scene.cli, change="tests.faults.changes:closed_output"))
        result = closed.run(command)
        invariants.hold(result.code == 0, f"7: {result}")
    else:
        full = os.open("/dev/full", os.O_WRONLY)
        try:
            result = scene.run(command, stdout=full)
        finally:
            os.close(full)
        invariants.hold(result.code == ExitCode.UNKNOWN, f"7: {result}")
        invariants.hold("the output cannot be written" in result.stderr, f"7: {result}")
    scene.settle(command, result, number=seed)
    scene.gone()


@pytest.mark.fault("F15", on="while it starts")
@pytest.mark.parametrize("seed", dose.seeds(few=1, short=10, long=100))
def test_an_interrupt_while_a_command_starts_leaves_no_traceback(
    seed: int, prepared: Callable[..., Scene], tmp_path: Path
) -> None:
    scene = prepared(SQLITE, FIRST).moved(tmp_path)
    number = random.Random(seed).choice(list(ENDING))
    ready = tmp_path / "started"
    process = subprocess.Popen(
        [sys.executable, "-c", STARTING.format(str(ready)), *AGAIN.words],
        cwd=scene.cli.cwd,
        env=scene.cli.environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while not ready.exists():
        assert process.poll() is None
    wait = threading.Event()
    wait.wait(random.Random(seed).uniform(0, 0.3))
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    result = Result(" ".join(AGAIN.words), out.decode(), err.decode(), process.returncode)
    scene.sent.add(AGAIN.request_id)
    scene.heard.append(result)
    invariants.hold(result.code in {0, ENDING[number], -number}, f"7: {result}")
    scene.settle(AGAIN, result, number=seed)


def test_a_hang_up_that_was_to_be_ignored_is_ignored(prepared: Callable[..., Scene], tmp_path: Path) -> None:
    scene = prepared(SQLITE, FIRST).moved(tmp_path)
    process = subprocess.Popen(
        ["nohup", *scene.cli.argv("deploy", "--image", "held:1", "--wait", "--timeout", "1s")],
        cwd=scene.cli.cwd,
        env=scene.cli.environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    while b"NotReady" not in (line := process.stdout.readline()):
        assert line, "it ended before"
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == ExitCode.TIMED_OUT
