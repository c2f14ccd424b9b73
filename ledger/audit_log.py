"""The ledger as an auditor reads it: every line, in order, with who and why; filtered, but never reworded.

An entry is made from the stored bytes without knowing its event type, so that lines written by a newer program, and
redacted ones, are shown like all others; and one whose bytes cannot be read, as what is known of it without them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import orjson

from ledger.clock import iso
from ledger.events import Destroyed, DomainAssigned, DomainClaimed, DomainReleased
from ledger.pages import PAGE, lines
from ledger.spec import AppId
from ledger.store import Row, Store
from ledger.streams import app_stream, domain_stream, observed_stream
from ledger.typed_rows import sound

WINDOW = 20
"""Lines that are read besides those asked for, since some may not match; one append has fewer."""

WAIT_SECONDS = 60.0
"""How long to wait for a line at a time; longer would do as well."""

_CLAIMS = frozenset({DomainClaimed.__name__, DomainReleased.__name__})

SCHEMA = 1
"""Version of `Entry.to_json`; raised when a field changes its meaning or goes."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger.

    Attributes:
        row: The line as stored.
        document: Its state: ``data``, ``meta`` and ``schema``; empty if it cannot be read.
    """

    row: Row
    document: dict[str, Any]

    @property
    def is_readable(self) -> bool:
        """Whether it says anything: what somebody recorded by hand may not."""
        return bool(self.document)

    @property
    def meta(self) -> dict[str, Any]:
        """The envelope's fields."""
        meta: dict[str, Any] = self.document.get("meta") or {}
        return meta

    @property
    def subject(self) -> dict[str, Any]:
        """Cluster, namespace, app and deployment id; empty for lines about the ledger itself."""
        subject: dict[str, Any] = self.meta.get("subject") or {}
        return subject

    def to_json(self) -> dict[str, object]:
        """The documented fields of a log entry, in this order."""
        return {
            "position": self.row.position,
            "recorded_at": iso(self.row.recorded_us),
            "namespace": self.subject.get("namespace"),
            "app": self.subject.get("app"),
            "deployment_id": self.subject.get("deployment_id"),
            "kind": self.row.topic,
            "actor": self.meta.get("actor"),
            "reason": self.meta.get("reason"),
            "request_id": self.meta.get("request_id"),
            "data": self.document.get("data"),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which entries are wanted; None means any.

    Attributes:
        cluster: Cluster name.
        namespace: Kubernetes namespace.
        app: App name.
        deployment_id: A life.
        actor: Who asked, as claimed.
        kinds: Event kinds, e.g. ``Deployed``; none means any.
        key: An environment or secret key that the event names.
        request_id: The request, observed facts included.
        since_us: Recorded at or after this instant.
        until_us: Recorded at or before this instant.
    """

    cluster: str | None = None
    namespace: str | None = None
    app: str | None = None
    deployment_id: str | None = None
    actor: str | None = None
    kinds: Collection[str] = ()
    key: str | None = None
    request_id: str | None = None
    since_us: int | None = None
    until_us: int | None = None

    @property
    def app_id(self) -> AppId | None:
        """The one app that is asked about, if it is named in full: its own lines are enough then."""
        if self.cluster is None or self.namespace is None or self.app is None:
            return None
        return AppId(self.cluster, self.namespace, self.app)

    def wants(self, entry: Entry) -> bool:
        """Whether the entry matches all that is asked for.

        One that cannot be read matches what is asked about its place, kind and time; and an app, if it lies in its streams.
        """
        if not entry.is_readable and self._has_stream_of(entry.row):
            return replace(self, cluster=None, namespace=None, app=None, deployment_id=None).wants(entry)
        said = {
            "cluster": entry.subject.get("cluster"),
            "namespace": entry.subject.get("namespace"),
            "app": entry.subject.get("app"),
            "deployment_id": entry.subject.get("deployment_id"),
            "actor": entry.meta.get("actor"),
            "request_id": entry.meta.get("request_id"),
        }
        if self.kinds and entry.row.topic not in self.kinds:
            return False
        if any(getattr(self, name) not in (None, value) for name, value in said.items()):
            return False
        if self.since_us is not None and entry.row.recorded_us < self.since_us:
            return False
        if self.until_us is not None and entry.row.recorded_us > self.until_us:
            return False
        return self.key is None or self.key in _keys(entry.document.get("data"))

    def _has_stream_of(self, row: Row) -> bool:
        if self.app_id is None:
            return False
        own = app_stream(self.app_id)
        return row.stream in (own.bytes, observed_stream(own).bytes)


def entry_of(row: Row) -> Entry:
    """A stored line as an entry.

    Raises:
        LedgerDamagedError: Beside its state, it holds what no event has.
    """
    try:
        entry = Entry(row, _object(orjson.loads(sound(row).state)))
        _object(entry.meta), _object(entry.subject)
    except ValueError:
        return Entry(row, {})
    return entry


def _object(found: object) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ValueError  # noqa: TRY004 - of JSON that is not ours, as orjson's own
    return found


def entries(store: Store, wanted: Filter, *, upto: int | None = None) -> Iterator[Entry]:
    """Matching entries in rising position; reads pages, or the lines of one app, so memory stays small.

    Raises:
        LedgerDamagedError: A line is missing, or is none; the lines before it were yielded.
    """
    app_id = wanted.app_id
    rows = lines(store, 1, upto) if app_id is None else _about(store, app_id, upto)
    for row in rows:
        if wanted.wants(entry := entry_of(row)):
            yield entry


def followed(store: Store, wanted: Filter, count: int) -> Iterator[Entry]:
    """The last matching entries, at most `count`, then each that is recorded; goes on until it is left.

    What comes is read by position, whoever it is about: each line once, however long the history of an app is.

    Raises:
        LedgerReplacedError: The ledger was put back to before what was given out.
        LedgerDamagedError: A line is missing, or is none; those before it were given out.
        LedgerUnavailableError, LedgerBusyError: The ledger cannot be read.
    """
    from ledger.follow import Follower  # noqa: PLC0415 - only who follows has one

    reached = store.head().position
    with closing(Follower(store, reached)) as follower:
        yield from (entry for entry in newest(store, wanted, count) if entry.row.position <= reached)
        while True:
            if follower.wait(WAIT_SECONDS):
                yield from (entry for row in follower.read(PAGE) if wanted.wants(entry := entry_of(row)))


def newest(store: Store, wanted: Filter, count: int, *, upto: int | None = None) -> list[Entry]:
    """The last `count` matching entries in rising position; reads backwards, no further than needed.

    Raises:
        LedgerDamagedError: A line is missing, or is none.
    """
    if wanted.app_id is not None:
        return _newest_about(store, wanted.app_id, wanted, count, upto)
    found = (entry for row in _pages_backwards(store, upto) if wanted.wants(entry := entry_of(row)))
    return list(islice(found, count))[::-1]


def _pages_backwards(store: Store, upto: int | None) -> Iterator[Row]:
    stop = store.head().position if upto is None else upto
    while stop > 0:
        start = max(1, stop - PAGE + 1)
        yield from reversed([*lines(store, start, stop)])
        stop = start - 1


def _newest_about(store: Store, app_id: AppId, wanted: Filter, count: int, upto: int | None) -> list[Entry]:
    found: list[Entry] = []
    for rows in _windows(store, app_id, count, upto):
        found = [entry for row in rows if wanted.wants(entry := entry_of(row))]
        if len(found) >= count:
            break
    return found[-count:] if count else []


def _windows(store: Store, app_id: AppId, count: int, upto: int | None) -> Iterator[Sequence[Row]]:
    """The newest lines about an app, more and more of them until they are all; each time without a gap."""
    streams = [app_stream(app_id).bytes, observed_stream(app_stream(app_id)).bytes]
    limit = count + WINDOW
    while upto is None:
        newest_of = [store.stream(stream, descending=True, limit=limit) for stream in streams]
        more = [rows[-1] for rows in newest_of if len(rows) == limit]
        if not more:
            break
        # Lines below the last one of a stream were not read; lines of the same append may lie beside it.
        oldest = max(more, key=_position)
        whole = [row for rows in newest_of for row in rows if row.recorded_us > oldest.recorded_us]
        yield sorted([*whole, *_claims_beside(store, whole)], key=_position)
        limit *= 8
    yield _about(store, app_id, upto)


def _claims_beside(store: Store, rows: Sequence[Row]) -> list[Row]:
    """What was recorded about host names together with these lines: in the same append, some lines later."""
    found = []
    for row in rows:
        if row.topic in {DomainAssigned.__name__, Destroyed.__name__}:
            following = store.positions(row.position + 1, limit=WINDOW)
            found += [line for line in following if line.topic in _CLAIMS and _is_of_same_request(line, row)]
    return found


def _is_of_same_request(one: Row, other: Row) -> bool:
    first, second = entry_of(one), entry_of(other)
    return first.meta.get("correlation_id") == second.meta.get("correlation_id") and first.subject == second.subject


def _about(store: Store, app_id: AppId, upto: int | None) -> Sequence[Row]:
    """Every line about an app: of its two streams, and of the claims of its host names."""
    stream = app_stream(app_id)
    own = store.two_streams(stream.bytes, observed_stream(stream).bytes, upto=upto)
    domains = [_domain(row) for row in own if row.topic == DomainAssigned.__name__]
    claims = [row for domain in domains for row in store.stream(domain_stream(domain).bytes)]
    return sorted([*own, *(row for row in claims if upto is None or row.position <= upto)], key=_position)


def _position(row: Row) -> int:
    return row.position


def _domain(row: Row) -> str:
    data = entry_of(row).document.get("data")
    return str(data.get("domain") if isinstance(data, dict) else None)


def _keys(data: object) -> set[str]:
    """The environment and secret keys that an event names, wherever its shape holds them."""
    if not isinstance(data, dict):
        return set()
    keys = {str(data["key"])} if isinstance(data.get("key"), str) else set()
    for field in ("values", "secrets", "env", "fingerprints", "keys"):
        named = data.get(field)
        keys |= {key for key in named if isinstance(key, str)} if isinstance(named, dict | list) else set()
    return keys
