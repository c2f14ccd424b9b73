"""What is asked of an API server, and what it answers, as plain data. Pure.

Of a refusal about a Secret only status, reason and field names are kept, since the server's sentences quote values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from effects.cluster import (
    ClusterRefusedError,
    ClusterUnreachableError,
    ExpiredError,
    FieldConflictError,
    FrozenError,
    Json,
    Manifest,
    Ref,
    Seen,
    ref_of,
)
from effects.managers import is_unclaimed

COLLECTIONS: Mapping[str, str] = {
    "ConfigMap": "/api/v1/namespaces/{namespace}/configmaps",
    "Secret": "/api/v1/namespaces/{namespace}/secrets",
    "Service": "/api/v1/namespaces/{namespace}/services",
    "Pod": "/api/v1/namespaces/{namespace}/pods",
    "Deployment": "/apis/apps/v1/namespaces/{namespace}/deployments",
    "ReplicaSet": "/apis/apps/v1/namespaces/{namespace}/replicasets",
    "HTTPRoute": "/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes",
}

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
STRATEGIC_MERGE = "application/strategic-merge-patch+json"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


_DENIED = re.compile(
    r'secrets "[a-z0-9.-]+" is forbidden: User "[^"\s]{1,256}" cannot [a-z]+ resource "secrets" in API group ""'
    r' in the namespace "[a-z0-9-]+"'
)
"""What an API server's own authorizer says, who knows no value; others that refuse (webhooks) may quote what was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a request may say beyond its address. The body is sent as JSON, which is YAML as well."""

    query: Mapping[str, str | int | bool] = field(default_factory=dict)
    body: Any = field(default=None, repr=False)
    content_type: str = JSON
    accept: str = METADATA


_FROZEN = frozenset({"data", "binaryData", "immutable"})
"""What nobody may change in an immutable object."""


@dataclass(frozen=True, slots=True)
class ApiRequest(Options):
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


def object_request(method: str, ref: Ref, verb: str, *, tail: str = "", **options: Any) -> ApiRequest:
    """A request about one object; `options` are the fields of `Options`."""
    names = {"namespace": ref.namespace, "name": ref.name}
    path = COLLECTIONS[ref.kind] + "/{name}" + tail
    does = f"{verb} {ref} in namespace {ref.namespace}"
    return ApiRequest(method, path, does, names, ref.kind == "Secret", **options)


def collection_request(method: str, ref: Ref, verb: str, **options: Any) -> ApiRequest:
    """A request about a kind in a namespace; `options` are the fields of `Options`."""
    does = f"{verb} {ref} in namespace {ref.namespace}"
    names = {"namespace": ref.namespace}
    return ApiRequest(method, COLLECTIONS[ref.kind], does, names, ref.kind == "Secret", **options)


def apply_request(
    manifest: Manifest, manager: str, precondition: Mapping[str, str], *, force: bool = False
) -> ApiRequest:
    """Server-side apply of an object in the state that the precondition names."""
    body = {**manifest, "metadata": {**manifest["metadata"], **precondition}}
    query: Mapping[str, str] = {"fieldManager": manager, **({"force": "true"} if force else {})}
    return object_request("PATCH", ref_of(manifest), "apply", query=query, body=body, content_type=APPLY)


def replace_parts_request(ref: Ref, patch: Manifest, manager: str, precondition: Mapping[str, str]) -> ApiRequest:
    """A strategic merge patch, which may remove what others own."""
    body = {**patch, "metadata": {**patch.get("metadata", {}), **precondition}}
    query = {"fieldManager": manager}
    return object_request("PATCH", ref, "replace parts of", query=query, body=body, content_type=STRATEGIC_MERGE)


def seen_of(metadata: Json, *, secret_keys: tuple[str, ...] | None = None) -> Seen:
    """An object's metadata; managed fields and the rest of it are let go."""
    return Seen(
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        generation=metadata.get("generation"),
        owners=tuple(each["uid"] for each in metadata.get("ownerReferences") or ()),
        secret_keys=secret_keys,
        terminating="deletionTimestamp" in metadata,
        unclaimed=is_unclaimed(metadata.get("managedFields") or ()),
    )


def _secret_keys(metadata: Json) -> tuple[str, ...] | None:
    """The keys of a Secret's data, by who owns them: no value is read for it. None if managed fields were dropped."""
    owners = metadata.get("managedFields") or ()
    if not any(each.get("operation") == "Apply" for each in owners):
        return None
    owned = [(each.get("fieldsV1") or {}).get("f:data") or {} for each in owners]
    return tuple(sorted({key.removeprefix("f:") for data in owned for key in data if key.startswith("f:")}))


@dataclass(frozen=True, slots=True)
class ApiAnswer:
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
    request: ApiRequest
    status: int
    retry_after: float | None
    body: bytes = field(repr=False)
    document: Json = field(repr=False)

    def seen(self) -> Seen:
        """The metadata of the object in the answer."""
        metadata = self.document["metadata"]
        return seen_of(metadata, secret_keys=_secret_keys(metadata) if self.request.confidential else None)

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
            owners.setdefault(manager[1] if manager else "another manager", []).append(_field(cause.get("field", "?")))
        said = "; ".join(f"{manager} owns {', '.join(fields)}" for manager, fields in owners.items())
        return FieldConflictError(
            f"Could not {self.request.does}: {said}",
            hint="Take these fields out of what the other manager applies.",
            owners=owners,
        )

    def error(self) -> ClusterUnreachableError | ClusterRefusedError | ExpiredError:
        """This answer as an error."""
        message = f"Cluster {self.cluster} did not {self.request.does}: {self.said()}"
        if self.status == HTTPStatus.GONE:
            return ExpiredError(message)
        if self.status in {401, 429} or self.status >= 500:
            # A client that is not known learns nothing about what the cluster thinks of the request.
            return ClusterUnreachableError(message, hint=self._hint(), retry_after=self.retry_after)
        kind = FrozenError if self._is_frozen() else ClusterRefusedError
        return kind(message, status=self.status, reason=self._reason(), hint=self._hint())

    def _is_frozen(self) -> bool:
        """Whether the server forbids to change what an immutable ConfigMap or Secret holds."""
        forbidden = {cause.get("field") for cause in self.causes() if cause.get("reason") == "FieldValueForbidden"}
        return self.status == HTTPStatus.UNPROCESSABLE_ENTITY and bool(forbidden & _FROZEN)

    def said(self) -> str:
        """Status, reason and what else the server said, less anything that may hold a value."""
        if self.request.confidential:
            denied = _DENIED.match(self.message()) if self.status == HTTPStatus.FORBIDDEN else None
            fields = sorted({str(cause["field"]) for cause in self.causes() if cause.get("field")})
            detail = denied[0] if denied else ", ".join(fields)
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


def _field(path: str) -> str:
    """A field as `effects.drift` writes it: ``.spec.containers[name="web"].image`` is ``spec.containers.web.image``."""
    return re.sub(r'\[name="([^"\\]*)"\]', r".\1", path).removeprefix(".")
