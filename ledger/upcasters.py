"""Reading older shapes of events: one pure function per topic and schema version, from it to the next.

Stored bytes are never rewritten (they are in every hash), so a shape once stored is read for ever. The golden files in
tests/golden/events hold one stored example per topic and version; they are only ever added to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

UPCASTERS: Mapping[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""By (topic, schema version): turns that version's data into the next version's."""
