"""Every check of the invariants finds nothing in a world that is sound, and the defect that is planted in one that is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from effects.cluster import (
    DIGEST_ANNOTATION,
    LIFE_LABEL,
    POSITION_ANNOTATION,
    ChangedMeanwhileError,
    ClusterRefusedError,
    Manifest,
    Ref,
    ref_of,
)
from effects.reconcile import ParkedError
from ledger.app import App
from ledger.commands import Destroy, Restart, SetEnv, UnsetSecrets
from ledger.events import Deployed, ObservedEvent
from ledger.store import Row
from tests.effects.worlds import GATEWAY, Meddled, World, eventually, image, kubernetes_world, request, sandbox_world
from tests.faults import invariants
from tests.faults.invariants import Positions, violations

WATCH_SECONDS = 1


@pytest.fixture(params=["sandbox", pytest.param("kubernetes", marks=pytest.mark.kubernetes)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """One whose app was deployed, given secrets and restarted."""
    make = {"sandbox": sandbox_world, "kubernetes": kubernetes_world}[request.param]
    with make(tmp_path, watch_seconds=WATCH_SECONDS) as made:
        made.ask(image(env={"GREETING": "hello"}))
        made.ask_secrets(TOKEN="first")
        made.do(Restart())
        yield made


def found(world: World) -> list[str]:
    """What is wrong, as soon as the cluster's own controllers are done."""
    return violations(world.ledger, world.cluster, gateway=GATEWAY)


def rewrite(world: World, ref: Ref, change: Callable[[dict[str, Any]], None]) -> None:
    """Change an object by hand."""
    live = world.cluster.read(ref)
    seen = world.cluster.look(ref, ledger_id=world.ledger.ledger_id() or "")
    assert live is not None
    kept = {
        key: value for key, value in live["metadata"].items() if key in ("name", "namespace", "labels", "annotations")
    }
    wanted: dict[str, Any] = {**live, "metadata": {**kept, "annotations": dict(kept["annotations"])}}
    wanted.pop("status", None)
    change(wanted)
    world.cluster.apply(wanted, manager="by-hand", expect=seen, force=True)


def test_a_sound_world_has_no_violations(world: World) -> None:
    assert found(world) == []
    world.do(SetEnv(values={"GREETING": "bye"}), Restart())
    assert world.settle().verdict == "completed"
    world.reconcile()
    assert found(world) == []
    world.do(Destroy())
    assert eventually(lambda: found(world) == [])


def test_an_object_that_is_missing_is_found(world: World) -> None:
    world.cluster.delete(world.named("Service"), uid=None)
    assert eventually(lambda: any("service" in each and "missing" in each for each in found(world)))


def test_an_object_that_was_made_anew_is_found(world: World) -> None:
    ref = world.named("Service")
    live = world.cluster.read(ref)
    assert live is not None
    world.cluster.delete(ref, uid=None)
    eventually(lambda: world.cluster.read(ref) is None)
    kept = {key: live["metadata"][key] for key in ("name", "namespace", "labels", "annotations")}
    spec = {key: live["spec"][key] for key in ("ports", "selector")}
    again: Manifest = {"apiVersion": "v1", "kind": "Service", "metadata": kept, "spec": spec}
    world.cluster.apply(again, manager="by-hand", expect=None)
    assert any("not the object that was recorded" in each for each in found(world))


@pytest.mark.parametrize(
    ("where", "what"),
    [
        (("annotations", DIGEST_ANNOTATION), "has the digest"),
        (("labels", LIFE_LABEL), "is of the life"),
    ],
)
def test_an_object_of_another_life_or_digest_is_found(world: World, where: tuple[str, str], what: str) -> None:
    def change(wanted: dict[str, Any]) -> None:
        wanted["metadata"][where[0]][where[1]] = "0123456789abcdef"

    rewrite(world, world.named("Service"), change)
    assert any(what in each for each in found(world))


def test_a_field_that_was_edited_is_found(world: World) -> None:
    def change(wanted: dict[str, Any]) -> None:
        wanted["data"] = {**wanted["data"], "greeting": "edited"}

    rewrite(world, world.named("ConfigMap", "-environments"), change)
    assert any("'edited' in data.greeting" in each for each in found(world))


def test_what_was_asked_for_and_not_applied_is_found(world: World) -> None:
    world.ask(SetEnv(values={"GREETING": "bye"}))
    assert any("nothing is recorded as applied" in each for each in found(world))
    world.reconcile()
    world.ask(Destroy())
    assert any("not recorded as removed" in each for each in found(world))


def test_an_app_that_is_parked_is_found(world: World) -> None:
    def refuse(method: str, _: Ref) -> None:
        if method == "apply":
            raise ClusterRefusedError("no", status=403, reason="Forbidden")

    world.ask(Restart())
    with pytest.raises(ParkedError):
        world.reconcile(Meddled(world.cluster, before=refuse))
    assert any("parked: no" in each for each in found(world))


