"""A real Kubernetes cluster behind the `Cluster` protocol; the one door to the `kubernetes` client and urllib3.

Of the client this uses configuration, authentication and transport; objects stay plain JSON data, because typed
answers are checked only after the write has happened.

Invariants:

* Every call is bounded in time, and nothing is retried here: the caller knows whether a write may have happened.
* The client's exceptions end at this door, for their text holds response bodies. Ours are raised outside the
  handlers, so that none of it hangs on `__cause__` or `__context__`.
* A Secret is never read: its writes are answered with metadata, and of a refusal only status, reason and field
  names are kept, since the server's sentences quote values.
* No object is merged into by accident: a write names the uid and version it expects, or one that no object has.

Not done here: watching, paging, and deciding whose an object is.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import orjson
import urllib3
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException
from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger

from effects.cluster import (
    APP_LABEL,
    LEDGER_LABEL,
    LIFE_LABEL,
    ChangedMeanwhileError,
    ClusterError,
    ClusterKind,
    ClusterRefusedError,
    ClusterUnreachableError,
    FieldConflictError,
    LogsUnavailableError,
    Manifest,
    NotOursError,
    Ref,
    Rollout,
    Seen,
    ref_of,
    refuse_secret,
)
from effects.kubernetes_rollout import Json, container_to_explain, rollout_of

_COLLECTIONS: Mapping[str, str] = {
    "ConfigMap": "/api/v1/namespaces/{namespace}/configmaps",
    "Secret": "/api/v1/namespaces/{namespace}/secrets",
    "Service": "/api/v1/namespaces/{namespace}/services",
    "Pod": "/api/v1/namespaces/{namespace}/pods",
    "Deployment": "/apis/apps/v1/namespaces/{namespace}/deployments",
    "ReplicaSet": "/apis/apps/v1/namespaces/{namespace}/replicasets",
    "HTTPRoute": "/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes",
}

_JSON = "application/json"
_JSON_PATCH = "application/json-patch+json"
_APPLY = "application/apply-patch+yaml"
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

_NO_VERSION = "1"
"""A resourceVersion that no object has: etcd's first write makes revision 2. Where there is no object it is ignored."""

_VERSION_ON_CREATE = "resourceVersion should not be set on objects to be created"
"""What older servers, 1.20 for one, say when a Service that is not there is applied with a resourceVersion."""

_CHUNK = 64 * 1024
_LOG_BYTES = 1024 * 1024


