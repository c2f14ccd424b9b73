"""A worker makes true whatever is recorded, watches it, and mends what others do to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from effects.cluster import (
    APP_LABEL,
    DIGEST_ANNOTATION,
    LEDGER_LABEL,
    LIFE_LABEL,
    POSITION_ANNOTATION,
    Manifest,
    Ref,
    Seen,
)
from effects.healing import HEALS
from effects.inventory import Inventory
from effects.managers import manager_of
from ledger.codec import encode
from ledger.commands import AdoptObject, Destroy, RetryApply, SetEnv
from ledger.errors import LedgerDamagedError, UnreadableEventError
from ledger.events import (
    DriftDetected,
    DriftHealed,
    Event,
    LedgerMoved,
    ResourcesApplied,
    RolloutCompleted,
    RolloutFailed,
)
from ledger.spec import AppId
from ledger.store import NewRow
from ledger.streams import LEDGER_STREAM
from tests.effects.worlds import Meddled, World, eventually, image, request
from tests.ledger.examples import ENVELOPE
from tests.worker.crews import Member, edit, settled, working


def facts(world: World, *kinds: type[Event]) -> list[Event]:
    """What was recorded of these kinds, oldest first."""
    return [line.event for line in world.ledger.history(world.app_id) if isinstance(line.event, kinds)]


def writes(meddled: Meddled) -> list[tuple[str, str]]:
    return [(method, ref.kind) for method, ref in meddled.calls if method in ("apply", "replace parts", "delete")]


# -- What is asked for ---------------------------------------------------------------------------------------------


def test_what_is_recorded_becomes_true_and_what_became_of_it_is_recorded(world: World) -> None:
    with working(world):
        world.ask(image())
        settled(world)
        assert len(facts(world, RolloutCompleted)) == 1
        world.ask(SetEnv(values={"A": "1"}))
        settled(world)
        world.ask(Destroy())
        eventually(lambda: not world.app.dirty)
        world.assert_equal()
    assert world.objects() == {}


def test_what_was_recorded_before_it_came_is_made_true(world: World) -> None:
    world.ask(image())
    with working(world):
        settled(world)


def test_many_apps_are_worked_on(world: World) -> None:
    apps = [AppId("test", world.namespace, f"shop-{number}") for number in range(12)]
    with working(world):
        for app_id in apps:
            world.ledger.execute(app_id, image(), request())
        for world.app_id in apps:
            settled(world)


def trouble_with(world: World, topic: str, state: bytes) -> str:
    """What a worker calls the trouble with an app that got such a line; another app is still worked on."""
    other = AppId("test", world.namespace, "other")
    world.ask(image())
    with working(world, resync_seconds=0.5) as member:
        settled(world)
        stream = world.app.observed if topic == "ResourcesApplied" else world.app.stream
        version = world.ledger.store.stream_version(stream.bytes) + 1
        world.ledger.store.append([NewRow(stream.bytes, version, topic, state)], clock_us=1)
        world.ledger.execute(other, image(), request())
        eventually(lambda: member.ended or not world.ledger.app(other).dirty)
        assert member.ended == []
        term = member.worker.term
        assert term is not None
        trouble = eventually(term.troubles.worst)
    assert trouble.app == f"{world.namespace}/{world.app_id.name}"
    return str(trouble.reason)


ORDER = encode(LedgerMoved(target="elsewhere"), ENVELOPE)


@pytest.mark.parametrize("state", [b"null", b"\xff\x00", b"{}"])
@pytest.mark.parametrize("topic", ["EnvSet", "ResourcesApplied"])
def test_an_app_that_somebody_made_unreadable_keeps_no_other_from_being_worked_on(
    world: World, topic: str, state: bytes
) -> None:
    assert trouble_with(world, topic, state) == "UnreadableEventError"


def test_an_app_with_an_event_that_only_newer_workers_know_is_said_to_fail_and_others_go_on(world: World) -> None:
    assert trouble_with(world, "Teleported", ORDER) == "UnknownEventError"


def test_an_order_in_an_apps_stream_is_none_and_keeps_only_that_app_from_being_read(world: World) -> None:
    assert trouble_with(world, "LedgerMoved", ORDER) == "UnreadableEventError"
    with pytest.raises(UnreadableEventError):
        world.ask(image("nginx:2"))


def test_an_order_that_cannot_be_read_ends_the_worker(world: World) -> None:
    with working(world) as member:
        version = world.ledger.store.stream_version(LEDGER_STREAM.bytes) + 1
        world.ledger.store.append([NewRow(LEDGER_STREAM.bytes, version, "LedgerMoved", b"null")], clock_us=1)
        eventually(lambda: member.ended)
    assert isinstance(member.ended[0], LedgerDamagedError)


def test_pods_that_fail_are_recorded_with_their_reason(world: World) -> None:
    with working(world):
        world.ask(image("broken:1"))
        eventually(lambda: facts(world, RolloutFailed))
    (failed,) = facts(world, RolloutFailed)
    assert isinstance(failed, RolloutFailed)
    assert failed.reason == "ImagePullBackOff"


def is_at_rest(world: World, member: Member) -> bool:
    """Whether controllers have said the last about the pods, which may be after they run, and the worker has heard it."""
    term, live = member.worker.term, world.objects()[world.named("Deployment")]
    if term is None:
        return False
    counts, known = live.get("status", {}), term._inventory.get(world.named("Deployment"))
    said_all = world.cluster.kind == "sandbox" or counts.get("readyReplicas") == counts.get("availableReplicas") == 1
    heard = known is not None and known.resource_version == live["metadata"]["resourceVersion"]
    return said_all and heard and len(term.queue) == 0


def test_a_change_of_image_is_one_request_and_nothing_changed_is_none(world: World) -> None:
    watched = Meddled(world.cluster)
    with working(world, watched) as member:
        world.ask(image())
        settled(world)
        eventually(lambda: is_at_rest(world, member))
        before = len(watched.calls)
        world.ask(image("nginx:2"))
        settled(world)
        asked = [call for call in watched.calls[before:] if call[0] != "rollout"]
        assert asked == [("apply", world.named("Deployment"))]
        eventually(lambda: member.worker.term is not None and len(member.worker.term.queue) == 0)
        before = len(watched.calls)
        world.ask(AdoptObject(kind="Service", name="elsewhere", uid="u-1"))
        settled(world)
        assert watched.calls[before:] == []


def test_what_only_earlier_pods_read_goes_once_newer_ones_run(world: World) -> None:
    with working(world):
        world.ask(image(env={"A": "1"}, replicas=0))
        settled(world)
        world.ask(image(env={"A": "2"}, replicas=0))
        eventually(lambda: not world.app.dirty and world.life.rollout == "completed")
        eventually(lambda: len(world.copies("ConfigMap")) == 1)
        settled(world)


def test_what_is_left_of_a_life_before_the_last_one_goes_with_it(world: World) -> None:
    world.do(image())
    for command in (Destroy(), image(), Destroy()):
        world.ask(command)
    with working(world):
        eventually(lambda: not world.app.dirty)
        eventually(lambda: not world.objects())


def test_a_worker_that_comes_back_to_a_cluster_in_order_writes_nothing(world: World) -> None:
    with working(world):
        world.ask(image(env={"A": "1"}))
        settled(world)
    recorded = len(facts(world, ResourcesApplied))
    watched = Meddled(world.cluster)
    with working(world, watched) as member:
        eventually(lambda: member.tally.outcomes.get("done"))
    assert writes(watched) == []
    assert [call for call in watched.calls if call[0] == "read"] == []
    assert len(facts(world, ResourcesApplied)) == recorded


# -- Drift ---------------------------------------------------------------------------------------------------------


def test_a_field_edited_by_hand_is_recorded_with_its_manager_and_set_back(world: World) -> None:
    with working(world):
        world.ask(image())
        settled(world)
        edit(world, world.named("Deployment"), {"spec": {"replicas": 3}})
        eventually(lambda: facts(world, DriftHealed))
        settled(world)
    found = facts(world, DriftDetected)
    assert len(found) == 1
    assert isinstance(found[0], DriftDetected)
    (drift,) = found[0].fields
    assert (drift.field, drift.wanted, drift.found) == ("spec.replicas", "1", "3")
    assert drift.manager is not None
    assert "kubectl-edit" in drift.manager
    assert world.life.drift == {}


def test_an_object_deleted_by_hand_is_made_anew(world: World) -> None:
    with working(world):
        world.ask(image())
        settled(world)
        world.cluster.delete(world.named("Service"), uid=None)
        eventually(lambda: facts(world, DriftHealed))
        settled(world)
    (healed,) = facts(world, DriftHealed)
    assert healed == DriftHealed(kind="Service", name=world.app_id.name, fields=("",))


def test_environment_edited_by_hand_is_set_back(world: World) -> None:
    with working(world):
        world.ask(image(env={"A": "1"}))
        settled(world)
        edit(world, world.named("ConfigMap", "-environments"), {"data": {"a": "2", "password": "hunter2-hunter2"}})
        eventually(lambda: facts(world, DriftHealed))
        settled(world)
    recorded = str([line.event for line in world.ledger.history(world.app_id)])
    assert "hunter2" not in recorded


def test_a_key_that_we_applied_and_that_is_not_asked_for_is_drift_and_removed(world: World) -> None:
    with working(world):
        world.ask(image(env={"A": "1"}))
        settled(world)
        ref, ledger_id = world.named("ConfigMap", "-environments"), world.ledger.ledger_id() or ""
        seen = world.cluster.look(ref, ledger_id=ledger_id)
        now = world.objects()[ref]
        kept = {name: now["metadata"][name] for name in ("name", "namespace", "labels", "annotations")}
        data = {**now["data"], "lost": "2"}
        late = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": kept, "data": data}
        world.cluster.apply(late, manager=manager_of(ledger_id), expect=seen)
        eventually(lambda: facts(world, DriftHealed))
        settled(world)
        assert dict(world.objects()[ref]["data"]) == dict(now["data"])
    (found,) = facts(world, DriftDetected)
    assert isinstance(found, DriftDetected)
    assert [each.field for each in found.fields] == ["data.lost"]


def add_variable(world: World, name: str) -> None:
    """Somebody adds a variable to the app's container."""
    (container,) = world.objects()[world.named("Deployment")]["spec"]["template"]["spec"]["containers"]
    more = {**container, "env": [*container.get("env", ()), {"name": name, "value": "hunter2"}]}
    edit(world, world.named("Deployment"), {"spec": {"template": {"spec": {"containers": [more]}}}}, "kubectl-set")


