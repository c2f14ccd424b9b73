"""Whether a line can be read by this program, found out for half of what decoding it costs; or if a newer one wrote it.

Lines that are exactly what this program writes are recognised by the fields in them; all others are decoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from ledger.codec import EVENTS, decode, is_topic, unreadable
from ledger.envelope import ENVELOPE_SCHEMA
from ledger.errors import UnknownEventError, UnreadableEventError
from ledger.events import SCHEMA_VERSIONS, ResourcesApplied
from ledger.shapes import require_envelope, require_fields, require_numbers, require_objects
from ledger.store import Row

_SCHEMAS = {kind.__name__: schema for kind, schema in SCHEMA_VERSIONS.items()}


def document_of(row: Row) -> dict[str, Any]:
    """The JSON of a line that can be decoded, or that a newer program wrote: an object of ``data``, ``meta``, ``schema``.

    Raises:
        UnreadableEventError: It is neither; which line, and why.
    """
    topic = row.topic
    try:
        document: dict[str, Any] = orjson.loads(row.state)
        data, meta, schema = document["data"], document["meta"], document["schema"]
        if "schema" not in meta:
            require_envelope(meta)
            kind = EVENTS.get(topic)
            if kind is not None and type(schema) is int and schema == SCHEMA_VERSIONS[kind]:
                require_fields(kind, data)
                require_numbers(data)
                if kind is ResourcesApplied:
                    require_objects(data["objects"])
                return document
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise unreadable(row, f"its bytes are none that a program writes ({type(error).__name__})") from error
    if not (is_topic(topic) and type(data) is type(meta) is dict and type(schema) is int):
        raise unreadable(row, "its bytes, or its name, are none that a program writes")
    try:
        decode(topic, row.state)
    except UnreadableEventError as error:
        raise unreadable(row, error.message) from error
    except UnknownEventError:
        pass
    return document


def is_newer(topic: str, document: Mapping[str, Any]) -> bool:
    """Whether a newer program wrote a line, whose JSON this is as `document_of` returned it."""
    return document["schema"] > _SCHEMAS.get(topic, 0) or has_newer_envelope(document)


def has_newer_envelope(document: Mapping[str, Any]) -> bool:
    """Whether this program cannot know what a line says of itself, whose JSON this is: who asked for it, and about what."""
    meta = document["meta"]
    return "schema" in meta and meta["schema"] not in range(1, ENVELOPE_SCHEMA + 1)
