"""F13: a worker is stopped past its lease, others go on, it is continued; and a leader is killed in the middle of its work.

What the stopped one was about to do, a write on its way included, changes nothing: no position goes back, and nothing of
a destroyed app comes back.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from effects.cluster import Cluster, Ref
from effects.sandbox import SandboxCluster
from ledger.commands import Destroy, Restart
from ledger.domains import mint_domain
from ledger.lease import LeaseRow
from ledger.ledger import Ledger
from ledger.spec import AppId
from ledger.store import Store
from tests.cli_support import SECONDS as STARTUP
from tests.cli_support import Cli
from tests.effects.worlds import World, eventually, image
from tests.effects.worlds import request as some_request
from tests.faults import dose
from tests.faults.crowds import API_SERVER, SANDBOX, Crowd, places, usual_places
from tests.faults.invariants import REVISION_ANNOTATION, Positions
from tests.faults.scenes import POSTGRES, SQLITE, Scene, newcomer
from tests.faults.shifts import SECONDS, Process, leader, pid_of
from tests.kubernetes_support import Administrator, kubeconfig
from tests.postgres_support import Server
from tests.worker.crews import working

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]

LEASE = 2.0
BOTH: Sequence[str] = (SQLITE, POSTGRES)
ATTEMPTS = 20
"""How often a hand-over is measured at most."""


@dataclass
class Shop:
    """Apps, and those who run workers for them.

    Attributes:
        crowd: The apps, with their ledger and cluster as the test reaches them.
        cli: Whose workers they are.
        directory: Where workers write their logs.
    """

    crowd: Crowd
    cli: Cli
    directory: Path

    @property
    def cluster(self) -> str:
        """Its name in the ledger."""
        return self.crowd.world.app_id.cluster

    @property
    def store(self) -> Store:
        """The ledger's."""
        return self.crowd.world.ledger.store

    @contextmanager
    def worker(self, name: str, *, change: str | None = None, **env: str) -> Iterator[Process]:
        """A worker that runs; it ends in order at the end, unless it was killed."""
        cli = replace(self.cli.having(**env), change=change)
        args = ("--listen", "none", "--lease", f"{LEASE:g}s", "--resync", "1s")
        process = Process(cli, self.directory / f"{name}.log", args).start()
        try:
            yield process
        finally:
            process.signal(signal.SIGCONT)
            process.signal(signal.SIGTERM)
        assert process.ended() in (0, -signal.SIGKILL), process.log.read_text()

    def leads(self, process: Process) -> LeaseRow:
        """Wait until this worker does; its lease."""

        def led() -> LeaseRow | None:
            row = leader(self.store, self.cluster)
            return row if pid_of(row) == process.pid else None

        return eventually(led, within=SECONDS)

    def hand_over(self, process: Process) -> float:
        """Seconds until another worker leads."""
        began = time.monotonic()
        leader(self.store, self.cluster, other_than=process.pid)
        return time.monotonic() - began


@contextmanager
def a_shop(directory: Path, place: str, seed: int, server: Server | None) -> Iterator[Shop]:
    """A shop in ``API server, PostgreSQL`` or elsewhere."""
    where, _, kind = place.partition(", ")
    scene = newcomer(directory / "user", POSTGRES if kind == POSTGRES else SQLITE, server)
    with ExitStack() as stack:
        cluster, namespace, objects, env = stack.enter_context(_sandbox(scene) if where == SANDBOX else _api_server())
        ledger = Ledger(stack.enter_context(scene.store()), scene.keys, mint_domain=lambda: mint_domain("example.com"))
        ledger_id = ledger.create(some_request())
        name = env.get("ONECTL_CLUSTER", SANDBOX)
        world = World(cluster, namespace, ledger, objects, AppId(name, namespace, "one"))
        crowd = Crowd(world, random.Random(seed), Positions(cluster, namespace, ledger_id=ledger_id, late=True))
        yield Shop(crowd, scene.cli.having(ONECTL_LEDGER=scene.address, **env), directory)


_Place = tuple[Cluster, str, Callable[[], Sequence[Mapping[str, Any]]], dict[str, str]]


@contextmanager
def _sandbox(scene: Scene) -> Iterator[_Place]:
    cluster = SandboxCluster.open(scene.cli.cluster_file, startup_seconds=float(STARTUP), watch_seconds=-1)
    yield cluster, "default", lambda: cluster.objects("default"), {}
    cluster.close()


