"""The cluster as the effects side sees it: a small protocol with two adapters.

`effects.sandbox.SandboxCluster` simulates a cluster in a SQLite file, `effects.kubernetes_cluster.KubernetesCluster`
talks to a real API server. Both pass the same contract suite (`tests/contracts/test_cluster.py`).

Invariants of every adapter:

* `look` never returns a Secret's values; `apply` and `delete` never log or raise them. `pages` and `watch` return
  metadata only, and nothing about Secrets: whoever may list them may read them.
* An object that is not ours is never changed: `apply` is told what it expects to find.
* Every call is bounded in time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Protocol, Self

from ledger.errors import OneCtlError
from ledger.value import Value, short_value

Json = Mapping[str, Any]
"""What a server answers, or a part of it: an object, a list of them, a status."""

Manifest = Mapping[str, Any]
"""A Kubernetes object as plain JSON data: apiVersion, kind, metadata, ..."""

LEDGER_LABEL = "1ctl.dev/ledger"
"""Label on everything we make; its value is the ledger's id. An object without ours belongs to someone else."""

APP_LABEL = "app"
"""Label on everything we make for an app; its value is the app's name."""

LIFE_LABEL = "1ctl.dev/deployment-id"
"""Label on everything we make, pods included; its value is the deployment id of the life."""

POSITION_ANNOTATION = "1ctl.dev/position"
"""The ledger position at which the object last changed, as ``epoch.position``; it never goes back."""

