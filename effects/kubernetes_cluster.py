"""A real Kubernetes cluster behind the `Cluster` protocol.

Objects stay plain JSON data, because typed answers are checked only after the write has happened. Requests and answers
are in `effects.kubernetes_requests`; they pass through `effects.kubernetes_door`.

Invariants:

* Every call is bounded in time, and nothing is retried here: the caller knows whether a write may have happened.
* A Secret is never read: its writes are answered with metadata, and of a refusal only status, reason and field
  names are kept.
* No object is merged into by accident: a write names the uid and version it expects, or one that no object has; or it is a
  creation, which fails where there is one.

Not done here: deciding whose an object is, and beginning a list or a watch again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from effects.cluster import (
    LEDGER_LABEL,
    ChangedMeanwhileError,
    ClusterError,
    ClusterKind,
    Json,
    Listed,
    LogsUnavailableError,
    Manifest,
    NotOursError,
    Page,
    Ref,
    Rollout,
    Seen,
    ref_of,
    refuse_secret,
    refuse_secrets,
)
from effects.kubernetes_credentials import SERVICE_ACCOUNT, from_kubeconfig, from_service_account
from effects.kubernetes_door import Door
from effects.kubernetes_requests import (
    JSON,
    JSON_PATCH,
    METADATA_LIST,
    ApiAnswer,
    ApiRequest,
    apply_request,
    collection_request,
    object_request,
    replace_parts_request,
    seen_of,
)
from effects.kubernetes_rollout import container_to_explain, rollout_of
from effects.kubernetes_watch import KubernetesWatch
from effects.managers import as_applied, claimed
from effects.replacing import REPLACEABLE

_NO_VERSION = "1"
"""A resourceVersion that no object has: etcd's first write makes revision 2. Where there is no object it is ignored."""

_VERSION_ON_CREATE = "resourceVersion should not be set on objects to be created"
"""What older servers, 1.20 for one, say when a Service that is not there is applied with a resourceVersion."""

_CLAIMS = 5
"""How often managed fields are written after a patch at most, while controllers write, too."""

_LOG_BYTES = 1024 * 1024

_WATCH_SECONDS = 30
"""How long a watch is asked to last."""

_GRACE_SECONDS = 5.0
"""How much longer than that it may take, at most."""