class KubernetesCluster:
    """One Kubernetes cluster, reached with the credentials of one kubeconfig context.

    Safe to share between threads. Close it, or use it as a context manager, to give its connections back.
    """

    kind: ClusterKind = "kubernetes"

    def __init__(self, api: client.ApiClient, *, name: str, timeout: float) -> None:
        self.name = name
        self._door = _Door(api, name=name, timeout=timeout)

    @classmethod
    def connect(
        cls, *, kubeconfig: Path | None, context: str, name: str | None = None, timeout: float = 30.0
    ) -> KubernetesCluster:
        """The cluster of a kubeconfig context; nothing is sent to it yet.

        Args:
            kubeconfig: The file, or None for ``~/.kube/config``. The variable KUBECONFIG is never read.
            context: The context's name; the file's current one is never assumed.
            name: The cluster's name in stream identities; the context's name if None.
            timeout: Seconds that one request may take, from connecting to the answer's last byte.

        Raises:
            ClusterError: The file or the context cannot be used.
        """
        file = (kubeconfig or Path("~/.kube/config")).expanduser()
        configuration = client.Configuration()
        _configure(configuration, file, context)
        configuration.retries = False
        return cls(client.ApiClient(configuration), name=name or context, timeout=timeout)

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
            _Request("GET", "/api/v1/namespaces/{name}", f"read namespace {namespace}", {"name": namespace}),
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
        answer = self._door.ask(_object_request("GET", ref, "look at"), also=(404,))
        return None if answer.status == 404 else answer.seen()

    def _look_at_secret(self, ref: Ref, ledger_id: str) -> Seen | None:
        label = LEDGER_LABEL.replace("~", "~0").replace("/", "~1")
        test = {"op": "test", "path": f"/metadata/labels/{label}", "value": ledger_id}
        request = _object_request("PATCH", ref, "look at", body=[test], content_type=_JSON_PATCH)
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
        answer = self._door.ask(_object_request("GET", ref, "read", accept=_JSON), also=(404,))
        return None if answer.status == 404 else answer.document

    def apply(self, manifest: Manifest, *, manager: str, expect: Seen | None) -> Seen:
        """Make the object equal to the manifest by server-side apply, without force; see the protocol."""
        if expect is not None:
            return self._update(manifest, manager, expect)
        if manifest["kind"] == "Secret":
            # An apply merges into a Secret that is there already, and we may not look whether one is.
            return self._update(manifest, manager, self._create_empty(manifest, manager))
        return self._create(manifest, manager)

    def _update(self, manifest: Manifest, manager: str, expect: Seen) -> Seen:
        ref = ref_of(manifest)
        if not expect.uid:
            # An empty uid is no precondition at all: the server would take it as "whatever is there".
            raise NotOursError(ref)
        precondition = {"uid": expect.uid, "resourceVersion": expect.resource_version}
        answer = self._door.ask(_apply_request(manifest, manager, precondition), also=(409, 422))
        if answer.status in {200, 201}:
            return answer.seen()
        if answer.status == 422 and not answer.names_field("metadata.uid"):
            raise answer.error()
        if answer.conflicts() and self._uid_of(manifest) == expect.uid:
            raise answer.conflict_error()
        raise ChangedMeanwhileError(f"{ref} in namespace {ref.namespace} changed or vanished since it was looked at")

    def _uid_of(self, manifest: Manifest) -> str | None:
        """The uid that the object has now: field conflicts are reported before a uid is compared."""
        seen = self.look(ref_of(manifest), ledger_id=manifest["metadata"].get("labels", {}).get(LEDGER_LABEL, ""))
        return seen.uid if seen else None

    def _create(self, manifest: Manifest, manager: str) -> Seen:
        ref = ref_of(manifest)
        request = _apply_request(manifest, manager, {"resourceVersion": _NO_VERSION})
        answer = self._door.ask(request, also=(409, 500))
        if answer.status == 500:
            if answer.message() != _VERSION_ON_CREATE:
                raise answer.error()
            # Such a server has just found nothing there. In the moment until this apply a merge is possible,
            # and at least not passed off as ours: it would be answered with 200.
            answer = self._door.ask(_apply_request(manifest, manager, {}), also=(409,))
        if answer.status == 201:
            return answer.seen()
        raise _already_there(ref)

    def _create_empty(self, manifest: Manifest, manager: str) -> Seen:
        """Make a Secret without values; fails where there is one.

        Creating owns fields for ever beside applying, so it sets only what never changes: the labels that say whose
        it is, and the type. Everything else can be changed and removed by later applies.
        """
        ref = ref_of(manifest)
        labels = manifest["metadata"].get("labels", {})
        body = {
            "apiVersion": manifest["apiVersion"],
            "kind": "Secret",
            "metadata": {
                "name": ref.name,
                "labels": {k: labels[k] for k in (LEDGER_LABEL, APP_LABEL, LIFE_LABEL) if k in labels},
            },
            "type": manifest.get("type", "Opaque"),
        }
        request = _collection_request("POST", ref, "create", query={"fieldManager": manager}, body=body)
        answer = self._door.ask(request, also=(409,))
        if answer.status == 409:
            raise _already_there(ref)
        return answer.seen()

    def delete(self, ref: Ref, *, uid: str | None) -> None:
        """Delete the object in the background; without error if it, or the one with that uid, is not there."""
        preconditions = {} if uid is None else {"preconditions": {"uid": uid}}
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background", **preconditions}
        # The only conflict with nothing but a uid to compare is another uid.
        gone = (404,) if uid is None else (404, 409)
        self._door.ask(_object_request("DELETE", ref, "delete", body=options), also=gone)

    def rollout(self, ref: Ref) -> Rollout | None:
        """How far the rollout of a Deployment is, in three requests, or None where there is no such Deployment."""
        answer = self._door.ask(_object_request("GET", ref, "read", accept=_JSON), also=(404,))
        if answer.status == 404:
            return None
        deployment = answer.document
        selector = ",".join(f"{key}={value}" for key, value in deployment["spec"]["selector"]["matchLabels"].items())
        # In this order: a pod in the list has its ReplicaSet in the later one, so none is missed in between.
        pods = self._list("Pod", ref.namespace, selector, accept=_JSON)
        sets = self._list("ReplicaSet", ref.namespace, selector, accept=_METADATA_LIST)
        return rollout_of(deployment, sets, pods)

    def _list(self, kind: str, namespace: str, selector: str, *, accept: str) -> Sequence[Json]:
        request = _collection_request(
            "GET", Ref(kind, namespace, "*"), "list", query={"labelSelector": selector}, accept=accept
        )
        # An empty list of PartialObjectMetadata is written as null.
        return self._door.ask(request).document.get("items") or ()

    def logs(self, namespace: str, pod: str, *, lines: int) -> Sequence[str]:
        """The last lines of the pod's crashed (else its current) container, at most 1 MiB, oldest first."""
        ref = Ref("Pod", namespace, pod)
        found = self._door.ask(_object_request("GET", ref, "read", accept=_JSON), also=(403, 404))
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

    def _log(self, ref: Ref, container: str, lines: int, *, previous: bool) -> _Answer:
        query = {"container": container, "tailLines": lines, "limitBytes": _LOG_BYTES, "previous": previous}
        request = _object_request("GET", ref, "read the logs of", tail="/log", query=query, accept="*/*")
        # The server fetches logs from the node: what it answers when that fails says nothing about itself.
        return self._door.ask(request, also=(400, 403, 404, 500, 501, 502, 503, 504))


