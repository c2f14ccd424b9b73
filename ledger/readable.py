"""Whether a line can be read by this program, found out for half of what decoding it costs.

Lines that are exactly what this program writes are recognised by the fields in them; all others are decoded.
"""

from __future__ import annotations

from typing import Any

import orjson

from ledger.codec import EVENTS, decode, is_topic, unreadable
from ledger.errors import UnknownEventError, UnreadableEventError
from ledger.events import SCHEMA_VERSIONS, ResourcesApplied
from ledger.shapes import require_envelope, require_fields, require_numbers, require_objects
from ledger.store import Row


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