def test_a_fact_that_is_recorded_again_is_found(world: World) -> None:
    last = world.applied()[-1]

    def again(_: App) -> tuple[str, ObservedEvent, int]:
        return world.life.deployment_id, last, last.through

    world.ledger.observe(world.app_id, request(), again)
    assert any("ResourcesApplied" in each and "says it again" in each for each in found(world))


class Forgetful(Meddled):
    """A cluster that acknowledges deletions of a kind and does not do them."""

    def __init__(self, world: World, kind: str) -> None:
        super().__init__(world.cluster)
        self._kind = kind

    def delete(self, ref: Ref, *, uid: str | None) -> None:
        if ref.kind != self._kind:
            super().delete(ref, uid=uid)


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
def test_what_is_left_over_is_found_by_label_or_name(world: World, kind: str) -> None:
    assert world.settle().verdict == "completed"
    world.ask(UnsetSecrets(keys=("TOKEN",)))
    world.ask(SetEnv(values={"GREETING": "bye"}))
    world.do(Restart())
    assert world.settle().verdict == "completed"
    world.reconcile(Forgetful(world, kind))
    assert any(f"{kind.lower()}/" in each and "left over" in each for each in found(world))


def test_pods_that_were_rolled_without_being_asked_for_are_found(world: World) -> None:
    def change(wanted: dict[str, Any]) -> None:
        wanted["spec"]["template"]["spec"]["containers"][0]["image"] += ".1"

    ref = world.named("Deployment")
    eventually(lambda: _revision(world, ref) == "1")  # else the first edit may become part of it
    for revision in ("2", "3"):
        eventually(lambda: _tried(lambda: rewrite(world, ref, change)))
        eventually(lambda: _revision(world, ref) == revision)  # noqa: B023 - two edits at once may be one roll
    assert any("rolled 3 times, but 2 rolls" in each for each in found(world))
    assert invariants.rolled_too_often(world.ledger, world.cluster, by_others=1) == []


def _revision(world: World, ref: Ref) -> str | None:
    live = world.cluster.read(ref)
    assert live is not None
    found: str | None = live["metadata"]["annotations"].get(invariants.REVISION_ANNOTATION)
    return found


def _tried(do: Callable[[], None]) -> bool:
    try:
        do()
    except ChangedMeanwhileError:
        return False
    return True


def test_a_position_that_goes_back_is_found_also_where_it_was_put_right_since(world: World) -> None:
    positions = Positions(world.cluster, world.namespace, ledger_id=world.ledger.ledger_id() or "")
    world.do(SetEnv(values={"GREETING": "bye"}))
    assert positions.observe() == []

    def back(wanted: dict[str, Any]) -> None:
        wanted["metadata"]["annotations"][POSITION_ANNOTATION] = "0.1"

    ref = world.named("ConfigMap", "-environments")
    rewrite(world, ref, back)
    if world.cluster.kind == "kubernetes":
        rewrite(world, ref, lambda wanted: wanted["metadata"]["annotations"].update({POSITION_ANNOTATION: "0.99"}))
    (violation,) = positions.observe()
    assert f"{ref} went back" in violation
    assert "to 0.1" in violation


def test_a_position_that_a_new_object_does_not_reach_is_found(world: World) -> None:
    positions = Positions(world.cluster, world.namespace, ledger_id=world.ledger.ledger_id() or "")
    ref = world.named("Service")
    live = world.cluster.read(ref)
    assert live is not None
    world.cluster.delete(ref, uid=None)
    eventually(lambda: world.cluster.read(ref) is None)
    kept = {key: live["metadata"][key] for key in ("name", "namespace", "labels")}
    spec = {key: live["spec"][key] for key in ("ports", "selector")}
    stale: Manifest = {"apiVersion": "v1", "kind": "Service", "metadata": kept, "spec": spec}
    world.cluster.apply(stale, manager="by-hand", expect=None)
    assert any(f"{ref_of(stale)} went back" in each for each in positions.observe())


# Of the ledger alone


class Lying:
    """A ledger's store that shows other lines than it has."""

    def __init__(self, world: World, change: Callable[[Row], Row]) -> None:
        self._store = world.ledger.store
        self._change = change

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in {"positions", "two_streams", "stream"}:
            return found
        return lambda *args, **kwargs: [self._change(row) for row in found(*args, **kwargs)]


def test_a_line_that_was_changed_is_found(world: World) -> None:
    world.ledger.store = Lying(world, lambda row: row._replace(recorded_us=row.recorded_us + (row.position == 3)))
    assert any("damaged at position 3" in each for each in invariants.damaged(world.ledger))


def test_a_release_with_a_wrong_number_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    history = world.ledger.history(world.app_id)
    lines = [
        replace(line, event=replace(line.event, release=2)) if isinstance(line.event, Deployed) else line
        for line in history
    ]
    monkeypatch.setattr(world.ledger, "history", lambda *_, **__: lines)
    assert invariants.misnumbered(world.ledger) == [f"{world.app_id.name}: release 2 is number 1 of its life"]
