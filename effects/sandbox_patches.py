"""Patches as an API server merges them into an object. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_MERGED_BY = {
    "containers": ("name",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "ports": ("containerPort", "port"),
}
"""Lists that are merged, and what tells their entries apart: a port's number only, in whatever kind of object."""

_DIRECTIVE = "$patch"


def merge_patched(target: Any, patch: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON merge patch (RFC 7386): None removes a field, a list replaces the whole list."""
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            result[key] = merge_patched(result.get(key), value)
        else:
            result[key] = value
    return result


def strategic_patched(target: Any, patch: Mapping[str, Any]) -> dict[str, Any]:
    """A strategic merge patch, of which as much is understood as `effects.replacing` says."""
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            result[key] = strategic_patched(result.get(key), value)
        elif key in _MERGED_BY:
            result[key] = _merged(result.get(key) or [], value, _MERGED_BY[key])
        else:
            result[key] = value
    return result


def _merged(entries: Sequence[Any], patches: Sequence[Mapping[str, Any]], told_by: Sequence[str]) -> list[Any]:
    """Entries by what tells them apart, in the order that they have."""
    if {_DIRECTIVE: "replace"} in patches:
        return [each for each in patches if _DIRECTIVE not in each]
    merged = {_key(entry, told_by): entry for entry in entries}
    for patch in patches:
        key = _key(patch, told_by)
        if patch.get(_DIRECTIVE) == "delete":
            merged.pop(key, None)
        else:
            merged[key] = strategic_patched(merged.get(key), patch)
    return list(merged.values())


def _key(entry: Mapping[str, Any], told_by: Sequence[str]) -> Any:
    return next(entry[key] for key in told_by if key in entry)
