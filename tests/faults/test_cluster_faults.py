"""F10 and F11 at the adapter and at the reconcile: an API server that fails, lies, breaks off or says nothing.

By script, each fault has its documented outcome and is met with one request. By seed, whatever happens to an app's
history: once faults stop, the cluster equals the ledger, nothing went back, and nothing was rolled that was not asked for.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from effects.cluster import (
    Change,
    ChangedMeanwhileError,
    ClusterError,
    ClusterRefusedError,
    ClusterUnreachableError,
    ExpiredError,
    Ref,
    ref_of,
)
from effects.kubernetes_cluster import KubernetesCluster
from effects.reconcile import ParkedError
from ledger.commands import Destroy, Restart
from tests.contracts.test_cluster import LEDGER, config_map, eventually, named
from tests.effects.worlds import GATEWAY, World, image, kubernetes_world
from tests.faults import dose
from tests.faults.dose import Cases
from tests.faults.histories import live, some_odds
from tests.faults.invariants import Positions, violations
from tests.faults.plan import ANSWERS, BREAKS, RETRY_AFTER, Fault, Once, Plan, Verb, evenly
from tests.faults.proxy import CONTEXT, FaultProxy
from tests.kubernetes_support import kubeconfig

pytestmark = pytest.mark.kubernetes

TIMEOUT = 0.5
"""Seconds that a request may take where some stall: what a stall costs."""

PATIENCE = 30.0
"""Seconds that it may take where the server answers or breaks off, however busy the machine is."""

WATCH_SECONDS = 1
GRACE = 5.0
"""Seconds that a watch may take longer than that, if a request may take as long."""

SILENT = frozenset({Fault.STALL_BEFORE, Fault.STALL_AFTER, Fault.SILENCE})
"""The faults that nobody learns of but by waiting."""


def either(where: str) -> list[ParameterSet]:
    """The faults of F10 and those of F11, as parameters of a test that is counted as one of theirs."""
    return [
        pytest.param(ANSWERS, id="F10", marks=pytest.mark.fault("F10", on=where)),
        pytest.param(BREAKS, id="F11", marks=pytest.mark.fault("F11", on=where)),
    ]


@dataclass(frozen=True)
class Faulty:
    """A world on a real API server, and the way to it on which things go wrong.

    Attributes:
        world: Its own way is sound.
        proxy: Where they go wrong.
        cluster: The adapter over it.
        timeout: Seconds for which that one waits for an answer.
    """

    world: World
    proxy: FaultProxy
    cluster: KubernetesCluster
    timeout: float

    @contextmanager
    def going_wrong(self, plan: Plan) -> Iterator[Plan]:
        """For that long."""
        self.proxy.forget()
        self.proxy.plan = plan
        yield plan
        self.proxy.plan = Plan()

    @contextmanager
    def once(self, fault: Fault, verb: Verb, kind: str, n: int = 1) -> Iterator[Plan]:
        """The n-th request of a kind goes wrong; fails if there was none."""
        with self.going_wrong(Plan(once=[Once(fault, verb, kind, n)])) as plan:
            yield plan
        assert [each.fault for each in plan.faults()] == [fault]

    def asked(self, verb: Verb, kind: str) -> int:
        """How many requests of a kind came since things last went wrong."""
        return self.proxy.requests()[verb, kind]

    def settings(self, **data: str) -> dict[str, object]:
        """A ConfigMap that no app has."""
        return config_map(self.world.namespace, **data)

    @property
    def ref(self) -> Ref:
        return Ref("ConfigMap", self.world.namespace, "shop")

    def reconcile(self) -> None:
        """On the way on which things go wrong."""
        self.world.reconcile(self.cluster)

    def violations(self) -> list[str]:
        """What is wrong with the world, judged on the sound way."""
        return violations(self.world.ledger, self.world.cluster, gateway=GATEWAY)


@pytest.fixture(scope="module")
def proxy() -> Iterator[FaultProxy]:
    with FaultProxy(kubeconfig()) as running:
        yield running


@contextmanager
def a_faulty_way(proxy: FaultProxy, directory: Path, *, timeout: float) -> Iterator[Faulty]:
    file = proxy.kubeconfig(directory)
    proxy.plan = Plan()
    with (
        kubernetes_world(directory, watch_seconds=WATCH_SECONDS) as world,
        KubernetesCluster.connect(
            kubeconfig=file, context=CONTEXT, name="test", timeout=timeout, watch_seconds=WATCH_SECONDS
        ) as cluster,
    ):
        yield Faulty(world, proxy, cluster, timeout)
        proxy.plan = Plan()


@pytest.fixture
def faulty(proxy: FaultProxy, tmp_path: Path) -> Iterator[Faulty]:
    """A way on which things go wrong, and an adapter that waits for slow machines."""
    with a_faulty_way(proxy, tmp_path, timeout=PATIENCE) as made:
        yield made


@pytest.fixture
def impatient(proxy: FaultProxy, tmp_path: Path) -> Iterator[Faulty]:
    """A way on which things go wrong, and an adapter to which a slow machine is one that stalls."""
    with a_faulty_way(proxy, tmp_path, timeout=TIMEOUT) as made:
        yield made


@pytest.fixture
def fitting(proxy: FaultProxy, tmp_path: Path, fault: Fault) -> Iterator[Faulty]:
    """A way on which things go wrong, and an adapter that waits in vain only where the fault is that nothing comes."""
    with a_faulty_way(proxy, tmp_path, timeout=TIMEOUT if fault in SILENT else PATIENCE) as made:
        yield made


# The adapter: each fault has its outcome, and is met with one request

UNREACHABLE = [
    Fault.INTERNAL_ERROR,
    Fault.UNAVAILABLE,
    Fault.TOO_MANY_REQUESTS,
    Fault.RESET_BEFORE,
    Fault.RESET_AFTER,
    Fault.STALL_BEFORE,
    Fault.STALL_AFTER,
    Fault.HALF_A_BODY,
]

Do = Callable[[Faulty], object]
CALLS: Sequence[tuple[Verb, str, Do]] = [
    ("get", "configmaps", lambda faulty: faulty.cluster.look(faulty.ref, ledger_id=LEDGER)),
    ("get", "configmaps", lambda faulty: faulty.cluster.read(faulty.ref)),
    ("get", "namespaces", lambda faulty: faulty.cluster.namespace_exists(faulty.world.namespace)),
    ("list", "configmaps", lambda faulty: list(faulty.cluster.pages("ConfigMap", "any", ledger_id=LEDGER))),
    ("patch", "configmaps", lambda faulty: faulty.cluster.apply(faulty.settings(), manager="m", expect=None)),
    ("patch", "secrets", lambda faulty: faulty.cluster.look(Ref("Secret", "any", "shop"), ledger_id=LEDGER)),
    ("delete", "configmaps", lambda faulty: faulty.cluster.delete(faulty.ref, uid=None)),
]


@pytest.mark.parametrize("fault", UNREACHABLE)
def test_what_gives_no_usable_answer_is_unreachable_and_asked_once(fitting: Faulty, fault: Fault) -> None:
    for verb, kind, do in CALLS:
        with fitting.once(fault, verb, kind), pytest.raises(ClusterUnreachableError) as caught:
            do(fitting)
        assert caught.value.retry_after == (RETRY_AFTER if fault is Fault.TOO_MANY_REQUESTS else None)
        assert fitting.proxy.requests() == {(verb, kind): 1}


def test_an_object_that_the_server_denies_is_not_there(faulty: Faulty) -> None:
    faulty.cluster.apply(faulty.settings(), manager="m", expect=None)
    with faulty.once(Fault.NOT_FOUND, "get", "configmaps"):
        assert faulty.cluster.look(faulty.ref, ledger_id=LEDGER) is None
    with faulty.once(Fault.NOT_FOUND, "patch", "configmaps"), pytest.raises(ClusterRefusedError) as caught:
        faulty.cluster.apply(faulty.settings(), manager="m", expect=None)
    assert caught.value.status == 404
    assert faulty.asked("patch", "configmaps") == 1


def test_a_conflict_means_that_it_changed_meanwhile(faulty: Faulty) -> None:
    seen = faulty.cluster.apply(faulty.settings(), manager="m", expect=None)
    for expect in (seen, None):
        with faulty.once(Fault.CONFLICT, "patch", "configmaps"), pytest.raises(ChangedMeanwhileError):
            faulty.cluster.apply(faulty.settings(colour="red"), manager="m", expect=expect)
        assert faulty.asked("patch", "configmaps") == 1


def test_an_object_that_the_server_calls_invalid_is_refused(faulty: Faulty) -> None:
    with faulty.once(Fault.UNPROCESSABLE, "patch", "configmaps"), pytest.raises(ClusterRefusedError) as caught:
        faulty.cluster.apply(faulty.settings(), manager="m", expect=None)
    assert (caught.value.status, caught.value.reason) == (422, "Invalid")


# Lists and watches


def several(faulty: Faulty, count: int) -> list[Ref]:
    """So many objects, one after the other."""
    made = [named(config_map(faulty.world.namespace, colour="red"), f"shop-{number}") for number in range(count)]
    for each in made:
        faulty.world.cluster.apply(each, manager="m", expect=None)
    return [ref_of(each) for each in made]


def listed(faulty: Faulty) -> list[Ref]:
    pages = faulty.cluster.pages("ConfigMap", faulty.world.namespace, ledger_id=LEDGER, limit=2)
    return [each.ref for page in pages for each in page.objects]


def test_a_list_that_expires_is_begun_anew_by_who_asked_and_misses_nothing(faulty: Faulty) -> None:
    made = several(faulty, 5)
    with faulty.once(Fault.EXPIRED, "list", "configmaps", n=2):
        with pytest.raises(ExpiredError):
            listed(faulty)
        assert faulty.asked("list", "configmaps") == 2
        assert listed(faulty) == made


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        *((fault, ClusterUnreachableError) for fault in UNREACHABLE if fault is not Fault.HALF_A_BODY),
        (Fault.HALF_AN_EVENT, ClusterUnreachableError),
        (Fault.SILENCE, ClusterUnreachableError),
        (Fault.EXPIRED, ExpiredError),
        (Fault.EXPIRED_EVENT, ExpiredError),
    ],
)
def test_a_watch_that_goes_wrong_says_so_in_time_and_another_one_misses_nothing(
    fitting: Faulty, fault: Fault, error: type[ClusterError]
) -> None:
    (page,) = fitting.world.cluster.pages("ConfigMap", fitting.world.namespace, ledger_id=LEDGER)
    made = several(fitting, 3)
    told: list[Change] = []
    with fitting.once(fault, "watch", "configmaps"):
        began = time.monotonic()
        with (
            fitting.cluster.watch("ConfigMap", fitting.world.namespace, ledger_id=LEDGER, since=page.version) as watch,
            pytest.raises(error) as caught,
        ):
            told.extend(watch)
        assert time.monotonic() - began < WATCH_SECONDS + min(GRACE, fitting.timeout) + 3
        assert fitting.asked("watch", "configmaps") == 1
    if isinstance(caught.value, ClusterUnreachableError):
        assert caught.value.retry_after == (RETRY_AFTER if fault is Fault.TOO_MANY_REQUESTS else None)
    since = told[-1].version if told else page.version
    missing = made[len(told) :]
    assert [change.ref for change in told] == made[: len(told)]
    with fitting.world.cluster.watch("ConfigMap", fitting.world.namespace, ledger_id=LEDGER, since=since) as watch:
        assert [next(watch).ref for _ in missing] == missing


@pytest.mark.parametrize("seed", dose.seeds(few=3, short=10, long=300))
@pytest.mark.parametrize("faults", either("lists and watches"))
def test_whatever_happens_to_lists_and_watches_no_change_is_missed(
    impatient: Faulty, seed: int, faults: frozenset[Fault], cases: Cases
) -> None:
    cases.now, cases.count = seed, 1
    chance = random.Random(seed)
    (page,) = impatient.world.cluster.pages("ConfigMap", impatient.world.namespace, ledger_id=LEDGER)
    expected: dict[Ref, str] = {}

    def meddle() -> None:
        for number in range(12):
            each = named(config_map(impatient.world.namespace, colour=str(number)), f"shop-{chance.randrange(4)}")
            seen = impatient.world.cluster.look(ref_of(each), ledger_id=LEDGER)
            if seen is not None and chance.random() < 0.3:
                impatient.world.cluster.delete(ref_of(each), uid=seen.uid)
                expected.pop(ref_of(each))
            else:
                expected[ref_of(each)] = impatient.world.cluster.apply(each, manager="m", expect=seen).resource_version
            time.sleep(chance.uniform(0, 0.15))
        last = named(config_map(impatient.world.namespace, colour="last"), "last")
        expected[ref_of(last)] = impatient.world.cluster.apply(last, manager="m", expect=None).resource_version

    writer = threading.Thread(target=meddle)
    with impatient.going_wrong(Plan(seed, evenly(0.5, faults))) as plan:
        writer.start()
        known = cached(impatient, page.version, done=lambda known: any(ref.name == "last" for ref in known))
        writer.join()
    assert known == expected, plan.told()
    cases.count = max(1, len(plan.faults()))


def cached(faulty: Faulty, since: str, *, done: Callable[[dict[Ref, str]], bool]) -> dict[Ref, str]:
    """What a worker knows that lists when it must and watches when it can: by object, its version."""
    known: dict[Ref, str] = {}
    expired = False
    deadline = time.monotonic() + 60
    while not done(known):
        assert time.monotonic() < deadline, known
        try:
            if expired:
                pages = list(faulty.cluster.pages("ConfigMap", faulty.world.namespace, ledger_id=LEDGER, limit=2))
                known = {each.ref: each.seen.resource_version for page in pages for each in page.objects}
                since, expired = pages[-1].version, False
            with faulty.cluster.watch("ConfigMap", faulty.world.namespace, ledger_id=LEDGER, since=since) as watch:
                for change in watch:
                    since = change.version
                    if change.kind == "present" and change.ref is not None and change.seen is not None:
                        known[change.ref] = change.seen.resource_version
                    elif change.kind == "gone" and change.ref is not None:
                        known.pop(change.ref, None)
                    if done(known):
                        break
        except ExpiredError:
            expired = True
        except ClusterUnreachableError:
            continue
    return known


# The reconcile


def test_a_deployment_whose_answer_was_lost_is_found_applied_and_done_once(faulty: Faulty) -> None:
    faulty.world.ask(image())
    with faulty.once(Fault.RESET_AFTER, "patch", "deployments"):
        with pytest.raises(ClusterUnreachableError):
            faulty.reconcile()
        assert faulty.world.app.dirty
        made = faulty.world.versions()[faulty.world.named("Deployment")][0]
        faulty.reconcile()
        assert faulty.asked("patch", "deployments") == 1
    assert faulty.world.versions()[faulty.world.named("Deployment")][0] == made
    assert len(faulty.world.applied()) == 1
    assert faulty.violations() == []


@pytest.mark.parametrize("fault", [Fault.RESET_AFTER, Fault.STALL_AFTER, Fault.HALF_A_BODY])
@pytest.mark.parametrize(
    ("verb", "kind"),
    [
        ("patch", "configmaps"),
        ("patch", "secrets"),
        ("patch", "services"),
        ("patch", "httproutes"),
        ("delete", "configmaps"),
    ],
)
def test_any_write_whose_answer_was_lost_is_found_done_by_the_next_reconcile(
    impatient: Faulty, fault: Fault, verb: Verb, kind: str
) -> None:
    impatient.world.ask(image(env={"GREETING": "hello"}))
    impatient.world.ask_secrets(TOKEN="first")
    impatient.world.ask(Restart())
    if verb == "delete":
        impatient.world.reconcile()
        impatient.world.ask(Destroy())
    with impatient.once(fault, verb, kind):
        with pytest.raises(ClusterUnreachableError):
            impatient.reconcile()
        assert impatient.world.app.dirty
        assert eventually(lambda: reconciled(impatient))
    assert eventually(lambda: not impatient.violations()), impatient.violations()


@pytest.mark.parametrize("fault", [Fault.NOT_FOUND, Fault.UNPROCESSABLE])
def test_what_the_server_refuses_is_parked_and_unparked_by_the_next_reconcile(faulty: Faulty, fault: Fault) -> None:
    faulty.world.ask(image())
    with faulty.once(fault, "patch", "deployments"), pytest.raises(ParkedError):
        faulty.reconcile()
    assert faulty.world.life.parked is not None
    faulty.reconcile()
    assert faulty.violations() == []


def test_a_conflict_is_decided_again_at_once(faulty: Faulty) -> None:
    faulty.world.ask(image())
    with faulty.once(Fault.CONFLICT, "patch", "deployments"):
        faulty.reconcile()
        assert faulty.asked("patch", "deployments") == 2
    assert faulty.violations() == []


@pytest.mark.parametrize("seed", dose.seeds(few=4, short=6, long=300))
@pytest.mark.parametrize("faults", either("reconcile"))
def test_whatever_happens_on_the_way_the_cluster_equals_the_ledger_once_it_stops(
    impatient: Faulty, seed: int, faults: frozenset[Fault], cases: Cases
) -> None:
    cases.now, cases.count = seed, 1
    world = impatient.world
    world.ledger.create(world.reconciler().request)
    positions = Positions(world.cluster, world.namespace, ledger_id=world.ledger.ledger_id() or "")
    with impatient.going_wrong(some_odds(seed, faults)) as plan:
        live(world, impatient.cluster, seed)
    eventually(lambda: reconciled(impatient), within=30)
    assert eventually(lambda: not impatient.violations()), f"{impatient.violations()}\n{plan.told()}"
    assert positions.observe() == [], plan.told()
    assert not world.difference(), plan.told()
    cases.count = max(1, len(plan.faults()))


def reconciled(faulty: Faulty) -> bool:
    """Whether nothing is left to do; a machine that is busy may take longer than a stall is waited for."""
    with suppress(ClusterUnreachableError):
        faulty.reconcile()
        return True
    return False
