"""What keeps a worker from working is known where people ask: the ledger, the metrics, and not only its log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import pytest

from effects.cluster import (
    ClusterRefusedError,
    ClusterUnreachableError,
    ExpiredError,
    NotOursError,
    Page,
    Ref,
    Watch,
)
from effects.recurring import LONGEST_SECONDS, Outage, fails
from effects.troubles import Troubles, reason_of
from ledger.commands import Destroy
from ledger.errors import OneCtlError
from ledger.lease import LeaseRow
from ledger.spec import AppId
from tests.effects.worlds import Meddled, World, eventually, image
from tests.worker.crews import edit, lister_of, settled, working

APP = AppId("test", "shop", "orders")


def refused(status: int) -> ClusterRefusedError:
    return ClusterRefusedError("no", status=status, reason="No")


# -- In memory -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ClusterUnreachableError("x"), "unreachable"),
        (refused(401), "unauthorized"),
        (refused(403), "forbidden"),
        (refused(422), "invalid"),
        (refused(418), "refused"),
        (ExpiredError("x"), "expired"),
        (NotOursError(Ref("Service", "shop", "orders")), None),
        (OneCtlError("x"), None),
        (None, None),
    ],
)
def test_only_what_the_cluster_says_has_a_reason(error: OneCtlError | None, reason: str | None) -> None:
    assert reason_of(error) == reason


def test_what_concerns_everybody_comes_first_and_then_what_lasts_longest() -> None:
    now = 0.0
    troubles = Troubles(lambda: now)
    assert troubles.worst() is None
    troubles.met("one", OneCtlError("odd"), app=APP)
    now = 5.0
    troubles.met("two", ClusterUnreachableError("away"), app=APP)
    now = 8.0
    troubles.met("two", ClusterUnreachableError("still away"), app=APP)
    worst = troubles.worst()
    assert worst is not None
    assert worst == ("unreachable", "still away", 3.0, None)
    troubles.over("two")
    assert troubles.worst() == ("OneCtlError", "odd", 8.0, "shop/orders")
    troubles.over("one")
    assert troubles.worst() is None


def test_a_failure_that_goes_on_is_said_at_growing_intervals_and_at_least_once_a_minute() -> None:
    said: list[float] = []
    outage: Outage | None = None
    for quarter in range(4 * 600):
        outage, is_news = fails(outage, quarter / 4)
        if is_news:
            said.append(quarter / 4)
    gaps = [later - earlier for earlier, later in pairwise(said)]
    assert said[0] == 0
    assert gaps == sorted(gaps)
    assert gaps[-1] == LONGEST_SECONDS
    assert len(said) < 20
    assert outage is not None
    assert outage.failures == 2400


# -- A list and a watch --------------------------------------------------------------------------------------------


class Broken(Meddled):
    """A cluster whose watch or list fails."""

    def __init__(self, world: World, *, lists: bool) -> None:
        super().__init__(world.cluster)
        self._lists = lists

    def pages(self, kind: str, namespace: str, *, ledger_id: str, limit: int = 500) -> Iterator[Page]:
        if not self._lists:
            raise ClusterUnreachableError("no list")
        yield from self._real.pages(kind, namespace, ledger_id=ledger_id, limit=limit)

    def watch(self, kind: str, namespace: str, *, ledger_id: str, since: str) -> Watch:
        raise ClusterUnreachableError("no watch")


@pytest.mark.parametrize(("lists", "told"), [(True, ["restarted", "failed"]), (False, ["failed"])])
def test_every_watch_that_cannot_go_on_is_counted_and_no_list(world: World, lists: bool, told: Sequence[str]) -> None:
    found: list[str] = []
    lister = lister_of(
        world,
        Broken(world, lists=lists),
        restarted=lambda: found.append("restarted"),
        failed=lambda _: found.append("failed"),
    )
    assert (lister.turn() or 0) > 0
    assert (lister.turn() or 0) > 0
    assert found == [*told, *told]


class Refusing(Meddled):
    """A cluster that refuses lists."""

    def pages(self, kind: str, namespace: str, *, ledger_id: str, limit: int = 500) -> Iterator[Page]:
        raise refused(403)


def test_what_kept_a_lister_from_working_is_over_when_nothing_is_expected_there(world: World) -> None:
    told: list[str] = []
    lister = lister_of(
        world,
        Refusing(world.cluster),
        failed=lambda _: told.append("failed"),
        well=lambda: told.append("well"),
    )
    assert lister.turn() is not None
    lister.want(wanted=False)
    assert lister.turn() is None
    assert told == ["failed", "well"]


# -- A worker ------------------------------------------------------------------------------------------------------


def lease(world: World) -> LeaseRow:
    row = world.ledger.store.lease_row("test")
    assert row is not None
    return row


class Away(Meddled):
    """A cluster that can go away and come back."""

    def __init__(self, world: World) -> None:
        self.error: Callable[[], OneCtlError] | None = None
        super().__init__(world.cluster, before=self._meddle)

    def _meddle(self, _: str, __: Ref) -> None:
        if self.error is not None:
            raise self.error()


def test_a_cluster_that_is_away_stands_in_the_lease_until_it_is_back(world: World) -> None:
    cluster = Away(world)
    cluster.error = lambda: ClusterUnreachableError("nobody answers")
    with working(world, cluster, lease_seconds=1.0) as member:
        world.ask(image())
        trouble = eventually(lambda: lease(world).trouble)
        assert (trouble.reason, trouble.message, trouble.app) == ("unreachable", "nobody answers", None)
        assert member.tally.errors["unreachable"] >= 1
        cluster.error = None
        settled(world)
        eventually(lambda: lease(world).trouble is None)
    assert lease(world).note == "a test"


def test_apps_that_are_parked_are_counted_until_somebody_asks(world: World) -> None:
    world.foreign("Service")
    with working(world) as member:
        world.ask(image())
        eventually(lambda: member.worker.term is not None and member.worker.term.parked == {world.app_id})
        world.ask(Destroy())
        eventually(lambda: member.worker.term is not None and member.worker.term.parked == set())
    assert member.tally.errors == {}, "that is no error of the cluster"


def test_what_a_cluster_refuses_is_counted_by_its_reason(world: World) -> None:
    cluster = Away(world)
    cluster.error = lambda: refused(403)
    with working(world, cluster) as member:
        world.ask(image())
        eventually(lambda: world.life.parked)
        eventually(lambda: member.tally.errors.keys() == {"forbidden"})  # it may have tried twice
        eventually(lambda: lease(world).trouble is None)


@pytest.mark.parametrize(("heals", "action"), [(True, "healed"), (False, "reported")])
def test_drift_is_counted_by_what_is_done_about_it(world: World, heals: bool, action: str) -> None:
    with working(world, heals=heals, resync_seconds=0.5) as member:
        world.ask(image())
        settled(world)
        edit(world, world.named("Deployment"), {"spec": {"replicas": 3}})
        eventually(lambda: member.tally.drift)
        done = member.tally.outcomes["done"]
        eventually(lambda: member.tally.outcomes["done"] > done + 2)
    assert member.tally.drift == {action: 1}
