"""F2: commands die between any two steps, as chance has it, and are simply repeated; nobody else finishes them."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from tests.faults import dose
from tests.faults import ledger_invariants as invariants
from tests.faults.dose import Cases
from tests.faults.scenes import AGAIN, FIRST, POSTGRES, SQLITE, Kind, Scene
from tests.faults.test_worker_killed import COMMANDS, insist, numbered

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]


@pytest.mark.fault("F2", on="kind")
@pytest.mark.parametrize("seed", dose.seeds(few=1, short=16, long=250))
@pytest.mark.parametrize("kind", dose.of(few=[SQLITE], short=[SQLITE, POSTGRES], long=[SQLITE, POSTGRES]))
def test_commands_that_die_between_two_steps_are_finished_by_repeating_them(
    kind: Kind, seed: int, prepared: Callable[..., Scene], cases: Cases, tmp_path: Path
) -> None:
    cases.now, cases.count = seed, 0
    chance = random.Random(seed)
    is_new = seed % 3 == 0
    scene = prepared(kind, FIRST if is_new else AGAIN).moved(tmp_path)
    chosen = [*([FIRST] if is_new else []), *chance.choices(COMMANDS, k=4)]
    for number, command in enumerate(chosen):
        asked = numbered(command, number)
        result = insist(scene, asked, f"chance {seed} {number}")
        invariants.hold(result.code in {0, ExitCode.REFUSED}, f"7: {result}")
        cases.count += sum(each.code == -signal.SIGKILL for each in scene.heard)
        scene.check_secrets()
        scene.heard.clear()
    # The last one may have been refused before it could finish what an earlier one began.
    settled = scene.run(FIRST.named("settled"))
    scene.settle(FIRST.named("settled"), settled, number=seed)
    cases.count = max(cases.count, 1)
    scene.gone()
