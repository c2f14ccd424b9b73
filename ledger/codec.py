"""Between events and stored bytes: orjson, topics from an allow-list, upcasters for older shapes.

The stored form is one JSON object, ``{"data": {...}, "meta": {...}, "schema": 1}``: the event's fields, the envelope's,
and the event's schema version; the envelope's own schema version is in `meta`.

The same event and envelope always give the same bytes: fields stand in the order in which their class declares them, and
the keys of mappings are sorted. Readers rely on no order: of a redacted line, all keys are sorted.

A topic never names a Python path, so nothing stored can make this program import or call anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar
from uuid import UUID

import orjson

from ledger import events
from ledger.envelope import ENVELOPE_SCHEMA, Envelope, Recorded, Source, Subject, ToldLine
from ledger.errors import UnknownEventError, UnreadableEventError
from ledger.events import SCHEMA_VERSIONS, AppliedObject, Event, FieldDrift
from ledger.places import belongs
from ledger.shapes import require_fields
from ledger.spec import SecretVersion, Spec
from ledger.store import Row, is_well_formed
from ledger.typed_rows import sound
from ledger.upcasters import UPCASTERS

M = TypeVar("M")

EVENTS: Mapping[str, type[Event]] = {kind.__name__: kind for kind in SCHEMA_VERSIONS}
"""The events that this program knows, by topic."""


def encode(event: Event, envelope: Envelope) -> bytes:
    """The bytes to store for an event; equal input gives equal bytes."""
    document = {"data": event, "meta": envelope, "schema": SCHEMA_VERSIONS[type(event)]}
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def decode(topic: str, state: bytes) -> tuple[Event, Envelope]:
    """The event and envelope that were stored.

    Raises:
        UnknownEventError: The topic, its schema version or the envelope's is newer than this program.
        UnreadableEventError: The bytes are not what `encode` writes.
    """
    return _decoded(topic, state, _envelope)


def subject_of(state: bytes) -> Subject | None:
    """The app that a line is about, even if the event itself is newer than this program; None if about none.

    Raises:
        UnknownEventError: The envelope is newer, too, and says it otherwise.
        UnreadableEventError: The bytes are not what `encode` writes.
    """
    return _said(state, _subject)


def request_of(state: bytes) -> str | None:
    """The request that a line is recorded for, even if the event itself is newer than this program.

    Raises:
        UnknownEventError: The envelope is newer, too, and says it otherwise.
        UnreadableEventError: The bytes are not what `encode` writes.
    """
    return _said(state, _request)


def is_topic(topic: str) -> bool:
    """Whether an event of this or of a newer program may have that name."""
    return topic.isascii() and topic.isalnum() and topic[0].isalpha() and len(topic) <= _LONGEST_TOPIC


_LONGEST_TOPIC = 64


def _said(state: bytes, of_meta: Callable[[dict[str, Any]], M]) -> M:
    """What is wanted of an envelope, as far as it can be had from a newer one."""
    try:
        meta = orjson.loads(state)["meta"]
        try:
            return of_meta(meta)
        except (KeyError, TypeError):
            _known(meta)
            raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableEventError(f"an event cannot be read: {type(error).__name__}", hint=_SEE) from error


def recorded(row: Row) -> Recorded:
    """A stored line as event and envelope.

    Raises:
        UnknownEventError, LedgerDamagedError: It cannot be read by this program.
    """
    event, envelope = _decoded_row(row, _envelope)
    if not belongs(row, envelope.subject):
        raise unreadable(row, "it lies in another stream than what it is about")
    return Recorded(row.position, _uuid(row.stream), row.version, row.recorded_us, envelope, event)


def told(row: Row) -> ToldLine | None:
    """A stored line as read models need it; None if it lies where nothing about its subject lies, and is no part of it.

    Raises:
        UnknownEventError, LedgerDamagedError: It cannot be read by this program.
    """
    event, subject = _decoded_row(row, _subject)
    return ToldLine(row.position, row.recorded_us, subject, event) if belongs(row, subject) else None


@lru_cache(maxsize=1024)
def _uuid(stream: bytes) -> UUID:
    """The same few streams follow each other, and making a UUID is a tenth of what decoding a line takes."""
    return UUID(bytes=stream)


def _decoded_row(row: Row, of_meta: Callable[[dict[str, Any]], M]) -> tuple[Event, M]:
    if not is_well_formed(row):
        sound(row)  # says so
    try:
        return _decoded(row.topic, row.state, of_meta)
    except UnreadableEventError as error:
        raise unreadable(row, error.message) from error


def unreadable(row: Row, why: str) -> UnreadableEventError:
    """The error of a line that nobody can read, and why, as a clause."""
    return UnreadableEventError(f"position {row.position} cannot be read: {why}", hint=_SEE, position=row.position)


def _decoded(topic: str, state: bytes, of_meta: Callable[[dict[str, Any]], M]) -> tuple[Event, M]:
    """The event, and what is wanted of its envelope."""
    kind = EVENTS.get(topic)
    if kind is None:
        if not is_topic(topic):
            raise UnreadableEventError(f"an event has a name that none can have: {topic[:64]!r}", hint=_SEE)
        raise UnknownEventError(f"the ledger holds an event {topic!r} that this version does not know", hint=_UPGRADE)
    try:
        document = orjson.loads(state)
        meta = document["meta"]
        return _event(kind, document["schema"], document["data"]), of_meta(_known(meta) if "schema" in meta else meta)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableEventError(f"an event {topic!r} cannot be read: {type(error).__name__}", hint=_SEE) from error


_SEE = "See: 1ctl audit verify --deep"
_UPGRADE = "A newer 1ctl wrote it. Upgrade this one: 1ctl --version"


def _event(kind: type[Event], schema: int, data: dict[str, Any]) -> Event:
    newest = SCHEMA_VERSIONS[kind]
    if schema > newest:
        raise UnknownEventError(
            f"the ledger holds a {kind.__name__} of schema {schema}; this version reads up to {newest}", hint=_UPGRADE
        )
    while schema < newest:
        data = UPCASTERS[kind.__name__, schema](data)
        schema += 1
    require_fields(kind, data)
    restore = _RESTORE.get(kind)
    return kind(**(restore(data) if restore else data))


def _known(meta: dict[str, Any]) -> dict[str, Any]:
    """The envelope's fields, if this program knows their shape."""
    schema = meta.get("schema", ENVELOPE_SCHEMA)
    if schema > ENVELOPE_SCHEMA:
        raise UnknownEventError(
            f"the ledger holds an envelope of schema {schema}; this version reads up to {ENVELOPE_SCHEMA}",
            hint=_UPGRADE,
        )
    return meta


