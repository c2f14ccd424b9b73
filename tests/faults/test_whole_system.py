"""F20: the whole system in one process, with a clock, a cluster and an order of steps that chance decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from effects import desired as desired_objects
from effects import reconcile, sandbox, sending
from effects.desired import ROLL_ANNOTATION
from effects.healing import Healer
from effects.inventory import Inventory
from effects.work_queue import WorkQueue
from ledger import decide
from ledger.events import Deployed, DomainReleased
from ledger.ledger import Ledger
from ledger.sqlite_store import SqliteStore
from projections.app_list import AppList
from tests.faults import dose
from tests.faults.dose import Cases
from tests.faults.ledger_invariants import Violation
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


def run(number: int, stepped: Callable[[], None] = lambda: None) -> None:
    machine = seed(number)(type("WholeSystem", (WholeSystem,), {"stepped": staticmethod(stepped)}))
    run_state_machine_as_test(machine, settings=calm)


@pytest.mark.fault("F20", on="SQLite")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", dose.seeds(few=1, short=6, long=260), ids=lambda number: f"seed {number}")
def test_whatever_happens_the_cluster_becomes_what_the_ledger_says(number: int, cases: Cases) -> None:
    def step() -> None:
        cases.count += 1

    cases.now = number
    run(number, step)


# -- Planted defects -----------------------------------------------------------------------------------------------


def _numbers_releases_anew(patch: pytest.MonkeyPatch) -> None:
    real = decide._deploy

    def deploy(*args: Any) -> Any:
        first, *rest = real(*args)
        assert isinstance(first, Deployed)
        return (replace(first, release=max(1, first.release - 1)), *rest)

    patch.setattr(decide, "_deploy", deploy)


def _keeps_host_names(patch: pytest.MonkeyPatch) -> None:
    real = Ledger._claims

    def claims(self: Ledger, *args: Any) -> Any:
        return [line for line in real(self, *args) if not isinstance(line[2], DomainReleased)]

    patch.setattr(Ledger, "_claims", claims)


def _loses_a_line(patch: pytest.MonkeyPatch) -> None:
    real = SqliteStore.positions

    def positions(self: SqliteStore, *args: Any, **more: Any) -> Any:
        return [row for row in real(self, *args, **more) if row.position != 9]

    patch.setattr(SqliteStore, "positions", positions)


def _records_repetitions(patch: pytest.MonkeyPatch) -> None:
    real = Ledger.execute

    def execute(self: Ledger, app_id: Any, command: Any, request: Any, **more: Any) -> Any:
        if self.store.request(request.request_id) is not None:
            request = replace(request, request_id=f"{request.request_id}-again-{self.store.head().position}")
        return real(self, app_id, command, request, **more)

    patch.setattr(Ledger, "execute", execute)


def _writes_over_any_state(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sandbox, "_check_expected", lambda *_: None)


def _rolls(patch: pytest.MonkeyPatch, name: Callable[[str, str], str]) -> None:
    """Each Deployment that is sent names another roll."""
    real = desired_objects.stamped

    def stamped(wanted: Any, **more: Any) -> Any:
        manifest = deepcopy(real(wanted, **more))
        if manifest["kind"] == "Deployment":
            annotations = manifest["spec"]["template"]["metadata"]["annotations"]
            annotations[ROLL_ANNOTATION] = name(manifest["metadata"]["name"], annotations[ROLL_ANNOTATION])
        return manifest

    patch.setattr(sending, "stamped", stamped)


def _rolls_at_each_write(patch: pytest.MonkeyPatch) -> None:
    sent: dict[tuple[str, str], int] = {}

    def name(app: str, roll: str) -> str:
        sent[app, roll] = sent.get((app, roll), 0) + 1
        return roll if sent[app, roll] == 1 else f"{roll}-{sent[app, roll]}"

    _rolls(patch, name)


def _rolls_unasked(patch: pytest.MonkeyPatch) -> None:
    _rolls(patch, lambda _, roll: f"9{roll}")


def _tidies_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reconcile.Reconciler, "_delete_unwanted", lambda *_: None)


def _believes_what_it_knew(patch: pytest.MonkeyPatch) -> None:
    def listed_all(self: Inventory, kind: str, namespace: str, *_: Any) -> set[str]:
        self._told.add((kind, namespace))
        return set()

    patch.setattr(Inventory, "listed", lambda *_: set())
    patch.setattr(Inventory, "listed_all", listed_all)


def _leaves_parked_what_was_parked(patch: pytest.MonkeyPatch) -> None:
    real = WorkQueue.add
    patch.setattr(WorkQueue, "add", lambda self, app_id, **more: real(self, app_id, **{**more, "again": False}))


def _never_knows_its_own_work(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Healer, "is_as_left", lambda *_: False)


def _lists_old_replicas(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AppList, "scaled", lambda self, row, *_: row)


PLANTED: Mapping[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "a line is lost": (_loses_a_line, "1: (positions have a gap|the head says)"),
    "a request is recorded again": (_records_repetitions, "1: .* was recorded( again|, and nobody sent it)"),
    "releases have no numbers of their own": (_numbers_releases_anew, "2: life .* has the releases"),
    "host names are kept": (_keeps_host_names, "2: claimed"),
    "the list is behind": (_lists_old_replicas, "3: "),
    "a late write arrives": (_writes_over_any_state, "4: .* went back from"),
    "pods are rolled again and again": (_rolls_at_each_write, "4: .*( was rolled for position|roll is)"),
    "pods are rolled unasked": (_rolls_unasked, "4: .* where nobody asked for it"),
    "nothing is tidied up": (_tidies_nothing, "4: .*: wanted"),
    "a list tells nothing": (_believes_what_it_knew, "4: "),
    "a parked app stays parked": (_leaves_parked_what_was_parked, "4: .* is parked without a cause"),
    "what is in order is written": (_never_knows_its_own_work, "4: what is as asked for was written again"),
}


def until_caught() -> None:
    # What a seed leads to depends on which modules are loaded: hypothesis draws from their constants, too.
    for number in range(40):
        run(number)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", dose.of(few=[*PLANTED][:3], short=PLANTED, long=PLANTED))
def test_a_planted_defect_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, said = PLANTED[name]
    plant(monkeypatch)
    with pytest.raises(Violation, match=said):
        until_caught()
