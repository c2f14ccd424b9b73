"""`1ctl worker run --once` says that the cluster is as the ledger asks only if it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from effects.cluster import Ref
from effects.worker import Worker
from tests.cli_support import Cli, write_toml
from tests.effects.worlds import Counter, Meddled, World, image, request
from tests.faults.plan import Asked, Decision, Fault, Plan
from tests.faults.proxy import CONTEXT, FaultProxy
from tests.kubernetes.support import a_cluster_user, make_profile
from tests.kubernetes_support import kubeconfig
from tests.worker.crews import replica

GOOD = "✅ The cluster is as the ledger asks"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    write_toml(tmp_path / "svc", "user-service")
    return Cli(tmp_path / "home", tmp_path / "svc")


def test_drift_that_is_only_reported_ends_it_with_8_until_it_is_set_back(cli: Cli) -> None:
    cli.run("deploy", "--image", "nginx:alpine", "--wait").done()
    cluster = cli.cluster()
    cluster.edit(Ref("Deployment", "default", "user-service"), {"spec": {"replicas": 4}})
    cluster.close()
    for _ in range(2):
        failed = cli.run("worker", "run", "--once", "--drift", "report").failed(8)
        assert "user-service" in failed.error
        assert "default/user-service: edited by hand: deployment/user-service spec.replicas" in failed.stderr
        assert GOOD not in failed.stdout
    assert cli.run("worker", "run", "--once").done().lines[-1] == GOOD


def test_a_lock_that_cannot_be_used_is_not_taken_for_another_worker(cli: Cli) -> None:
    cli.run("deploy", "--image", "nginx:alpine").done()
    cli.ledger.with_name(f"{cli.ledger.name}.worker-sandbox.lock").mkdir()
    failed = cli.run("worker", "run", "--once").failed(1)
    assert "sandbox.lock cannot be used: Is a directory" in failed.error
    assert "another worker leads" not in failed.stderr


@dataclass
class Refusing(Plan):
    """Every request of these answers 503."""

    refuses: Callable[[Asked], bool] = lambda _: False

    def decide(self, asked: Asked) -> Decision:
        return Decision(asked, 1, Fault.UNAVAILABLE if self.refuses(asked) else None)


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[tuple[Cli, FaultProxy]]:
    with a_cluster_user(tmp_path) as (user, _), FaultProxy(kubeconfig()) as proxy:
        namespace = user.run("-o", "json", "profile", "current").done().json["namespace"]
        make_profile(user, "refused", proxy.kubeconfig(tmp_path), CONTEXT, namespace)
        user.run("profile", "use", "refused").done()
        yield user, proxy


@pytest.mark.kubernetes
@pytest.mark.parametrize(
    "refuses",
    [lambda asked: asked.verb == "patch", lambda asked: asked.kind != "namespaces"],
    ids=["writes", "everything but the namespace"],
)
def test_a_server_that_answers_nothing_useful_ends_it_with_8_and_what_it_said(
    proxy: tuple[Cli, FaultProxy], refuses: Callable[[Asked], bool]
) -> None:
    user, way = proxy
    user.run("deploy", "--image", "nginx:1", "--detach").done()
    way.plan = Refusing(refuses=refuses)
    failed = user.run("worker", "run", "--once").failed(8)
    assert "not applied: user-service" in failed.error
    assert "/user-service: Cluster" in failed.stderr
    assert "503 ServiceUnavailable" in failed.stderr
    way.plan = Plan()
    assert user.run("worker", "run", "--once").done().lines[-1] == GOOD


def interrupted(world: World, interrupt: Callable[[Worker, threading.Event], object]) -> str | None:
    """Why it ended, if that happens at the first write."""
    world.ask(image())
    stop = threading.Event()
    meddled = Meddled(world.cluster, before=Counter(3, lambda: interrupt(worker, stop)))
    worker, _ = replica(world, meddled)
    ended = worker.run_once(stop)
    assert ended is not None
    return ended.why


def test_one_that_is_told_to_end_says_that_it_was(world: World) -> None:
    assert interrupted(world, lambda _, stop: stop.set()) == "it was told to end"


def test_one_that_does_not_lead_any_more_says_so(world: World) -> None:
    assert "lead" in (interrupted(world, lambda worker, _: worker._lease.release()) or "")


def test_one_that_is_not_interrupted_gives_no_such_reason(world: World) -> None:
    assert interrupted(world, lambda _, __: None) is None


def test_one_beside_a_worker_that_leads_does_nothing(world: World) -> None:
    world.ledger.create(request())
    other = world.ledger.store.lease("test", holder="other", note="", seconds=60.0)
    assert other.acquire()
    worker, _ = replica(world)
    assert worker.run_once(threading.Event()) is None
    other.release()