def _subject(meta: dict[str, Any]) -> Subject | None:
    subject = meta["subject"]
    if subject is None:
        return None
    if type(subject["deployment_id"]) is not str:  # of the other fields, `belongs` asks
        raise TypeError
    return Subject(**subject)


def _request(meta: dict[str, Any]) -> str | None:
    request_id: str | None = meta["request_id"]
    return request_id


def _envelope(meta: dict[str, Any]) -> Envelope:
    meta["subject"] = _subject(meta)
    meta["source"] = Source(**meta["source"])
    return Envelope(**meta)


def _spec(data: dict[str, Any]) -> dict[str, Any]:
    spec = data["spec"]
    spec["machines"] = tuple(spec["machines"])
    data["spec"] = Spec(**spec)
    return data


def _keys(data: dict[str, Any]) -> dict[str, Any]:
    data["keys"] = tuple(data["keys"])
    return data


def _secrets(data: dict[str, Any]) -> dict[str, Any]:
    data["secrets"] = {key: SecretVersion(**value) for key, value in data["secrets"].items()}
    return data


def _rolled_back(data: dict[str, Any]) -> dict[str, Any]:
    return _secrets(_spec(data))


def _objects(data: dict[str, Any]) -> dict[str, Any]:
    data["objects"] = tuple(AppliedObject(**value) for value in data["objects"])
    return data


def _drift(data: dict[str, Any]) -> dict[str, Any]:
    data["fields"] = tuple(FieldDrift(**value) for value in data["fields"])
    return data


def _fields(data: dict[str, Any]) -> dict[str, Any]:
    data["fields"] = tuple(data["fields"])
    return data


_RESTORE: Mapping[type[Event], Callable[[dict[str, Any]], dict[str, Any]]] = {
    events.Deployed: _spec,
    events.RolledBack: _rolled_back,
    events.EnvUnset: _keys,
    events.SecretSet: _secrets,
    events.SecretUnset: _keys,
    events.ResourcesApplied: _objects,
    events.DriftDetected: _drift,
    events.DriftHealed: _fields,
}
"""For events whose fields are not plain JSON types: from JSON back to our own."""
