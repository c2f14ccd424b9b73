"""The ledger written out for others: JSON lines that can be imported again, CSV, CloudEvents.

JSON lines hold each line in full, the stored state as exact text included, so that an import has the same positions,
hashes and proofs. Sealed secrets are never exported: they are not in the log.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from uuid import UUID

import orjson

from ledger.audit_log import SCHEMA, Entry
from ledger.clock import iso

CSV_FIELDS = (
    "position", "recorded_at", "namespace", "app", "deployment_id", "kind", "actor", "reason", "request_id", "data",
)  # fmt: skip


def jsonl(entries: Iterable[Entry], origin: str) -> Iterator[bytes]:
    """One JSON object a line: the fields of a log entry, and what an import needs."""
    for entry in entries:
        row = entry.row
        document = {
            "schema": SCHEMA,
            "origin": origin,
            **entry.to_json(),
            "recorded_us": row.recorded_us,
            "stream": str(UUID(bytes=row.stream)),
            "version": row.version,
            "state": _text(row.state),
            "leaf": row.leaf.hex(),
            "chain": row.chain.hex(),
        }
        yield orjson.dumps(document) + b"\n"


def csv_lines(entries: Iterable[Entry], _origin: str) -> Iterator[bytes]:
    """RFC 4180 with a header line; ``data`` is JSON text."""
    yield _csv_line(CSV_FIELDS)
    for entry in entries:
        document = entry.to_json()
        data = orjson.dumps(document.pop("data"), option=orjson.OPT_SORT_KEYS).decode()
        yield _csv_line([*(_cell(document[name]) for name in CSV_FIELDS[:-1]), data])


def cloudevents(entries: Iterable[Entry], origin: str) -> Iterator[bytes]:
    """One CloudEvents 1.0 JSON object a line; ``source`` and ``id`` together name the event for ever."""
    for entry in entries:
        document = entry.to_json()
        place = [entry.subject.get(name) for name in ("cluster", "namespace", "app")]
        event: dict[str, object] = {
            "specversion": "1.0",
            "id": str(entry.row.position),
            "source": origin,
            "type": f"dev.1ctl.{entry.row.topic}",
            "time": iso(entry.row.recorded_us),
            "datacontenttype": "application/json",
            "dataschema": f"https://1ctl.dev/audit-log/{SCHEMA}",
            "data": {name: document[name] for name in ("deployment_id", "actor", "reason", "request_id", "data")},
        }
        if all(place):
            event["subject"] = "/".join(str(part) for part in place)
        yield orjson.dumps(event) + b"\n"


FORMATS: Mapping[str, Callable[[Iterable[Entry], str], Iterator[bytes]]] = {
    "jsonl": jsonl,
    "csv": csv_lines,
    "cloudevents": cloudevents,
}


def _text(state: bytes) -> str | None:
    """The bytes as text; None if they are none, which somebody recorded by hand."""
    try:
        return state.decode()
    except UnicodeDecodeError:
        return None


def _cell(value: object) -> str:
    """Text that no spreadsheet takes for a formula (CWE-1236)."""
    text = "" if value is None else str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _csv_line(cells: Iterable[object]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue().encode()
