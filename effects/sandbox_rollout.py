"""The sandbox's controllers: what becomes of a Deployment's pods as time passes.

Pure functions. Time is replayed from one event (a pod becomes ready) to the next, so the same Deployment ends with the
same pods, names included, whether nobody looked for an hour or somebody looked every 10 ms.

Invariants:

* Of the pods that are ready, no step takes one away that is needed to reach the desired number.
* There are never more pods than desired plus surge, except ready ones that have to wait for their successors.

Simplified against Kubernetes:

* Only rolling updates, and `maxUnavailable` is always 0. Replicas added while a rollout is stuck are of the newest
  template instead of being spread over all of them.
* While a Deployment is paused or being deleted, no pod is made or goes, not even to scale it.
* Pods that will never be ready are given up at once when a newer template comes.
* A pod goes without a grace period: none is ever terminating.
* A pod's fate depends on its first container's image alone (see `Fate`): not on probes, resources, or on the ConfigMaps
  and Secrets that it names. Every node that a template names exists.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from typing import Any

import orjson

from effects.cluster import (
    APP_LABEL,
    FATAL_REASONS,
    Manifest,
    Pod,
    Rollout,
    is_terminating,
    own_container,
    standstill,
    trouble_of,
)
from effects.desired import ROLL_ANNOTATION

HOSTNAME_LABEL = "kubernetes.io/hostname"
DEFAULT_NODE = "sandbox-node"
DEFAULT_DEADLINE = 600
"""Seconds; Kubernetes' own default of `progressDeadlineSeconds`."""

BACK_OFF = (10, 20, 40, 80, 160, 300)
"""Seconds between a crashed container's restarts; the last one repeats (the kubelet's own sequence)."""

SUFFIX_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


class Fate(Enum):
    """What becomes of a container, told by its image so that a failure can be asked for."""

    RUNS = "runs"
    MISSING = "missing"
    HELD = "held"
    CRASHES = "crashes"


@lru_cache
def fate_of(image: str) -> Fate:
    """The fate of an image: by ``does-not-exist`` anywhere, else by how its last path component starts."""
    last = image.rpartition("/")[2]
    if "does-not-exist" in image or last.startswith("broken"):
        return Fate.MISSING
    if last.startswith("held"):
        return Fate.HELD
    return Fate.CRASHES if last.startswith("crash") else Fate.RUNS


@dataclass(frozen=True, slots=True)
class Plan:
    """What a Deployment asks of its controllers.

    Attributes:
        name: The Deployment's name.
        uid: The Deployment's uid.
        app: The app label of its pods, or None.
        template: The pod-template-hash: 10 hex digits of the template's digest.
        image: Image of the first container.
        nodes: Names of the nodes its pods may run on, never empty.
        desired: Number of pods.
        surge: How many pods there may be beyond the desired ones, 1 or more.
        deadline: Seconds without progress after which a rollout is called failed.
        startup: Seconds from a pod's creation until it is ready.
        stands: Why the controllers do nothing about it, or None; as of `effects.cluster.standstill`.
        terminating: Whether it is being deleted.
        roll: Which roll its template is for, or None.
        own_image: Image of the app's container, which need not be the first one.
    """

    name: str
    uid: str
    app: str | None
    template: str
    image: str
    nodes: tuple[str, ...]
    desired: int
    surge: int
    deadline: float
    startup: float
    stands: tuple[str, str] | None = None
    terminating: bool = False
    roll: str | None = None
    own_image: str | None = None


@dataclass(frozen=True, slots=True)
class SimulatedPod:
    """A pod as it is kept: everything else about it follows from these and the time.

    Attributes:
        number: Counts a Deployment's pods from 1, in the order of their creation.
        uid: Pod uid.
        name: Pod name.
        template: Its pod-template-hash.
        image: Image of the first container.
        node: The node chosen for it.
        created_at: Unix time in seconds.
    """

    number: int
    uid: str
    name: str
    template: str
    image: str
    node: str
    created_at: float