def variables(world: World) -> set[str]:
    (container,) = world.objects()[world.named("Deployment")]["spec"]["template"]["spec"]["containers"]
    return {each["name"] for each in container.get("env", ())}


@pytest.mark.parametrize("env", [{"A": "1"}, {}])
def test_a_variable_that_somebody_added_is_recorded_and_removed(world: World, env: dict[str, str]) -> None:
    with working(world):
        world.ask(image(env=env))
        settled(world)
        add_variable(world, "EXTRA")
        eventually(lambda: facts(world, DriftHealed))
        settled(world)
        assert variables(world) == env.keys()
    field = f"spec.template.spec.containers.{world.app_id.name}.env.EXTRA"
    (found,) = facts(world, DriftDetected)
    assert isinstance(found, DriftDetected)
    assert [(each.field, each.manager) for each in found.fields] == [(field, "kubectl-set (Update)")]
    assert facts(world, DriftHealed) == [DriftHealed(kind="Deployment", name=world.app_id.name, fields=(field,))]
    assert world.life.drift == {}


def test_a_variable_that_somebody_added_is_removed_with_what_else_they_changed(world: World) -> None:
    with working(world):
        world.ask(image(env={"A": "1"}))
        settled(world)
    add_variable(world, "EXTRA")
    edit(world, world.named("Deployment"), {"spec": {"replicas": 3}})
    with working(world):
        eventually(lambda: len(facts(world, DriftHealed)) == 2)
        settled(world)
        assert variables(world) == {"A"}
    assert world.life.drift == {}


