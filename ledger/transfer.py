"""Carrying a ledger from one store to another: lines with their place, time, bytes and hashes; the tables beside them.

Everything goes through statements by name, so that each kind of store can be filled from each. Leases and snapshots stay
where they are: neither is history.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

import orjson

from ledger.errors import LedgerDamagedError
from ledger.instance import Instance, instance_row
from ledger.pages import pages
from ledger.store import Asking, Head, LifeKeyRow, LifeRow, ModelStore, RequestRow, Row, SealedRow, Tables, event_values
from ledger.table_pages import table_pages
from ledger.telling import Told
from ledger.verify import verify_chain

PAGE = 2000


class _Beside(NamedTuple):
    """A table beside the log: the statement that reads a page of it, and those that empty and fill it."""

    page: str
    row: type[RequestRow | LifeRow | LifeKeyRow]
    delete: str
    insert: str


_TABLES = (
    _Beside("ledger.requests_page", RequestRow, "ledger.delete_requests", "ledger.insert_request"),
    _Beside("ledger.lives_page", LifeRow, "ledger.delete_lives", "ledger.insert_life"),
    _Beside("ledger.life_keys_page", LifeKeyRow, "ledger.delete_life_keys", "ledger.insert_life_key"),
)


def locked_head(tables: Tables) -> Head:
    """The head; nobody else appends until the transaction ends.

    Raises:
        LedgerDamagedError: It is gone.
    """
    rows = tables.ask("ledger.lock_head", {})
    if len(rows) != 1:
        raise LedgerDamagedError("the ledger has lost its head row", hint="Restore it from a backup.")
    return Head(*rows[0])


def instance_of(tables: Asking) -> Instance:
    """Which instance this is, and who may append.

    Raises:
        LedgerDamagedError: That is gone, or cannot be read.
    """
    return instance_row(tables.ask("ledger.instance", {}))


def put_rows(tables: Tables, rows: Sequence[Row]) -> None:
    """Add lines as they are, behind all others."""
    tables.execute_all("ledger.insert_event", map(event_values, rows))
    last = rows[-1]
    tables.execute(
        "ledger.move_head", {"position": last.position, "recorded_us": last.recorded_us, "chain": last.chain}
    )


def put_lines(tables: Tables, source: ModelStore, upto: int, told: Told = lambda _done, _total: None) -> None:
    """Add the lines of another ledger up to a position, where there are none yet; tells of each page."""
    for rows in pages(source, 1, upto):
        put_rows(tables, rows)
        told(rows[-1].position, upto)


def put_beside(tables: Tables, source: Asking) -> None:
    """Replace the tables beside the log by those of another ledger."""
    for each in _TABLES:
        tables.execute(each.delete, {})
        for page in table_pages(source, each.page):
            tables.execute_all(each.insert, [each.row(*row)._asdict() for row in page])
    tables.execute("ledger.delete_sealed_values", {})
    for sealed in _sealed(source):
        tables.execute_all("ledger.insert_sealed", [row._asdict() for row in sealed])


def beside_digest(source: Asking) -> str:
    """A digest of all that the tables beside the log hold, hex; the same in every kind of store.

    The chain does not cover them. Rows are hashed one by one and added up, since databases order texts differently.
    """
    total = 0
    for each in _TABLES:
        for page in table_pages(source, each.page):
            total += sum(_number(each.insert, row) for row in page)
    for sealed in _sealed(source):
        total += sum(_number("sealed", row) for row in sealed)
    return f"{total % 2**256:064x}"


def verified(
    store: ModelStore,
    told: Told | None = None,
    *,
    what: str = "the ledger",
    following: bool = True,
    beside: bool = True,
) -> Head:
    """The head of a ledger whose every line was checked.

    Args:
        store: The ledger.
        told: Told how far it is.
        what: What it is called in an error.
        following: As for `verify_chain`.
        beside: As for `verify_chain`.

    Raises:
        LedgerDamagedError: One is not what was recorded; where.
    """
    # What cannot be read is copied as it is: it is intact, and no reason to have no backup.
    result = verify_chain(store, progress=told, following=following, beside=beside, reading=False)
    if result.damage is not None:
        damage = result.damage
        raise LedgerDamagedError(
            f"{what} is damaged at position {damage.position} ({damage.fault}): {damage.detail}",
            hint=f"Positions 1 to {result.events} are intact.",
        )
    return result.head


def _sealed(source: Asking) -> Iterator[Sequence[SealedRow]]:
    """Sealed values, those of one life at a time: they may be large."""
    for page in table_pages(source, "ledger.sealed_lives"):
        for (deployment_id,) in page:
            rows = source.ask("ledger.sealed", {"deployment_id": deployment_id})
            yield [SealedRow(deployment_id, *row) for row in rows]


def _number(table: str, row: Sequence[object]) -> int:
    cells = [cell.hex() if isinstance(cell, bytes) else cell for cell in row]
    return int.from_bytes(sha256(orjson.dumps([table, *cells])).digest(), "big")


def set_instance(tables: Tables, *, instance: str, writer: str | None, note: str | None) -> None:
    """Replace what is said about which instance this is and who may append."""
    values: Mapping[str, object] = {"instance": instance, "writer": writer, "note": note}
    tables.execute("ledger.renew_instance", values)