def _already_there(ref: Ref) -> ChangedMeanwhileError:
    return ChangedMeanwhileError(f"{ref} in namespace {ref.namespace} exists already; it was not there when looked at")


# The kubeconfig


def _configure(configuration: client.Configuration, file: Path, context: str) -> None:
    if not file.is_file():
        raise ClusterError(f"There is no kubeconfig at {file}", hint="Name the file with --kubeconfig.")
    problem = "it has no such context"
    names: Sequence[str] = ()
    try:
        merger: Any = KubeConfigMerger(str(file))  # type: ignore[no-untyped-call]
        names = sorted(entry["name"] for entry in merger.config["contexts"].value)
        if context in names:
            # Persisting keeps a refreshed OIDC token: without it the login that the user shares with us would end.
            loader: Any = KubeConfigLoader(  # type: ignore[no-untyped-call]
                merger.config, active_context=context, config_base_path=None, config_persister=merger.save_changes
            )
            loader.load_and_set(configuration)
            return
    except Exception as error:  # noqa: BLE001 - from YAML to base64 to plugins, the client lets anything through
        # The type only: the texts quote the file, tokens included.
        problem = f"the client could not use it ({type(error).__name__})"
    raise ClusterError(
        f"The context {context!r} of {file} cannot be used: {problem}",
        hint=f"Contexts in that file: {', '.join(names) or 'none'}.",
    )


# Requests


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    """What a request may say beyond its address."""

    query: Mapping[str, str | int | bool] = field(default_factory=dict)
    body: Any = field(default=None, repr=False)
    content_type: str = _JSON
    accept: str = _METADATA


@dataclass(frozen=True, slots=True)
class _Request(_Options):
    """One request.

    Attributes:
        method: GET, POST, PATCH or DELETE.
        path: With placeholders, which `names` fills.
        does: What it does, for messages: "delete secret/shop-secrets in namespace shop".
        names: Values of the placeholders.
        confidential: Whether the server's sentences about it may quote values.
    """

    method: str
    path: str
    does: str
    names: Mapping[str, str]
    confidential: bool = False


