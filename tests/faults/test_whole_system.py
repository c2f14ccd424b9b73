"""F20: the whole system in one process, with a clock, a cluster and an order of steps that chance decides."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults import dose
from tests.faults.dose import Cases
from tests.system.machine import WholeSystem

STEPS = 50
EXAMPLES = 8
"""Of each seed; the rest of what is tried follows from it."""

calm = settings(
    deadline=None,
    database=None,
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    phases=[Phase.generate, *([Phase.shrink] if dose.ONLY is not None else [])],  # shrinking takes minutes
)


@pytest.mark.fault("F20", on="SQLite")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", dose.seeds(few=1, short=6, long=260), ids=lambda number: f"seed {number}")
def test_whatever_happens_the_cluster_becomes_what_the_ledger_says(number: int, cases: Cases) -> None:
    def count() -> None:
        cases.count += 1

    machine = seed(number)(type("WholeSystem", (WholeSystem,), {"stepped": staticmethod(count)}))
    cases.now = number
    run_state_machine_as_test(machine, settings=calm)
