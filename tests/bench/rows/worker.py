"""B10, B11 and B13: how much a resident worker gets done, how soon it begins, and what it costs to start it again."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import count
from typing import Any

import orjson
from kubernetes import client, config

from tests.bench.cluster import Server, cluster_user, server
from tests.bench.deployers import APP, IMAGE, template
from tests.bench.figures import Line, alone, at_least, at_most, beside
from tests.bench.programs import User
from tests.bench.resident import Team, Worker, require_worker, resident_worker, wait_until
from tests.bench.run import Row, Run
from tests.faults.plan import Plan
from tests.faults.proxy import Exchange, FaultProxy

APPS = 40
"""Deployed at once in one measurement of B10."""

DELAYS = (0.0, 0.010)
WRITES = {"create", "patch", "delete"}
THREADS = 8
CHANGES = 500
RESTARTED_APPS = 1_000
MEMORY = 150 * 2**20

_COLLECTIONS = {
    "ConfigMap": "/api/v1/namespaces/{namespace}/configmaps",
    "Service": "/api/v1/namespaces/{namespace}/services",
    "Deployment": "/apis/apps/v1/namespaces/{namespace}/deployments",
    "HTTPRoute": "/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes",
}


@contextmanager
def _worked(run: Run) -> Iterator[tuple[Server, FaultProxy, User, Team]]:
    """A server behind a proxy, a user with a namespace in it, and a team that shares the user's ledger."""
    with (
        server(run) as direct,
        direct.counted(run.scratch) as (at, proxy),
        cluster_user(at, run.scratch / "ours") as user,
        closing(Team(user)) as team,
    ):
        require_worker(user)
        team.deploy("first", "nginx:1", replicas=0)
        yield at, proxy, user, team


@contextmanager
def _worker(user: User, team: Team) -> Iterator[Worker]:
    """A worker that has caught up."""
    with resident_worker(user) as worker:
        team.wait_until_applied(["first"])
        yield worker


# -- B10 -----------------------------------------------------------------------------------------------------------


def _measure_throughput(run: Run) -> Iterator[Line]:
    with _worked(run) as (at, proxy, user, team), _worker(user, team):
        objects = template(user, "--replicas", "0")
        numbers = count(1)
        with at.administrator.namespace() as namespace, closing(RawClient(at, namespace)) as raw:

            def ours() -> float:
                names = [f"app-{next(numbers)}" for _ in range(APPS)]
                proxy.forget()
                for name in names:
                    team.deploy(name, "nginx:1", replicas=0)
                team.wait_until_applied(names)
                wait_until(lambda: _is_quiet(proxy), "the worker to be at rest")  # else it is in the floor's way
                return APPS * len(objects) / _span(proxy)

            def floor() -> float:
                proxy.forget()
                raw.apply(objects, [f"app-{next(numbers)}" for _ in range(APPS)])
                return APPS * len(objects) / _span(proxy)

            for delay in DELAYS:
                proxy.plan = Plan(latency=delay)
                what = f"applied objects a second, {delay * 1000:.0f} ms further away"
                figures = run.in_turns(what, {"ours": ours, "floor": floor})
                other = f"kubernetes client, {THREADS} threads"
                yield beside(what, "/s", figures["ours"], other, figures["floor"], aim=at_least(0.8))