DIGEST_ANNOTATION = "1ctl.dev/digest"
"""SHA-256 (hex, first 16 digits) of the object as desired, so that an unchanged one need not be sent again."""


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """Names one object: kind, namespace and name. The kinds in use are the keys of `API_VERSIONS`."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name}"


API_VERSIONS: Mapping[str, str] = {
    "ConfigMap": "v1",
    "Secret": "v1",
    "Service": "v1",
    "Deployment": "apps/v1",
    "HTTPRoute": "gateway.networking.k8s.io/v1",
}


def ref_of(manifest: Manifest) -> Ref:
    """The reference of a manifest that has a namespace and a name."""
    metadata = manifest["metadata"]
    return Ref(manifest["kind"], metadata["namespace"], metadata["name"])


def refuse_secret(ref: Ref) -> None:
    """What `Cluster.read` begins with: nobody here needs a Secret's content.

    Raises:
        ValueError: It is a Secret.
    """
    if ref.kind == "Secret":
        msg = "a Secret is never read"
        raise ValueError(msg)


def refuse_secrets(kind: str) -> None:
    """What `Cluster.pages` and `Cluster.watch` begin with: the right to list Secrets is the right to read them.

    Raises:
        ValueError: It is the kind of Secrets.
    """
    if kind == "Secret":
        msg = "Secrets are never listed or watched"
        raise ValueError(msg)


@short_value
class Seen(Value):
    """What `look`, `apply`, `pages` or `watch` found: an object's metadata, never its content.

    Attributes:
        uid: Changes when an object is deleted and made again.
        resource_version: Changes with every write, status included. Opaque.
        labels: All of its labels.
        annotations: All of its annotations.
        generation: Counts changes of its spec from 1, and of a Deployment's annotations; None for kinds without one.
        owners: Uids of the objects that own it.
        secret_keys: Of a Secret that somebody applied, the keys of its data, sorted; None where nobody can tell.
        terminating: Whether it is being deleted: nothing saves it any more, though a finalizer may keep it for long.
        unclaimed: Whether a process that replaced parts of it ended before they were as if applied; not of a Secret.
    """

    uid: str
    resource_version: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    generation: int | None = None
    owners: tuple[str, ...] = ()
    secret_keys: tuple[str, ...] | None = None
    terminating: bool = False
    unclaimed: bool = False

    @property
    def state(self) -> str:
        """Names the content that the object has: two looks with one state, one content of ours.

        Kinds that count generations count those of their spec only, so what the cluster reports is not another state.
        """
        return _state(self.resource_version, self.generation)


def state_of(live: Manifest) -> str:
    """`Seen.state` of a whole object."""
    metadata = live["metadata"]
    return _state(metadata["resourceVersion"], metadata.get("generation"))


def _state(resource_version: str, generation: int | None) -> str:
    return f"version {resource_version}" if generation is None else f"generation {generation}"


@short_value
class Listed(Value):
    """One object of a page."""

    ref: Ref
    seen: Seen


@short_value
class Page(Value):
    """Some of the objects that were asked for.

    Attributes:
        objects: These, in the cluster's order.
        version: The resource version at which all pages of this list are; where a `Cluster.watch` goes on. Opaque.
    """

    objects: Sequence[Listed]
    version: str


@short_value
class Change(Value):
    """Something that happened after the version that a watch began at.

    Attributes:
        kind: ``present``: the object was made, changed, or got our label. ``gone``: it was deleted, or lost our label,
            which a watch by label cannot tell apart; look at it to know. ``bookmark``: nothing happened up to this
            version.
        ref: The object; None for a bookmark.
        seen: The object as it then was, as it last was if it is gone; None for a bookmark.
        version: The resource version to go on from after this change. Opaque.
    """

    kind: Literal["present", "gone", "bookmark"]
    ref: Ref | None
    seen: Seen | None
    version: str


@short_value
class Pod(Value):
    """One pod of an app.

    Attributes:
        name: Pod name.
        uid: Pod uid.
        phase: Kubernetes phase (Pending, Running, Succeeded, Failed, Unknown).
        ready: Whether its Ready condition is True.
        terminating: Whether it is being deleted.
        reason: Why it waits or ended, e.g. ``ImagePullBackOff``, or None.
        message: The cluster's own sentence about the reason, or None.
        image: Image of the app's container as specified; where none has the app's name, of the first one.
        image_digest: ``sha256:...`` as the cluster resolved it, or None.
        node: Name of the node it runs on, or None.
        restarts: How often its containers were restarted.
    """

    name: str
    uid: str
    phase: str
    ready: bool
    terminating: bool
    reason: str | None
    message: str | None
    image: str
    image_digest: str | None
    node: str | None
    restarts: int


@short_value
class Rollout(Value):
    """A Deployment's progress towards the pod template that was applied last.

    Attributes:
        desired: Replicas asked for.
        updated: Pods of the newest template.
        ready: Pods of the newest template that are ready.
        old: Pods of earlier templates that still exist.
        old_ready: How many of those are ready.
        observed: Whether the controllers have seen the newest template yet.
        complete: All desired pods are of the newest template and ready, and no older one is left serving.
        failed: The cluster's own verdict that this rollout will not succeed: ``(reason, message)``, or None.
        trouble: Why it is not ready yet: that it stands still, else what the first pod says that is not ready, else why
            no pod, or no ReplicaSet for them, can be made (a quota, a policy, a webhook); ``(reason, message)``, or None.
        pods: Pods of the newest template, by name.
        roll: Which roll that template is for, as it says itself; None where it says none, as somebody else's.
        image: Image that it names for the app's container.
    """

    desired: int
    updated: int
    ready: int
    old: int
    old_ready: int
    observed: bool
    complete: bool
    failed: tuple[str, str] | None
    pods: Sequence[Pod]
    trouble: tuple[str, str] | None = None
    roll: str | None = None
    image: str | None = None


def own_container(pod: Manifest) -> Manifest:
    """Of a pod or a pod template, the container that we asked for, which has the app's name.

    Others may have been put before it. Where none has that name it is the first one.
    """
    containers: Sequence[Manifest] = pod["spec"]["containers"]
    app = pod["metadata"].get("labels", {}).get(APP_LABEL)
    return next((each for each in containers if each["name"] == app), containers[0])


def trouble_of(pods: Sequence[Pod]) -> tuple[str, str] | None:
    """Why the first of these pods that says so is not ready: reason and message, which may be empty."""
    return next(((pod.reason, pod.message or "") for pod in pods if not pod.ready and pod.reason), None)


def is_terminating(object_: Manifest) -> bool:
    """`Seen.terminating` of a whole object."""
    return "deletionTimestamp" in object_["metadata"]


def standstill(deployment: Manifest) -> tuple[str, str] | None:
    """Why the controllers make no pods of a Deployment's newest template, whatever that is: reason and sentence."""
    metadata = deployment["metadata"]
    if is_terminating(deployment):
        return "DeploymentTerminating", "it is being deleted"
    if deployment["spec"].get("paused"):
        resume = f"kubectl -n {metadata['namespace']} rollout resume deployment/{metadata['name']}"
        return "DeploymentPaused", f"somebody paused it; go on with {resume}"
    return None


