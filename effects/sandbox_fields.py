"""Who owns which field of the sandbox's objects, and what applying and editing do to them. Pure.

Server-side apply merges maps by key and takes every list, containers and ports included, as one value. An edit by hand
takes the fields that it changes away from everybody else, as an update does in Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import orjson

from effects.cluster import FieldConflictError, Seen, ref_of
from effects.sandbox_rules import value_at

FieldPath = tuple[str, ...]
"""Where a field is in a manifest: the keys from the top."""

IDENTITY: frozenset[FieldPath] = frozenset(
    {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")},
)
"""Fields that name the object; nobody owns them."""

SERVER_METADATA = frozenset(
    {"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "managedFields"}
)

WITH_GENERATION = frozenset({"Deployment", "HTTPRoute"})
"""Kinds whose objects count how often their spec was changed."""


class Manager(NamedTuple):
    """A field manager: its name, and whether it applies or edits."""

    name: str
    operation: Literal["Apply", "Update"]


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as it is kept. ``owners`` says who owns which fields; ``created_at`` is Unix time."""

    uid: str
    resource_version: int
    generation: int
    created_at: float
    owners: Mapping[Manager, frozenset[FieldPath]]
    manifest: dict[str, Any]

    @property
    def seen(self) -> Seen:
        """Its metadata."""
        metadata = self.manifest["metadata"]
        return Seen(
            uid=self.uid,
            resource_version=str(self.resource_version),
            labels=metadata.get("labels", {}),
            annotations=metadata.get("annotations", {}),
            generation=self.generation if self.manifest["kind"] in WITH_GENERATION else None,
            owners=owners_in(metadata),
        )


def owners_in(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Uids of the objects that own the one with this metadata."""
    return tuple(each.get("uid", "") for each in metadata.get("ownerReferences", ()))


def merge(stored: Stored, wanted: dict[str, Any], manager: str, *, force: bool = False) -> Stored:
    """Server-side apply: the object with the manager's fields set, and those that it no longer sets removed.

    Raises:
        FieldConflictError: Others own fields that differ, and they are not taken by force.
    """
    applier = Manager(manager, "Apply")
    fields = {path: value for path, value in _leaves(wanted) if path not in IDENTITY}
    others = {other: paths for other, paths in stored.owners.items() if other != applier}
    conflicts = _conflicts(stored.manifest, others, fields)
    if conflicts and not force:
        raise _conflict_error(stored.manifest, conflicts)
    others = {other: paths - conflicts.get(other, frozenset()) for other, paths in others.items()}
    manifest = orjson.loads(orjson.dumps(stored.manifest))
    shared = frozenset[FieldPath]().union(*others.values())
    for path in stored.owners.get(applier, frozenset()) - fields.keys() - shared:
        _remove(manifest, path)
    for path, value in fields.items():
        _set(manifest, path, value)
    return _changed(stored, manifest, others | {applier: frozenset(fields)})


def edit(stored: Stored, patch: Mapping[str, Any], manager: str) -> Stored:
    """A JSON merge patch (RFC 7386); what it changes belongs to its manager alone."""
    manifest = _patched(stored.manifest, patch)
    before, after = dict(_leaves(stored.manifest)), dict(_leaves(manifest))
    changed = {path for path, value in after.items() if path not in before or before[path] != value} - IDENTITY
    lost = changed | (before.keys() - after.keys())
    editor = Manager(manager, "Update")
    owners = {other: paths - lost for other, paths in stored.owners.items()}
    owners[editor] = owners.get(editor, frozenset()) | changed
    return _changed(stored, manifest, owners)


def _changed(stored: Stored, manifest: dict[str, Any], owners: Mapping[Manager, frozenset[FieldPath]]) -> Stored:
    changed = _counted(manifest) != _counted(stored.manifest)
    return replace(
        stored,
        manifest=manifest,
        owners={owner: paths for owner, paths in owners.items() if paths},
        generation=stored.generation + 1 if changed or not stored.generation else stored.generation,
    )


def _counted(manifest: Mapping[str, Any]) -> tuple[object, object]:
    """What makes a new generation when it changes: for Deployments, Kubernetes counts annotations, too."""
    annotations = manifest["metadata"].get("annotations", {}) if manifest["kind"] == "Deployment" else None
    return manifest.get("spec"), annotations


def managed_fields(stored: Stored) -> list[dict[str, Any]]:
    """The object's owners as Kubernetes writes them."""
    return [
        {
            "manager": manager.name,
            "operation": manager.operation,
            "apiVersion": stored.manifest["apiVersion"],
            "fieldsType": "FieldsV1",
            "fieldsV1": _fields_v1(paths),
        }
        for manager, paths in sorted(stored.owners.items())
    ]


def _fields_v1(paths: frozenset[FieldPath]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for path in sorted(paths):
        node = fields
        for key in path:
            node = node.setdefault(f"f:{key}", {})
    return fields


def _patched(target: Any, patch: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            result[key] = _patched(result.get(key), value)
        else:
            result[key] = value
    return result


def _leaves(node: Any, path: FieldPath = ()) -> Iterator[tuple[FieldPath, Any]]:
    """The fields of a manifest, lists and empty maps being fields themselves."""
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from _leaves(value, (*path, key))
    else:
        yield path, node


def _conflicts(
    manifest: dict[str, Any],
    others: Mapping[Manager, frozenset[FieldPath]],
    fields: Mapping[FieldPath, Any],
) -> Mapping[Manager, frozenset[FieldPath]]:
    """By manager, which of its fields would be changed."""
    found = {
        other: frozenset(
            theirs for theirs in paths if any(_clashes(manifest, theirs, path, value) for path, value in fields.items())
        )
        for other, paths in others.items()
    }
    return {other: paths for other, paths in found.items() if paths}


def _conflict_error(manifest: dict[str, Any], conflicts: Mapping[Manager, frozenset[FieldPath]]) -> FieldConflictError:
    owners: dict[str, list[str]] = {}
    for manager, paths in sorted(conflicts.items()):
        owners.setdefault(manager.name, []).extend(".".join(path) for path in sorted(paths))
    said = "; ".join(f"{name} owns {', '.join(fields)}" for name, fields in owners.items())
    return FieldConflictError(
        f"another field manager owns fields of {ref_of(manifest)}: {said}",
        hint="Undo that manager's change, or delete the object.",
        owners=owners,
    )


def _clashes(manifest: dict[str, Any], theirs: FieldPath, path: FieldPath, value: Any) -> bool:
    """Whether setting the field would change theirs. Two managers may own a field that they agree about."""
    present = value_at(manifest, theirs)
    if theirs == path:
        return bool(present != value) and not (value == {} and isinstance(present, dict))
    if path[: len(theirs)] == theirs:
        return not isinstance(present, dict)
    return theirs[: len(path)] == path and value != {}


def _set(manifest: dict[str, Any], path: FieldPath, value: Any) -> None:
    *parents, last = path
    node = manifest
    for key in parents:
        if not isinstance(node.get(key), dict):
            node[key] = {}
        node = node[key]
    if value != {} or not isinstance(node.get(last), dict):
        node[last] = value


def _remove(node: dict[str, Any], path: FieldPath) -> None:
    """Removes a field and the maps that it leaves empty; a map that others have put something into stays."""
    head, *rest = path
    child = node.get(head)
    if rest and isinstance(child, dict):
        _remove(child, tuple(rest))
    if child == {} or not (rest or isinstance(child, dict)):
        node.pop(head, None)
