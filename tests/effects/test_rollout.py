"""Watching pods: one verdict for each roll, recorded once."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from effects.cluster import FATAL_REASONS, ClusterUnreachableError, Manifest, Pod, Ref, Rollout
from effects.desired import roll_name
from effects.rollout import EDITED, RolloutLook, RolloutWatch
from ledger.commands import Deploy, Destroy, Restart, Scale
from ledger.events import RolloutCompleted, RolloutFailed
from tests.effects.worlds import Counter, Meddled, World, eventually, image, request
from tests.worker.crews import edit

BROKEN = image("nginx:does-not-exist")


def facts(world: World) -> list[RolloutCompleted | RolloutFailed]:
    history = world.ledger.history(world.app_id)
    return [line.event for line in history if isinstance(line.event, RolloutCompleted | RolloutFailed)]


def never_ready(world: World) -> None:
    """A release whose pods can be scheduled nowhere; the sandbox knows it by its image."""
    world.do(image("held:1", machines=("no-such-node",)))


def waited(world: World, *, timeout: float = 20.0) -> list[RolloutLook]:
    return list(world.watch().wait(world.app_id, world.life, timeout=timeout))


def test_a_completed_roll_is_recorded_once(world: World) -> None:
    world.do(image(replicas=2))
    progress = waited(world)
    assert [each.verdict for each in progress[:-1]] == ["waiting"] * (len(progress) - 1)
    assert (progress[-1].verdict, progress[-1].ready, progress[-1].percent) == ("completed", 2, 100)
    (fact,) = facts(world)
    assert isinstance(fact, RolloutCompleted)
    assert (fact.release, fact.roll, fact.replicas) == (1, world.life.roll.position, 2)
    head = world.app.head
    assert waited(world)[-1].verdict == "completed"
    assert world.app.head == head
    assert world.life.rollout == "completed"


def test_the_digest_that_the_cluster_resolved_the_image_to_is_recorded(world: World) -> None:
    world.do(image())
    world.settle()
    (fact,) = facts(world)
    assert isinstance(fact, RolloutCompleted)
    assert fact.image_digest is not None
    assert fact.image_digest.startswith("sha256:")
    assert fact.image_digest == world.rollout().pods[0].image_digest


def test_a_failed_roll_is_recorded_once_with_the_pods_own_reason(world: World) -> None:
    world.do(image())
    world.settle()
    world.do(BROKEN)
    for _ in range(2):
        progress = world.settle()
        assert progress.verdict == "failed"
        assert progress.reason is not None
        assert progress.reason[0] in FATAL_REASONS
    fact = facts(world)[-1]
    assert len(facts(world)) == 2
    assert isinstance(fact, RolloutFailed)
    assert (fact.release, fact.roll, fact.reason) == (2, world.life.roll.position, "ImagePullBackOff")
    assert "nginx:does-not-exist" in fact.message
    assert world.life.rollout_failure == (fact.reason, fact.message)


def test_a_new_roll_after_a_failed_one_completes(world: World) -> None:
    world.do(BROKEN)
    assert world.settle().verdict == "failed"
    world.do(image())
    assert world.settle().verdict == "completed"
    assert [type(fact) for fact in facts(world)] == [RolloutFailed, RolloutCompleted]
    assert world.life.rollout == "completed"


def test_what_became_of_older_pods_is_not_recorded_of_a_roll_that_is_paused(world: World) -> None:
    world.do(BROKEN)
    world.settle()
    edit(world, world.named("Deployment"), {"spec": {"paused": True}})
    world.do(image())
    looks = waited(world, timeout=1.0)
    assert {each.verdict for each in looks} == {"waiting"}
    assert looks[-1].rollout is not None
    assert looks[-1].rollout.trouble is not None
    assert looks[-1].rollout.trouble[0] == "DeploymentPaused"
    assert len(facts(world)) == 1
    edit(world, world.named("Deployment"), {"spec": {"paused": None}})
    assert world.settle().verdict == "completed"


def undo(world: World, before: Any) -> None:
    """What ``kubectl rollout undo`` does: the template of an earlier ReplicaSet, and its annotations."""
    annotations = {
        name: text for name, text in before["metadata"]["annotations"].items() if name.startswith("1ctl.dev/")
    }
    template = before["spec"]["template"]
    added = dict.fromkeys(deployment(world)["spec"]["template"]["spec"].keys() - template["spec"].keys())
    template = {**template, "spec": {**template["spec"], **added}}
    patch = {"metadata": {"annotations": annotations}, "spec": {"template": template}}
    edit(world, world.named("Deployment"), patch, "kubectl-rollout")


def deployment(world: World) -> Any:
    """As it is."""
    return world.cluster.read(world.named("Deployment"))


@pytest.mark.parametrize("release", [image("held:2", machines=("no-such-node",)), BROKEN])
def test_pods_of_a_roll_that_somebody_brought_back_are_not_those_of_the_newest_one(
    world: World, release: Deploy
) -> None:
    world.do(image("nginx:1"))
    world.settle()
    before = deployment(world)
    world.do(release)
    asked = deployment(world)
    undo(world, before)
    eventually(lambda: world.rollout().complete)
    looks = waited(world, timeout=0.5)
    assert {each.verdict for each in looks} == {"waiting"}
    assert (looks[-1].ready, looks[-1].percent) == (0, 0)
    assert looks[-1].rollout is not None
    assert looks[-1].rollout.trouble == EDITED
    assert [fact.release for fact in facts(world)] == [1]
    undo(world, asked)

    def pods() -> object:
        seen = world.watch().look(world.app_id, world.life).rollout
        return seen and seen.pods

    assert eventually(pods)


@pytest.mark.parametrize("theirs", ["nginx:9", "nginx:does-not-exist"])
def test_pods_of_an_image_that_somebody_put_in_place_of_ours_are_not_the_releases(world: World, theirs: str) -> None:
    world.do(image("held:2"))
    (container,) = deployment(world)["spec"]["template"]["spec"]["containers"]
    patch = {"spec": {"template": {"spec": {"containers": [{**container, "image": theirs}]}}}}
    edit(world, world.named("Deployment"), patch, "kubectl-set")
    eventually(lambda: world.rollout().complete or world.rollout().failed)
    look = world.watch().look(world.app_id, world.life)
    assert (look.verdict, look.reason) == ("waiting", None)
    assert look.rollout is not None
    assert look.rollout.trouble == EDITED
    assert facts(world) == []


class Rewriting(Meddled):
    """A cluster of which a webhook takes images from elsewhere: what was sent is stored otherwise."""

    def read(self, ref: Ref) -> Manifest:
        live: dict[str, Any] = deepcopy(super().read(ref))  # type: ignore[arg-type]
        (container,) = live["spec"]["template"]["spec"]["containers"]
        container["image"] = "mirror.example.com/nginx:1"
        return live

    def rollout(self, ref: Ref) -> Rollout | None:
        found = super().rollout(ref)
        return found and replace(found, image="mirror.example.com/nginx:1")


def test_an_image_that_the_cluster_itself_rewrites_as_it_takes_it_is_the_releases(world: World) -> None:
    world.do(image("nginx:1"))
    watch = RolloutWatch(ledger=world.ledger, cluster=Rewriting(world.cluster), request=request())
    assert eventually(lambda: watch.look(world.app_id, world.life).verdict == "completed")


def test_a_restart_is_a_roll_of_its_own_and_scaling_is_none(world: World) -> None:
    world.do(image())
    world.settle()
    world.do(Restart())
    assert world.settle().verdict == "completed"
    world.do(Scale(replicas=2))
    assert world.settle().verdict == "completed"
    assert [fact.release for fact in facts(world)] == [1, 1]
    assert facts(world)[0].roll < facts(world)[1].roll == world.life.roll.position


def test_no_pods_asked_for_are_all_ready(world: World) -> None:
    world.do(image(replicas=0))
    progress = world.settle()
    assert (progress.verdict, progress.ready, progress.desired, progress.percent) == ("completed", 0, 0, 100)


def test_waiting_ends_without_a_verdict_after_its_time(world: World) -> None:
    never_ready(world)
    progress = waited(world, timeout=0.3)
    assert {each.verdict for each in progress} == {"waiting"}
    assert progress[-1].percent == 0
    assert facts(world) == []
    eventually(lambda: [pod for pod in world.rollout().pods if pod.reason == "Unschedulable"])


def test_with_no_time_to_wait_there_is_one_look(world: World) -> None:
    never_ready(world)
    assert [each.verdict for each in waited(world, timeout=0.0)] == ["waiting"]


def test_waiting_sleeps_between_looks_and_never_beyond_its_time(world: World) -> None:
    never_ready(world)
    slept = list[float]()
    watch = RolloutWatch(ledger=world.ledger, cluster=world.cluster, request=request(), interval=0.05)
    looks = watch.wait(world.app_id, world.life, timeout=60.0, sleep=slept.append)
    assert [next(looks).verdict for _ in range(4)] == ["waiting"] * 4
    assert slept == [0.05] * 3


def test_a_cluster_that_is_too_busy_is_asked_when_it_said_and_not_beyond_the_time(world: World) -> None:
    never_ready(world)
    asks_for = [None, 7.0, 100.0]

    def overloaded(*_: object) -> None:
        if not asks_for:
            raise InterruptedError
        raise ClusterUnreachableError("429 TooManyRequests", retry_after=asks_for.pop(0))

    slept = list[float]()
    busy = Meddled(world.cluster, before=overloaded)
    watch = RolloutWatch(ledger=world.ledger, cluster=busy, request=request(), interval=0.05)
    with pytest.raises(InterruptedError):
        next(watch.wait(world.app_id, world.life, timeout=60.0, sleep=slept.append))
    assert slept[:2] == [0.05, 7.0]
    assert 7.0 < slept[2] <= 60.0


def newer_roll(world: World) -> None:
    world.do(Restart())


def failing_roll(world: World) -> None:
    world.do(BROKEN)


def an_end(world: World) -> None:
    world.do(Destroy())


def a_new_life(world: World) -> None:
    world.do(Destroy(), image())


@pytest.mark.parametrize("meanwhile", [newer_roll, failing_roll, an_end, a_new_life])
def test_who_waits_for_a_roll_hears_that_it_was_superseded_and_records_nothing_of_it(
    world: World, meanwhile: Callable[[World], None]
) -> None:
    never_ready(world)
    life = world.life
    meanwhile(world)
    *_, last = world.watch().wait(world.app_id, life, timeout=20)
    assert last.verdict == "superseded"
    assert facts(world) == []


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_roll_that_is_superseded_while_looking_is_not_taken_for_completed(world: World, moment: str) -> None:
    world.do(image())
    eventually(lambda: world.rollout().complete)
    life = world.life
    meddled = Meddled(world.cluster, **{moment: Counter(1, lambda: newer_roll(world))})
    watch = RolloutWatch(ledger=world.ledger, cluster=meddled, request=request())
    assert watch.look(world.app_id, life).verdict == "superseded"
    assert facts(world) == []


def test_an_app_whose_deployment_is_missing_is_waited_for(world: World) -> None:
    world.ask(image())
    assert [each.verdict for each in waited(world, timeout=0.0)] == ["waiting"]


class Reporting(Meddled):
    """A cluster that reports one rollout, whatever is there."""

    def __init__(self, world: World, reported: Rollout) -> None:
        super().__init__(world.cluster)
        self._reported = reported

    def rollout(self, _: object) -> Rollout:
        return self._reported


def as_asked(world: World) -> Any:
    """The template that a rollout is about."""
    return {"roll": roll_name(world.life.roll), "image": world.life.spec.image}


def a_pod(name: str, digest: str | None) -> Pod:
    return Pod(
        name=name,
        uid=name,
        phase="Running",
        ready=True,
        terminating=False,
        reason=None,
        message=None,
        image="nginx:alpine",
        image_digest=digest,
        node="m1",
        restarts=0,
    )


@pytest.mark.parametrize(
    ("digests", "recorded"),
    [
        (["sha256:a", "sha256:a"], "sha256:a"),
        (["sha256:a", None], "sha256:a"),
        (["sha256:a", "sha256:b"], None),
        ([None], None),
    ],
)
def test_a_digest_is_recorded_only_where_the_pods_agree(
    world: World, digests: list[str | None], recorded: str | None
) -> None:
    world.do(image())
    pods = [a_pod(f"pod-{number}", digest) for number, digest in enumerate(digests)]
    count = len(pods)
    reported = Rollout(
        count, count, count, 0, 0, observed=True, complete=True, failed=None, pods=pods, **as_asked(world)
    )
    watch = RolloutWatch(ledger=world.ledger, cluster=Reporting(world, reported), request=request())
    assert watch.look(world.app_id, world.life).verdict == "completed"
    (fact,) = facts(world)
    assert isinstance(fact, RolloutCompleted)
    assert fact.image_digest == recorded


def test_a_long_sentence_of_the_cluster_is_cut(world: World) -> None:
    world.do(image())
    failed = ("Odd", "x" * 5000)
    reported = Rollout(1, 1, 0, 0, 0, observed=True, complete=False, failed=failed, pods=[], **as_asked(world))
    watch = RolloutWatch(ledger=world.ledger, cluster=Reporting(world, reported), request=request())
    assert watch.look(world.app_id, world.life).verdict == "failed"
    (fact,) = facts(world)
    assert isinstance(fact, RolloutFailed)
    assert fact.message == "x" * 1000
