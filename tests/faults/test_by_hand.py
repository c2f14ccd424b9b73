"""F17: objects are edited, deleted and taken over by others while a worker runs; what is not ours is left alone."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from effects.cluster import ClusterRefusedError, Ref
from ledger.commands import RetryApply
from tests.effects.worlds import World, eventually, image
from tests.faults import dose
from tests.faults.crowds import API_SERVER, SQLITE, Crowd, a_crowd, places, usual_places
from tests.faults.dose import Cases
from tests.kubernetes_support import Administrator, kubeconfig
from tests.postgres_support import Server
from tests.worker.crews import working

pytestmark = [pytest.mark.timeout(600)]

EDITS = 13
MANAGERS = ("kubectl-edit", "argocd-controller", "autoscaler")


class Hands:
    """Somebody who changes objects past the ledger.

    Args:
        world: Where.
        chance: Decides what.
    """

    def __init__(self, world: World, chance: random.Random) -> None:
        self._world = world
        self._chance = chance
        self._administrator = Administrator(kubeconfig()) if world.cluster.kind == "kubernetes" else None

    def close(self) -> None:
        if self._administrator is not None:
            self._administrator.close()

    def edit(self, ref: Ref, patch: dict[str, Any], manager: str) -> None:
        """A merge patch in the name of a field manager; of what is not there, nothing."""
        with suppress(ClusterRefusedError, AssertionError):
            if self._administrator is None:
                self._world.cluster.edit(ref, patch, manager=manager)  # type: ignore[attr-defined]
            else:
                self._administrator.edit(ref, patch, manager)

    def meddle(self, name: str) -> bool:
        """Edit or delete one object of an app; whether its pods are others then."""
        number, manager = self._chance.randrange(100), self._chance.choice(MANAGERS)
        patches: dict[Ref, Sequence[dict[str, Any]]] = {
            self.named("Deployment", name): [{"spec": {"replicas": 1 + number}}, *self._containers(name, number)],
            self.named("Service", name): services(number),
            self.named("HTTPRoute", name): routes(name, number),
            self.named("ConfigMap", f"{name}-environments"): [{"data": {"greeting": f"theirs {number}", "more": "x"}}],
        }
        ref = self._chance.choice(list(patches))
        if self._chance.random() < 0.3:
            self._world.cluster.delete(ref, uid=None)
            return False
        patch = patches[ref][number % len(patches[ref])]
        self.edit(ref, patch, manager)
        return "template" in patch["spec"] if ref.kind == "Deployment" else False

    def _containers(self, name: str, number: int) -> list[dict[str, Any]]:
        """What somebody may put in place of ours in the container."""
        live = self._world.cluster.read(self.named("Deployment", name))
        if live is None:
            return []
        (container,) = live["spec"]["template"]["spec"]["containers"]
        variables = [{"name": each["name"], "value": f"theirs {number}"} for each in container.get("env", ())]
        edits: Sequence[dict[str, Any]] = [
            {"env": variables},  # as `kubectl set env` does
            {"env": [*container.get("env", ()), {"name": "THEIRS", "value": "x"}]},
            {"ports": [{"name": "http", "containerPort": 1 + number, "protocol": "TCP"}]},
        ]
        return [{"spec": {"template": {"spec": {"containers": [{**container, **each}]}}}} for each in edits]

    def named(self, kind: str, name: str) -> Ref:
        return Ref(kind, self._world.namespace, name)


def services(number: int) -> list[dict[str, Any]]:
    """What somebody may change in a Service."""
    port = {"name": "http", "port": 1 + number, "protocol": "TCP", "targetPort": 1 + number}
    return [
        {"spec": {"selector": {"app": f"theirs-{number}"}}},
        {"spec": {"selector": {"version": f"theirs-{number}"}}},
        {"spec": {"ports": [port]}},
    ]


def routes(name: str, number: int) -> list[dict[str, Any]]:
    """What somebody may change in a route."""
    backends = [{"name": name, "port": 8081}, {"name": "theirs", "port": 80, "weight": number}]
    matches = [{"path": {"type": "PathPrefix", "value": "/"}}]
    return [
        {"spec": {"hostnames": [f"theirs-{number}.example.com"]}},
        {"spec": {"rules": [{"backendRefs": backends, "matches": matches}]}},
    ]


@contextmanager
def hands(crowd: Crowd) -> Iterator[Hands]:
    made = Hands(crowd.world, crowd.chance)
    yield made
    made.close()


def retry_what_is_contended(crowd: Crowd) -> None:
    """Somebody looked at each app that is parked, found it fought over, and asks for it again."""
    for name in crowd.apps:
        crowd.world.app_id = crowd.app_id(name)
        life = crowd.world.app.life
        if life is not None and life.parked is not None:
            assert life.parked.reason == "Contended", life.parked
            crowd.world.ask(RetryApply())


@pytest.mark.fault("F17", on="place")
@pytest.mark.parametrize("seed", dose.seeds(few=1, short=2, long=60))
@pytest.mark.parametrize("place", usual_places())
def test_whatever_others_do_to_objects_is_set_back_or_parked_and_theirs_is_left_alone(
    place: str, seed: int, cases: Cases, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    cases.now, cases.count = seed, 1
    server: Server | None = request.getfixturevalue("postgres") if "PostgreSQL" in place else None
    with a_crowd(tmp_path, place, seed, server) as crowd, hands(crowd) as others:
        world = crowd.world
        world.app_id = crowd.app_id("not-deployed")
        theirs = [world.foreign(kind) for kind in ("ConfigMap", "Deployment", "Service")]
        before = [world.content(ref) for ref in theirs]
        with working(world, resync_seconds=1.0):
            for name in crowd.apps:
                crowd.ask(name)
            crowd.assert_quiet()
            for _ in range(EDITS):
                crowd.by_others += others.meddle(crowd.chance.choice(crowd.apps))
                if crowd.chance.random() < 0.3:
                    crowd.ask()
            wait_until_seen(crowd)
            retry_what_is_contended(crowd)
            crowd.assert_quiet()
        assert [world.content(ref) for ref in theirs] == before
        assert crowd.healed()
    cases.count = EDITS


def wait_until_seen(crowd: Crowd) -> None:
    """Until the worker has settled each app: as it should be, or parked."""

    def is_settled() -> bool:
        return all(": it is parked" in each or ": nothing is recorded" in each for each in crowd.violations()) or all(
            life is not None and life.parked is not None
            for life in (crowd.world.ledger.app(crowd.app_id(name)).life for name in _wrong(crowd))
        )

    eventually(is_settled, within=60)


def _wrong(crowd: Crowd) -> set[str]:
    return {each.partition(":")[0] for each in crowd.violations()} & set(crowd.apps)


def test_a_healer_that_does_not_force_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defect: what others set is recorded as set back, and stays as it is."""
    from effects.placing import Placer

    def only_say_so(self: Any, job: Any, seen: Any, fields: Any, parts: Any) -> Any:
        self.healer.found(job.app.id, job.life, job.entry.ref, fields)
        self.healer.healed(job.app.id, job.life, job.entry.ref, fields)
        self.healer.compared(job.entry.ref, seen)
        return job.left_as(seen)

    monkeypatch.setattr(Placer, "_set_back", only_say_so)
    with (
        a_crowd(tmp_path, "sandbox, SQLite", 0, None) as crowd,
        hands(crowd) as others,
        working(crowd.world, resync_seconds=600),
    ):
        crowd.world.ask(image())
        crowd.assert_quiet()
        others.edit(crowd.world.named("Deployment"), {"spec": {"replicas": 3}}, "kubectl-edit")
        eventually(crowd.healed)
        assert crowd.violations() == ["shop: deployment/shop has 3 in spec.replicas, not 1"]