def test_a_variable_that_somebody_added_just_before_a_deploy_is_found(world: World) -> None:
    with working(world):
        world.ask(image())
        settled(world)
    add_variable(world, "EXTRA")
    world.ask(image("nginx:2"))
    with working(world):
        eventually(lambda: facts(world, DriftHealed))
        settled(world)
        assert variables(world) == set()


def test_what_is_not_as_asked_for_after_it_was_set_back_is_not_recorded_as_set_back(world: World) -> None:
    tried: list[Ref] = []

    class Stubborn(Meddled):
        """Something in the cluster ignores what is asked of the Deployment's replicas, as a webhook can."""

        def apply(self, manifest: Manifest, *, manager: str, expect: Seen | None, force: bool = False) -> Seen:
            if manifest["kind"] != "Deployment" or not force:
                return super().apply(manifest, manager=manager, expect=expect, force=force)
            ignored = {**manifest, "spec": {**manifest["spec"], "replicas": 3}}
            left = super().apply(ignored, manager=manager, expect=expect, force=True)
            tried.append(world.named("Deployment"))  # not where a controller wrote first
            return left

    with working(world, Stubborn(world.cluster), resync_seconds=0.5) as member:
        world.ask(image())
        settled(world)
        edit(world, world.named("Deployment"), {"spec": {"replicas": 3}})
        eventually(lambda: tried)
        eventually(lambda: not world.app.dirty)
        done = member.tally.outcomes["done"]
        eventually(lambda: member.tally.outcomes["done"] > done + 3)
        assert world.life.drift.keys() == {f"Deployment/{world.app_id.name}"}
        assert facts(world, DriftHealed) == []
        assert len(facts(world, DriftDetected)) <= 2
        assert len(tried) <= 2


