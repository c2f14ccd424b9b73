"""Judging a rollout from what an API server lists: its Deployment, ReplicaSets and pods as plain data. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from effects.cluster import (
    FATAL_REASONS,
    Json,
    Pod,
    Rollout,
    is_terminating,
    own_container,
    standstill,
    trouble_of,
)
from effects.desired import ROLL_ANNOTATION

_REVISION = "deployment.kubernetes.io/revision"
_ENDED = frozenset({"Succeeded", "Failed"})


def rollout_of(deployment: Json, sets: Sequence[Json], pods: Sequence[Json]) -> Rollout:
    """How far a Deployment is with the pod template that was applied last.

    The controllers call a template observed also where they do nothing about it, as while the Deployment is paused. So
    the newest ReplicaSet is one that was made of this template, and not just the newest one that there is.

    Args:
        deployment: The Deployment.
        sets: ReplicaSets, those of other Deployments may be among them.
        pods: Pods, those of other Deployments may be among them.
    """
    metadata, status = deployment["metadata"], deployment.get("status", {})
    desired = deployment["spec"].get("replicas", 1)
    stands = standstill(deployment)
    made = {item["metadata"]["uid"]: item for item in sets if _owner(item) == metadata["uid"]}
    current = status.get("observedGeneration", 0) >= metadata["generation"] and not is_terminating(deployment)
    of_roll = [uid for uid, item in made.items() if _roll(item) == _roll(deployment)]
    newest = max(of_roll, key=lambda uid: _revision(made[uid])) if current and of_roll else None
    ours = [item for item in pods if _owner(item) in made]
    new = sorted((_pod(item) for item in ours if _owner(item) == newest), key=lambda pod: pod.name)
    # A pod that ended, for instance an evicted one, stays listed; its ReplicaSet has long replaced it.
    old = [pod for item in ours if _owner(item) != newest and (pod := _pod(item)).phase not in _ENDED]
    updated = [pod for pod in new if not pod.terminating and pod.phase not in _ENDED]
    ready = sum(pod.ready for pod in updated)
    counted = status.get("updatedReplicas", 0) == len(updated) == ready == desired
    complete = newest is not None and counted and all(pod.terminating for pod in old)
    return Rollout(
        desired=desired,
        updated=len(updated),
        ready=ready,
        old=len(old),
        old_ready=sum(pod.ready and not pod.terminating for pod in old),
        observed=newest is not None,
        complete=complete,
        failed=None if complete or newest is None else _verdict(status, updated),
        pods=new,
        trouble=None
        if complete
        else stands or (trouble_of(new) or _cannot_be_made(status) if newest else _cannot_begin(status)),
        roll=_roll(deployment),
        image=own_container(deployment["spec"]["template"])["image"],
    )


def _roll(item: Json) -> str | None:
    """Which roll a Deployment or a ReplicaSet makes pods of; None where it says none, as somebody else's."""
    metadata: Json = item.get("spec", {}).get("template", {}).get("metadata", {})
    roll: str | None = metadata.get("annotations", {}).get(ROLL_ANNOTATION)
    return roll


def _revision(replica_set: Json) -> int:
    return int(replica_set["metadata"].get("annotations", {}).get(_REVISION, 0))


def _cannot_be_made(status: Json) -> tuple[str, str] | None:
    """Why the cluster makes no pod, or not all of them: what a controller was told when it tried to."""
    failure = _condition(status, "ReplicaFailure")
    if failure.get("status") != "True":
        return None
    return failure.get("reason", "ReplicaFailure"), failure.get("message", "")


def _cannot_begin(status: Json) -> tuple[str, str] | None:
    """Why there is no ReplicaSet of the template: what a controller was told when it tried to make one.

    It says so without calling the template observed.
    """
    progress = _condition(status, "Progressing")
    if (progress.get("status"), progress.get("reason")) != ("False", "ReplicaSetCreateError"):
        return None
    return progress["reason"], progress.get("message", "")


