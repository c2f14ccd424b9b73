"""Patches as an API server merges them into an object. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_MERGED_BY_NAME = frozenset({"containers", "env"})
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
        elif key in _MERGED_BY_NAME:
            result[key] = _merged(result.get(key) or [], value)
        elif isinstance(value, list):
            result[key] = [entry for entry in value if entry != {_DIRECTIVE: "replace"}]
        else:
            result[key] = value
    return result


def _merged(entries: Sequence[Any], patches: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Entries by name, in the order that they have."""
    named = {entry["name"]: entry for entry in entries}
    for patch in patches:
        if patch.get(_DIRECTIVE) == "delete":
            named.pop(patch["name"], None)
        else:
            named[patch["name"]] = strategic_patched(named.get(patch["name"]), patch)
    return list(named.values())
