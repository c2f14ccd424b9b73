"""What a leader knows of the cluster never goes back, whoever tells it, and whatever is news of an app wakes it."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from effects.cluster import (
    API_VERSIONS,
    APP_LABEL,
    DIGEST_ANNOTATION,
    LEDGER_LABEL,
    LIFE_LABEL,
    POSITION_ANNOTATION,
    Change,
    ClusterUnreachableError,
    Listed,
    Page,
    Ref,
    Seen,
    Watch,
)
from effects.inventory import Inventory, Known
from ledger.commands import Destroy, Restart
from ledger.events import ResourcesApplied
from tests.effects.worlds import Meddled, World, eventually, image, kubernetes_world, request
from tests.worker.crews import LEDGER, edit, lister_of, settled, working


@pytest.fixture
def inventory(world: World) -> Inventory:
    return Inventory(world.cluster, lambda: None)


def config_map(world: World, name: str, **data: str) -> dict[str, Any]:
    labels = {LEDGER_LABEL: LEDGER, APP_LABEL: "shop", LIFE_LABEL: "life"}
    metadata = {"name": name, "namespace": world.namespace, "labels": labels}
    return {"apiVersion": API_VERSIONS["ConfigMap"], "kind": "ConfigMap", "metadata": metadata, "data": data}


def listing(world: World) -> tuple[list[Any], str]:
    (page,) = world.cluster.pages("ConfigMap", world.namespace, ledger_id=LEDGER)
    return list(page.objects), page.version


def take(world: World, inventory: Inventory, objects: list[Any], version: str) -> set[str]:
    """The list, as a lister takes it."""
    news = inventory.listed(objects)
    return news | inventory.listed_all("ConfigMap", world.namespace, {each.ref.name for each in objects}, version)


def test_a_list_does_not_forget_what_was_made_after_it(world: World, inventory: Inventory) -> None:
    objects, version = listing(world)
    made = inventory.apply(config_map(world, "late"), manager="m", expect=None)
    assert take(world, inventory, objects, version) == set()
    assert inventory.look(Ref("ConfigMap", world.namespace, "late"), ledger_id=LEDGER) is not None
    objects, version = listing(world)
    world.cluster.delete(Ref("ConfigMap", world.namespace, "late"), uid=made.uid)
    eventually(lambda: not listing(world)[0])
    assert take(world, inventory, *listing(world)) == {"shop"}
    assert inventory.size == 0


class Asked(dict[Ref, Known]):
    """What is known, and which of it was looked at; nobody goes through all of it."""

    asked: set[Ref]

    def __getitem__(self, ref: Ref) -> Known:
        self.asked.add(ref)
        return super().__getitem__(ref)

    def items(self) -> Any:
        pytest.fail("all that is known was gone through")

    __iter__ = values = keys = items


def test_a_list_of_one_namespace_looks_at_what_is_known_of_that_namespace_only(
    world: World, inventory: Inventory
) -> None:
    labels = {LEDGER_LABEL: LEDGER, APP_LABEL: "shop"}
    refs = [
        Ref(kind, namespace, name)
        for kind in ("ConfigMap", "Service")
        for namespace in ("one", "other")
        for name in ("stays", "goes")
    ]
    inventory.listed(Listed(ref, Seen(str(uuid4()), "5", labels, {})) for ref in refs)
    known = Asked(inventory._known)
    known.asked = set()
    inventory._known = known
    assert inventory.listed_all("ConfigMap", "one", {"stays"}, "9") == {"shop"}
    assert known.asked <= {Ref("ConfigMap", "one", "stays"), Ref("ConfigMap", "one", "goes")}
    assert [ref for ref in refs if inventory.get(ref) is None] == [Ref("ConfigMap", "one", "goes")]
    assert inventory.listed_all("ConfigMap", "nowhere", set(), "9") == set()


def test_what_is_known_of_ten_thousand_objects_is_small_and_a_list_of_them_is_not_held_whole(world: World) -> None:
    inventory = Inventory(world.cluster, lambda: None)

    def page(number: int) -> list[Listed]:
        """As an API server answers: every text is a new one."""
        return [
            Listed(
                Ref("ConfigMap", world.namespace, f"app-{number + each:05}"),
                Seen(
                    uid=str(uuid4()),
                    resource_version=str(10_000 + number + each),
                    labels={
                        LEDGER_LABEL: "".join(["led", "ger"]),
                        APP_LABEL: f"app-{number}",
                        LIFE_LABEL: str(uuid4()),
                    },
                    annotations={POSITION_ANNOTATION: f"0.{number}", DIGEST_ANNOTATION: f"{number:016x}"},
                ),
            )
            for each in range(500)
        ]

    inventory.listed(page(0))  # what is made once
    tracemalloc.start()
    try:
        for number in range(500, 10_500, 500):
            inventory.listed(page(number))
        kept, highest = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert inventory.size == 10_500
    assert kept / 10_000 < 1_200, "bytes an object"
    assert highest - kept < 2_000_000, "more than a page was held"


def test_an_older_word_never_replaces_a_newer_one_not_even_of_another_object(
    world: World, inventory: Inventory
) -> None:
    ref = Ref("ConfigMap", world.namespace, "shop")
    first = inventory.apply(config_map(world, "shop"), manager="m", expect=None)
    inventory.delete(ref, uid=first.uid)
    eventually(lambda: inventory.look(ref, ledger_id=LEDGER) is None)
    second = inventory.apply(config_map(world, "shop"), manager="m", expect=None)
    assert inventory.changed(Change("present", ref, first, first.resource_version)) is None
    assert inventory.changed(Change("gone", ref, first, first.resource_version)) is None
    known = inventory.get(ref)
    assert known is not None
    assert known.uid == second.uid
    third = inventory.apply(config_map(world, "shop", colour="red"), manager="m", expect=second)
    assert take(world, inventory, [], second.resource_version) == set()
    assert inventory.changed(Change("present", ref, second, second.resource_version)) is None
    assert inventory.changed(Change("gone", ref, third, third.resource_version)) == "shop"


def test_objects_are_found_by_the_app_whose_label_they_carry_now(world: World, inventory: Inventory) -> None:
    ref = Ref("ConfigMap", world.namespace, "shop")
    seen = inventory.apply(config_map(world, "shop"), manager="m", expect=None)
    assert set(inventory.of_app(world.namespace, "shop")) == {ref}
    version = str(int(seen.resource_version) + 1)
    moved = replace(seen, resource_version=version, labels={**seen.labels, APP_LABEL: "other"})
    assert inventory.changed(Change("present", ref, moved, version)) == "other"
    assert inventory.of_app(world.namespace, "shop") == {}
    assert set(inventory.of_app(world.namespace, "other")) == {ref}


def test_objects_of_a_life_that_is_known_are_found_by_its_app_whatever_their_label_says(
    world: World, inventory: Inventory
) -> None:
    ref = Ref("ConfigMap", world.namespace, "shop")
    labelled = config_map(world, "shop")
    labelled["metadata"]["labels"] |= {APP_LABEL: "other", LIFE_LABEL: "life-of-shop"}
    inventory.apply(labelled, manager="m", expect=None)
    assert inventory.apps() == {(world.namespace, "other")}
    inventory.belongs(ref, "life-of-shop", "shop")
    assert inventory.apps() == {(world.namespace, "shop")}
    assert set(inventory.of_app(world.namespace, "shop")) == {ref}
    gone = world.cluster.look(ref, ledger_id=LEDGER)
    assert gone is not None
    assert inventory.changed(Change("gone", ref, gone, gone.resource_version)) == "shop"
    assert inventory.apps() == set()


class Opening(Meddled):
    """A cluster whose watches tell that they are being opened, and wait."""

    def __init__(self, world: World) -> None:
        super().__init__(world.cluster)
        self.opening, self.go_on = threading.Event(), threading.Event()

    def watch(self, kind: str, namespace: str, *, ledger_id: str, since: str) -> Watch:
        self.opening.set()
        assert self.go_on.wait(20)
        return self._real.watch(kind, namespace, ledger_id=ledger_id, since=since)


def test_a_lister_whose_watch_is_just_being_opened_hears_that_it_shall_stop(world: World) -> None:
    cluster = Opening(world)
    lister = lister_of(world, cluster)
    thread = threading.Thread(target=lister.run)
    thread.start()
    assert cluster.opening.wait(20)
    lister.stop()
    cluster.go_on.set()
    thread.join(10)
    assert not thread.is_alive()


class Overloaded(Meddled):
    """A cluster that asks for a day's patience when it is first asked for a list."""

    def __init__(self, world: World) -> None:
        super().__init__(world.cluster)
        self.lists = 0

    def pages(self, kind: str, namespace: str, *, ledger_id: str, limit: int = 500) -> Iterator[Page]:
        self.lists += 1
        if self.lists == 1:
            raise ClusterUnreachableError("later", retry_after=100_000.0)
        return self._real.pages(kind, namespace, ledger_id=ledger_id, limit=limit)


