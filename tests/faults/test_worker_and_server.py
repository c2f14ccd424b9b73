"""F10 and F11 at a running worker: an API server that fails, refuses, breaks off or says nothing while apps change.

Once it stops failing, the cluster equals the ledger, nothing went back, and nothing was rolled that nobody asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from effects.inventory import Inventory
from effects.kubernetes_cluster import KubernetesCluster
from effects.listing import AT_ONCE
from tests.effects.worlds import eventually, image
from tests.faults import dose
from tests.faults.crowds import API_SERVER, POSTGRES, SQLITE, Crowd, a_crowd, places
from tests.faults.dose import Cases
from tests.faults.plan import Fault, Once, Plan, evenly
from tests.faults.proxy import CONTEXT, FaultProxy
from tests.kubernetes_support import Administrator, kubeconfig
from tests.worker.crews import working

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]

TIMEOUT = 1.0
"""Seconds that a request may take: what a stall costs."""

WATCH_SECONDS = 2
"""What a watch that goes silent costs: that and the adapter's grace."""

SAID = frozenset(
    {
        Fault.INTERNAL_ERROR,
        Fault.UNAVAILABLE,
        Fault.TOO_MANY_REQUESTS,
        Fault.NOT_FOUND,
        Fault.CONFLICT,
        Fault.UNPROCESSABLE,
        Fault.EXPIRED,
        Fault.EXPIRED_EVENT,
    }
)
"""F10: what the server answers."""

CUT_OFF = frozenset(Fault) - SAID
"""F11: where its answer does not come, or not whole."""

COMMANDS = 12

ON_SQLITE, ON_POSTGRES = (places(clusters=[API_SERVER], databases=[each]) for each in (SQLITE, POSTGRES))
EVERYWHERE = [*ON_SQLITE, *ON_POSTGRES]
DEAF = [Fault.SILENCE, Fault.EXPIRED_EVENT, Fault.HALF_AN_EVENT, Fault.RESET_AFTER]


@pytest.fixture(scope="module")
def proxy() -> Iterator[FaultProxy]:
    with FaultProxy(kubeconfig()) as running:
        yield running


@contextmanager
def through(proxy: FaultProxy, directory: Path) -> Iterator[KubernetesCluster]:
    """The cluster as the worker reaches it."""
    file = proxy.kubeconfig(directory)
    proxy.plan = Plan()
    proxy.forget()
    with KubernetesCluster.connect(
        kubeconfig=file, context=CONTEXT, name="test", timeout=TIMEOUT, watch_seconds=WATCH_SECONDS
    ) as cluster:
        yield cluster
        proxy.plan = Plan()


def go_wrong(crowd: Crowd, proxy: FaultProxy, plan: Plan) -> None:
    """Ask for this and that while things go wrong; each command is asked for while the one before is being applied."""
    proxy.plan = plan
    for _ in range(COMMANDS):
        before = len(proxy.exchanges)
        crowd.ask()
        eventually(lambda before=before: len(proxy.exchanges) > before + 3, within=60)  # type: ignore[misc]
    eventually(lambda: len(plan.faults()) >= COMMANDS, within=60)
    proxy.plan = Plan()


def survive(faults: frozenset[Fault], place: str, seed: int, proxy: FaultProxy, directory: Path, server: object) -> int:
    """How many faults a worker survived."""
    odds = evenly((0.1, 0.25, 0.5)[seed % 3], faults)
    plan = Plan(seed, odds)
    with a_crowd(directory, place, seed, server) as crowd, through(proxy, directory) as cluster:  # type: ignore[arg-type]
        with working(crowd.world, cluster, resync_seconds=1.0, threads=2):
            go_wrong(crowd, proxy, plan)
            crowd.assert_quiet(plan.told())
        with working(crowd.world, resync_seconds=0.5):  # what the last one left to be done when it ended
            crowd.assert_quiet(plan.told())
    return len(plan.faults())


