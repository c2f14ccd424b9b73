"""What a Deployment, its ReplicaSets and its pods say about a rollout: plain data as an API server lists them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from effects.cluster import APP_LABEL
from effects.desired import ROLL_ANNOTATION
from effects.kubernetes_rollout import container_to_explain, rollout_of

Object = dict[str, Any]

READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
BROKEN = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
DELETED = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
CRASHED = {"lastState": {"terminated": {"exitCode": 1}}}


def deployment(
    roll: str = "1", *, replicas: int = 1, updated: int = 1, paused: bool = False, deleted: bool = False
) -> Object:
    return {
        "metadata": {"name": "web", "namespace": "shop", "uid": "d", "generation": 2, **(DELETED if deleted else {})},
        "spec": {"replicas": replicas, "paused": paused, "template": template(roll)},
        "status": {"observedGeneration": 2, "updatedReplicas": updated},
    }


def replica_set(revision: int, roll: str = "1") -> Object:
    annotations = {"deployment.kubernetes.io/revision": f"{revision}"}
    return {
        "metadata": owned(f"rs{revision}", "d", annotations=annotations),
        "spec": {"template": template(roll)},
    }


def template(roll: str) -> Object:
    containers = [{"name": "web", "image": "web:1"}]
    return {"metadata": {"annotations": {ROLL_ANNOTATION: roll}}, "spec": {"containers": containers}}


def owned(uid: str, owner: str, **more: Any) -> Object:
    return {"name": uid, "uid": uid, "ownerReferences": [{"uid": owner, "controller": True}], **more}


def pod(*containers: str, owner: str = "rs1", app: str = "web", **said: Mapping[str, Any]) -> Object:
    """A ready pod of these containers; `said` by their names, with underscores."""
    return {
        "metadata": owned("web-1", owner, labels={APP_LABEL: app}),
        "spec": {"containers": [{"name": each, "image": f"{each}:1"} for each in containers]},
        "status": {**READY, "containerStatuses": [status(each, said) for each in containers]},
    }


def status(container: str, said: Mapping[str, Mapping[str, Any]]) -> Object:
    image = f"registry.example.com/{container}@sha256:{container[0].encode().hex() * 32}"
    return {"name": container, "imageID": image, "state": {"running": {}}, **said.get(container.replace("-", "_"), {})}


def image_of(each: Object) -> tuple[str, str | None]:
    found = rollout_of(deployment(), [replica_set(1)], [each])
    assert found.complete
    return found.pods[0].image, found.pods[0].image_digest


def not_ready(each: Object) -> Object:
    return {**each, "status": {**each["status"], "phase": "Pending", "conditions": []}}


# Deployments that stand still

PAUSED = ("DeploymentPaused", "somebody paused it; go on with kubectl -n shop rollout resume deployment/web")
TERMINATING = ("DeploymentTerminating", "it is being deleted")
OLD, NEW = replica_set(1, "1"), replica_set(2, "2")


@pytest.mark.parametrize("before", [pod("web"), not_ready(pod("web", web=BROKEN))], ids=["healthy", "broken"])
@pytest.mark.parametrize(
    ("asked", "why"),
    [(deployment("2", paused=True, updated=0), PAUSED), (deployment("2", updated=0, deleted=True), TERMINATING)],
    ids=["paused", "terminating"],
)
def test_older_pods_are_not_judged_as_the_roll_that_was_never_begun(
    asked: Object, why: tuple[str, str], before: Object
) -> None:
    found = rollout_of(asked, [OLD], [before])
    assert (found.observed, found.complete, found.failed, found.trouble) == (False, False, None, why)
    assert (found.updated, found.ready, found.old, found.pods) == (0, 0, 1, [])


def test_of_no_pods_a_roll_that_was_never_begun_is_not_complete_either() -> None:
    found = rollout_of(deployment("2", replicas=0, updated=0, paused=True), [OLD], [])
    assert (found.complete, found.trouble) == (False, PAUSED)
    assert rollout_of(deployment("1", replicas=0, updated=0, paused=True), [OLD], []).complete


def test_what_was_paused_after_its_pods_were_ready_is_complete() -> None:
    found = rollout_of(deployment("2", paused=True), [OLD, NEW], [pod("web", owner="rs2")])
    assert (found.observed, found.complete, found.trouble) == (True, True, None)


def test_what_was_paused_on_its_way_says_so_and_its_own_pods_can_fail() -> None:
    half = deployment("2", paused=True, replicas=2)
    found = rollout_of(half, [OLD, NEW], [pod("web", owner="rs2"), pod("web", owner="rs1")])
    assert (found.complete, found.failed, found.trouble) == (False, None, PAUSED)
    found = rollout_of(half, [OLD, NEW], [not_ready(pod("web", owner="rs2", web=BROKEN))])
    assert found.failed == ("ImagePullBackOff", "no such image")


def test_nothing_is_complete_that_is_being_deleted() -> None:
    found = rollout_of(deployment("2", deleted=True), [OLD, NEW], [pod("web", owner="rs2")])
    assert (found.complete, found.failed, found.trouble) == (False, None, TERMINATING)


def test_of_two_replica_sets_of_one_roll_the_later_one_counts() -> None:
    edited = replica_set(3, "2")
    found = rollout_of(deployment("2"), [OLD, NEW, edited], [pod("web", owner="rs3"), pod("web", owner="rs2")])
    assert (found.updated, found.old) == (1, 1)


# Replica sets that cannot be made

REASON, MESSAGE = "ReplicaSetCreateError", "exceeded quota: count/replicasets.apps"


@pytest.mark.parametrize("observed", [1, 2])
@pytest.mark.parametrize("sets", [[OLD], []], ids=["with-older-pods", "first"])
def test_a_replica_set_that_cannot_be_made_is_why_there_are_no_pods_of_the_roll(observed: int, sets: Any) -> None:
    asked = deployment("2", updated=0)
    refused = {"type": "Progressing", "status": "False", "reason": REASON, "message": MESSAGE}
    asked["status"] |= {"observedGeneration": observed, "conditions": [refused]}
    found = rollout_of(asked, sets, [pod("web")])
    assert (found.observed, found.complete, found.failed, found.trouble) == (False, False, None, (REASON, MESSAGE))
    going = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetCreated", "message": "made"}
    asked["status"]["conditions"] = [going]
    assert rollout_of(asked, sets, [pod("web")]).trouble is None


# Sidecars


def test_a_sidecar_that_stands_first_is_not_taken_for_the_app() -> None:
    assert image_of(pod("istio-proxy", "web")) == ("web:1", f"sha256:{'77' * 32}")


def test_where_no_container_has_the_apps_name_the_first_one_is_taken_for_it() -> None:
    assert image_of(pod("server", "proxy")) == ("server:1", f"sha256:{'73' * 32}")


def test_the_log_of_the_apps_container_is_shown_before_that_of_a_sidecar() -> None:
    assert container_to_explain(pod("istio-proxy", "web")) == ("web", False)
    assert container_to_explain(pod("istio-proxy", "web", istio_proxy=CRASHED, web=CRASHED)) == ("web", True)
    assert container_to_explain(pod("istio-proxy", "web", istio_proxy=CRASHED)) == ("istio-proxy", True)
