"""F1: a command is killed before each of its writes, syncs and sends, one after the other, and is simply run again."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import dose
from tests.faults.calls import CLUSTER, LEDGER, Calls, one_by_one
from tests.faults.dose import Cases
from tests.faults.scenes import AGAIN, COMMANDS, DESTROY, FIRST, POSTGRES, SECRET, SQLITE, WAL, Command, Kind, Scene

pytestmark = [pytest.mark.crash, pytest.mark.timeout(3600)]

SOME = (FIRST, AGAIN, DESTROY)
ASKED: list[tuple[Kind, Command]] = dose.of(
    few=[(SQLITE, AGAIN)],
    short=[*((SQLITE, command) for command in (*SOME, SECRET)), *((POSTGRES, command) for command in SOME)],
    long=[(kind, command) for kind in (SQLITE, WAL, POSTGRES) for command in COMMANDS],
)
"""Where, and what is asked for. In the short dose those that write least like the others."""


def kinds_of_calls(kind: Kind) -> list[Calls]:
    """The simulated cluster is written in many small steps, and is not what is put to the test here."""
    of_ledger = [] if kind == POSTGRES else [Calls("pwrite64", dose.of(few=37, short=1, long=1), LEDGER)]
    any_file = [Calls(call, dose.of(few=13, short=1, long=1)) for call in ("write", "fdatasync", "fsync", "ftruncate")]
    names = [Calls(call, dose.of(few=7, short=1, long=1)) for call in ("link", "rename", "unlink", "sendto")]
    return [*of_ledger, *any_file, *names, Calls("pwrite64", dose.of(few=1000, short=25, long=1), CLUSTER)]


@pytest.mark.fault("F1", on="kind")
@pytest.mark.parametrize(("kind", "command"), ASKED, ids=lambda each: each if isinstance(each, str) else each.name)
def test_a_command_that_is_killed_at_any_call_is_finished_by_repeating_it(
    kind: Kind, command: Command, prepared: Callable[..., Scene], cases: Cases, tmp_path: Path
) -> None:
    runs = one_by_one(prepared(kind, command), command, kinds_of_calls(kind), "signal=SIGKILL", cases, tmp_path)
    for scene, result, number in runs:
        assert result.code in {0, -signal.SIGKILL}, result
        scene.settle(command, result, number=number)