@pytest.mark.fault("F10", on="place")
@pytest.mark.parametrize("seed", dose.seeds(few=1, short=2, long=50))
@pytest.mark.parametrize("place", dose.of(few=ON_SQLITE, short=EVERYWHERE, long=EVERYWHERE))
def test_a_worker_survives_whatever_the_server_answers(
    place: str, seed: int, proxy: FaultProxy, cases: Cases, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    cases.now, cases.count = seed, 1
    server = request.getfixturevalue("postgres") if "PostgreSQL" in place else None
    cases.count = survive(SAID, place, seed, proxy, tmp_path, server)


@pytest.mark.fault("F11", on="place")
@pytest.mark.parametrize("seed", dose.seeds(few=1, short=2, long=50))
@pytest.mark.parametrize("place", dose.of(few=ON_POSTGRES, short=EVERYWHERE, long=EVERYWHERE))
def test_a_worker_survives_a_server_whose_answers_do_not_come(
    place: str, seed: int, proxy: FaultProxy, cases: Cases, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    cases.now, cases.count = seed, 1
    server = request.getfixturevalue("postgres") if "PostgreSQL" in place else None
    cases.count = survive(CUT_OFF, place, seed, proxy, tmp_path, server)


@pytest.mark.parametrize("fault", dose.of(few=DEAF[:2], short=DEAF, long=DEAF))
def test_what_happened_while_a_watch_was_deaf_is_set_back_without_a_resync(
    proxy: FaultProxy, fault: Fault, tmp_path: Path
) -> None:
    with a_crowd(tmp_path, "API server, SQLite", 0, None) as crowd, through(proxy, tmp_path) as cluster:
        world, administrator = crowd.world, Administrator(kubeconfig())
        with working(world, cluster, resync_seconds=600):
            world.ask(image())
            crowd.assert_quiet()
            watches = proxy.requests()["watch", "services"]
            proxy.plan = plan = Plan(odds={fault: 1.0})
            eventually(lambda: any(each.asked.kind == "services" for each in plan.faults()))
            administrator.edit(world.named("Service"), {"spec": {"selector": {"app": "other"}}}, "by-hand")
            eventually(lambda: proxy.requests()["watch", "services"] > watches)
            proxy.plan = Plan()
            eventually(crowd.healed, within=60)
            crowd.assert_quiet()
        administrator.close()


def test_a_watch_that_ends_at_once_and_tells_nothing_is_opened_again_less_and_less_often(
    proxy: FaultProxy, tmp_path: Path
) -> None:
    with a_crowd(tmp_path, "API server, SQLite", 0, None) as crowd, through(proxy, tmp_path) as cluster:
        world, administrator = crowd.world, Administrator(kubeconfig())
        with working(world, cluster, resync_seconds=600):
            world.ask(image())
            crowd.assert_quiet()
            proxy.plan = Plan(odds={Fault.NOTHING: 1.0})
            eventually(lambda: max((number for number, _ in pauses(proxy)), default=0) >= 3, within=60)
            found = pauses(proxy)
            assert all(pause > 0.1 * 2**number for number, pause in found), found
            proxy.plan = Plan()
            administrator.edit(world.named("Service"), {"spec": {"selector": {"app": "other"}}}, "by-hand")
            eventually(crowd.healed, within=60)
            crowd.assert_quiet()
        administrator.close()


def pauses(proxy: FaultProxy) -> list[tuple[int, float]]:
    """After each watch of services that told nothing: how many such came before it in a row, and seconds until the next.

    A list begins a new row, and so does a watch that may not have ended at once in the eyes of the worker.
    """
    exchanges = [each for each in list(proxy.exchanges) if each.asked.kind == "services"]
    opened = [each for each in exchanges if each.asked.verb in ("list", "watch")]
    found: list[tuple[int, float]] = []
    number = 0
    for earlier, later in pairwise(opened):
        at_once = earlier.ended is not None and earlier.ended - earlier.at < AT_ONCE / 2
        if earlier.fault is Fault.NOTHING and at_once and later.asked.verb == "watch":
            found.append((number, later.at - earlier.at))
            number += 1
        else:
            number = 0
    return found


def test_an_inventory_that_never_forgets_is_caught(
    proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The defect: what was deleted by hand, or refused, stays known."""
    monkeypatch.setattr(Inventory, "_forget", lambda self, ref: self._known[ref])
    monkeypatch.setattr(Inventory, "_doubt", lambda self, ref: None)
    with a_crowd(tmp_path, "API server, SQLite", 0, None) as crowd, through(proxy, tmp_path) as cluster:
        world = crowd.world
        with working(world, cluster, resync_seconds=0.3) as member:
            world.ask(image())
            crowd.assert_quiet()
            world.cluster.delete(world.named("Service"), uid=None)
            done = member.tally.outcomes.get("done", 0)
            eventually(lambda: member.tally.outcomes.get("done", 0) > done + 3)
        assert crowd.violations() == [f"shop: {world.named('Service')} is missing"]


def test_a_request_that_stalls_is_given_up_in_time_and_the_others_go_on(proxy: FaultProxy, tmp_path: Path) -> None:
    with (
        a_crowd(tmp_path, "API server, SQLite", 0, None) as crowd,
        through(proxy, tmp_path) as cluster,
        working(crowd.world, cluster, resync_seconds=600),
    ):
        proxy.plan = Plan(once=[Once(Fault.STALL_BEFORE, "patch", "deployments")])
        for name in crowd.apps:
            crowd.ask(name)
        crowd.assert_quiet()