@contextmanager
def _api_server() -> Iterator[_Place]:
    from effects.kubernetes_cluster import KubernetesCluster

    file, administrator = kubeconfig(), Administrator(kubeconfig())
    context = administrator.context
    with (
        administrator.namespace() as namespace,
        KubernetesCluster.connect(kubeconfig=file, context=context, watch_seconds=1) as cluster,
    ):
        env = {"CONTEXT": context, "KUBECONFIG": str(file), "NAMESPACE": namespace, "CLUSTER": "test"}
        named = {f"ONECTL_{name}": value for name, value in env.items()}
        yield cluster, namespace, lambda: administrator.objects(namespace), named
    administrator.close()


def server_of(place: str, request: pytest.FixtureRequest) -> Server | None:
    """The database server, where one is needed."""
    server: Server | None = request.getfixturevalue("postgres") if POSTGRES in place else None
    return server


def stopped_in_work(shop: Shop, process: Process) -> None:
    """Ask for more until the worker stands still; as long as it is the only one, for another may take over its work."""
    while not process.is_stopped():
        assert process.code is None, process.log.read_text()
        shop.crowd.ask()
        with suppress(AssertionError):
            eventually(process.is_stopped, within=0.3)


def test_what_workers_left_to_be_done_is_done_by_the_one_that_comes_last(tmp_path: Path) -> None:
    """It works for the shop's cluster, whose name on the sandbox is another than elsewhere."""
    with a_shop(tmp_path, f"{SANDBOX}, SQLite", 1, None) as shop:
        shop.crowd.ask("three")
        assert shop.crowd.violations()
        with working(shop.crowd.world, resync_seconds=0.5):
            shop.crowd.assert_quiet()