OWNER: Any = {"metadata": {"ownerReferences": None}}
POSITION: Any = {"metadata": {"annotations": {POSITION_ANNOTATION: None}}}
DIGEST: Any = {"metadata": {"annotations": {DIGEST_ANNOTATION: None}}}


@pytest.mark.parametrize(
    ("kind", "suffix", "patch", "field"),
    [
        ("Deployment", "", OWNER, "metadata.ownerReferences"),
        ("HTTPRoute", "", OWNER, "metadata.ownerReferences"),
        ("Service", "", OWNER, "metadata.ownerReferences"),
        ("Secret", "-secrets", OWNER, "metadata.ownerReferences"),
        ("ConfigMap", "-environments", POSITION, f"metadata.annotations.{POSITION_ANNOTATION}"),
        ("HTTPRoute", "", POSITION, f"metadata.annotations.{POSITION_ANNOTATION}"),
        ("HTTPRoute", "", DIGEST, f"metadata.annotations.{DIGEST_ANNOTATION}"),
        ("Secret", "-secrets", DIGEST, f"metadata.annotations.{DIGEST_ANNOTATION}"),
        ("Service", "", {"metadata": {"labels": {APP_LABEL: "mine"}}}, f"metadata.labels.{APP_LABEL}"),
    ],
)
def test_a_mark_taken_off_by_hand_is_recorded_and_put_on_again(
    world: World, kind: str, suffix: str, patch: Any, field: str
) -> None:
    with working(world, resync_seconds=0.5):  # nobody tells us of Secrets
        world.ask(image(env={"A": "1"}))
        world.ask_secrets(S="x")
        settled(world)
        rolled = world.life.roll
        edit(world, world.named(kind, suffix), patch)
        eventually(lambda: facts(world, DriftHealed))
        settled(world)
    (found,) = facts(world, DriftDetected)
    (healed,) = facts(world, DriftHealed)
    assert isinstance(found, DriftDetected)
    assert isinstance(healed, DriftHealed)
    assert (found.kind, [each.field for each in found.fields], healed.fields) == (kind, [field], (field,))
    metadata = world.objects()[world.named(kind, suffix)]["metadata"]
    assert {POSITION_ANNOTATION, DIGEST_ANNOTATION} <= metadata["annotations"].keys()
    assert len(facts(world, RolloutCompleted)) == 1, "pods were replaced"
    assert world.life.roll == rolled


