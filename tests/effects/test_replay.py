"""Filling an empty cluster goes on where requests fail as they do when nothing is wrong with what is asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from effects.cluster import Cluster, ClusterUnreachableError, Ref, ref_of
from effects.replay import Replay, replay_all
from ledger.domains import mint_domain
from ledger.errors import LedgerDeniedError, OneCtlError
from ledger.ledger import Ledger
from ledger.spec import AppId
from tests.effects.worlds import GATEWAY, World, image, request, sandbox_world
from tests.faults.plan import BREAKS, RETRY_AFTER, Fault, Once, Plan, evenly
from tests.faults.planned import Planned
from tests.seeds import seeds
from tests.worker.crews import edit

PASSING = BREAKS | {Fault.INTERNAL_ERROR, Fault.UNAVAILABLE, Fault.CONFLICT}
"""What passes at once, if it is tried again."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with sandbox_world(tmp_path) as made:
        yield made


def recorded(world: World, number: int) -> list[AppId]:
    """So many apps that no cluster has yet."""
    apps = [AppId("test", world.namespace, f"shop-{each}") for each in range(number)]
    for app_id in apps:
        world.ledger.execute(app_id, image(env={"A": "1"}), request())
    return apps


def maker(world: World, cluster: Cluster | None = None) -> Callable[[], Replay]:
    def make() -> Replay:
        store, keys = world.ledger.store, world.ledger._keys
        ledger = Ledger(store, keys, mint_domain=lambda: mint_domain("example.com"))
        return Replay(ledger=ledger, cluster=cluster or world.cluster, gateway=GATEWAY)

    return make


def sent(outcomes: dict[AppId, int | OneCtlError]) -> int:
    """How many objects were sent, of apps that all came through."""
    numbers = [outcome for outcome in outcomes.values() if isinstance(outcome, int)]
    assert len(numbers) == len(outcomes), outcomes
    return sum(numbers)


@pytest.mark.parametrize("seed", seeds(3))
def test_whatever_passes_by_itself_is_tried_again_until_every_app_is_there(world: World, seed: int) -> None:
    apps = recorded(world, 12)
    cluster = Planned(world.cluster, Plan(seed=seed, odds=evenly(0.08, PASSING)))
    retried: list[OneCtlError] = []
    came = dict(replay_all(maker(world, cluster), apps, retried=retried.append))
    assert set(came) == set(apps)
    assert sent(came) <= len(world.everything())
    assert cluster.plan.faults()
    assert retried
    assert sent(dict(replay_all(maker(world), apps))) == 0, "something is missing, or not as the ledger asks"


def test_what_was_sent_before_it_was_tried_again_counts(world: World) -> None:
    apps = recorded(world, 1)
    cluster = Planned(world.cluster, Plan(once=[Once(Fault.UNAVAILABLE, "patch", "services")]))
    assert sent(dict(replay_all(maker(world, cluster), apps))) == len(world.everything())


def test_a_server_that_asks_to_wait_is_not_asked_sooner(world: World) -> None:
    apps = recorded(world, 1)
    cluster = Planned(world.cluster, Plan(once=[Once(Fault.TOO_MANY_REQUESTS, "patch", "deployments")]))
    began = time.monotonic()
    assert sent(dict(replay_all(maker(world, cluster), apps)))
    assert time.monotonic() - began >= RETRY_AFTER


def test_what_the_cluster_refuses_is_not_tried_again(world: World) -> None:
    apps = recorded(world, 3)
    cluster = Planned(world.cluster, Plan(once=[Once(Fault.UNPROCESSABLE, "patch", "deployments")]))
    came = dict(replay_all(maker(world, cluster), apps, at_once=1))
    assert [isinstance(came[app_id], OneCtlError) for app_id in apps] == [True, False, False]
    assert len(cluster.plan.faults()) == 1


def test_a_cluster_that_lets_nothing_through_is_given_up_and_every_app_is_named(world: World) -> None:
    apps = recorded(world, 5)
    cluster = Planned(world.cluster, Plan(odds={Fault.UNAVAILABLE: 1.0}))
    began = time.monotonic()
    came = dict(replay_all(maker(world, cluster), apps, at_once=2, patience=0.5))
    assert time.monotonic() - began < 10
    assert set(came) == set(apps)
    assert {type(outcome) for outcome in came.values()} == {ClusterUnreachableError}


@pytest.mark.parametrize("kind", ["ConfigMap", "Deployment"])
def test_what_is_being_deleted_is_not_counted_as_there_but_made_once_it_is_gone(world: World, kind: str) -> None:
    apps = recorded(world, 1)
    assert sent(dict(replay_all(maker(world), apps)))
    ref = Ref(kind, world.namespace, apps[0].name + ("-environments" if kind == "ConfigMap" else ""))
    edit(world, ref, {"metadata": {"finalizers": ["1ctl.dev/test"]}})
    world.cluster.delete(ref, uid=None)
    held: list[str] = []

    def let_go(error: OneCtlError) -> None:
        held.append(error.message)
        if len(held) == 2:
            edit(world, ref, {"metadata": {"finalizers": None}})

    assert sent(dict(replay_all(maker(world), apps, retried=let_go)))
    assert held == [f"{ref} is being deleted; it is made again once it is gone"] * 2
    assert {ref_of(each) for each in world.everything() if "deletionTimestamp" in each["metadata"]} == set()
    assert sent(dict(replay_all(maker(world), apps))) == 0


def test_what_names_no_owner_or_one_that_is_gone_is_sent_again(world: World) -> None:
    apps = recorded(world, 1)
    assert sent(dict(replay_all(maker(world), apps)))
    ref = Ref("Service", world.namespace, apps[0].name)
    edit(world, ref, {"metadata": {"ownerReferences": None}})
    assert sent(dict(replay_all(maker(world), apps))) == 1
    ledger_id = world.ledger.ledger_id() or ""
    owner = world.cluster.look(Ref("ConfigMap", world.namespace, f"{ref.name}-environments"), ledger_id=ledger_id)
    left = world.cluster.look(ref, ledger_id=ledger_id)
    assert owner is not None
    assert left is not None
    assert left.owners == (owner.uid,)


def test_closed_while_it_waits_to_try_again_it_returns_at_once(world: World) -> None:
    apps = recorded(world, 2)
    plan = Plan(once=[Once(Fault.TOO_MANY_REQUESTS, "patch", "deployments", n) for n in range(2, 60)])
    each = replay_all(maker(world, Planned(world.cluster, plan)), apps, at_once=1)
    next(each)
    began = time.monotonic()
    each.close()
    assert time.monotonic() - began < RETRY_AFTER


def test_what_ends_a_thread_is_raised(world: World) -> None:
    apps = recorded(world, 2)

    def make() -> Replay:
        raise LedgerDeniedError("the database does not let you read")

    with pytest.raises(LedgerDeniedError, match="does not let you read"):
        list(replay_all(make, apps))