class KubernetesCluster:
    """One Kubernetes cluster, reached with the credentials of one kubeconfig context.

    Safe to share between threads. Close it, or use it as a context manager, to give its connections back.
    """

    kind: ClusterKind = "kubernetes"

    def __init__(self, door: Door, *, name: str, watch_seconds: int = _WATCH_SECONDS) -> None:
        self.name = name
        self._door = door
        self._watch_seconds = watch_seconds
        self._posted: set[str] = set()
        """Kinds of which this server takes no apply that says that there must be none."""

    @classmethod
    def connect(
        cls,
        *,
        kubeconfig: Path | None,
        context: str,
        name: str | None = None,
        timeout: float = 30.0,
        watch_seconds: int = _WATCH_SECONDS,
    ) -> KubernetesCluster:
        """The cluster of a kubeconfig context; nothing is sent to it yet.

        Args:
            kubeconfig: The file, or None for ``~/.kube/config``. The variable KUBECONFIG is never read.
            context: The context's name; the file's current one is never assumed.
            name: The cluster's name in stream identities; the context's name if None.
            timeout: Seconds that one request may take, from connecting to the answer's last byte.
            watch_seconds: Seconds after which the server is asked to end a watch.

        Raises:
            ClusterError: The file or the context cannot be used.
        """
        named = kubeconfig or Path("~/.kube/config")
        try:
            file = named.expanduser()
        except RuntimeError as error:
            raise ClusterError(
                f"the home directory that {named} begins with is not known",
                hint="Name the file: ONECTL_KUBECONFIG=/path",
            ) from error
        name = name or context
        door = Door(from_kubeconfig(file, context), name=name, timeout=timeout)
        return cls(door, name=name, watch_seconds=watch_seconds)

    @classmethod
    def connect_in_cluster(
        cls,
        *,
        name: str,
        timeout: float = 30.0,
        watch_seconds: int = _WATCH_SECONDS,
        mount: Path = SERVICE_ACCOUNT,
    ) -> KubernetesCluster:
        """The cluster that this process runs in, as its pod's service account; nothing is sent to it yet.

        Args:
            name: The cluster's name in stream identities.
            timeout: As in `connect`.
            watch_seconds: As in `connect`.
            mount: Directory of the service account's token and certificate authority.

        Raises:
            ClusterError: This is not a pod, or it has no service account's token.
        """
        door = Door(from_service_account(mount), name=name, timeout=timeout)
        return cls(door, name=name, watch_seconds=watch_seconds)

    def close(self) -> None:
        """Close the connections; may be repeated."""
        self._door.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def namespace_exists(self, namespace: str) -> bool:
        """Whether the namespace exists and is not terminating; True where we may not know."""
        answer = self._door.ask(
            ApiRequest("GET", "/api/v1/namespaces/{name}", f"read namespace {namespace}", {"name": namespace}),
            also=(403, 404),
        )
        if answer.status == 403:
            # Namespaces are cluster-wide: a role bound in one namespace cannot read it. The first write will tell.
            return True
        return answer.status == 200 and "deletionTimestamp" not in answer.document["metadata"]

    def look(self, ref: Ref, *, ledger_id: str) -> Seen | None:
        """The metadata of an object, or None where there is none; a Secret is not read but tested for our label."""
        if ref.kind == "Secret":
            return self._look_at_secret(ref, ledger_id)
        answer = self._door.ask(object_request("GET", ref, "look at"), also=(404,))
        return None if answer.status == 404 else answer.seen()

    def _look_at_secret(self, ref: Ref, ledger_id: str) -> Seen | None:
        label = LEDGER_LABEL.replace("~", "~0").replace("/", "~1")
        test = {"op": "test", "path": f"/metadata/labels/{label}", "value": ledger_id}
        request = object_request("PATCH", ref, "look at", body=[test], content_type=JSON_PATCH)
        answer = self._door.ask(request, also=(404, 422))
        if answer.status == 404:
            return None
        if answer.status == 422:
            # A test that fails: another value, or no such label.
            return Seen(uid="", resource_version="", labels={}, annotations={})
        return answer.seen()

    def read(self, ref: Ref) -> Manifest | None:
        """The whole object, or None where there is none; never a Secret."""
        refuse_secret(ref)
        answer = self._door.ask(object_request("GET", ref, "read", accept=JSON), also=(404,))
        return None if answer.status == 404 else answer.document

    def pages(self, kind: str, namespace: str, *, ledger_id: str, limit: int = 500) -> Iterator[Page]:
        """See `Cluster.pages`; one request a page."""
        refuse_secrets(kind)
        return self._pages(kind, namespace, {"labelSelector": f"{LEDGER_LABEL}={ledger_id}", "limit": limit})

    def _pages(self, kind: str, namespace: str, query: Mapping[str, str | int]) -> Iterator[Page]:
        more = ""
        while True:
            continued = {**query, "continue": more} if more else query
            request = collection_request(
                "GET", Ref(kind, namespace, "*"), "list", query=continued, accept=METADATA_LIST
            )
            held = [self._door.ask(request).document]
            more = held[0]["metadata"].get("continue", "")
            # Popped, so that this frame does not keep a page while its reader works, nor until the next one is there.
            yield _page(kind, namespace, held.pop())
            if not more:
                return

    def watch(self, kind: str, namespace: str, *, ledger_id: str, since: str) -> KubernetesWatch:
        """See `Cluster.watch`; the connection is one of its own."""
        refuse_secrets(kind)
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": f"{LEDGER_LABEL}={ledger_id}",
            "resourceVersion": since,
            "timeoutSeconds": self._watch_seconds,
        }
        request = collection_request("GET", Ref(kind, namespace, "*"), "watch", query=query)
        seconds = self._watch_seconds + min(_GRACE_SECONDS, self._door.timeout)
        return KubernetesWatch(kind, lambda: self._door.stream(request, seconds=seconds))

    def apply(self, manifest: Manifest, *, manager: str, expect: Seen | None, force: bool = False) -> Seen:
        """Make the object equal to the manifest by server-side apply; see the protocol."""
        if expect is not None:
            return self._update(manifest, manager, expect, force=force)
        return self._create(manifest, manager)

    def _update(self, manifest: Manifest, manager: str, expect: Seen, *, force: bool = False) -> Seen:
        ref = ref_of(manifest)
        if not expect.uid:
            # An empty uid is not a precondition at all: the server would take it as "whatever is there".
            raise NotOursError(ref)
        if expect.unclaimed and ref.kind in REPLACEABLE:
            live = self._door.ask(object_request("GET", ref, "look at"), also=(404,))
            if live.status == 404:
                raise _changed_meanwhile(ref)
            expect = self._claim(ref, manager, expect, live.document)
        answer = self._door.ask(apply_request(manifest, manager, _that_very(expect), force=force), also=(409, 422))
        if answer.status in {200, 201}:
            return answer.seen()
        if answer.status == 422 and not answer.names_field("metadata.uid"):
            raise answer.error()
        if answer.conflicts() and self._uid_of(manifest) == expect.uid:
            raise answer.conflict_error()
        raise _changed_meanwhile(ref)

    def replace_parts(self, ref: Ref, patch: Manifest, *, manager: str, expect: Seen) -> Seen:
        """Replace parts of an object; see the protocol."""
        answer = self._patch(ref, patch, manager, _that_very(expect))
        replaced = answer.seen()
        for _ in range(_CLAIMS):
            metadata = answer.document["metadata"]
            managed = claimed(metadata.get("managedFields") or (), manager)
            if managed is None:
                return _left_as(ref, replaced, answer.seen())
            try:
                answer = self._patch(ref, {"metadata": {"managedFields": managed}}, manager, _that_very(answer.seen()))
            except ChangedMeanwhileError:  # controllers write at once
                answer = self._door.ask(object_request("GET", ref, "look at"), also=(404,))
                if answer.status == 404:
                    raise _changed_meanwhile(ref) from None
        return _left_as(ref, replaced, answer.seen())  # claimed by the next apply

    def _claim(self, ref: Ref, manager: str, expect: Seen, live: Json) -> Seen:
        """The object, once what we set otherwise than by applies is as if applied: else no apply removes it."""
        managed = claimed(live["metadata"].get("managedFields") or (), manager)
        if managed is None:  # what is unclaimed is another ledger's
            return expect
        return self._patch(ref, {"metadata": {"managedFields": managed}}, manager, _that_very(expect)).seen()

    def _patch(self, ref: Ref, patch: Manifest, manager: str, precondition: Mapping[str, str]) -> ApiAnswer:
        answer = self._door.ask(replace_parts_request(ref, patch, manager, precondition), also=(404, 409, 422))
        if answer.status == 422 and not answer.names_field("metadata.uid"):
            raise answer.error()
        if answer.status != 200:
            raise _changed_meanwhile(ref)
        return answer

    def _uid_of(self, manifest: Manifest) -> str | None:
        """The object's present uid: field conflicts are reported before a uid is compared."""
        seen = self.look(ref_of(manifest), ledger_id=manifest["metadata"].get("labels", {}).get(LEDGER_LABEL, ""))
        return seen.uid if seen else None

    def _create(self, manifest: Manifest, manager: str) -> Seen:
        ref = ref_of(manifest)
        if ref.kind not in self._posted:
            request = apply_request(manifest, manager, {"resourceVersion": _NO_VERSION})
            answer = self._door.ask(request, also=(409, 500))
            if answer.status == 201:
                return answer.seen()
            if answer.status != 500:
                raise _already_there(ref)
            if answer.message() != _VERSION_ON_CREATE:
                raise answer.error()
            self._posted.add(ref.kind)
        return self._post(ref, manifest, manager)

    def _post(self, ref: Ref, manifest: Manifest, manager: str) -> Seen:
        """Make the object where there is none, and have it belong to the manager as if it had been applied."""
        request = collection_request("POST", ref, "create", query={"fieldManager": manager}, body=manifest)
        made = self._door.ask(request, also=(409,))
        if made.status == 409:
            raise _already_there(ref)
        managed = as_applied(made.document["metadata"].get("managedFields") or (), manager, manifest)
        return self._patch(ref, {"metadata": {"managedFields": managed}}, manager, _that_very(made.seen())).seen()

    def delete(self, ref: Ref, *, uid: str | None) -> None:
        """Delete the object in the background; without error if it, or the one with that uid, is not there."""
        preconditions = {} if uid is None else {"preconditions": {"uid": uid}}
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background", **preconditions}
        # The only conflict with nothing but a uid to compare is another uid.
        gone = (404,) if uid is None else (404, 409)
        self._door.ask(object_request("DELETE", ref, "delete", body=options), also=gone)

    def rollout(self, ref: Ref) -> Rollout | None:
        """How far the rollout of a Deployment is, in three requests, or None where there is no such Deployment."""
        answer = self._door.ask(object_request("GET", ref, "read", accept=JSON), also=(404,))
        if answer.status == 404:
            return None
        deployment = answer.document
        # Somebody else's may select by expressions only: then more is listed than is its own, as it is with none.
        labels = deployment["spec"]["selector"].get("matchLabels", {})
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        # In this order: a pod in the list has its ReplicaSet in the later one, so none is missed in between.
        pods = self._list("Pod", ref.namespace, selector)
        sets = self._list("ReplicaSet", ref.namespace, selector)
        return rollout_of(deployment, sets, pods)

    def _list(self, kind: str, namespace: str, selector: str) -> Sequence[Json]:
        """Whole objects; of ReplicaSets few are kept."""
        request = collection_request(
            "GET", Ref(kind, namespace, "*"), "list", query={"labelSelector": selector}, accept=JSON
        )
        return self._door.ask(request).document.get("items") or ()

    def logs(self, namespace: str, pod: str, *, lines: int) -> Sequence[str]:
        """The last lines of the pod's crashed (else its current) container, at most 1 MiB, oldest first."""
        ref = Ref("Pod", namespace, pod)
        found = self._door.ask(object_request("GET", ref, "read", accept=JSON), also=(403, 404))
        if found.status != 200:
            raise LogsUnavailableError(f"There are no logs of {ref}: {found.said()}")
        container, crashed = container_to_explain(found.document)
        answer = self._log(ref, container, lines, previous=crashed)
        if crashed and answer.status != 200:
            answer = self._log(ref, container, lines, previous=False)
        if answer.status != 200:
            raise LogsUnavailableError(
                f"Cluster {self.name} cannot give the logs of {ref}: {answer.said()}",
                hint="It may have no way to its nodes, or this identity no right to pods/log.",
            )
        return answer.body.decode(errors="replace").splitlines()[-lines:]

    def _log(self, ref: Ref, container: str, lines: int, *, previous: bool) -> ApiAnswer:
        query = {"container": container, "tailLines": lines, "limitBytes": _LOG_BYTES, "previous": previous}
        request = object_request("GET", ref, "read the logs of", tail="/log", query=query, accept="*/*")
        # The server fetches logs from the node: what it answers when that fails says nothing about itself.
        return self._door.ask(request, also=(400, 403, 404, 500, 501, 502, 503, 504))


def _page(kind: str, namespace: str, document: Json) -> Page:
    # An empty list of PartialObjectMetadata is written as null.
    items = document.get("items") or ()
    objects = [Listed(Ref(kind, namespace, each["metadata"]["name"]), seen_of(each["metadata"])) for each in items]
    return Page(objects, document["metadata"]["resourceVersion"])


def _that_very(expect: Seen) -> Mapping[str, str]:
    return {"uid": expect.uid, "resourceVersion": expect.resource_version}


def _left_as(ref: Ref, before: Seen, now: Seen) -> Seen:
    """How the object was left: as it is now, if nothing but its managed fields and its status was written meanwhile.

    Else as it was before, which whoever looks next sees that it is not any more.
    """
    if before.uid != now.uid:
        raise _changed_meanwhile(ref)
    return now if before.generation == now.generation else before


def _changed_meanwhile(ref: Ref) -> ChangedMeanwhileError:
    return ChangedMeanwhileError(f"{ref} in namespace {ref.namespace} changed or vanished since it was looked at")


def _already_there(ref: Ref) -> ChangedMeanwhileError:
    return ChangedMeanwhileError(f"{ref} in namespace {ref.namespace} exists already; it was not there when looked at")