def _object_request(method: str, ref: Ref, verb: str, *, tail: str = "", **options: Any) -> _Request:
    names = {"namespace": ref.namespace, "name": ref.name}
    path = _COLLECTIONS[ref.kind] + "/{name}" + tail
    does = f"{verb} {ref} in namespace {ref.namespace}"
    return _Request(method, path, does, names, ref.kind == "Secret", **options)


def _collection_request(method: str, ref: Ref, verb: str, **options: Any) -> _Request:
    does = f"{verb} {ref} in namespace {ref.namespace}"
    names = {"namespace": ref.namespace}
    return _Request(method, _COLLECTIONS[ref.kind], does, names, ref.kind == "Secret", **options)


def _apply_request(manifest: Manifest, manager: str, precondition: Mapping[str, str]) -> _Request:
    # Bytes, for the client would send a JSON object of this content type through a serialiser of its own.
    body = orjson.dumps({**manifest, "metadata": {**manifest["metadata"], **precondition}})
    query = {"fieldManager": manager}
    return _object_request("PATCH", ref_of(manifest), "apply", query=query, body=body, content_type=_APPLY)


# Answers


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the server said to a request.

    Attributes:
        cluster: The cluster's name, for messages.
        request: The request.
        status: HTTP status code.
        retry_after: Seconds the server asked us to wait, or None.
        body: The bytes.
        document: The body if it is a JSON object, else an empty one.
    """

    cluster: str
    request: _Request
    status: int
    retry_after: float | None
    body: bytes = field(repr=False)
    document: Json = field(repr=False)

    def seen(self) -> Seen:
        """The metadata of the object in the answer."""
        metadata = self.document["metadata"]
        return Seen(
            uid=metadata["uid"],
            resource_version=metadata["resourceVersion"],
            labels=metadata.get("labels") or {},
            annotations=metadata.get("annotations") or {},
        )

    def message(self) -> str:
        """The server's own sentence; may quote values."""
        return str(self.document.get("message") or "")

    def causes(self) -> Sequence[Json]:
        """The `details.causes` of a Status."""
        details = self.document.get("details") or {}
        causes: Sequence[Json] = details.get("causes") or ()
        return causes

    def names_field(self, path: str) -> bool:
        """Whether the server complains about that field."""
        return any(cause.get("field") == path for cause in self.causes())

    def conflicts(self) -> Sequence[Json]:
        """The causes that say who else owns a field."""
        return [cause for cause in self.causes() if cause.get("reason") == "FieldManagerConflict"]

    def conflict_error(self) -> FieldConflictError:
        """The conflicts as an error: field managers and fields, no values."""
        owners: dict[str, list[str]] = {}
        for cause in self.conflicts():
            manager = re.match(r'conflict with "([^"]*)"', cause.get("message", ""))
            owners.setdefault(manager[1] if manager else "another manager", []).append(cause.get("field", "?"))
        said = "; ".join(f"{manager} owns {', '.join(fields)}" for manager, fields in owners.items())
        return FieldConflictError(
            f"Could not {self.request.does}: {said}",
            hint="Take these fields out of what the other manager applies, then repeat.",
        )

    def error(self) -> ClusterUnreachableError | ClusterRefusedError:
        """This answer as an error."""
        message = f"Cluster {self.cluster} did not {self.request.does}: {self.said()}"
        if self.status == 429 or self.status >= 500:
            return ClusterUnreachableError(message, retry_after=self.retry_after)
        return ClusterRefusedError(message, status=self.status, reason=self._reason(), hint=self._hint())

    def said(self) -> str:
        """Status, reason and what else the server said, less anything that may hold a value."""
        if self.request.confidential:
            detail = ", ".join(sorted({str(cause["field"]) for cause in self.causes() if cause.get("field")}))
        else:
            detail = self.message()
        return f"{self.status} {self._reason()}" + (f": {detail}" if detail else "")

    def _reason(self) -> str:
        given = str(self.document.get("reason") or "")
        if re.fullmatch("[A-Za-z]{1,64}", given):
            return given
        return HTTPStatus(self.status).phrase if self.status in set(HTTPStatus) else "unknown status"

    def _hint(self) -> str | None:
        details = self.document.get("details") or {}
        if self.status == 401:
            return "Log in to the cluster again; it does not accept the credentials of this context."
        if any(cause.get("reason") == "NamespaceTerminating" for cause in self.causes()):
            return "The namespace is being deleted; wait until it is gone and make it again, or use another."
        if self.status == 403:
            return "Ask whoever runs the cluster for the right to do this."
        if self.status == 404 and details.get("kind") == "namespaces":
            return f"Make the namespace first: kubectl create namespace {self.request.names.get('namespace', '')}"
        if self.status == 404 and not details.get("name"):
            return "The cluster does not know objects of this kind; an HTTPRoute needs the Gateway API installed."
        return None


