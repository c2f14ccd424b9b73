"""F2: commands and workers are killed between any two steps; workers are started again, commands are simply repeated."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from effects.cluster import Ref
from tests.cli_support import Result
from tests.effects.test_crash_points import ONLY_WORKERS
from tests.effects.worlds import eventually
from tests.faults import dose
from tests.faults import ledger_invariants as invariants
from tests.faults.canary import CANARY
from tests.faults.dose import Cases
from tests.faults.ledger_invariants import Violation
from tests.faults.scenes import (
    AGAIN,
    DESTROY,
    ENV,
    FIRST,
    POSTGRES,
    RESTART,
    SCALE,
    SECRET,
    SQLITE,
    Command,
    Kind,
    Scene,
)
from tests.faults.shifts import SECONDS, Crew, crew

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]

COMMANDS = (AGAIN, ENV, SECRET, SCALE, RESTART, DESTROY, FIRST)
ARGS = ("--lease", "2s", "--resync", "1s")


def numbered(command: Command, number: int) -> Command:
    """A command that asks for something new."""
    args = {SCALE: ("deploy", "scale", "--replicas", str(2 + number)), ENV: ("env", "create", "--env", f"N={number}")}
    return replace(command, args=args.get(command, command.args), request_id=f"asked-{number}")


def insist(scene: Scene, command: Command, at: str) -> Result:
    """Repeat a command until it ends by itself, as somebody does whose machine fails now and then; how it ended."""
    for attempt in count():
        doomed = replace(scene, cli=scene.cli.having(ONECTL_CRASH_AT=f"{at} {attempt}"))
        result = doomed.run(command)
        invariants.end_is_true(result, was_recorded=scene.recorded(command))
        if result.code != -signal.SIGKILL:
            return result
    raise AssertionError(at)


def check(scene: Scene, workers: Crew) -> None:
    """Every invariant of the ledger, the cluster and the secrets, what workers said included.

    Once the cluster was as it is asked for, a worker that goes on may tidy up what only older pods had read.
    """
    eventually(lambda: _quiet(scene), within=SECONDS)
    scene.check()
    invariants.canary_is_nowhere(CANARY, files=[], texts=workers.logs())
    for process in workers.processes:
        process.lines()


def _quiet(scene: Scene) -> bool:
    try:
        scene.check_cluster()
    except Violation:
        return False
    return True


@pytest.mark.fault("F2", on="kind")
@pytest.mark.parametrize("seed", dose.seeds(few=1, short=6, long=100))
@pytest.mark.parametrize("kind", dose.of(few=[SQLITE], short=[SQLITE, POSTGRES], long=[SQLITE, POSTGRES]))
def test_whoever_dies_between_two_steps_others_finish_it(
    kind: Kind, seed: int, prepared: Callable[..., Scene], cases: Cases, tmp_path: Path
) -> None:
    cases.now, cases.count = seed, 1
    scene = prepared(kind, AGAIN).moved(tmp_path)
    chance = random.Random(seed)
    killed = 0
    with crew(
        scene.cli,
        tmp_path / "logs",
        count=2,
        args=ARGS,
        env=lambda number: {"ONECTL_CRASH_AT": f"chance {seed} {number}"},
    ) as workers:
        for number in range(8):
            command = numbered(chance.choice(COMMANDS), number)
            result = insist(scene, command, f"chance {seed} {number}")
            killed += sum(each.code == -signal.SIGKILL for each in scene.heard)
            scene.heard.clear()
            assert result.code in {0, ExitCode.REFUSED}, result
        check(scene, workers)
    # Even then one may have died, in the middle of tidying up what older pods had read, and nobody followed.
    scene.cli.run("worker", "run", "--once").done()
    check(scene, workers)
    cases.count = killed + workers.killed
    scene.gone()


def reach(scene: Scene, point: str) -> None:
    """Let a worker come by a place that it does not come by where nothing is out of order."""
    name = scene.cli.cwd.name
    cluster = scene.cli.cluster()
    if point == "before ApplyRefused":
        ref = Ref("Service", "default", name)
        cluster.edit(ref, {"metadata": {"labels": {"1ctl.dev/ledger": "another"}}})
    else:
        cluster.edit(Ref("Deployment", "default", name), {"spec": {"replicas": 4}})
    cluster.close()


@pytest.mark.parametrize("point", ONLY_WORKERS)
def test_a_worker_that_dies_at_a_place_is_followed_by_one_that_goes_on(
    point: str, prepared: Callable[..., Scene], tmp_path: Path
) -> None:
    scene = prepared(SQLITE, AGAIN).moved(tmp_path)
    first = {"ONECTL_CRASH_AT": point}
    with crew(
        scene.cli, tmp_path / "logs", count=1, args=ARGS, env=lambda number: first if number == 0 else {}
    ) as workers:
        if point != "before renewing the lease":
            reach(scene, point)
            scene.run(ENV)
        eventually(lambda: workers.killed, within=SECONDS)
        eventually(lambda: any(process.said("leading") for process in workers.processes[1:]), within=SECONDS)
        if point == "before ApplyRefused":
            parked = eventually(lambda: scene.cli.run("-o", "json", "worker", "status").json["parked"], within=SECONDS)
            assert parked[0]["reason"] == "NotOurs"
        else:
            check(scene, workers)
