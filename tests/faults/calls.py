"""Every system call of a command that a fault may happen at, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tests.cli_support import Result
from tests.faults.dose import Cases
from tests.faults.scenes import Command, Scene

EACH = 10_000
"""Case 30,017 is the 17th call of the kind with index 3."""

LEDGER = tuple(f"home/ledgers/sandbox.db{suffix}" for suffix in ("", "-journal", "-wal"))
"""Files of a ledger that is kept in a file."""

CLUSTER = tuple(f"home/sandbox.db{suffix}" for suffix in ("", "-journal"))
"""Files of the simulated cluster."""


@dataclass(frozen=True, slots=True)
class Calls:
    """A kind of system call.

    Attributes:
        call: Its name.
        step: Of how many one is chosen.
        files: Those that it is about, below the user's directory; any if there are none.
    """

    call: str
    step: int
    files: tuple[str, ...] = ()


def one_by_one(
    original: Scene, command: Command, kinds: Sequence[Calls], fault: str, cases: Cases, directory: Path
) -> Iterator[tuple[Scene, Result, int]]:
    """Runs the command once for each call, each time as the same user, with a fault at that call.

    Yields the user, how the command ended, and the number of the case. A kind is done when a run met no fault any more.

    Args:
        original: The user, of whom each run gets a copy.
        command: What they ask for.
        kinds: The calls.
        fault: What is to happen, as `strace` understands it: ``signal=SIGKILL``.
        cases: Counts the runs.
        directory: Where the copies are made.
    """
    for index, calls in enumerate(kinds):
        for number in cases.each(count(index * EACH + 1, calls.step)):
            if number // EACH != index:
                break
            scene = original.moved(directory / str(number))
            trace = directory / f"{number}.trace"
            paths = [option for file in calls.files for option in ("-P", str(scene.cli.home.parent / file))]
            inject = f"inject={calls.call}:{fault}:when={number % EACH}"
            result = scene.run(command, *paths, "-o", str(trace), "-e", f"trace={calls.call}", "-e", inject)
            yield scene, result, number
            scene.gone()
            said = trace.read_text()
            trace.unlink()
            if "INJECTED" not in said and "killed by" not in said:
                break
