"""What a projection is: a pure fold of the whole ledger into rows that SQL can be asked about."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from ledger.envelope import Recorded
    from ledger.store import Asking, Tables

R = TypeVar("R")


class Projection(Protocol[R]):
    """One read model. Its fold is the same for catching up, rebuilding and answering from memory.

    Attributes:
        name: Its identity in the checkpoints; never renamed.
        version: Raised when rows would come out differently, or the table changes; the rows are then rebuilt.
        table: Its table, called ``package.name``.
        ignored: Topics that change nothing; they are skipped without being decoded.
    """

    name: str
    version: int
    table: str
    ignored: frozenset[str]

    def key(self, recorded: Recorded) -> str | None:
        """Key of the one row that the event can change, or None."""

    def apply(self, rows: dict[str, R], recorded: Recorded) -> None:
        """Fold one more event into the rows by key. Pure and total; the row at `key` is there if it exists at all."""

    def load(self, tables: Asking, key: str) -> R | None:
        """The stored row of a key."""

    def stored(self, tables: Tables) -> Iterator[R]:
        """Every stored row, in no order."""

    def save(self, tables: Tables, rows: Collection[R]) -> None:
        """Store rows, in place of those with the same keys, in the transaction of the tables."""