def test_a_resync_lists_at_once_what_waits_because_the_server_asked_for_it(world: World) -> None:
    cluster = Overloaded(world)
    lister = lister_of(world, cluster)
    thread = threading.Thread(target=lister.run)
    thread.start()
    assert lister.wait_listed(20)
    lister.list_again()
    eventually(lambda: cluster.lists == 2)
    lister.stop()
    thread.join(10)
    assert not thread.is_alive()


class BehindTheTimes(Meddled):
    """A cluster whose first list says that it is as old as the cluster itself."""

    def __init__(self, world: World) -> None:
        super().__init__(world.cluster)
        self.lists = 0

    def pages(self, kind: str, namespace: str, *, ledger_id: str, limit: int = 500) -> Iterator[Page]:
        self.lists += 1
        for page in self._real.pages(kind, namespace, ledger_id=ledger_id, limit=limit):
            yield replace(page, version="1") if self.lists == 1 else page


@pytest.mark.kubernetes
def test_where_a_server_has_forgotten_what_changed_since_everything_is_listed_anew(tmp_path: Path) -> None:
    with kubernetes_world(tmp_path, watch_seconds=1) as world:
        cluster, expired = BehindTheTimes(world), list[None]()
        inventory = Inventory(cluster, lambda: None)
        lister = lister_of(world, cluster, inventory=inventory, restarted=lambda: expired.append(None))
        assert lister.turn() == 0  # 410 Expired: at once again
        world.cluster.apply(config_map(world, "shop"), manager="m", expect=None)
        lister.turn()
        assert (len(expired), cluster.lists) == (1, 2)
        assert set(inventory.of_app(world.namespace, "shop")) == {Ref("ConfigMap", world.namespace, "shop")}


