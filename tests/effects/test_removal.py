"""An object may linger while it is deleted, for instance because of a finalizer: it is looked at until it is gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from effects.cluster import LEDGER_LABEL, Change, Ref
from effects.inventory import Inventory
from effects.reconcile import Reconciler
from effects.removal import STILL_THERE, StillThereError, delete, wait_until_gone
from ledger.commands import AdoptObject, Destroy
from ledger.events import ApplyRefused, ResourcesRemoved
from tests.effects.worlds import GATEWAY, Meddled, World, eventually, image, request
from tests.worker.crews import edit, settled, working


def hold(world: World, ref: Ref) -> Callable[[], None]:
    """Keep an object in the cluster after it is deleted; returns what lets it go."""
    edit(world, ref, {"metadata": {"finalizers": ["1ctl.dev/test"]}}, manager="holder")
    return lambda: edit(world, ref, {"metadata": {"finalizers": None}}, manager="holder")


@contextmanager
def letting_go(let_go: Callable[[], None], after: float) -> Iterator[None]:
    """Let it go so many seconds from now."""
    timer = threading.Timer(after, let_go)
    timer.start()
    yield
    timer.join()


def reconciler(world: World, inventory: Inventory, *, seconds: float) -> Reconciler:
    """As a command without a worker has it: nobody tells it what happens in the cluster."""
    return Reconciler(
        ledger=world.ledger, cluster=inventory, gateway=GATEWAY, request=request(), removal_seconds=seconds
    )


def remembering(world: World) -> Inventory:
    return Inventory(world.cluster, lambda: None, remembers_absence=True)


@pytest.mark.parametrize(("kind", "suffix"), [("ConfigMap", "-environments"), ("Secret", "-secrets")])
def test_a_removal_is_done_when_the_cluster_lets_go_of_what_lingered(world: World, kind: str, suffix: str) -> None:
    world.ask(image())
    world.ask_secrets(TOKEN="x")
    world.do()
    world.ask(Destroy())
    with letting_go(hold(world, world.named(kind, suffix)), after=0.5):
        app = reconciler(world, remembering(world), seconds=20).reconcile(world.app_id)
    assert not app.dirty
    world.assert_equal()


def test_what_does_not_go_in_time_is_recorded_and_the_next_look_finds_it_gone(world: World) -> None:
    world.do(image())
    world.ask(Destroy())
    let_go = hold(world, world.named("Service"))
    removes = reconciler(world, remembering(world), seconds=0.3)
    with pytest.raises(StillThereError, match=f"service/{world.app_id.name} is being deleted"):
        removes.reconcile(world.app_id)
    assert world.app.leaving is not None
    assert world.app.leaving.parked is not None
    assert world.app.leaving.parked.reason == STILL_THERE
    let_go()
    assert not removes.reconcile(world.app_id).dirty
    said = [type(line.event) for line in world.ledger.history(world.app_id)][-2:]
    assert said == [ApplyRefused, ResourcesRemoved]


def test_a_worker_goes_on_waiting_also_for_a_secret_that_nobody_tells_it_of(world: World) -> None:
    with working(world, resync_seconds=3600):
        world.ask(image())
        world.ask_secrets(TOKEN="x")
        settled(world)
        let_go = hold(world, world.named("Secret", "-secrets"))
        world.ask(Destroy())
        eventually(lambda: world.app.leaving is not None and world.app.leaving.parked is not None)
        let_go()
        eventually(lambda: not world.app.dirty)


HELD = [("ConfigMap", "-environments"), ("Secret", "-secrets"), ("Deployment", ""), ("Service", "")]


@pytest.mark.parametrize(("kind", "suffix"), HELD)
def test_what_somebody_else_deletes_is_made_again_once_it_is_gone_and_not_written_to_before(
    world: World, kind: str, suffix: str
) -> None:
    world.ask(image())
    world.ask_secrets(TOKEN="x")
    world.do()
    ref = world.named(kind, suffix)
    let_go = hold(world, ref)
    world.cluster.delete(ref, uid=None)
    world.ask(image("nginx:2"))
    places = reconciler(world, remembering(world), seconds=0.3)
    with pytest.raises(StillThereError, match=f"{ref} is being deleted"):
        places.reconcile(world.app_id)
    assert world.app.dirty
    assert world.life.parked is not None
    assert world.life.parked.reason == STILL_THERE
    with letting_go(let_go, after=0.5):
        app = reconciler(world, remembering(world), seconds=20).reconcile(world.app_id)
    assert not app.dirty
    world.assert_equal()
    assert world.settle().verdict == "completed"


def test_a_worker_makes_again_what_lingered_while_somebody_deleted_it(world: World) -> None:
    with working(world, resync_seconds=3600):
        world.ask(image())
        settled(world)
        let_go = hold(world, world.named("Deployment"))
        world.cluster.delete(world.named("Deployment"), uid=None)
        eventually(lambda: world.life.parked is not None)
        world.ask(image("nginx:2"))
        eventually(lambda: world.app.dirty and world.life.parked is not None)
        let_go()
        eventually(lambda: not world.app.dirty)
        world.assert_equal()
        eventually(lambda: world.life.rollout == "completed")


def test_an_adopted_object_that_is_being_deleted_is_not_written_to_either(world: World) -> None:
    world.ask(image())
    ref = world.foreign("Service")
    seen = world.cluster.look(ref, ledger_id=world.ledger.ledger_id() or "")
    assert seen is not None
    world.ask(AdoptObject(kind="Service", name=ref.name, uid=seen.uid))
    let_go = hold(world, ref)
    world.cluster.delete(ref, uid=None)
    with pytest.raises(StillThereError):
        reconciler(world, remembering(world), seconds=0.3).reconcile(world.app_id)
    let_go()
    world.reconcile()
    world.assert_equal()


def test_what_lingers_is_looked_at_less_and_less_often(world: World) -> None:
    world.do(image())
    ref = world.named("Service")
    watched = Meddled(world.cluster)
    inventory = Inventory(watched, lambda: None)
    let_go = hold(world, ref)
    ledger_id = world.ledger.ledger_id() or ""
    seen = inventory.look(ref, ledger_id=ledger_id)
    assert seen is not None
    delete(inventory, {ref: seen.uid})
    with pytest.raises(StillThereError):
        wait_until_gone(inventory, {ref: seen.uid}, ledger_id=ledger_id, seconds=1.0)
    assert 3 <= watched.calls.count(("look", ref)) <= 10
    let_go()


def test_nothing_is_kept_of_objects_that_were_made_and_deleted(world: World) -> None:
    inventory = Inventory(world.cluster, lambda: None)
    labels = {LEDGER_LABEL: "ledger-1"}
    for number in range(20):
        for kind in ("ConfigMap", "Secret"):
            metadata = {"name": f"copy-{number}", "namespace": world.namespace, "labels": labels}
            made = inventory.apply({"apiVersion": "v1", "kind": kind, "metadata": metadata}, manager="m", expect=None)
            ref = Ref(kind, world.namespace, f"copy-{number}")
            inventory.delete(ref, uid=made.uid)
            if number % 2 and kind == "ConfigMap":
                inventory.changed(Change("gone", ref, made, made.resource_version))

    def list_again() -> bool:
        (page,) = world.cluster.pages("ConfigMap", world.namespace, ledger_id="ledger-1")
        inventory.listed_all("ConfigMap", world.namespace, {each.ref.name for each in page.objects}, page.version)
        return inventory.size == 20

    eventually(list_again)
    inventory.forget_secrets()
    assert (inventory.size, len(inventory._going), len(inventory._ask)) == (0, 0, 0)
