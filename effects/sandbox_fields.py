"""Who owns which field of the sandbox's objects, and what applying and editing do to them. Pure.

Server-side apply merges maps by key, containers and their variables by name, ports by their numbers, and takes every
other list as one value. An edit by hand takes the fields that it changes away from everybody else, as an update does in Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import orjson

from effects.cluster import FieldConflictError, Seen, is_terminating, ref_of

FieldPath = tuple[str, ...]
"""Where a field is in a manifest: the keys from the top. An entry of a merged list is named as managed fields name it."""

MERGED_BY: Mapping[str, Sequence[tuple[str, ...]]] = {
    "containers": [("name",)],
    "env": [("name",)],
    "ports": [("containerPort", "protocol"), ("port", "protocol")],
}
"""Lists of which several managers may own entries, and what tells these apart."""

_ENTRY = "k:"

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
            secret_keys=tuple(sorted(self.manifest.get("data", {}))) if self.manifest["kind"] == "Secret" else None,
            terminating=is_terminating(self.manifest),
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
    gone = stored.owners.get(applier, frozenset()) - fields.keys() - shared
    for path in sorted(gone, key=_is_of_key):  # keys last: others may have put something into an entry
        if not _is_of_key(path) or (_at(manifest, path[:-1]) or {}).keys() <= _key_of(path[-2]).keys():
            _remove(manifest, path)
    for path, value in fields.items():
        _set(manifest, path, value)
    return _changed(stored, manifest, others | {applier: frozenset(fields)})


def claimed(stored: Stored, manager: str) -> Stored:
    """The object with what a manager edited as if it had applied it, as `Cluster.replace_parts` promises."""
    applier, editor = Manager(manager, "Apply"), Manager(manager, "Update")
    if editor not in stored.owners:
        return stored
    fields = stored.owners[editor] | stored.owners.get(applier, frozenset())
    others = {other: paths for other, paths in stored.owners.items() if other != editor}
    return replace(stored, owners=others | {applier: fields})


def edit(stored: Stored, manifest: dict[str, Any], editor: Manager) -> Stored:
    """The object with this content: what is changed belongs to its editor alone."""
    before, after = dict(_leaves(stored.manifest)), dict(_leaves(manifest))
    changed = {path for path, value in after.items() if path not in before or before[path] != value} - IDENTITY
    lost = changed | (before.keys() - after.keys())
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
            node = node.setdefault(key if key.startswith(_ENTRY) else f"f:{key}", {})
    return fields


def _leaves(node: Any, path: FieldPath = ()) -> Iterator[tuple[FieldPath, Any]]:
    """The fields of a manifest; lists that are not merged, and empty maps, are fields. An empty merged list is none."""
    for key, value in (inner := _inner(node, path)).items():
        yield from _leaves(value, (*path, key))
    if not inner and not (node == [] and _is_merged(node, path)):
        yield path, node


def _inner(node: Any, path: FieldPath) -> Mapping[str, Any]:
    """What is merged key by key at this path, by the keys of a `FieldPath`."""
    if isinstance(node, dict):
        return node
    if not _is_merged(node, path) or not all(_entry_key(path[-1], entry) for entry in node):
        return {}
    return {_entry_key(path[-1], entry): entry for entry in node}


def _is_merged(node: Any, path: FieldPath) -> bool:
    return isinstance(node, dict) or (isinstance(node, list) and path[-1] in MERGED_BY)


def _entry_key(name: str, entry: Any) -> str:
    """What tells an entry of the list of that name apart, as managed fields write it; empty if nothing does."""
    for keys in MERGED_BY[name]:
        if isinstance(entry, dict) and entry.keys() >= set(keys):
            return _ENTRY + orjson.dumps({key: entry[key] for key in keys}).decode()
    return ""


def _key_of(key: str) -> dict[str, Any]:
    """The fields that tell the entry apart."""
    fields: dict[str, Any] = orjson.loads(key.removeprefix(_ENTRY))
    return fields


def _is_of_key(path: FieldPath) -> bool:
    return len(path) > 1 and path[-2].startswith(_ENTRY) and path[-1] in _key_of(path[-2])


def _child(node: Any, key: str) -> Any:
    if isinstance(node, list):
        wanted = _key_of(key).items() if key.startswith(_ENTRY) else ()
        return next((each for each in node if isinstance(each, dict) and wanted and wanted <= each.items()), None)
    return node.get(key) if isinstance(node, dict) else None


def _at(node: Any, path: FieldPath) -> Any:
    """What is there, or None."""
    for key in path:
        node = _child(node, key)
    return node


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
        owners.setdefault(manager.name, []).extend(_dotted(manifest, path) for path in sorted(paths))
    said = "; ".join(f"{name} owns {', '.join(fields)}" for name, fields in owners.items())
    return FieldConflictError(
        f"another field manager owns fields of {ref_of(manifest)}: {said}",
        hint="Undo that manager's change, or delete the object.",
        owners=owners,
    )


def _dotted(manifest: dict[str, Any], path: FieldPath) -> str:
    """A field as `effects.drift` names it."""
    return ".".join(
        str(_at(manifest, path[: at + 1]).get("name", key)) if key.startswith(_ENTRY) else key
        for at, key in enumerate(path)
    )


def _clashes(manifest: dict[str, Any], theirs: FieldPath, path: FieldPath, value: Any) -> bool:
    """Whether setting the field would change theirs. Two managers may own a field that they agree about."""
    present = _at(manifest, theirs)
    if theirs == path:
        return bool(present != value) and not (value == {} and isinstance(present, dict))
    if path[: len(theirs)] == theirs:
        return not _is_merged(present, theirs)
    return theirs[: len(path)] == path and value != {}


def _set(manifest: dict[str, Any], path: FieldPath, value: Any) -> None:
    node: Any = manifest
    for key, below in pairwise(path):
        child = _child(node, key)
        wanted = list if below.startswith(_ENTRY) else dict
        if not isinstance(child, wanted):
            child = _key_of(key) if key.startswith(_ENTRY) else wanted()
            _put(node, key, child)
        node = child
    if value != {} or not isinstance(_child(node, path[-1]), dict):
        _put(node, path[-1], value)


def _put(node: Any, key: str, value: Any) -> None:
    if isinstance(node, list):
        node.append(value)
    else:
        node[key] = value


def _remove(node: Any, path: FieldPath) -> None:
    """Removes a field and the maps and entries that it leaves empty; one that others have put something into stays."""
    head, *rest = path
    child = _child(node, head)
    with_entry = len(rest) == 1 and _is_of_key(path)  # what tells an entry apart goes with it
    if rest and not with_entry and isinstance(child, (dict, list)):
        _remove(child, tuple(rest))
    if not with_entry and child not in ({}, []) and (rest or _is_merged(child, path)):
        return
    if isinstance(node, dict):
        node.pop(head, None)
    elif child is not None:
        node.remove(child)