class _Door:
    """Sends a request within a deadline, and turns what goes wrong into our errors."""

    def __init__(self, api: client.ApiClient, *, name: str, timeout: float) -> None:
        api.user_agent = "1ctl"
        self._api = api
        self._name = name
        self._timeout = timeout

    def close(self) -> None:
        self._api.rest_client.close()
        self._api.close()  # type: ignore[no-untyped-call]

    def ask(self, request: _Request, *, also: Iterable[int] = ()) -> _Answer:
        """The answer if its status is 2xx or among `also`.

        Raises:
            ClusterUnreachableError: No answer, half an answer, 429 or 5xx.
            ClusterRefusedError: Any other status.
        """
        answer = self._exchange(request)
        if not 200 <= answer.status <= 299 and answer.status not in also:
            raise answer.error()
        if request.accept != "*/*" and answer.status <= 299 and "metadata" not in answer.document:
            raise self._unreachable(request, "what answers there does not speak the Kubernetes API")
        return answer

    def _exchange(self, request: _Request) -> _Answer:
        try:
            return self._send(request)
        except ConfigException:
            why = "the kubeconfig's credentials could not be renewed"
        except ApiException as error:
            # The client raises it by itself for TLS only, with its own words and no body.
            why = str(error.reason).replace("\n", ": ")
        except (urllib3.exceptions.HTTPError, OSError) as error:
            why = self._why(error)
        raise self._unreachable(request, why)

    def _send(self, request: _Request) -> _Answer:
        deadline = time.monotonic() + self._timeout
        prepared = self._api.param_serialize(
            request.method,
            request.path,
            path_params=dict(request.names),
            query_params=list(request.query.items()),
            header_params={"Accept": request.accept, "Content-Type": request.content_type},
            body=request.body,
            auth_settings=["BearerToken"],
        )
        response = self._api.call_api(*prepared, _request_timeout=self._timeout).response
        try:
            body = _read(response, deadline)
        except BaseException:
            response.close()
            raise
        response.release_conn()
        return _Answer(
            cluster=self._name,
            request=request,
            status=response.status,
            retry_after=_seconds(response.headers.get("Retry-After")),
            body=body,
            document=_object(body),
        )

    def _unreachable(self, request: _Request, why: str) -> ClusterUnreachableError:
        return ClusterUnreachableError(
            f"No usable answer from cluster {self._name} (to {request.does}): {why}",
            hint="Check the network and the server's address in the kubeconfig. It is safe to repeat this.",
        )

    def _why(self, error: Exception) -> str:
        match error:
            case urllib3.exceptions.NameResolutionError():
                return "its host name cannot be resolved"
            case urllib3.exceptions.NewConnectionError():
                cause = error.__cause__
                return (isinstance(cause, OSError) and cause.strerror) or "it cannot be connected to"
            case urllib3.exceptions.TimeoutError() | TimeoutError():
                return f"it took longer than {self._timeout:g} s"
            case urllib3.exceptions.ProtocolError():
                return "the connection broke before the answer was complete"
            case _:
                return type(error).__name__


def _read(response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    """The whole body. The socket's timeout starts anew with every byte; the deadline does not."""
    parts = []
    while part := response.read1(_CHUNK):
        parts.append(part)
        if time.monotonic() > deadline:
            raise TimeoutError
    return b"".join(parts)


def _seconds(header: str | None) -> float | None:
    return float(header) if header is not None and re.fullmatch(r"\d{1,6}", header) else None


def _object(body: bytes) -> Json:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}
