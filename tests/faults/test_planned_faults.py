"""F10 and F11 at the reconcile of a cluster in this process: the same plans as before a real API server, and many more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from effects.cluster import APP_LABEL, Cluster, ClusterUnreachableError, Manifest, Ref, Seen, ref_of
from effects.listing import WATCHED
from tests.effects.worlds import GATEWAY, Meddled, World, sandbox_world
from tests.faults import dose
from tests.faults.dose import Cases
from tests.faults.histories import live, some_odds
from tests.faults.invariants import Positions, violations
from tests.faults.plan import ANSWERS, BREAKS, Fault, Plan
from tests.faults.planned import Planned


def survive(world: World, seed: int, faults: frozenset[Fault], way: type[Meddled] | None = None) -> Plan:
    """Live through a history while things go wrong, then until the cluster equals the ledger; what went wrong.

    Args:
        world: Where.
        seed: Of what happens.
        faults: What may go wrong.
        way: What is between a reconcile and the cluster besides; for defects.
    """
    world.ledger.create(world.reconciler().request)
    positions = Positions(world.cluster, world.namespace, ledger_id=world.ledger.ledger_id() or "")
    cluster = Planned(world.cluster, some_odds(seed, faults))
    plan = cluster.plan
    reached: Cluster = cluster if way is None else way(cluster)
    live(world, reached, seed)
    cluster.plan = Plan()
    # What the cluster denied when it was to be removed, a worker finds in its next list.
    world.reconciler(reached).reconcile(world.app_id, made=dict(listed(world)))
    wrong = [*violations(world.ledger, world.cluster, gateway=GATEWAY), *positions.observe(), world.difference()]
    assert not any(wrong), "\n".join([*wrong, plan.told()])
    return plan


def listed(world: World) -> Mapping[Ref, str]:
    """The uids of all objects that carry the app's label, as lists tell them."""
    ledger_id = world.ledger.ledger_id() or ""
    pages = (page for kind in WATCHED for page in world.cluster.pages(kind, world.namespace, ledger_id=ledger_id))
    found = (each for page in pages for each in page.objects)
    return {each.ref: each.seen.uid for each in found if each.seen.labels.get(APP_LABEL) == world.app_id.name}


@pytest.mark.parametrize("seed", dose.seeds(few=4, short=60, long=600, again=[346]))
@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(ANSWERS, id="F10", marks=pytest.mark.fault("F10", on="reconcile, sandbox")),
        pytest.param(BREAKS, id="F11", marks=pytest.mark.fault("F11", on="reconcile, sandbox")),
    ],
)
def test_whatever_becomes_of_requests_the_cluster_equals_the_ledger_once_it_stops(
    seed: int, faults: frozenset[Fault], cases: Cases, tmp_path: Path
) -> None:
    cases.now, cases.count = seed, 1
    with sandbox_world(tmp_path, watch_seconds=-1) as world:
        cases.count = max(1, len(survive(world, seed, faults).faults()))


class SendsAgain(Meddled):
    """The defect: a write whose answer did not come is sent again after the next one, without a look at what is there."""

    def __init__(self, real: Cluster) -> None:
        super().__init__(real)
        self._lost: dict[Ref, Manifest] = {}

    def apply(self, manifest: Manifest, *, manager: str, expect: Seen | None, force: bool = False) -> Seen:
        ref = ref_of(manifest)
        lost = self._lost.pop(ref, None)
        try:
            seen = super().apply(manifest, manager=manager, expect=expect, force=force)
            return seen if lost is None else super().apply(lost, manager=manager, expect=seen, force=True)
        except ClusterUnreachableError:
            self._lost[ref] = manifest
            raise


def test_a_write_that_is_sent_twice_without_a_look_is_caught(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"has the digest|were rolled|went back from"):  # noqa: PT012
        for seed in range(20):
            with sandbox_world(tmp_path / str(seed), watch_seconds=-1) as world:
                survive(world, seed, BREAKS, SendsAgain)
