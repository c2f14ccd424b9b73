"""Rows as a store answers them, each column held to its type where it is read.

A SQLite column takes a value of any type, whatever it was declared as; so a file that somebody changed may answer with
any. What is wrong is said here, once for each kind of row, not wherever a value is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from ledger.errors import LedgerDamagedError
from ledger.store import LifeKeyRow, LifeRow, RequestRow, Row, SealedRow, is_well_formed

R = TypeVar("R", RequestRow, LifeRow, LifeKeyRow, SealedRow)

_LARGEST = 2**62
_RESTORE = "Nothing was recorded. Compare with a backup: 1ctl ledger restore FILE"

_COLUMNS: Mapping[type, tuple[str, tuple[type, ...]]] = {
    RequestRow: ("requests", (str, bytes, bytes, int, int)),
    LifeRow: ("lives", (str, str, str, str, int)),
    LifeKeyRow: ("life_keys", (str, str, bytes)),
    SealedRow: ("sealed_values", (str, str, int, bytes)),
}


def typed(kind: type[R], values: Sequence[object]) -> R:
    """The row that a table answered.

    Raises:
        LedgerDamagedError: A column holds something of another type.
    """
    table, columns = _COLUMNS[kind]
    if tuple(map(type, values)) != columns:
        raise LedgerDamagedError(
            f"the ledger is damaged: a row of {table} ({str(values[0])[:60]!r}) holds what none can hold", hint=_RESTORE
        )
    return kind._make(values)


def number(value: object, table: str) -> int:
    """A number that a table answered; 0 for none.

    Raises:
        LedgerDamagedError: It is something else, or too large to be counted on from.
    """
    if value is not None and (type(value) is not int or not 0 <= value < _LARGEST):
        raise LedgerDamagedError(
            f"the ledger is damaged: {table} holds {str(value)[:60]!r} where a number belongs", hint=_RESTORE
        )
    return value or 0


def sound(row: Row) -> Row:
    """The same line of the log.

    Raises:
        LedgerDamagedError: A column holds what no event has.
    """
    if not is_well_formed(row):
        raise LedgerDamagedError(f"position {row.position} holds no event any more", hint="See: 1ctl audit verify")
    return row
