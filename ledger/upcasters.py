"""Reading older shapes of events: one pure function per topic and schema version, from it to the next.

Stored bytes are never rewritten (they are in every hash), so a shape once stored is read for ever. The golden files in
tests/golden/events hold one stored example per topic and version; they are only ever added to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def _objects_without_states(data: dict[str, Any]) -> dict[str, Any]:
    """Version 2 says in which state each object was left; of older ones that is not known."""
    return {**data, "objects": [{**each, "state": None} for each in data["objects"]]}


def _unsigned(data: dict[str, Any]) -> dict[str, Any]:
    """Version 2 is signed. What nobody signed no longer blanks anything: the line that it is about counts as edited."""
    return {**data, "signature": ""}


UPCASTERS: Mapping[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {
    ("Redacted", 1): _unsigned,
    ("ResourcesApplied", 1): _objects_without_states,
}
"""By (topic, schema version): turns that version's data into the next version's."""