FATAL_REASONS = frozenset(
    {"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CrashLoopBackOff", "CreateContainerConfigError",
     "CreateContainerError", "RunContainerError"}
)  # fmt: skip
"""Reasons of a waiting container after which a rollout is called failed at once."""

ClusterKind = Literal["sandbox", "kubernetes"]


class Watch(Protocol):
    """Changes as they happen; iterate over it once, in one thread, and close it, which leaving the context does.

    It ends by itself after about half a minute, and is never silent for much longer than that: go on from the version
    of the last change with another `Cluster.watch`. Changes to one object arrive in order; of several changes to it in
    quick succession only the last one may arrive.
    """

    def __enter__(self) -> Self:
        """Itself."""

    def __exit__(self, *_: object) -> None:
        """Close it."""

    def __iter__(self) -> Iterator[Change]:
        """Itself."""

    def __next__(self) -> Change:
        """The next change; waits for one.

        Raises:
            StopIteration: The cluster ended the watch, or it was closed.
            ExpiredError: The cluster no longer knows what happened since the version; list again.
            ClusterUnreachableError: No usable stream: broken, half an event, or nothing at all for too long.
            ClusterRefusedError: The cluster said no.
        """

    def close(self) -> None:
        """End the iteration at once, from any thread; may be repeated."""


class Cluster(Protocol):
    """One cluster, reached with one identity.

    Every method may raise `ClusterUnreachableError` (nothing known about the outcome; may be repeated) and
    `ClusterRefusedError` (the API server said no).
    """

    kind: ClusterKind
    name: str
    """The cluster's name in stream identities."""

    def namespace_exists(self, namespace: str) -> bool:
        """Whether the namespace exists and is not terminating."""

    def look(self, ref: Ref, *, ledger_id: str) -> Seen | None:
        """The metadata of an object, or None where there is none.

        A Secret is never read: for one that does not carry this ledger's label the result has empty
        labels and an empty uid (someone else's), which is all that can be known without reading it.
        """

    def read(self, ref: Ref) -> Manifest | None:
        """The whole object as it is, or None where there is none. Never a Secret: it raises ValueError."""

    def pages(self, kind: str, namespace: str, *, ledger_id: str, limit: int = 500) -> Iterator[Page]:
        """Every object of a kind that carries this ledger's label, in pages of one consistent list; at least one page.

        Nothing keeps a page that was used. The next page is asked for when it is taken.

        Args:
            kind: A key of `API_VERSIONS`, but never Secret: it raises ValueError.
            namespace: Where.
            ledger_id: The value of `LEDGER_LABEL` to select by.
            limit: How many objects a page has at most.

        Raises:
            ExpiredError: The rest of the list cannot be had at its version any more; begin again.
        """

    def watch(self, kind: str, namespace: str, *, ledger_id: str, since: str) -> Watch:
        """What happens to objects of a kind that carry this ledger's label, after the version of a `Page` or `Change`.

        Nothing is sent before the first change is asked for. Never of Secrets: it raises ValueError.
        """

    def apply(self, manifest: Manifest, *, manager: str, expect: Seen | None, force: bool = False) -> Seen:
        """Make the object equal to the manifest by server-side apply; may be repeated.

        Args:
            manifest: The object with all fields that we own.
            manager: Our field manager's name.
            expect: What `look` or an earlier `apply` returned. With it the write only happens to that very
                object in that very state. None means that the object must not exist yet.
            force: Take fields that differ away from their managers, to heal drift or to adopt an object. What others
                set beside our fields stays theirs.

        Raises:
            ChangedMeanwhileError: The object is not as expected any more; look again. With force, too.
            FieldConflictError: Someone else owns a field that we want to set; nothing was changed.
        """

    def replace_parts(self, ref: Ref, patch: Manifest, *, manager: str, expect: Seen) -> Seen:
        """Replace parts of an object, whoever set them: what others put there, no apply removes.

        What the patch sets belongs to our applies from then on, as if it had been applied; if this process ends before
        it does, or controllers write all the time meanwhile, then from the next `apply` on.

        Args:
            ref: The object, a Deployment or Service.
            patch: A strategic merge patch without metadata; without error where something to remove is not there.
            manager: Our field manager's name.
            expect: As for `apply`.

        Returns:
            The object as the patch left it. If its content was written since, it is told as it was before that.

        Raises:
            ChangedMeanwhileError: The object is not as expected any more; look again.
        """

    def delete(self, ref: Ref, *, uid: str | None) -> None:
        """Delete the object, its dependents in the background; without error if there is none.

        With a uid only that very object is deleted; another one of that name is left alone.
        """

    def rollout(self, ref: Ref) -> Rollout | None:
        """How far the rollout of a Deployment is, or None where there is no such Deployment."""

    def close(self) -> None:
        """Give back what is open; may be repeated."""

    def logs(self, namespace: str, pod: str, *, lines: int) -> Sequence[str]:
        """The last lines that the pod's crashed (else its current) container wrote, oldest first.

        Raises:
            LogsUnavailableError: This cluster cannot give them.
        """