@pytest.mark.parametrize(("kind", "suffix"), [("Service", ""), ("Secret", "-secrets")])
def test_a_mark_taken_off_by_hand_is_only_reported_where_that_is_asked_for(
    world: World, kind: str, suffix: str
) -> None:
    with working(world, heals=False, resync_seconds=0.5) as member:
        world.ask(image())
        world.ask_secrets(S="x")
        settled(world)
        edit(world, world.named(kind, suffix), OWNER)
        eventually(lambda: facts(world, DriftDetected))
        done = member.tally.outcomes["done"]
        eventually(lambda: member.tally.outcomes["done"] > done + 3)
    assert len(facts(world, DriftDetected)) == 1
    assert "ownerReferences" not in world.objects()[world.named(kind, suffix)]["metadata"]


@pytest.mark.parametrize("heals", [True, False])
def test_a_key_of_a_secret_that_somebody_removed_is_recorded_and_put_back_only_where_that_is_asked_for(
    world: World, *, heals: bool
) -> None:
    ref = world.named("Secret", "-secrets")
    with working(world, heals=heals, resync_seconds=0.5) as member:  # nobody tells us of Secrets
        world.ask(image())
        world.ask_secrets(A="x", B="y")
        settled(world)
        edit(world, ref, {"data": {"a": None}})
        eventually(lambda: facts(world, DriftDetected))
        if heals:
            eventually(lambda: facts(world, DriftHealed))
            settled(world)
        done = member.tally.outcomes["done"]
        eventually(lambda: member.tally.outcomes["done"] > done + 3)
        assert world.secret_data(ref).keys() == ({"a", "b"} if heals else {"b"})
        (found,) = facts(world, DriftDetected)
        assert isinstance(found, DriftDetected)
        assert [(each.field, each.wanted, each.found) for each in found.fields] == [("data.a", '"present"', None)]
        healed = DriftHealed(kind="Secret", name=ref.name, fields=("data.a",))
        assert facts(world, DriftHealed) == ([healed] if heals else [])
        edit(world, ref, {"data": {"a": "eA=="}})  # as it was
        eventually(lambda: not world.life.drift)


def test_what_was_edited_while_no_worker_ran_is_found_when_one_comes(world: World) -> None:
    with working(world):
        world.ask(image())
        settled(world)
    edit(world, world.named("Service"), {"spec": {"selector": {"app": "other"}}})
    with working(world):
        eventually(lambda: facts(world, DriftHealed))
        settled(world)


def test_drift_is_only_reported_where_that_is_asked_for(world: World) -> None:
    with working(world, heals=False):
        world.ask(image())
        settled(world)
        edit(world, world.named("Deployment"), {"spec": {"replicas": 2}})
        eventually(lambda: facts(world, DriftDetected))
        world.cluster.delete(world.named("Service"), uid=None)
        eventually(lambda: len(facts(world, DriftDetected)) == 2)
        assert set(world.life.drift) == {f"Deployment/{world.app_id.name}", f"Service/{world.app_id.name}"}
        assert facts(world, DriftHealed) == []


@pytest.mark.parametrize(
    ("kind", "there", "back"),
    [
        ("Service", {"metadata": {"labels": {APP_LABEL: "mine"}}}, {"metadata": {"labels": {APP_LABEL: "shop"}}}),
        ("Deployment", {"metadata": {"labels": {APP_LABEL: "mine"}}}, {"metadata": {"labels": {APP_LABEL: "shop"}}}),
        ("Deployment", {"spec": {"replicas": 2}}, {"spec": {"replicas": 1}}),
    ],
)
def test_drift_that_somebody_undid_is_not_drift_any_more(world: World, kind: str, there: Any, back: Any) -> None:
    with working(world, heals=False, resync_seconds=0.5):
        world.ask(image())
        settled(world)
        edit(world, world.named(kind), there)
        eventually(lambda: world.life.drift)
        edit(world, world.named(kind), back)
        eventually(lambda: not world.life.drift)