def test_what_a_term_knew_is_let_go_with_its_end_and_not_when_garbage_is_collected(world: World) -> None:
    gc.collect()
    gc.disable()
    try:
        with working(world) as member:
            world.ask(image())
            settled(world)
            assert any(isinstance(each, Known) for each in gc.get_objects())
        assert not member.leads
        assert not any(isinstance(each, Known) for each in gc.get_objects())
    finally:
        gc.enable()


# -- What wakes an app ---------------------------------------------------------------------------------------------


@pytest.fixture
def worked(world: World) -> Iterator[World]:
    """A worker runs, and no resync comes to its help."""
    with working(world, resync_seconds=3600):
        world.ask(image())
        settled(world)
        yield world


def test_what_a_late_writer_makes_of_a_destroyed_life_is_removed_at_once(worked: World) -> None:
    seen = worked.cluster.look(worked.named("Service"), ledger_id=worked.ledger.ledger_id() or "")
    assert seen is not None
    worked.ask(Destroy())
    eventually(lambda: not worked.app.dirty)
    late = config_map(worked, f"{worked.app_id.name}-environments")
    late["metadata"] |= {"labels": dict(seen.labels), "annotations": {DIGEST_ANNOTATION: "late"}}
    worked.cluster.apply(late, manager="late", expect=None)
    eventually(lambda: not worked.objects())


@pytest.mark.parametrize("label", [{APP_LABEL: "another"}, {}], ids=["another", "none"])
def test_it_is_removed_also_if_somebody_changed_its_label(worked: World, label: Mapping[str, str]) -> None:
    seen = worked.cluster.look(worked.named("Service"), ledger_id=worked.ledger.ledger_id() or "")
    assert seen is not None
    worked.ask(Destroy())
    eventually(lambda: not worked.app.dirty)
    late = config_map(worked, f"{worked.app_id.name}-environments")
    labels = {**{name: value for name, value in seen.labels.items() if name != APP_LABEL}, **label}
    late["metadata"] |= {"labels": labels, "annotations": {DIGEST_ANNOTATION: "late"}}
    worked.cluster.apply(late, manager="late", expect=None)
    eventually(lambda: not worked.objects())


def test_it_is_removed_also_if_that_happened_while_no_worker_ran(world: World) -> None:
    world.do(image())
    seen = world.cluster.look(world.named("Service"), ledger_id=world.ledger.ledger_id() or "")
    assert seen is not None
    world.do(Destroy())
    late = config_map(world, f"{world.app_id.name}-environments")
    late["metadata"] |= {"labels": {**seen.labels, APP_LABEL: "another"}, "annotations": {DIGEST_ANNOTATION: "late"}}
    world.cluster.apply(late, manager="late", expect=None)
    with working(world, resync_seconds=3600):
        eventually(lambda: not world.objects())


def test_what_an_app_has_is_not_removed_by_another_whose_life_somebody_wrote_on_it(worked: World) -> None:
    first = worked.app_id
    life = worked.life.deployment_id
    worked.another_app()
    worked.ask(image())
    settled(worked)
    ref = worked.named("Deployment")
    seen = worked.cluster.look(ref, ledger_id=worked.ledger.ledger_id() or "")
    assert seen is not None
    edit(worked, ref, {"metadata": {"labels": {LIFE_LABEL: life}}})
    eventually(lambda: worked.life.parked)
    second, worked.app_id = worked.app_id, first
    worked.ask(Restart())
    settled(worked)
    worked.app_id = second
    now = worked.cluster.look(ref, ledger_id=worked.ledger.ledger_id() or "")
    assert now is not None
    assert now.uid == seen.uid


def test_what_another_writer_recorded_wrongly_is_recorded_as_it_is(worked: World) -> None:
    life = worked.life
    wrong = tuple(replace(each, uid="of-another-time") for each in life.objects)
    event = ResourcesApplied(release=life.release, through=life.changed, objects=wrong)
    worked.ledger.observe(worked.app_id, request(), lambda app: (life.deployment_id, event, life.changed))
    eventually(lambda: not worked.difference())