class ClusterError(OneCtlError):
    """Something about the cluster; see the subclasses."""


class ClusterUnreachableError(ClusterError):
    """No usable answer: refused connection, time-out, broken answer, 5xx, 429 or 401. May be repeated.

    Attributes:
        retry_after: Seconds the server asked us to wait, or None.
    """

    def __init__(self, message: str, *, hint: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class ClusterRefusedError(ClusterError):
    """The API server understood and said no (403, 404 of a namespace or kind, 422, ...).

    Attributes:
        status: The HTTP status code.
        reason: The server's own machine-readable reason, e.g. ``Forbidden``.
    """

    def __init__(self, message: str, *, status: int, reason: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.reason = reason


class FrozenError(ClusterRefusedError):
    """The content of an immutable object cannot be changed: it can only be deleted and made again."""


class ChangedMeanwhileError(ClusterError):
    """The object changed, vanished or was replaced since it was looked at."""


class ExpiredError(ClusterError):
    """The cluster no longer has the version that was asked for (HTTP 410): list again."""


class FieldConflictError(ClusterError):
    """Another field manager owns fields that we want to set; the message names manager and fields, no values.

    Attributes:
        owners: By field manager, the fields that it owns, as `effects.drift` writes them where that can be told.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, owners: Mapping[str, Sequence[str]] = MappingProxyType({})
    ) -> None:
        super().__init__(message, hint=hint)
        self.owners = owners


class NotOursError(ClusterError):
    """An object of that name exists and does not carry this ledger's label.

    Attributes:
        ref: The object.
    """

    def __init__(self, ref: Ref, *, uid: str = "", hint: str | None = None) -> None:
        which = f" (its uid is {uid})" if uid else ""
        super().__init__(f"{ref} in namespace {ref.namespace} exists and is not ours{which}", hint=hint)
        self.ref = ref


def foreign_object(message: str) -> tuple[str, str] | None:
    """The ``kind/name`` and the uid that the message of a `NotOursError` names, which is all that is recorded of it.

    The uid is empty where nobody could tell it. None if it is not such a message.
    """
    found = _NOT_OURS.match(message)
    return None if found is None else (found[1], found[2] or "")


_NOT_OURS = re.compile(r"([a-z]+/[a-z0-9.-]+) in namespace \S+ exists and is not ours(?: \(its uid is ([^)\s]+)\))?")


class LogsUnavailableError(ClusterError):
    """The container's log cannot be had from this cluster."""