class RawClient:
    """Applies objects with the client's transport alone: no look before, no record after."""

    def __init__(self, at: Server, namespace: str) -> None:
        self._namespace = namespace
        self._api: client.ApiClient = config.new_client_from_config(  # type: ignore[no-untyped-call]
            str(at.kubeconfig), at.context
        )
        self._api.configuration.connection_pool_maxsize = THREADS
        self._threads = ThreadPoolExecutor(THREADS)

    def apply(self, objects: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
        """Every object once for each name, the objects of one app one after the other."""
        texts = [orjson.dumps(each).decode() for each in objects]

        def one_app(name: str) -> None:
            for text in texts:
                self._apply(orjson.loads(text.replace(APP, name).replace(IMAGE, "nginx:1")))

        list(self._threads.map(one_app, names))

    def close(self) -> None:
        """Close the connections."""
        self._threads.shutdown()
        self._api.rest_client.close()
        self._api.close()  # type: ignore[no-untyped-call]

    def _apply(self, manifest: Mapping[str, Any]) -> None:
        prepared = self._api.param_serialize(
            "PATCH",
            f"{_COLLECTIONS[manifest['kind']]}/{manifest['metadata']['name']}",
            path_params={"namespace": self._namespace},
            query_params=[("fieldManager", "bench")],
            header_params={"Accept": "application/json", "Content-Type": "application/apply-patch+yaml"},
            body=manifest,
            auth_settings=["BearerToken"],
        )
        response = self._api.call_api(*prepared, _request_timeout=30.0)
        assert response.status in {200, 201}, response.response.data


def _span(proxy: FaultProxy) -> float:
    """Seconds from the first write to the last one."""
    moments = [request.at for request in proxy.exchanges if request.asked.verb in WRITES]
    return max(moments) - min(moments)


# -- B11 -----------------------------------------------------------------------------------------------------------


def _measure_latency(run: Run) -> Iterator[Line]:
    with _worked(run) as (_, proxy, user, team), _worker(user, team):
        numbers = count(2)
        pause = threading.Event()

        def one_change() -> float:
            proxy.forget()
            durable = team.deploy("first", f"nginx:{next(numbers)}", replicas=0)
            wait_until(lambda: bool(_patches(proxy)), "a PATCH of the Deployment")
            left = _patches(proxy)[0].at
            team.wait_until_applied(["first"])
            pause.wait(0.02)  # between two changes, the worker is at rest
            return max(0.0, left - durable)

        waited = run.in_turns("append to PATCH", {"ours": one_change}, turns=CHANGES)["ours"]
    slowest = sorted(waited)[int(len(waited) * 0.99)]
    yield alone("append to PATCH, half of them", "s", waited, aim=at_most(0.020, of="figure"))
    yield alone(f"append to PATCH, 99 of 100 of {len(waited)}", "s", [slowest], aim=at_most(0.100, of="figure"))


def _patches(proxy: FaultProxy) -> list[Exchange]:
    return [each for each in list(proxy.exchanges) if (each.asked.verb, each.asked.kind) == ("patch", "deployments")]


# -- B13 -----------------------------------------------------------------------------------------------------------


def _measure_restart(run: Run) -> Iterator[Line]:
    with _worked(run) as (_, proxy, user, team):
        names = [f"app-{number:05}" for number in range(RESTARTED_APPS)]
        run.say(f"recording {len(names):,} apps")
        for name in names:
            team.deploy(name, "nginx:1", replicas=0)
        run.say("applying them")
        with _worker(user, team):
            team.wait_until_applied(names, patience=20 * 60)
            wait_until(lambda: _is_quiet(proxy), "the worker to be at rest")
        head = team.ledger.store.head().position
        proxy.forget()
        with _worker(user, team) as worker:
            team.deploy("last", "nginx:1", replicas=0)
            team.wait_until_applied(["last"])
            wait_until(lambda: _is_quiet(proxy), "the worker to be at rest")
        asked = [request for request in proxy.exchanges if not request.asked.name.startswith("last")]
        recorded = [
            row for row in team.ledger.store.positions(head + 1, limit=10_000) if b'"app":"last"' not in row.state
        ]
    apps = f"{RESTARTED_APPS:,} apps"
    yield alone(f"requests of a restart, {apps}", "", [len(asked)], aim=at_most(RESTARTED_APPS / 10, of="figure"))
    writes = [request for request in asked if request.asked.verb in WRITES]
    yield alone(f"writes among them, {apps}", "", [len(writes)], aim=at_most(0, of="figure"))
    yield alone(f"bytes down, {apps}", "B", [sum(request.sent for request in asked)])
    yield alone(f"events recorded, {apps}", "", [len(recorded)], aim=at_most(0, of="figure"))
    yield alone(f"memory at most, {apps}", "B", [worker.peak], aim=at_most(MEMORY, of="figure"))


def _is_quiet(proxy: FaultProxy) -> bool:
    """Whether nothing new passes for a second."""
    before = len(proxy.exchanges)
    threading.Event().wait(1.0)
    return len(proxy.exchanges) == before


THROUGHPUT = Row(
    name="B10",
    title="what a worker applies",
    about=f"{APPS} new apps recorded at once on a real API server, from the first to the last write that passes a proxy"
    f" before it. The floor sends the same objects through the same proxy with {THREADS} threads, without looking first"
    " and without recording anything.",
    measure=_measure_throughput,
)
LATENCY = Row(
    name="B11",
    title="how soon a worker begins",
    about="From the moment that a new image is durable until the worker's PATCH of the Deployment arrives at a proxy"
    " before the API server, one change at a time.",
    measure=_measure_latency,
)
RESTART = Row(
    name="B13",
    title="a worker starts again",
    about=f"{RESTARTED_APPS:,} apps without pods, all of them applied and unchanged: what a worker asks and says when it"
    " starts again.",
    measure=_measure_restart,
)
