"""Who owns a field of a live object, read from its managed fields (Kubernetes: "Field management", FieldsV1). Pure.

A field is named as `effects.drift` names it: dot-separated, entries of a list by their name. In managed fields an entry
of a list is named by what the list is merged by (``k:{"containerPort":8080,"protocol":"TCP"}``); which entry has which
name is read from the object itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from effects.cluster import Manifest

_OURS = "1ctl-"


def manager_of(ledger_id: str) -> str:
    """The field manager in whose name objects of a ledger are applied."""
    return _OURS + ledger_id


def is_ours_alone(live: Manifest, field: str, ledger_id: str) -> bool:
    """Whether we applied a field and nobody else owns it, too: then an apply without it removes it."""
    return owner_of(live, field) == f"{manager_of(ledger_id)} (Apply)"


def owner_of(live: Manifest, field: str) -> str | None:
    """Who owns a field: field manager and operation, ``kubectl-edit (Update)``; several are joined by ``, ``.

    A map or list belongs to all who own something in it; what is in a field that is owned as a whole belongs to its
    owner.

    Args:
        live: The object as the cluster has it, with ``metadata.managedFields``.
        field: Where in it; empty for the whole object.

    Returns:
        The owners in the server's order, or None where nobody owns the field: it is not there, was defaulted, or is a
        status that nobody set.
    """
    entries = live["metadata"].get("managedFields") or ()
    owners = (
        f"{entry.get('manager', 'unknown')} ({entry.get('operation', 'unknown')})"
        for entry in entries
        if _owns(entry.get("fieldsV1") or {}, live, field)
    )
    return ", ".join(dict.fromkeys(owners)) or None


def claimed(entries: Sequence[Mapping[str, Any]], manager: str) -> list[Mapping[str, Any]] | None:
    """Managed fields with what a manager set by patches as if it had applied it, or None if they are so already.

    To an API server, one who patches and one who applies are two managers, even of one name: they would share these
    fields, and no later apply could change or remove them.
    """
    patched = [each for each in entries if _is_by(each, manager, "Update")]
    if not patched:
        return None
    applied = next((each for each in entries if _is_by(each, manager, "Apply")), {**patched[0], "operation": "Apply"})
    fields: Mapping[str, Any] = {}
    for each in (applied, *patched):
        fields = _united(fields, each.get("fieldsV1") or {})
    others = [each for each in entries if each != applied and each not in patched]
    return [{**applied, "fieldsV1": fields}, *others]


def as_applied(entries: Sequence[Mapping[str, Any]], manager: str, manifest: Manifest) -> list[Mapping[str, Any]]:
    """Managed fields of an object that a manager just created, as if it had applied the manifest in place of that.

    Who creates an object owns also what the server defaulted, and each map as such; who applies one does not.
    """
    return [
        {**each, "operation": "Apply", "fieldsV1": _asked_for(each.get("fieldsV1") or {}, manifest)}
        if _is_by(each, manager, "Update")
        else each
        for each in entries
    ]


def _asked_for(fields: Mapping[str, Any], value: object) -> Mapping[str, Any]:
    """Of these fields those that are in a value."""
    found: dict[str, Any] = {}
    for key, below in fields.items():
        kind, _, text = key.partition(":")
        if kind == "f" and isinstance(value, Mapping) and text in value:
            found[key] = _asked_for(below, value[text])
        elif kind == "k" and (entry := _entry(value, orjson.loads(text))):
            found[key] = {".": {}, **_asked_for(below, entry)}
        elif kind == "v":
            found[key] = below
    return found


def is_unclaimed(entries: Sequence[Mapping[str, Any]]) -> bool:
    """Whether patches of some ledger own fields beside its applies: see `claimed`."""
    ours = [each for each in entries if str(each.get("manager")).startswith(_OURS)]
    return any(_is_by(each, each["manager"], "Update") for each in ours)


def _is_by(entry: Mapping[str, Any], manager: str, operation: str) -> bool:
    return (entry.get("manager"), entry.get("operation")) == (manager, operation) and not entry.get("subresource")


def _united(one: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**one, **{key: _united(one.get(key, {}), below) for key, below in other.items()}}


def _owns(fields: Mapping[str, Any], value: object, field: str) -> bool:
    """Whether something at the field, or a whole that it is part of, is among these fields of this value."""
    if not field:
        return True
    for name, inner, below in _named(fields, value):
        if field == name:
            return True
        if field.startswith(f"{name}."):
            # Owned as a whole, unless it has no parts: a key of a map may itself hold a dot.
            whole = not below and isinstance(inner, (Mapping, list))
            if whole or _owns(below, inner, field.removeprefix(f"{name}.")):
                return True
    return False


def _named(fields: Mapping[str, Any], value: object) -> Iterator[tuple[str, object, Mapping[str, Any]]]:
    """The fields by the names that a person gives them, each with its value and what is owned below it."""
    for key, below in fields.items():
        kind, _, text = key.partition(":")
        match kind:
            case "f":
                yield text, value.get(text) if isinstance(value, Mapping) else None, below
            case "k":
                merged_by = orjson.loads(text)
                entry = _entry(value, merged_by)
                name = entry.get("name", merged_by.get("name"))
                if name is not None:
                    yield str(name), entry, below
            case "v":
                yield str(orjson.loads(text)), None, below
            case _:
                pass  # "." is the field itself, "i:" an index, which no list of ours is merged by


def _entry(value: object, merged_by: Mapping[str, Any]) -> Mapping[str, Any]:
    """The entry of a list that has these fields."""
    entries = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    for entry in entries:
        if isinstance(entry, Mapping) and all(entry.get(key) == wanted for key, wanted in merged_by.items()):
            return entry
    return {}
