"""F2 and F10, F11 at once: commands and workers die between two steps, on a way to the cluster on which requests fail."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from tests.faults import dose
from tests.faults import ledger_invariants as invariants
from tests.faults.canary import CANARY
from tests.faults.crowds import API_SERVER, places
from tests.faults.dose import Cases
from tests.faults.plan import Fault, Plan, evenly
from tests.faults.proxy import CONTEXT, FaultProxy
from tests.faults.scenes import FIRST, POSTGRES, SQLITE, Command, Scene
from tests.faults.shifts import crew
from tests.faults.test_two_workers import a_shop, server_of
from tests.faults.test_worker_killed import ARGS, COMMANDS, numbered
from tests.kubernetes_support import kubeconfig

pytestmark = [pytest.mark.crash, pytest.mark.kubernetes, pytest.mark.timeout(600)]

WAITED_FOR = {Fault.STALL_BEFORE, Fault.STALL_AFTER, Fault.SILENCE}
"""What each costs is half a minute, in processes of their own."""

FAULTS = frozenset(Fault) - WAITED_FOR - {Fault.NOT_FOUND}
"""Of a namespace that is not there a worker ends, and an operator finds out why."""

PLACES = places(clusters=[API_SERVER])
WITHOUT, WITH = 5, 4
"""How much is asked for without a worker, and with two."""


@pytest.fixture(scope="module")
def proxy() -> Iterator[FaultProxy]:
    with FaultProxy(kubeconfig()) as running:
        yield running


def insist(scene: Scene, command: Command, at: str) -> int:
    """Repeat a command until it is done, or a rule says no, as somebody does on a bad day; how often it was killed."""
    for attempt in count():
        doomed = replace(scene, cli=scene.cli.having(ONECTL_CRASH_AT=f"{at} {attempt}"))
        result = doomed.run(command)
        invariants.end_is_true(result, was_recorded=scene.recorded(command))
        if result.code in {0, ExitCode.REFUSED}:
            killed = sum(each.code == -signal.SIGKILL for each in scene.heard)
            scene.check_secrets()
            scene.heard.clear()
            return killed
    raise AssertionError(at)


@pytest.mark.fault("F2", on="place")
@pytest.mark.parametrize("seed", dose.seeds(few=1, short=4, long=60))
@pytest.mark.parametrize("place", dose.of(few=PLACES[:1], short=PLACES, long=PLACES))
def test_whoever_dies_while_requests_fail_others_finish_it(
    place: str, seed: int, proxy: FaultProxy, cases: Cases, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    cases.now, cases.count = seed, 1
    server, chance = server_of(place, request), random.Random(seed)
    proxy.plan = Plan()
    with a_shop(tmp_path, place, seed, server) as shop:
        way = shop.cli.having(ONECTL_KUBECONFIG=str(proxy.kubeconfig(tmp_path)), ONECTL_CONTEXT=CONTEXT)
        scene = Scene(cli=way, kind=POSTGRES if server is not None else SQLITE, server=server)
        proxy.plan = plan = Plan(seed, evenly(0.15, FAULTS))
        asked = [FIRST, *chance.choices(COMMANDS, k=WITHOUT - 1 + WITH)]
        killed = 0
        for number, command in enumerate(asked[:WITHOUT]):
            killed += insist(scene, numbered(command, number), f"chance {seed} {number}")
        with crew(
            way,
            tmp_path / "logs",
            count=2,
            args=ARGS,
            env=lambda number: {"ONECTL_CRASH_AT": f"chance {seed} {number}"},
        ) as workers:
            for number, command in enumerate(asked[WITHOUT:], WITHOUT):
                killed += insist(scene, numbered(command, number), f"chance {seed} {number}")
            proxy.plan = Plan()
            shop.crowd.assert_quiet(plan.told())
        scene.cli.run("worker", "run", "--once").done()  # the last worker may have died while nobody followed any more
        shop.crowd.assert_quiet(plan.told())
        scene.check()
        invariants.canary_is_nowhere(CANARY, files=[], texts=workers.logs())
        cases.count = max(1, killed + workers.killed)


def test_a_command_that_is_repeated_while_the_server_fails_says_that_it_is_recorded(
    proxy: FaultProxy, tmp_path: Path
) -> None:
    proxy.plan = Plan()
    with a_shop(tmp_path, "API server, SQLite", 0, None) as shop:
        way = shop.cli.having(ONECTL_KUBECONFIG=str(proxy.kubeconfig(tmp_path)), ONECTL_CONTEXT=CONTEXT)
        scene = Scene(cli=way, kind=SQLITE)
        dying = replace(scene, cli=way.having(ONECTL_CRASH_AT="applied ConfigMap"))
        assert dying.run(FIRST).code == -signal.SIGKILL
        for fault in (Fault.UNAVAILABLE, Fault.NOT_FOUND):
            proxy.plan = Plan(odds={fault: 1.0})
            repeated = scene.run(FIRST)
            assert repeated.code == ExitCode.NOT_APPLIED, repeated
            invariants.end_is_true(repeated, was_recorded=True)
        proxy.plan = Plan()
        scene.run(FIRST).done()
        shop.crowd.assert_quiet()