@dataclass(frozen=True, slots=True)
class State:
    """Where a Deployment's controllers are.

    Attributes:
        at: Unix time in seconds of the last event that was dealt with.
        progressed_at: Unix time in seconds of the last progress towards the newest template.
        template: The newest template the controllers have seen, empty before the first.
        good: The template that last completed a rollout, empty before the first.
        made: How many pods were ever created.
        rolls: How often the template became another one.
        pods: The pods that exist, in the order of their creation.
    """

    at: float
    progressed_at: float
    template: str = ""
    good: str = ""
    made: int = 0
    rolls: int = 0
    pods: tuple[SimulatedPod, ...] = ()


def plan_of(manifest: Manifest, *, uid: str, startup: float) -> Plan:
    """Reads a valid Deployment manifest; ``startup`` is in seconds."""
    spec = manifest["spec"]
    template = spec["template"]
    desired = spec.get("replicas", 1)
    return Plan(
        name=manifest["metadata"]["name"],
        uid=uid,
        app=template["metadata"]["labels"].get(APP_LABEL),
        template=hashlib.sha256(orjson.dumps(template, option=orjson.OPT_SORT_KEYS)).hexdigest()[:10],
        image=template["spec"]["containers"][0]["image"],
        nodes=_nodes(template["spec"]) or (DEFAULT_NODE,),
        desired=desired,
        surge=_surge(max_surge(spec), desired),
        deadline=spec.get("progressDeadlineSeconds", DEFAULT_DEADLINE),
        startup=startup,
        stands=standstill(manifest),
        terminating=is_terminating(manifest),
        roll=template["metadata"].get("annotations", {}).get(ROLL_ANNOTATION),
        own_image=own_container(template)["image"],
    )


def max_surge(spec: Mapping[str, Any]) -> str:
    """A Deployment's ``maxSurge`` as written (``1`` or ``25%``), or Kubernetes' default."""
    rolling = spec.get("strategy", {}).get("rollingUpdate", {})
    return str(rolling.get("maxSurge", "25%"))


