"""A value that is redacted while pods read it is never rolled out as what stands in its place."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from effects.cluster import Ref
from effects.healing import Healer, key_of
from effects.redacted import RedactedError
from effects.replay import Replay
from ledger.commands import Command, Deploy, Restart, Rollback, SetEnv, UnsetEnv
from ledger.errors import RefusedError
from ledger.events import EnvSet, FieldDrift
from ledger.spec import BLANK
from tests.effects.worlds import GATEWAY, Meddled, World, eventually, image, request, writes
from tests.worker.crews import Member, settled, working

LEAKED = "swordfish-77c1"


def redact(world: World, value: str = LEAKED) -> None:
    """Blank the value wherever it was set."""
    for line in world.ledger.history(world.app_id):
        if isinstance(line.event, EnvSet) and line.event.values.get("NOTE") == value:
            world.ledger.redact(line.position, "values.NOTE", request())


def resynced(member: Member) -> None:
    """Everything was listed and looked at once more."""
    term = member.worker.term
    assert term is not None
    count = sum(member.tally.outcomes.values())
    term.resync()
    eventually(lambda: sum(member.tally.outcomes.values()) > count and len(term.queue) == 0)


def notes(world: World) -> Sequence[str]:
    """What pods of any roll would read, and what is set."""
    maps = (each for each in world.objects().values() if each["kind"] == "ConfigMap")
    return sorted(value for each in maps for value in each.get("data", {}).values())


def parked(world: World) -> str | None:
    return world.life.parked.reason if world.life.parked else None


def test_pods_keep_what_they_read_until_it_is_set_anew_and_they_are_replaced(world: World) -> None:
    with working(world, watched := Meddled(world.cluster)) as member:
        world.ask(image(env={"NOTE": LEAKED}))
        settled(world)
        before, done = world.versions(), len(writes(watched.calls))
        redact(world)
        resynced(member)
        eventually(lambda: parked(world) == "Redacted")
        assert (world.versions(), len(writes(watched.calls))) == (before, done)
        assert notes(world) == [LEAKED, LEAKED]
        world.ask(SetEnv(values={"NOTE": "harmless"}))
        eventually(lambda: parked(world) == "Redacted")
        assert world.versions() == before
        world.ask(Restart())
        settled(world)
        eventually(lambda: notes(world) == ["harmless", "harmless"])
        settled(world)
    assert parked(world) is None


def test_the_reason_says_which_value_and_what_to_do(world: World) -> None:
    world.do(image(env={"NOTE": LEAKED}))
    redact(world)
    with pytest.raises(Exception, match="NOTE was redacted in the ledger while pods") as refused:
        world.reconcile()
    assert refused.value.hint == (  # type: ignore[attr-defined]
        "Set it again: 1ctl env create --env NOTE=VALUE\n"
        "Replace the pods by ones that read what is set now: 1ctl deploy restart"
    )
    assert LEAKED not in str(refused.value)


def test_drift_that_was_found_before_a_redaction_does_not_bring_the_text_back(world: World) -> None:
    world.do(image(env={"NOTE": LEAKED}))
    compared, config_map = world.life, Ref("ConfigMap", world.app_id.namespace, f"{world.app_id.name}-environments")
    redact(world)
    healer = Healer(ledger=world.ledger, request=request(), heals=False, now_us=lambda: 0)
    drift = [FieldDrift(field="data.note", wanted=f'"{LEAKED}"', found='"0"', manager="kubectl")]
    healer.found(world.app_id, compared, config_map, drift)
    assert not world.life.drift
    assert not any(LEAKED.encode() in row.state for row in world.ledger.store.positions(1, limit=1000))
    healer.found(world.app_id, world.life, config_map, drift)  # what is compared from now on is recorded as before
    assert list(world.life.drift) == [key_of(config_map)]


def test_a_value_that_no_pod_reads_yet_is_taken_out_of_the_cluster(world: World) -> None:
    world.do(image())
    world.do(SetEnv(values={"NOTE": LEAKED}))
    redact(world)
    world.reconcile()
    assert (parked(world), notes(world)) == (None, [BLANK])


def test_pods_that_still_serve_can_read_what_they_read_while_newer_ones_do_not_start(world: World) -> None:
    world.do(image(env={"NOTE": LEAKED}))
    world.settle()
    redact(world)
    world.ask(SetEnv(values={"NOTE": "harmless"}))
    world.do(image("broken:1"))
    assert world.settle().verdict == "failed"
    world.reconcile()
    assert notes(world) == ["harmless", "harmless", LEAKED]
    world.do(image("nginx:2"))
    assert world.settle().verdict == "completed"
    world.reconcile()
    assert notes(world) == ["harmless", "harmless"]


@pytest.mark.parametrize(
    "command", [Restart(), image("nginx:2"), Rollback(version=1), Rollback(version=1, only="code")]
)
def test_no_pods_are_asked_for_that_would_read_it(world: World, command: Command) -> None:
    world.do(image(env={"NOTE": LEAKED}), image("nginx:3"))
    redact(world)
    with pytest.raises(RefusedError, match="redacted"):
        world.ask(command)
    world.ask(UnsetEnv(keys=("NOTE",)))
    if not isinstance(command, Rollback):
        world.do(command)
        assert parked(world) is None


def test_a_release_that_sets_it_anew_is_accepted(world: World) -> None:
    world.do(image(env={"NOTE": LEAKED}))
    redact(world)
    world.do(Deploy(image="nginx:2", env={"NOTE": "harmless"}))
    world.settle()
    world.reconcile()
    assert notes(world) == ["harmless", "harmless"]


def test_what_stands_for_a_redacted_value_cannot_be_set(world: World) -> None:
    world.do(image())
    with pytest.raises(RefusedError, match="stands for a value that was redacted"):
        world.ask(SetEnv(values={"NOTE": BLANK}))


def test_another_cluster_is_not_filled_with_it(world: World) -> None:
    world.do(image(env={"NOTE": LEAKED}))
    redact(world)
    replay = Replay(ledger=world.ledger, cluster=world.cluster, gateway=GATEWAY)
    before = world.versions()
    with pytest.raises(RedactedError):
        replay.replay(world.app_id)
    assert world.versions() == before
