"""Namespaces where every app was destroyed are listed once per resync, and watched only while something is left there."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from effects.cluster import LEDGER_LABEL, LIFE_LABEL, ClusterRefusedError, Page, Ref, Watch
from effects.listing import WATCHED, Lister
from effects.term import Term
from ledger.commands import Destroy
from ledger.events import DriftHealed
from tests.effects.worlds import Meddled, World, eventually, image
from tests.worker.crews import Member, edit, lister_of, settled, working
from tests.worker.test_worker import facts


class Counting(Meddled):
    """A cluster that counts lists and watches, and refuses them if it is told to."""

    def __init__(self, world: World) -> None:
        super().__init__(world.cluster)
        self.lists: Counter[str] = Counter()
        self.watches: Counter[str] = Counter()
        self.refuses: int | None = None

    def pages(self, kind: str, namespace: str, *, ledger_id: str, limit: int = 500) -> Iterator[Page]:
        self.lists[kind] += 1
        if self.refuses is not None:
            raise ClusterRefusedError("no", status=self.refuses, reason="Forbidden")
        return self._real.pages(kind, namespace, ledger_id=ledger_id, limit=limit)

    def watch(self, kind: str, namespace: str, *, ledger_id: str, since: str) -> Watch:
        self.watches[kind] += 1
        return self._real.watch(kind, namespace, ledger_id=ledger_id, since=since)


def once(count: int) -> dict[str, int]:
    return dict.fromkeys(WATCHED, count)


def resync(member: Member) -> None:
    term = member.worker.term
    assert term is not None
    term.resync()


@pytest.fixture
def cluster(world: World) -> Counting:
    return Counting(world)


@pytest.fixture
def over(world: World) -> World:
    """Every app of its namespace was destroyed."""
    world.do(image(), Destroy())
    world.reconcile()
    return world


@pytest.mark.parametrize("refuses", [None, 403, 404])
def test_one_where_every_app_was_destroyed_is_listed_once_per_resync_and_not_watched(
    over: World, cluster: Counting, refuses: int | None
) -> None:
    cluster.refuses = refuses
    with working(over, cluster, resync_seconds=3600) as member:
        for count in (1, 2):
            eventually(lambda: cluster.lists == once(count))  # noqa: B023 - called at once
            time.sleep(1)  # a second list would come sooner
            assert (dict(cluster.lists), dict(cluster.watches)) == (once(count), {})
            resync(member)


def test_a_running_worker_stops_watching_one_with_the_next_resync(world: World, cluster: Counting) -> None:
    with working(world, cluster, resync_seconds=3600) as member:
        world.ask(image())
        settled(world)
        world.ask(Destroy())
        eventually(lambda: not world.app.dirty)
        resync(member)
        eventually(lambda: not any(each.name.startswith("list-") for each in threading.enumerate()))


class GivenUp(Meddled):
    """A cluster of which a namespace's last app is gone just when a watch of it is being opened."""

    def __init__(self, world: World) -> None:
        super().__init__(world.cluster)
        self.lister: Lister | None = None

    def watch(self, kind: str, namespace: str, *, ledger_id: str, since: str) -> Watch:
        assert self.lister is not None
        self.lister.want(wanted=False)
        return self._real.watch(kind, namespace, ledger_id=ledger_id, since=since)


def test_one_whose_watch_is_just_being_opened_is_not_watched_until_that_watch_ends(world: World) -> None:
    cluster = GivenUp(world)
    lister = cluster.lister = lister_of(world, cluster)
    thread = threading.Thread(target=lister.run, daemon=True)
    thread.start()
    thread.join(15)  # a watch ends by itself after 30 s
    ended = not thread.is_alive()
    lister.stop()
    assert ended


def test_one_is_watched_again_once_an_app_lives_there(over: World, cluster: Counting) -> None:
    with working(over, cluster, resync_seconds=3600):
        eventually(lambda: cluster.lists == once(1))
        over.ask(image())
        settled(over)
        eventually(lambda: cluster.watches.keys() == once(1).keys())
        edit(over, over.named("Deployment"), {"spec": {"replicas": 3}})
        eventually(lambda: facts(over, DriftHealed))
        settled(over)


def test_what_is_left_there_is_watched_until_it_is_gone(over: World, cluster: Counting) -> None:
    labels = {LEDGER_LABEL: over.ledger.ledger_id() or "", LIFE_LABEL: "unknown"}
    ref = Ref("ConfigMap", over.namespace, "stray")
    metadata = {"name": ref.name, "namespace": ref.namespace, "labels": labels}
    over.cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}, manager="late", expect=None)
    with working(over, cluster, resync_seconds=3600) as member:
        eventually(lambda: cluster.watches)
        assert set(cluster.watches) == {"ConfigMap"}
        over.cluster.delete(ref, uid=None)
        eventually(lambda: over.cluster.look(ref, ledger_id=labels[LEDGER_LABEL]) is None)
        resync(member)
        eventually(lambda: cluster.lists["ConfigMap"] >= 2)


def test_a_line_of_one_that_is_watched_makes_no_lister(
    world: World, cluster: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    real = Term._make_lister

    def make_lister(term: Term, kind: str, namespace: str) -> Lister:
        made.append(kind)
        return real(term, kind, namespace)

    monkeypatch.setattr(Term, "_make_lister", make_lister)
    with working(world, cluster, resync_seconds=3600):
        for number in range(3):
            world.ask(image(f"nginx:{number}"))
            settled(world)
    assert sorted(made) == sorted(WATCHED)
