"""The fault proxy itself: it passes everything on, lets go wrong what it is told to, and does the same again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from effects.cluster import ClusterUnreachableError, Ref
from effects.kubernetes_cluster import KubernetesCluster
from tests.contracts.test_cluster import LEDGER, config_map, named, secret
from tests.effects.worlds import eventually
from tests.faults.plan import Asked, Fault, Once, Plan, evenly
from tests.faults.proxy import CONTEXT, FaultProxy, asked_for
from tests.kubernetes_support import Administrator, kubeconfig

# The plan

GET = Asked("get", "configmaps", "shop")
REQUESTS = [Asked(verb, "deployments", "web") for verb in ("get", "patch", "get", "delete")] * 50


def test_a_seed_decides_the_same_for_the_same_requests() -> None:
    odds = evenly(0.5)
    first, second, other = (Plan(seed, odds) for seed in (7, 7, 8))
    for asked in REQUESTS:
        first.decide(asked)
        second.decide(asked)
        other.decide(asked)
    assert first.log == second.log
    assert first.log != other.log
    assert first.told() == second.told()


def test_what_is_decided_does_not_depend_on_what_others_ask_meanwhile() -> None:
    alone, crowded = Plan(3, evenly(0.5)), Plan(3, evenly(0.5))
    for _ in range(50):
        alone.decide(GET)
        for asked in (Asked("list", "pods"), GET, Asked("get", "configmaps", "other")):
            crowded.decide(asked)
    assert [each for each in crowded.log if each.asked == GET] == alone.log


def test_faults_come_as_often_as_their_odds_say() -> None:
    plan = Plan(1, evenly(0.3, frozenset({Fault.INTERNAL_ERROR, Fault.RESET_AFTER})))
    for number in range(2000):
        plan.decide(Asked("get", "configmaps", f"map-{number}"))
    assert 0.25 < len(plan.faults()) / 2000 < 0.35
    assert {each.fault for each in plan.faults()} == {Fault.INTERNAL_ERROR, Fault.RESET_AFTER}


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_happens_to_some_request_and_none_to_what_cannot_suffer_it(fault: Fault) -> None:
    plan = Plan(0, {fault: 1.0})
    asked = [
        Asked("get", "configmaps", "a"),
        Asked("list", "configmaps"),
        Asked("list", "configmaps", continued=True),
        Asked("watch", "configmaps"),
        Asked("create", "secrets"),
        Asked("patch", "configmaps", "a"),
        Asked("delete", "configmaps", "a"),
    ]
    suffered = {each for each in asked if plan.decide(each).fault is fault}
    assert suffered
    assert all(each.may_suffer(fault) for each in suffered)
    if fault in (Fault.EXPIRED_EVENT, Fault.HALF_AN_EVENT, Fault.SILENCE):
        assert {each.verb for each in suffered} == {"watch"}
    if fault is Fault.EXPIRED:
        assert suffered == {Asked("list", "configmaps", continued=True), Asked("watch", "configmaps")}
    if fault is Fault.NOT_FOUND:
        assert "delete" not in {each.verb for each in suffered}


def test_the_nth_request_of_a_kind_fails_whatever_its_name() -> None:
    plan = Plan(once=[Once(Fault.CONFLICT, "patch", "deployments", n=2)])
    patches = [plan.decide(Asked("patch", "deployments", name)).fault for name in ("a", "b", "c")]
    assert patches == [None, Fault.CONFLICT, None]
    assert plan.decide(Asked("patch", "services", "b")).fault is None


@pytest.mark.parametrize(
    ("method", "path", "asked"),
    [
        ("GET", "/api/v1/namespaces/shop", Asked("get", "namespaces", "shop")),
        ("GET", "/api/v1/namespaces/shop/pods?labelSelector=a%3Db", Asked("list", "pods")),
        ("GET", "/api/v1/namespaces/shop/pods/web-1/log?tailLines=2", Asked("get", "pods", "web-1")),
        ("GET", "/apis/apps/v1/namespaces/shop/deployments/web", Asked("get", "deployments", "web")),
        ("GET", "/apis/apps/v1/namespaces/shop/deployments?watch=true", Asked("watch", "deployments")),
        ("GET", "/api/v1/namespaces/shop/configmaps?continue=x", Asked("list", "configmaps", "", True)),
        ("POST", "/api/v1/namespaces/shop/secrets?fieldManager=m", Asked("create", "secrets")),
        ("PATCH", "/apis/gateway.networking.k8s.io/v1/namespaces/s/httproutes/w", Asked("patch", "httproutes", "w")),
        ("DELETE", "/api/v1/namespaces/shop/services/web", Asked("delete", "services", "web")),
        ("PUT", "/api/v1/namespaces/shop/services/web", Asked("other", "services", "web")),
    ],
)
def test_a_path_tells_what_is_asked(method: str, path: str, asked: Asked) -> None:
    assert asked_for(method, path) == asked


# The proxy

NAMESPACED = pytest.mark.kubernetes
PATIENCE = 30.0
"""Seconds that a request may take which is not to stall."""


@pytest.fixture
def namespace() -> Iterator[str]:
    administrator = Administrator(kubeconfig())
    with administrator.namespace() as name:
        yield name
    administrator.close()


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    with FaultProxy(kubeconfig()) as running:
        yield running


@pytest.fixture
def cluster(proxy: FaultProxy, tmp_path: Path) -> Iterator[KubernetesCluster]:
    file = proxy.kubeconfig(tmp_path)
    with KubernetesCluster.connect(kubeconfig=file, context=CONTEXT, timeout=PATIENCE, watch_seconds=1) as opened:
        yield opened


@NAMESPACED
def test_without_a_plan_everything_is_as_without_the_proxy_and_counted(
    proxy: FaultProxy, cluster: KubernetesCluster, namespace: str
) -> None:
    made = cluster.apply(config_map(namespace, colour="red"), manager="m", expect=None)
    cluster.apply(secret(namespace, password="x"), manager="m", expect=None)
    assert cluster.look(Ref("ConfigMap", namespace, "shop"), ledger_id=LEDGER) == made
    (page,) = cluster.pages("ConfigMap", namespace, ledger_id=LEDGER)
    assert [each.seen for each in page.objects] == [made]
    with cluster.watch("ConfigMap", namespace, ledger_id=LEDGER, since=page.version) as watch:
        assert {change.kind for change in watch} <= {"bookmark"}
    cluster.delete(Ref("ConfigMap", namespace, "shop"), uid=made.uid)
    assert proxy.requests() == {
        ("patch", "configmaps"): 1,
        ("patch", "secrets"): 1,
        ("get", "configmaps"): 1,
        ("list", "configmaps"): 1,
        ("watch", "configmaps"): 1,
        ("delete", "configmaps"): 1,
    }
    assert {each.status for each in proxy.exchanges} == {200, 201}
    assert proxy.sent() > 1000
    proxy.forget()
    assert (proxy.sent(), proxy.requests()) == (0, {})


@NAMESPACED
def test_many_clients_at_once_are_served(proxy: FaultProxy, cluster: KubernetesCluster, namespace: str) -> None:
    def make(number: int) -> str:
        wanted = named(config_map(namespace, colour="red"), f"shop-{number}")
        return cluster.apply(wanted, manager="m", expect=None).uid

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(make, range(100)))) == 100
    assert proxy.requests() == {("patch", "configmaps"): 100}


@NAMESPACED
def test_every_answer_is_late_by_the_latency(proxy: FaultProxy, cluster: KubernetesCluster, namespace: str) -> None:
    proxy.plan = Plan(latency=0.2)
    began = time.monotonic()
    cluster.look(Ref("ConfigMap", namespace, "shop"), ledger_id=LEDGER)
    assert 0.2 < time.monotonic() - began < 10.0


@NAMESPACED
@pytest.mark.parametrize(
    ("fault", "done"),
    [
        (Fault.RESET_BEFORE, False),
        (Fault.RESET_AFTER, True),
        (Fault.STALL_BEFORE, False),
        (Fault.STALL_AFTER, True),
        (Fault.HALF_A_BODY, True),
        (Fault.INTERNAL_ERROR, False),
    ],
)
def test_what_is_cut_off_before_is_not_done_and_what_is_cut_off_after_is(
    proxy: FaultProxy, cluster: KubernetesCluster, namespace: str, tmp_path: Path, fault: Fault, done: bool
) -> None:
    def is_there() -> bool:
        return cluster.look(Ref("ConfigMap", namespace, "shop"), ledger_id=LEDGER) is not None

    stalls = fault in (Fault.STALL_BEFORE, Fault.STALL_AFTER)
    proxy.plan = Plan(once=[Once(fault, "patch", "configmaps")])
    file = proxy.kubeconfig(tmp_path)
    with (
        KubernetesCluster.connect(kubeconfig=file, context=CONTEXT, timeout=1.0 if stalls else PATIENCE) as cut_off,
        pytest.raises(ClusterUnreachableError),
    ):
        cut_off.apply(config_map(namespace, colour="red"), manager="m", expect=None)
    eventually(proxy.plan.faults)  # on a busy machine, who gives up may do so before the request came in
    if done:
        eventually(is_there)  # or before the server did it
    assert is_there() is done
    assert [str(each) for each in proxy.plan.faults()] == [f"patch configmaps/shop #1: {fault.value}"]