def test_a_healer_that_replaces_nothing_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defect: it only applies, so that what others put in place of ours makes the cluster refuse it."""
    monkeypatch.setattr("effects.placing.parts_to_replace", lambda *_, **__: None)
    with (
        a_crowd(tmp_path, "sandbox, SQLite", 0, None) as crowd,
        hands(crowd) as others,
        working(crowd.world, resync_seconds=600),
    ):
        crowd.world.ask(image())
        crowd.assert_quiet()
        others.edit(crowd.world.named("Service"), services(80)[2], "kubectl-edit")
        eventually(lambda: crowd.world.life.parked)
        assert any("Duplicate value" in each for each in crowd.violations())


@pytest.mark.kubernetes
@pytest.mark.fault("F17", on="place")
@pytest.mark.parametrize("place", places(clusters=[API_SERVER], databases=[SQLITE]))
def test_a_namespace_that_is_deleted_and_made_again_is_filled_again(place: str, tmp_path: Path) -> None:
    administrator = Administrator(kubeconfig())
    with a_crowd(tmp_path, place, 0, None) as crowd:
        world = crowd.world
        with working(world, resync_seconds=1.0):
            world.ask(image())
            crowd.assert_quiet()
            path = f"/api/v1/namespaces/{world.namespace}"
            administrator.remove(path)
            world.ask(image("nginx:2"))
            eventually(lambda: world.life.parked, within=60)
            eventually(lambda: _made(administrator, world.namespace), within=60)
            eventually(lambda: not crowd.violations(), within=60)
    administrator.close()


def _made(administrator: Administrator, namespace: str) -> bool:
    """Whether the namespace could be made: not while there is still one of that name."""
    try:
        administrator._ask("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    except AssertionError:
        return False
    return True
