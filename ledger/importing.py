"""Reading an export (JSON lines) back into an empty ledger, as a read-only replica.

Every line is checked before it counts: its leaf from the state's bytes, its chain from the line before, its place and
version, each field that repeats what the state says, and that the state is the event that its topic names. A redacted line is accepted once a later one says that exactly
its bytes were left. Only what is recorded is in an export: no sealed value, no key, no request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from ledger.audit_log import SCHEMA, Entry
from ledger.checkpoint import VerifierKey
from ledger.codec import decode
from ledger.errors import LedgerDamagedError, OneCtlError, RefusedError, UnknownEventError, UnreadableEventError
from ledger.events import Deployed, LedgerCreated, Redacted
from ledger.export import CSV_FIELDS, jsonl
from ledger.founding import origin_of
from ledger.instance import REPLICA, new_instance
from ledger.leaf import GENESIS, chain_hash, leaf_hash
from ledger.places import is_at_home
from ledger.readable import document_of
from ledger.redaction import Redactions
from ledger.sqlite_database import create_schema
from ledger.sqlite_files import drafting, making, put_in_place
from ledger.sqlite_store import SqliteStore
from ledger.sqlite_tables import transaction
from ledger.store import Head, LifeRow, ModelStore, Row, Tables, is_well_formed
from ledger.transfer import PAGE, instance_of, locked_head, put_rows, set_instance
from ledger.verify import recomputed_leaf

_CHANGED = "holds an event that was changed: its bytes do not have its leaf hash"


class _LineError(Exception):
    """What is wrong with a line, as a clause."""


class _Waiting(NamedTuple):
    """A line whose bytes do not have its leaf, unless a later line says that they were redacted."""

    number: int
    row: Row


def import_ledger(store: ModelStore, lines: Iterable[bytes]) -> Head:
    """Fill an empty ledger from an export, in one transaction; where it ends.

    Args:
        store: An empty ledger, or none yet.
        lines: The export's lines.

    Raises:
        RefusedError: The ledger is not empty, or this is an export for other programs.
        LedgerDamagedError: A line is not what an export holds; which, and why. Nothing was imported.
        LedgerBusyError: Another process imports into it.
    """
    if isinstance(store, SqliteStore) and not store.path.exists():
        return _make_file(store, lines)
    store.prepare()
    with store.change() as tables:
        return _fill(tables, lines)


def _make_file(store: SqliteStore, lines: Iterable[bytes]) -> Head:
    """As a file of its own, which gets its name when it is complete: an empty ledger in its place could be written to."""
    with drafting(store.path, "import") as draft:
        with making(draft) as connection:
            create_schema(connection)
            with transaction(connection) as tables:
                head = _fill(tables, lines)
        with store.alone():
            if store.path.exists():
                raise _not_empty()
            put_in_place(draft, store.path)
    return head


def _fill(tables: Tables, lines: Iterable[bytes]) -> Head:
    if locked_head(tables).position or not instance_of(tables).may_append:
        raise _not_empty()
    export = _Export()
    rows = export.rows(lines)
    while page := list(islice(rows, PAGE)):
        put_rows(tables, page)
    tables.execute_all("ledger.insert_life", [life._asdict() for life in export.lives.values()])
    set_instance(tables, instance=new_instance(), writer=REPLICA, note=export.origin)
    return export.head


def _not_empty() -> RefusedError:
    return RefusedError(
        "the ledger is not empty: an export is imported into one of its own",
        hint="Name a new one: 1ctl audit import EXPORT --ledger FILE",
    )


class _Export:
    """What is known of an export up to a line.

    Attributes:
        origin: The name of its ledger.
        head: Its last line.
        lives: Every life that was opened, by its id.
    """

    def __init__(self) -> None:
        self.origin = ""
        self._key = ""
        self.head = Head(0, 0, GENESIS)
        self.lives: dict[str, LifeRow] = {}
        self._versions: dict[bytes, int] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._redacted: Redactions | None = None
        self._append: tuple[object, ...] = ()
        self._append_began = 0

    def rows(self, lines: Iterable[bytes]) -> Iterator[Row]:
        """The ledger's lines, each checked; after the last one, also those that had to wait for a redaction.

        Raises:
            LedgerDamagedError: A line is not what it should be.
        """
        number = 0
        for number, line in enumerate(lines, start=1):
            try:
                yield self._line(number, line)
            except _LineError as error:
                raise _refused(number, str(error)) from None
        if number == 0:
            raise LedgerDamagedError("the export holds no events", hint="Nothing was imported.")
        for waiting in self._waiting.values():
            if recomputed_leaf(waiting.row, self._redacted or {}) != waiting.row.leaf:
                raise _refused(waiting.number, _CHANGED)

    def _line(self, number: int, line: bytes) -> Row:
        if number == 1:
            _refuse_other_format(line)
        document = _document(line)
        row = _row(document)
        entry = self._checked(document, row)
        if leaf_hash(row.position, row.stream, row.version, row.recorded_us, row.topic, row.state) != row.leaf:
            if entry.meta.get("salt") != "":  # a redaction takes it away
                raise _LineError(_CHANGED)
            self._waiting[row.position] = _Waiting(number, row)
        self._note(entry)
        if row.version != self._versions.get(row.stream, 0) + 1:
            raise _LineError(f"is not the next of its stream: its version is {row.version}")
        self.head = Head(row.position, row.recorded_us, row.chain)
        self._versions[row.stream] = row.version
        return row

    def _checked(self, document: dict[str, Any], row: Row) -> Entry:
        before = self.head
        if row.position != before.position + 1:
            raise _LineError(f"is position {row.position}, where {before.position + 1} belongs")
        if chain_hash(before.chain, row.leaf) != row.chain:
            raise _LineError("does not follow the line before it: its chain hash is another")
        if row.recorded_us < before.recorded_us:
            raise _LineError("is older than the line before it")
        entry = _entry(row)
        if row.position == 1:
            self.origin, self._key = _origin(entry), str(entry.document["data"].get("verification_key"))
        expected = orjson.loads(next(jsonl([entry], self.origin)))
        for name in sorted(expected.keys() | document.keys()):
            # By their bytes: for Python, true is 1 is 1.0.
            said, meant = (_bytes(each[name]) if name in each else b"" for each in (document, expected))
            if said != meant:
                raise _LineError(f'has a field "{name}" that is not what its event says')
        return entry

    def _note(self, entry: Entry) -> None:
        """What later lines, and the tables beside the log, need of this one."""
        row = entry.row
        _refuse_other_shape(row)
        if not is_at_home(row, entry.document):
            raise _LineError("lies in another stream than what it is about")
        append = (row.recorded_us, entry.meta.get("request_id"), entry.meta.get("clock"))
        if append != self._append:
            self._append, self._append_began = append, row.position
        try:
            if row.topic == Redacted.__name__:
                self._note_redaction(row)
            if row.topic == Deployed.__name__ and entry.document["data"].get("life_key") is not None:
                self._note_life(entry)
        except (AttributeError, KeyError, ValueError, TypeError):
            raise _LineError(f"holds no {row.topic}") from None

    def _note_redaction(self, row: Row) -> None:
        try:
            event, _ = decode(row.topic, row.state)
            self._redacted = self._redacted or Redactions(VerifierKey.parse(self._key))
        except OneCtlError as error:
            raise ValueError from error
        assert isinstance(event, Redacted)
        if not self._redacted.believe(event):
            raise _LineError("is a redaction that the ledger's key did not sign")

    def _note_life(self, entry: Entry) -> None:
        data, subject = entry.document["data"], entry.subject
        cluster, namespace, app = (subject[name] for name in ("cluster", "namespace", "app"))
        life = LifeRow(data["deployment_id"], cluster, namespace, app, self._append_began)
        texts = (*life[:-1], data["life_key"])
        if not all(isinstance(text, str) for text in texts) or orjson.dumps(entry.document) != entry.row.state:
            raise TypeError
        if life.deployment_id in self.lives:
            raise _LineError("opens a life that was opened before")
        self.lives[life.deployment_id] = life


def _refuse_other_shape(row: Row) -> None:
    """Refuse a state that is not the event that its topic names; one of a newer program is left to newer programs."""
    try:
        document_of(row)
    except UnreadableEventError:
        raise _LineError(f"holds no {row.topic}: what it holds no program writes") from None


def _bytes(document: object) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def _refused(number: int, why: str) -> LedgerDamagedError:
    return LedgerDamagedError(
        f"line {number} of the export {why}", hint="Nothing was imported. Export the original again."
    )


def _refuse_other_format(first: bytes) -> None:
    """Refuse an export that is whole, but of a format for other programs; "export it again" would not help."""
    if first.rstrip() == ",".join(CSV_FIELDS).encode():
        name = "CSV"
    elif b'"specversion"' in first:
        name = "CloudEvents"
    else:
        return
    raise RefusedError(
        f"this is a {name} export, which cannot be imported",
        hint="Export it as JSON lines: 1ctl audit export --format jsonl --file FILE",
    )


def _document(line: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(line)
    except ValueError:
        raise _LineError("is not JSON, or was cut off") from None
    if not isinstance(document, dict):
        raise _LineError("is not a JSON object")
    schema = document.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise UnknownEventError(
            f"the export has schema {schema}; this 1ctl reads up to {SCHEMA}",
            hint="A newer 1ctl wrote it. Upgrade this one: 1ctl --version",
        )
    return document


def _row(document: Mapping[str, Any]) -> Row:
    try:
        row = Row(
            position=document["position"],
            stream=UUID(document["stream"]).bytes,
            version=document["version"],
            topic=document["kind"],
            state=document["state"].encode(),
            recorded_us=document["recorded_us"],
            leaf=bytes.fromhex(document["leaf"]),
            chain=bytes.fromhex(document["chain"]),
        )
    except (KeyError, ValueError, TypeError, AttributeError):
        raise _LineError("lacks a field that an export has, or has one of another kind") from None
    if not is_well_formed(row) or not len(row.leaf) == len(row.chain) == len(sha256().digest()):
        raise _LineError("holds what no event can hold")
    return row


def _entry(row: Row) -> Entry:
    try:
        document = orjson.loads(row.state)
        entry = Entry(row, document)
        entry.to_json()
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise _LineError("holds a state that no event has") from None
    return entry


def _origin(entry: Entry) -> str:
    data = entry.document.get("data")
    if entry.row.topic != LedgerCreated.__name__ or not isinstance(data, dict):
        raise _LineError("does not begin a ledger: the first event is LedgerCreated")
    origin, named = data.get("origin"), origin_of(str(data.get("ledger_id")))
    if origin != named:
        raise _LineError(f"gives the ledger two names: {origin} and {named}")
    return str(origin)