@pytest.mark.parametrize("kind", ["Deployment", "Service"])
def test_an_object_that_is_made_again_by_a_deploy_is_not_gone_any_more(world: World, kind: str) -> None:
    with working(world, heals=False):
        world.ask(image())
        settled(world)
        world.cluster.delete(world.named(kind), uid=None)
        eventually(lambda: world.life.drift)
        world.ask(replace(image("nginx:2"), port=8082))
        eventually(lambda: not world.life.drift)
        settled(world)


@pytest.mark.parametrize("at_work", [True, False], ids=["at work", "away"])
@pytest.mark.parametrize("kind", ["ConfigMap", "Service"])
def test_what_was_deleted_is_made_again_by_the_next_deploy_also_where_drift_is_only_reported(
    world: World, kind: str, *, at_work: bool
) -> None:
    """Above all the ConfigMap that owns everything else, which goes with it, and would go again."""
    ref = world.named(kind, "-environments" if kind == "ConfigMap" else "")
    with working(world, heals=False):
        world.ask(image())
        settled(world)
        if at_work:
            world.cluster.delete(ref, uid=None)
            eventually(lambda: world.life.drift)
            assert ref not in world.objects()
    if not at_work:
        world.cluster.delete(ref, uid=None)
    with working(world, heals=False):
        eventually(lambda: world.life.drift)
        assert ref not in world.objects()
        world.ask(image("nginx:2"))
        settled(world)
        world.assert_equal()
        eventually(lambda: not world.life.drift)


def test_a_worker_that_comes_back_clears_drift_of_an_object_that_is_as_it_was_left(world: World) -> None:
    with working(world, heals=False):
        world.ask(image())
        settled(world)
        edit(world, world.named("Deployment"), {"metadata": {"labels": {APP_LABEL: "mine"}}})
        eventually(lambda: world.life.drift)
    edit(world, world.named("Deployment"), {"metadata": {"labels": {APP_LABEL: "shop"}}})
    with working(world):
        eventually(lambda: not world.life.drift)
    assert facts(world, DriftHealed) == []


@pytest.mark.parametrize("kind", ["Deployment", "HTTPRoute"])
@pytest.mark.parametrize("at_work", [True, False], ids=["at work", "away"])
@pytest.mark.parametrize("heals", [True, False])
def test_an_object_that_lost_our_label_is_not_ours_and_was_not_deleted(
    world: World, *, heals: bool, at_work: bool, kind: str
) -> None:
    unlabelled: Any = {"metadata": {"labels": {LEDGER_LABEL: None}}}
    with working(world, heals=heals):
        world.ask(image())
        settled(world)
        if at_work:
            edit(world, world.named(kind), unlabelled)
            eventually(lambda: world.life.parked)
    if not at_work:
        edit(world, world.named(kind), unlabelled)
    with working(world, heals=heals, resync_seconds=0.3) as member:
        eventually(lambda: world.life.parked)
        eventually(lambda: member.tally.outcomes.get("parked", 0) > 2)
    assert world.life.parked is not None
    assert world.life.parked.reason == "NotOurs"
    assert facts(world, DriftDetected, DriftHealed) == []


def fight(world: World) -> None:
    """Somebody sets a field again each time it is set back, until it is left alone."""
    for number in range(HEALS + 1):
        edit(world, world.named("Deployment"), {"spec": {"replicas": 5 + number}})
        eventually(lambda: len(facts(world, DriftHealed)) == min(number + 1, HEALS))  # noqa: B023 - called at once
    eventually(lambda: world.life.parked)


def test_a_field_that_is_fought_over_is_left_alone_until_somebody_asks(world: World) -> None:
    with working(world):
        world.ask(image())
        settled(world)
        fight(world)
        parked = world.life.parked
        assert parked is not None
        assert parked.reason == "Contended"
        assert "spec.replicas of deployment/" in parked.message
        assert "kubectl-edit" in parked.message
        assert len(facts(world, DriftHealed)) == HEALS
        world.ask(RetryApply())
        eventually(lambda: len(facts(world, DriftHealed)) == HEALS + 1)
        settled(world)


