"""Whether a line can be read by this program, found out for half of what decoding it costs.

Lines that are exactly what this program writes are recognised by the names in them; all others are decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from ledger.codec import decode, is_plain, is_topic
from ledger.envelope import ENVELOPE_SCHEMA, Envelope, Source, Subject
from ledger.errors import UnknownEventError, UnreadableEventError
from ledger.events import SCHEMA_VERSIONS, AppliedObject
from ledger.spec import SecretVersion, Spec
from ledger.store import Row


def document_of(row: Row) -> dict[str, Any]:
    """The JSON of a line that can be decoded, or that a newer program wrote: an object of ``data``, ``meta``, ``schema``.

    Raises:
        UnreadableEventError: It is neither; which line, and why.
    """
    topic, state = row.topic, row.state
    try:
        document: dict[str, Any] = orjson.loads(state)
        data, meta, schema = document["data"], document["meta"], document["schema"]
        shape = (topic, schema, *data, *map(type, data.values()), *meta, *meta.get("source", ()))
        if (inside := _KNOWN.get(shape)) is not None:
            subject = meta["subject"]
            if (subject is None or (*subject,) == _SUBJECT) and (inside is _PLAIN or inside(data)):
                return document
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(row, f"its bytes are none that a program writes ({type(error).__name__})") from error
    if not (is_topic(topic) and type(data) is type(meta) is dict and type(schema) is int):
        raise _unreadable(row, "its bytes, or its name, are none that a program writes")
    try:
        event, _ = decode(topic, state)
    except UnknownEventError:
        if _has_odd_envelope(meta):
            raise _unreadable(row, "its envelope is none that a program writes") from None
        return document
    except UnreadableEventError as error:
        raise _unreadable(row, error.message) from error
    if (*data, *meta, *meta.get("source", ())) == (*_names(event.__class__), *_ENVELOPE, *_SOURCE):
        inside = _INSIDE.get(topic)
        if inside is not None:
            _KNOWN[shape] = inside
    return document


def _names(kind: type[Any]) -> tuple[str, ...]:
    """In the order in which they are stored."""
    return tuple(kind.__dataclass_fields__)


_Inside = Callable[[dict[str, Any]], bool]


def _PLAIN(_: dict[str, Any]) -> bool:  # noqa: N802
    return True


_ENVELOPE, _SOURCE, _SUBJECT = _names(Envelope), _names(Source), _names(Subject)
_SPEC, _APPLIED, _VERSION = _names(Spec), _names(AppliedObject), _names(SecretVersion)


def _unreadable(row: Row, why: str) -> UnreadableEventError:
    message = f"position {row.position} cannot be read: {why}"
    return UnreadableEventError(message, hint="See: 1ctl audit verify --deep", position=row.position)


def _has_odd_envelope(meta: dict[str, Any]) -> bool:
    """Whether an envelope that calls itself known, of an event that is newer than this program, is not as it is known."""
    return meta.get("schema", ENVELOPE_SCHEMA) == ENVELOPE_SCHEMA and meta.keys() - {"schema"} != set(_ENVELOPE)


def _has_spec(data: dict[str, Any]) -> bool:
    spec = data["spec"]
    return (*spec,) == _SPEC and type(spec["machines"]) is list


def _has_objects(data: dict[str, Any]) -> bool:
    return all([(*each,) == _APPLIED for each in data["objects"]])  # noqa: C419 - of few objects a list is quicker


def _has_texts(data: dict[str, Any]) -> bool:
    return all(type(text) is str for text in data["values"].values())


def _has_versions(data: dict[str, Any]) -> bool:
    return all((*each,) == _VERSION for each in data["secrets"].values())


_INSIDE: Mapping[str, _Inside] = {
    **{kind.__name__: _PLAIN for kind in SCHEMA_VERSIONS if is_plain(kind)},
    "Deployed": _has_spec,
    "EnvSet": _has_texts,
    "EnvUnset": _PLAIN,
    "ResourcesApplied": _has_objects,
    "SecretSet": _has_versions,
    "SecretUnset": _PLAIN,
    "SecretsFingerprinted": _PLAIN,
}
"""What else is looked at in data of a known shape. Lines of other kinds, which are rare, are always decoded."""

_KNOWN: dict[tuple[object, ...], _Inside] = {}
"""By topic, schema, names and types of the data, and names in the envelope: shapes of which a line was decoded."""