def _surge(text: str, desired: int) -> int:
    count = -(-desired * int(text[:-1]) // 100) if text.endswith("%") else int(text)
    return max(1, count)


def _nodes(pod_spec: Mapping[str, Any]) -> tuple[str, ...]:
    selected = pod_spec.get("nodeSelector", {}).get(HOSTNAME_LABEL)
    if selected is not None:
        return (selected,)
    required = (
        pod_spec.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", {})
    )
    return tuple(
        value
        for term in required.get("nodeSelectorTerms", [])
        for expression in term.get("matchExpressions", [])
        if expression["key"] == HOSTNAME_LABEL and expression["operator"] == "In"
        for value in expression["values"]
    )


def advance(state: State, plan: Plan, *, now: float) -> State:
    """The state at ``now`` (Unix time in seconds), given that the plan held since ``state.at``.

    Returns the very same value where nothing happened. A clock that goes back counts as standing still.
    """
    state = _settle(state, plan)
    while (event := _next_event(state, plan, until=now)) is not None:
        state = _settle(replace(state, at=event, progressed_at=event), plan)
    return state


def _next_event(state: State, plan: Plan, *, until: float) -> float | None:
    moments = (_ready_at(pod, plan.startup) for pod in state.pods if fate_of(pod.image) is Fate.RUNS)
    return min((moment for moment in moments if state.at < moment <= until), default=None)


def _settle(state: State, plan: Plan) -> State:
    """Lets the controllers act until, at this moment, there is nothing left for them to do."""
    if plan.stands is not None:
        return state
    if state.template != plan.template:
        state = replace(state, template=plan.template, progressed_at=state.at, rolls=state.rolls + 1)
    while (after := _step(state, plan)) is not state:
        state = after
    # Zero pods prove nothing about a template.
    if plan.desired and state.good != plan.template and _is_complete(state, plan):
        state = replace(state, good=plan.template)
    return state


def _step(state: State, plan: Plan) -> State:
    surplus = _surplus(state, plan)
    if surplus:
        pods = tuple(pod for pod in state.pods if pod.number not in surplus)
        return replace(state, pods=pods, progressed_at=state.at)
    updated = sum(pod.template == plan.template for pod in state.pods)
    missing = min(plan.desired - updated, plan.desired + plan.surge - len(state.pods))
    if missing > 0:
        fresh = tuple(_pod(plan, state.made + count, state.at) for count in range(1, missing + 1))
        return replace(state, pods=state.pods + fresh, made=state.made + missing, progressed_at=state.at)
    return state


def _surplus(state: State, plan: Plan) -> set[int]:
    """Numbers of the pods that go now: first what can never serve, then what is beyond the desired number."""
    hopeless = {pod.number for pod in state.pods if _is_given_up(pod, state, plan)}
    return hopeless or _surplus_new(state, plan) or _surplus_old(state, plan)


def _is_given_up(pod: SimulatedPod, state: State, plan: Plan) -> bool:
    return pod.template not in {plan.template, state.good} and not is_ready(pod, at=state.at, startup=plan.startup)


def _surplus_new(state: State, plan: Plan) -> set[int]:
    # The last ones made are the last to be ready, so nothing that serves goes before what does not yet.
    new = [pod.number for pod in state.pods if pod.template == plan.template]
    return set(new[plan.desired :])


def _surplus_old(state: State, plan: Plan) -> set[int]:
    ready: list[SimulatedPod] = []
    waiting: list[SimulatedPod] = []
    for pod in state.pods:
        (ready if is_ready(pod, at=state.at, startup=plan.startup) else waiting).append(pod)
    old_waiting = [pod for pod in waiting if pod.template != plan.template]
    old_ready = [pod for pod in ready if pod.template != plan.template]
    # The last good template serves until the end: what came after it goes first.
    old_ready.sort(key=lambda pod: (pod.template == state.good, pod.number))
    new_waiting = len(waiting) - len(old_waiting)
    too_many = max(0, len(state.pods) - plan.desired - new_waiting)
    too_many_ready = max(0, len(ready) - plan.desired)
    return {pod.number for pod in (*old_waiting[:too_many], *old_ready[:too_many_ready])}


def _pod(plan: Plan, number: int, created_at: float) -> SimulatedPod:
    digest = hashlib.sha256(f"{plan.uid}/{number}".encode()).digest()
    suffix = "".join(SUFFIX_ALPHABET[byte % len(SUFFIX_ALPHABET)] for byte in digest[16:21])
    return SimulatedPod(
        number=number,
        uid=uid_from(digest[:16]),
        name=f"{plan.name}-{plan.template}-{suffix}",
        template=plan.template,
        image=plan.image,
        node=plan.nodes[number % len(plan.nodes)],
        created_at=created_at,
    )


def uid_from(data: bytes) -> str:
    """16 bytes written as Kubernetes writes uids."""
    text = data.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _ready_at(pod: SimulatedPod, startup: float) -> float:
    return pod.created_at + startup


def is_ready(pod: SimulatedPod, *, at: float, startup: float) -> bool:
    """Whether the pod is ready at that Unix time; ``startup`` is in seconds."""
    return fate_of(pod.image) is Fate.RUNS and at >= _ready_at(pod, startup)


def _is_complete(state: State, plan: Plan) -> bool:
    return len(state.pods) == plan.desired and all(
        pod.template == plan.template and is_ready(pod, at=state.at, startup=plan.startup) for pod in state.pods
    )


def rollout_of(state: State, plan: Plan, *, now: float) -> Rollout:
    """The progress of an advanced state at ``now`` (Unix time in seconds)."""
    now = max(now, state.at)
    newest = plan.template if state.template == plan.template and not plan.terminating else None
    new = sorted((pod for pod in state.pods if pod.template == newest), key=lambda pod: pod.name)
    old = [pod for pod in state.pods if pod.template != newest]
    pods = [view(pod, now=now, startup=plan.startup) for pod in new]
    complete = newest is not None and _is_complete(state, plan)
    return Rollout(
        desired=plan.desired,
        updated=len(new),
        ready=sum(pod.ready for pod in pods),
        old=len(old),
        old_ready=sum(is_ready(pod, at=state.at, startup=plan.startup) for pod in old),
        observed=newest is not None,
        complete=complete,
        failed=None if complete else _verdict(pods, state, plan, now),
        pods=pods,
        trouble=None if complete else plan.stands or trouble_of(pods),
        roll=plan.roll,
        image=plan.own_image,
    )


def status_of(state: State, plan: Plan, *, now: float) -> str:
    """What a Deployment's status says of an advanced state: as in Kubernetes, counts and a missed deadline only."""
    found = rollout_of(state, plan, now=now)
    late = _is_late(state, plan, now)
    return f"{found.updated} {found.ready} {found.old} {found.old_ready}{' late' if late else ''}"


def due_at(state: State, plan: Plan, *, now: float) -> float | None:
    """When the status of an advanced state changes next by itself (Unix time in seconds), or None."""
    moments = [_ready_at(pod, plan.startup) for pod in state.pods if fate_of(pod.image) is Fate.RUNS]
    due = [moment for moment in moments if moment > now]
    if plan.stands is None and not _is_complete(state, plan) and not _is_late(state, plan, now):
        due.append(state.progressed_at + plan.deadline)
    return min(due, default=None)


def _is_late(state: State, plan: Plan, now: float) -> bool:
    late = plan.stands is None and now - state.progressed_at > plan.deadline
    return late and not _is_complete(state, plan)


def _verdict(pods: Sequence[Pod], state: State, plan: Plan, now: float) -> tuple[str, str] | None:
    for pod in pods:
        if pod.reason in FATAL_REASONS:
            return pod.reason, pod.message or pod.reason
    if _is_late(state, plan, now):
        replica_set = f"{plan.name}-{plan.template}"
        return "ProgressDeadlineExceeded", f'ReplicaSet "{replica_set}" has timed out progressing.'
    return None


def view(pod: SimulatedPod, *, now: float, startup: float) -> Pod:
    """The pod as a cluster shows it at ``now`` (Unix time in seconds)."""
    fate = fate_of(pod.image)
    ready = is_ready(pod, at=now, startup=startup)
    reason, message = _reason(pod.image, fate, ready=ready)
    started = ready or fate is Fate.CRASHES
    return Pod(
        name=pod.name,
        uid=pod.uid,
        phase="Running" if started else "Pending",
        ready=ready,
        terminating=False,
        reason=reason,
        message=message,
        image=pod.image,
        image_digest=_image_digest(pod.image) if started else None,
        node=None if fate is Fate.HELD else pod.node,
        restarts=_restarts(now - pod.created_at) if fate is Fate.CRASHES else 0,
    )


def _reason(image: str, fate: Fate, *, ready: bool) -> tuple[str | None, str | None]:
    match fate:
        case Fate.RUNS:
            return (None if ready else "ContainerCreating"), None
        case Fate.MISSING:
            return "ImagePullBackOff", f'Back-off pulling image "{image}"'
        case Fate.HELD:
            return "Unschedulable", "0/1 nodes are available: the sandbox holds this image back"
        case Fate.CRASHES:
            return "CrashLoopBackOff", "back-off restarting failed container"


def _image_digest(image: str) -> str:
    """One digest for each reference, since no registry is asked; a reference that pins its digest keeps it."""
    pinned = image.partition("@")[2]
    return pinned or "sha256:" + hashlib.sha256(image.encode()).hexdigest()


def _restarts(age: float) -> int:
    """How often a container that crashes at once was restarted in that many seconds, the first time included."""
    restarts = 1
    for wait in BACK_OFF:
        if age < wait:
            return restarts
        age -= wait
        restarts += 1
    return restarts + int(age // BACK_OFF[-1])


def log_of(pod: SimulatedPod, *, now: float, startup: float) -> list[str] | None:
    """What the container wrote, oldest line first, or None where it never started. The same at every call."""
    if fate_of(pod.image) is Fate.CRASHES:
        return [
            f"simulated: {pod.image} starts in pod {pod.name}",
            *(f"simulated: start-up step {step} of 28 done" for step in range(1, 29)),
            "simulated: error: the sandbox lets images named crash* fail at start, exit code 1",
        ]
    if not is_ready(pod, at=now, startup=startup):
        return None
    return [
        f"simulated: {pod.image} starts in pod {pod.name}",
        "simulated: the sandbox runs no containers; these lines are invented",
        "simulated: ready",
    ]
