"""A process is stopped before a write, others go on, it is continued, and dies when its write has arrived.

Whatever it wrote is put right by who looks next, but for a copy: an immutable object that no pod reads, under a name that
nobody looks for. It goes with the life, whose first object owns it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pytest

from effects.cluster import Ref
from effects.desired import Surroundings, desired
from ledger.commands import Destroy, Restart, SetEnv
from ledger.spec import AppId
from tests.effects.worlds import GATEWAY, Killed, Meddled, World, eventually, image
from tests.worker.crews import working


class Stopped:
    """Before its n-th apply a process stands still; it is killed after it.

    Attributes:
        what: What it wrote late, or None if it had no n-th apply.
    """

    def __init__(self, n: int, meanwhile: Callable[[], object]) -> None:
        self.what: Ref | None = None
        self._left = n
        self._meanwhile = meanwhile

    def before(self, method: str, ref: Ref) -> None:
        if method == "apply" and self.what is None:
            self._left -= 1
            if self._left == 0:
                self.what = ref
                self._meanwhile()

    def after(self, method: str, _: Ref) -> None:
        if method == "apply" and self.what is not None:
            raise Killed


def newer_pods(world: World) -> None:
    world.ask(SetEnv(values={"A": "new"}))
    world.ask_secrets(S="new")
    world.do(Restart())
    world.settle()
    world.reconcile()


def taken_back(world: World) -> None:
    world.ask_secrets(S="old")
    world.do(SetEnv(values={"A": "old"}))


def an_end(world: World) -> None:
    world.do(Destroy())


def a_new_life(world: World) -> None:
    world.do(Destroy(), image(env={"A": "other"}))


def wrote_late(world: World, n: int, meanwhile: Callable[[World], None]) -> bool:
    """Another app, to which that happened at the n-th apply of a change; False if there is none."""
    world.another_app()
    world.ask(image(env={"A": "old"}))
    world.ask_secrets(S="old")
    world.do(Restart())
    world.settle()
    world.reconcile()
    world.ask(SetEnv(values={"A": "stale"}))
    world.ask_secrets(S="stale")
    world.ask(Restart())
    stopped = Stopped(n, lambda: meanwhile(world))
    with suppress(Killed):
        world.reconcile(Meddled(world.cluster, before=stopped.before, after=stopped.after))
    return stopped.what is not None


def surplus(world: World) -> Mapping[Ref, Mapping[str, Any]]:
    """What of the app is there and not asked for."""
    app = world.app
    around = Surroundings(ledger_id=world.ledger.ledger_id() or "", gateway=GATEWAY)
    wanted = {entry.ref for entry in desired(app, app.life, around)} if app.life is not None else set()
    return {ref: each for ref, each in world.objects().items() if ref not in wanted}


def put_right(world: World, kinds: set[str]) -> bool:
    """Whether all is as asked for, but for copies of these kinds; they are removed by the test."""
    left = surplus(world)
    if not all(ref.kind in kinds and each.get("immutable") for ref, each in left.items()):
        return False
    if left and world.app.life is None:
        return False  # with a life all of it goes
    for ref in left:
        world.cluster.delete(ref, uid=None)
    return not world.difference()


MEANWHILE = pytest.mark.parametrize("meanwhile", [newer_pods, taken_back, an_end, a_new_life])


@MEANWHILE
def test_the_next_command_puts_right_what_arrived_late(world: World, meanwhile: Callable[[World], None]) -> None:
    n = 0
    while wrote_late(world, n := n + 1, meanwhile):
        world.reconcile()
        eventually(lambda: put_right(world, {"ConfigMap", "Secret"}))
    assert n > 3


@MEANWHILE
def test_a_worker_puts_right_what_arrived_late(world: World, meanwhile: Callable[[World], None]) -> None:
    apps: list[AppId] = []
    while wrote_late(world, len(apps) + 1, meanwhile):
        apps.append(world.app_id)
    assert len(apps) > 2
    with working(world, resync_seconds=1.0):
        for world.app_id in apps:
            eventually(lambda: put_right(world, {"Secret"}))


def test_a_copy_that_arrived_late_goes_with_the_life(world: World) -> None:
    left = 0
    for n in range(1, 5):
        assert wrote_late(world, n, newer_pods)
        world.reconcile()
        left += len(surplus(world))
        world.do(Destroy())
        eventually(lambda: not world.objects())
    assert left == 2, "of the environment and of the secrets"