@pytest.mark.fault("F13", on="place")
@pytest.mark.parametrize("seed", dose.seeds(few=1, short=5, long=75))
@pytest.mark.parametrize("place", usual_places())
def test_what_a_worker_that_was_stopped_was_about_to_do_changes_nothing(
    place: str, seed: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with a_shop(tmp_path, place, seed, server_of(place, request)) as shop:
        crowd = shop.crowd
        for name in crowd.apps:
            crowd.ask(name)
        step = str(crowd.chance.randint(1, 60))
        change = "tests.faults.worker_changes:stop_at_a_step"
        with shop.worker("first", change=change, ONECTL_TEST_STOP_AT=step) as first:
            shop.leads(first)
            stopped_in_work(shop, first)
            with shop.worker("second") as second:
                taken_over = shop.leads(second)
                for name in crowd.apps:
                    crowd.end_or_redeploy(name)
                crowd.assert_quiet()
                gives_way(first)
                crowd.assert_quiet()
                now = leader(shop.store, shop.cluster)  # another one where the second could not renew in time
                assert now.epoch > taken_over.epoch or (now.epoch, now.holder) == (taken_over.epoch, taken_over.holder)
        with working(crowd.world, resync_seconds=0.5):  # what the last one left to be done when it ended
            crowd.assert_quiet()


def gives_way(process: Process, *, within: float = SECONDS) -> None:
    """Continue a worker that was stopped, and wait until it knows that it leads no more and nothing is on its way."""
    before = terms_ended(process)
    process.signal(signal.SIGCONT)
    eventually(lambda: terms_ended(process) > before, within=within)


def terms_ended(process: Process) -> int:
    """How often a worker said that it leads no more."""
    return sum(line["message"] == "not leading" for line in process.lines())


@dose.not_few("it waits for a worker that was stopped")
def test_a_lease_that_is_held_whatever_happens_is_caught(tmp_path: Path) -> None:
    with a_shop(tmp_path, "sandbox, SQLite", 0, None) as shop:
        shop.crowd.ask()
        change = "tests.faults.worker_changes:stop_and_go_on"
        with shop.worker("first", change=change, ONECTL_TEST_STOP_AT="3") as first:
            shop.leads(first)
            stopped_in_work(shop, first)
            with shop.worker("second") as second:
                shop.leads(second)
                with pytest.raises(AssertionError):
                    gives_way(first, within=LEASE + 2)
                first.signal(signal.SIGKILL)


@dose.not_few("it waits for a worker that was stopped")
def test_an_object_that_is_made_late_and_stays_is_caught(tmp_path: Path) -> None:
    with a_shop(tmp_path, "sandbox, SQLite", 0, None) as shop:
        crowd = shop.crowd
        crowd.world.ask(image())
        change = "tests.faults.worker_changes:stop_at_a_step"
        with shop.worker("first", change=change, ONECTL_TEST_STOP_AT="1") as first:
            shop.leads(first)
            eventually(first.is_stopped, within=SECONDS)
            with shop.worker("second", change="tests.faults.worker_changes:leaves_what_comes_late") as second:
                shop.leads(second)
                crowd.world.ask(Destroy())
                crowd.assert_quiet()
                gives_way(first)
                first.signal(signal.SIGKILL)  # it would tidy up, if it ever led again
                looked = resyncs(second)
                eventually(lambda: resyncs(second) > looked + 1, within=SECONDS)
                assert [each.endswith("is left over") for each in crowd.violations()] == [True]


def resyncs(process: Process) -> int:
    """How often a worker has looked at everything."""
    return sum(line["message"] == "resync" for line in process.lines())


@pytest.mark.parametrize("place", places(clusters=[SANDBOX], databases=dose.of(few=[SQLITE], short=BOTH, long=BOTH)))
@pytest.mark.parametrize(
    ("end", "promised"), [(signal.SIGTERM, 1.0), (signal.SIGKILL, 1.0), (signal.SIGSTOP, LEASE + 1.0)]
)
def test_another_worker_leads_as_soon_as_is_promised(
    place: str, end: signal.Signals, promised: float, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Whatever else this machine has to do only makes it slower: so the quickest of a few counts."""
    took: list[float] = []
    with a_shop(tmp_path, place, 0, server_of(place, request)) as shop, ExitStack() as stack:
        leads = stack.enter_context(shop.worker("worker-0"))
        shop.leads(leads)
        for number in range(1, ATTEMPTS + 1):
            stands_by = stack.enter_context(shop.worker(f"worker-{number}"))
            eventually(stands_by.log.read_text, within=SECONDS)
            shop.crowd.ask()
            shop.crowd.assert_quiet()
            leads.signal(end)
            took.append(shop.hand_over(leads))
            leads.signal(signal.SIGKILL)
            leads = stands_by
            if min(took) <= promised:
                break
    print(f"hand-over after {end.name}, {place}: {min(took):.2f} s")
    assert min(took) <= promised, took


@pytest.mark.fault("F13", on="place")
@pytest.mark.parametrize(
    "place",
    dose.of(
        few=places(clusters=[SANDBOX], databases=[SQLITE]),
        short=[*places(clusters=[SANDBOX], databases=[POSTGRES]), *places(clusters=[API_SERVER], databases=[SQLITE])],
        long=places(),
    ),
)
def test_a_leader_that_is_killed_in_mid_rollout_is_followed_by_one_that_rolls_each_app_once(
    place: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with a_shop(tmp_path, place, 0, server_of(place, request)) as shop:
        world = shop.crowd.world
        apps = [replace(world.app_id, name=f"app-{number:02}") for number in range(50)]
        replicas = 1 if place.startswith(SANDBOX) else 0
        with shop.worker("first") as first:
            shop.leads(first)
            for app_id in apps:
                world.ledger.execute(app_id, image(replicas=replicas), some_request())
            rolled(world, apps)
            shop.crowd.assert_quiet()
            with shop.worker("second") as second:
                for app_id in apps:
                    world.ledger.execute(app_id, Restart(), some_request())
                eventually(lambda: sum(not world.ledger.app(app_id).dirty for app_id in apps) >= 5, within=SECONDS)
                first.signal(signal.SIGKILL)
                shop.leads(second)
                rolled(world, apps)
                shop.crowd.assert_quiet()
        for app_id in apps:
            live = world.cluster.read(Ref("Deployment", app_id.namespace, app_id.name))
            assert live is not None
            assert live["metadata"]["annotations"][REVISION_ANNOTATION] == "2", app_id.name


def rolled(world: World, apps: Sequence[AppId]) -> None:
    """Wait until everything is applied, and the cluster's controllers have begun each roll that it led to."""
    eventually(lambda: not any(world.ledger.app(app_id).dirty for app_id in apps), within=SECONDS)
    for app_id in apps:
        ref = Ref("Deployment", app_id.namespace, app_id.name)
        eventually(lambda ref=ref: (found := world.cluster.rollout(ref)) and found.observed, within=SECONDS)  # type: ignore[misc]