def test_no_resync_goes_on_with_a_fight(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with working(world, resync_seconds=0.3) as member:
        world.ask(image())
        settled(world)
        fight(world)
        monkeypatch.setattr("effects.healing.WINDOW_SECONDS", 0.0)  # as if it were long ago
        skipped = member.tally.outcomes.get("skipped", 0)
        eventually(lambda: member.tally.outcomes.get("skipped", 0) > skipped + 2)
        assert len(facts(world, DriftHealed)) == HEALS
        world.ask(RetryApply())
        settled(world)


def test_a_resync_tries_again_what_may_have_passed_by_itself(world: World) -> None:
    ref = world.foreign("ConfigMap")
    with working(world, resync_seconds=0.5):
        world.ask(image())
        eventually(lambda: world.life.parked)
        world.cluster.delete(ref, uid=None)
        settled(world)


def test_a_deploy_takes_back_a_field_that_somebody_else_has_set(world: World) -> None:
    world.do(image())
    world.settle()
    edit(
        world,
        world.named("Deployment"),
        {"spec": {"replicas": 4}},
    )
    world.ask(image("nginx:2", replicas=2))
    with working(world):
        settled(world)
    assert facts(world, DriftHealed)


# -- What the cluster refuses --------------------------------------------------------------------------------------


def test_someone_elses_object_parks_the_app_and_adopting_it_goes_on(world: World) -> None:
    ref = world.foreign("ConfigMap")
    with working(world):
        world.ask(image())
        eventually(lambda: world.life.parked)
        parked = world.life.parked
        assert parked is not None
        assert parked.reason == "NotOurs"
        seen = world.cluster.look(ref, ledger_id="")
        assert seen is not None
        world.ask(AdoptObject(kind=ref.kind, name=ref.name, uid=seen.uid))
        eventually(lambda: not world.life.parked and not world.app.dirty)
        after = world.cluster.look(ref, ledger_id="")
        assert after is not None
        assert after.uid == seen.uid


def test_a_parked_app_that_is_destroyed_is_removed(world: World) -> None:
    theirs = world.foreign("Service")
    with working(world):
        world.ask(image())
        eventually(lambda: world.life.parked)
        assert world.named("Deployment") in world.objects()
        world.ask(Destroy())
        eventually(lambda: not world.app.dirty)
    assert world.objects() == {}
    assert world.cluster.look(theirs, ledger_id="") is not None


def test_objects_of_a_destroyed_life_that_a_late_writer_left_are_removed_and_unknown_ones_stay(world: World) -> None:
    with working(world):
        world.ask(image())
        settled(world)
        seen = world.cluster.look(world.named("Service"), ledger_id=world.ledger.ledger_id() or "")
        assert seen is not None
        labels = dict(seen.labels)
        world.ask(Destroy())
        eventually(lambda: not world.app.dirty)

    def late(name: str, life: str) -> dict[str, Any]:
        metadata = {
            "name": name,
            "namespace": world.namespace,
            "labels": {**labels, LIFE_LABEL: life},
            "annotations": {DIGEST_ANNOTATION: "late"},
        }
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {}}

    left = late(f"{world.app_id.name}-environments", labels[LIFE_LABEL])
    world.cluster.apply(left, manager="late", expect=None)
    world.cluster.apply(late("stray", "unknown"), manager="late", expect=None)
    with working(world):
        eventually(lambda: world.named("ConfigMap", "-environments") not in world.objects())
        assert Ref("ConfigMap", world.namespace, "stray") in world.objects()


# -- Knowing without asking ----------------------------------------------------------------------------------------


def test_a_write_that_met_another_state_is_looked_at_again(world: World) -> None:
    world.do(image())
    inventory = Inventory(world.cluster, lambda: None)
    ref = world.named("ConfigMap", "-environments")
    ledger_id = world.ledger.ledger_id() or ""
    first = inventory.look(ref, ledger_id=ledger_id)
    edit(world, ref, {"data": {"x": "1"}})
    assert inventory.look(ref, ledger_id=ledger_id) == first
    with pytest.raises(Exception, match="changed"):
        inventory.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": ref.name, "namespace": ref.namespace}},
            manager="m",
            expect=first,
        )
    assert inventory.look(ref, ledger_id=ledger_id) != first
