"""A worker that was stopped before a write, and continued when another leads, takes back what nobody else would find."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from effects.cluster import ClusterUnreachableError, Ref
from ledger.commands import Destroy, Restart
from tests.effects.worlds import Meddled, World, eventually, image
from tests.worker.crews import Member, settled, working


class Stopped:
    """A worker stands still before it makes a copy of secrets, and does not lead any more when it goes on.

    Attributes:
        member: The worker.
        what: The copy that it is about to make.
        unreachable: Whether the cluster then takes no deletion of it.
    """

    def __init__(self, meanwhile: Callable[[], None], *, unreachable: bool = False) -> None:
        self.member: Member | None = None
        self.what: Ref | None = None
        self.unreachable = unreachable
        self._known: set[Ref] | None = None
        self._meanwhile = meanwhile

    def after_these(self, known: set[Ref]) -> None:
        """From now on the next copy that is not among these."""
        self._known = known

    def before(self, method: str, ref: Ref) -> None:
        is_new = self._known is not None and ref not in self._known and ref.kind == "Secret"
        if method == "apply" and is_new and self.what is None:
            assert self.member is not None
            self.what = ref
            self.member.worker._lease.release()
            self._meanwhile()
        if method == "delete" and ref == self.what and self.unreachable:
            raise ClusterUnreachableError("it is away")


def newer_secrets(world: World) -> None:
    world.ask_secrets(S="newest")
    world.do(Restart())
    world.settle()
    world.reconcile()


def an_end(world: World) -> None:
    world.do(Destroy())


def nothing(world: World) -> None:
    world.reconcile()


def wrote_late(world: World, meanwhile: Callable[[World], None], *, unreachable: bool = False) -> Ref:
    """The copy of secrets that a worker made after others had gone on."""
    other = world.ledger.store.lease("test", holder="other", note="", seconds=60.0)

    def others_go_on() -> None:
        assert other.acquire()  # and keep it: the worker would lead again at once
        meanwhile(world)

    stopped = Stopped(others_go_on, unreachable=unreachable)
    try:
        with working(world, Meddled(world.cluster, before=stopped.before), threads=1) as stopped.member:
            world.ask(image())
            world.ask_secrets(S="old")
            world.ask(Restart())
            settled(world)
            stopped.after_these(set(world.objects()))
            world.ask_secrets(S="new")
            world.ask(Restart())
            eventually(lambda: stopped.what)
            eventually(lambda: stopped.member is not None and not stopped.member.leads)
    finally:
        other.release()
    assert stopped.what is not None
    return stopped.what


@pytest.mark.parametrize("meanwhile", [newer_secrets, an_end])
def test_a_copy_that_nobody_asks_for_any_more_is_deleted(world: World, meanwhile: Callable[[World], None]) -> None:
    late = wrote_late(world, meanwhile)
    eventually(lambda: late not in world.objects())
    world.assert_equal()


def test_a_copy_that_is_asked_for_stays(world: World) -> None:
    late = wrote_late(world, nothing)
    assert late in world.objects()
    world.assert_equal()


def test_a_copy_that_could_not_be_deleted_is_named(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="onectl.worker"):
        late = wrote_late(world, newer_secrets, unreachable=True)
    (line,) = [vars(each) for each in caplog.records if each.message == "left behind"]
    assert (line["secrets"], line["detail"]) == (late.name, "it is away")
    assert late in world.objects()