def _verdict(status: Json, updated: Sequence[Pod]) -> tuple[str, str] | None:
    """Why the rollout will not succeed: a pod's own reason, which says more, or the deadline and why pods were not made."""
    for pod in updated:
        if pod.reason in FATAL_REASONS:
            return pod.reason, pod.message or ""
    for condition in status.get("conditions", ()):
        if (condition["type"], condition.get("reason")) == ("Progressing", "ProgressDeadlineExceeded"):
            return condition["reason"], " ".join(filter(None, (condition.get("message"), _unmade(status))))
    return None


def _unmade(status: Json) -> str | None:
    """Why the cluster makes no pod, or not all of them, in one sentence."""
    found = _cannot_be_made(status)
    return None if found is None else ": ".join(filter(None, found))


def _owner(item: Json) -> str | None:
    """The uid of the controller that made the object."""
    references = item["metadata"].get("ownerReferences", ())
    return next((reference["uid"] for reference in references if reference.get("controller")), None)


def _pod(item: Json) -> Pod:
    metadata, spec, status = item["metadata"], item["spec"], item.get("status", {})
    ready = _condition(status, "Ready").get("status") == "True"
    reason, message = (None, None) if ready else _trouble(status)
    ours = own_container(item)
    running: Json = next((each for each in status.get("containerStatuses", ()) if each["name"] == ours["name"]), {})
    digest = re.search(r"@(sha256:[0-9a-f]{64})$", running.get("imageID", ""))
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        phase=status.get("phase", "Unknown"),
        ready=ready,
        terminating=is_terminating(item),
        reason=reason,
        message=message,
        image=ours["image"],
        image_digest=digest[1] if digest else None,
        node=spec.get("nodeName"),
        restarts=sum(container.get("restartCount", 0) for container in _containers(status)),
    )


def _containers(status: Json) -> Sequence[Json]:
    return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]


def _condition(status: Json, kind: str) -> Json:
    return next((condition for condition in status.get("conditions", ()) if condition["type"] == kind), {})


def _trouble(status: Json) -> tuple[str | None, str | None]:
    """Why a pod is not ready, the most telling reason first."""
    found = [reason for container in _containers(status) if (reason := _container_trouble(container))]
    found += [
        (condition["reason"], condition.get("message"))
        for condition in (_condition(status, "PodScheduled"), _condition(status, "Ready"))
        if condition.get("status") == "False" and condition.get("reason")
    ]
    if "reason" in status:
        found.append((status["reason"], status.get("message")))
    # Containers that wait for an init container, or are just being made, say nothing that the others do not.
    found.sort(key=lambda pair: (pair[0] not in FATAL_REASONS, pair[0] in {"PodInitializing", "ContainerCreating"}))
    return found[0] if found else (None, None)


def _container_trouble(container: Json) -> tuple[str, str | None] | None:
    state = container.get("state", {})
    if waiting := state.get("waiting"):
        reason = waiting.get("reason", "Waiting")
        ended = container.get("lastState", {}).get("terminated")
        if reason == "CrashLoopBackOff" and ended:
            return reason, _exit(container, ended)
        return reason, waiting.get("message")
    ended = state.get("terminated")
    if ended and ended.get("exitCode") != 0:
        return ended.get("reason", "Error"), _exit(container, ended)
    return None


def _exit(container: Json, ended: Json) -> str:
    return f"container {container['name']} ended with exit code {ended.get('exitCode')} ({ended.get('reason', '-')})"


def container_to_explain(pod: Json) -> tuple[str, bool]:
    """The name of the container to read the logs of, and whether it crashed before; ours before those of others."""
    ours = own_container(pod)["name"]
    for container in sorted(_containers(pod.get("status", {})), key=lambda each: each["name"] != ours):
        if container.get("lastState", {}).get("terminated"):
            return container["name"], True
        if (container.get("state", {}).get("terminated") or {}).get("exitCode", 0) != 0:
            return container["name"], False
    return ours, False
