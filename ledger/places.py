"""Which stream a line belongs to: an app's history is what lies in its streams, whatever lines elsewhere say of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import orjson

from ledger.envelope import Subject
from ledger.events import SCHEMA_VERSIONS, AppEvent, DomainEvent, ObservedEvent
from ledger.store import Row
from ledger.streams import LEDGER_STREAM, app_stream, domain_stream, observed_stream

_SEEN: set[int] = set()
"""Streams of apps that were found to be right, each with its kind and app; as hashes, since every line that is read is
asked about and memory is what that costs. Python hashes texts in every process with another key, so nobody can prepare
others of the same hash."""

_MANY = 2**17
"""How many are remembered: about 10 MB."""

_OBSERVED = {
    **{kind.__name__: False for kind in get_args(AppEvent)},
    **{kind.__name__: True for kind in get_args(ObservedEvent)},
}
"""By topics of events about apps, whether they lie in the second stream."""


_SCHEMAS = {kind.__name__: schema for kind, schema in SCHEMA_VERSIONS.items()}
_CLAIMS = frozenset(kind.__name__ for kind in get_args(DomainEvent))


def belongs(row: Row, subject: Subject | None) -> bool:
    """Whether a line lies in a stream of its kind and of what it is about.

    Args:
        row: The line, of a topic that this program knows; it can be read.
        subject: What it is about.
    """
    stream, topic = row.stream, row.topic
    observed = _OBSERVED.get(topic)
    if observed is None or subject is None:
        return _is_of_no_app(row, subject)
    seen = hash((stream, observed, subject.cluster, subject.namespace, subject.app))
    if seen in _SEEN:
        return True
    if not all(type(name) is str for name in (subject.cluster, subject.namespace, subject.app)):
        return False
    own = app_stream(subject.app_id)
    if stream != (observed_stream(own) if observed else own).bytes:
        return False
    if len(_SEEN) >= _MANY:
        _SEEN.clear()
    _SEEN.add(seen)
    return True


def _is_of_no_app(row: Row, subject: Subject | None) -> bool:
    """Whether it is an event about a host name, or about the ledger as a whole, and lies where these do."""
    if row.topic in _CLAIMS:
        domain = orjson.loads(row.state)["data"]["domain"]
        return subject is not None and row.stream == domain_stream(str(domain)).bytes
    return row.topic not in _OBSERVED and subject is None and row.stream == LEDGER_STREAM.bytes


def is_at_home(row: Row, document: Mapping[str, Any]) -> bool:
    """Whether a line that can be read lies in the stream of what it is about, as far as this program knows such lines.

    Args:
        row: The line.
        document: Its JSON.
    """
    meta = document["meta"]
    if document["schema"] > _SCHEMAS.get(row.topic, 0) or "schema" in meta:
        return True
    subject = Subject(**meta["subject"]) if meta["subject"] is not None else None
    return belongs(row, subject)
