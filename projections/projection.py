"""What a projection is: a pure fold of the whole ledger into rows that SQL can be asked about."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from ledger.errors import LedgerDamagedError

if TYPE_CHECKING:
    from ledger.envelope import Line
    from ledger.store import Asking, Tables


class Dated(Protocol):
    """A row that says from which position on it is so."""

    @property
    def valid_from(self) -> int:
        """Position of the event that made it as it is."""


R = TypeVar("R", bound=Dated)
P = TypeVar("P", bound=Sequence[object])


class ReadModelError(LedgerDamagedError):
    """A read model is not what it should be. The ledger may be whole, and then it is made again from that."""


def wrong_model(name: str, why: str) -> ReadModelError:
    """The error for a read model, and what makes it again."""
    return ReadModelError(
        f"the read model {name} is damaged: {why}", hint=f"Make it again from the ledger: 1ctl ledger rebuild {name}"
    )


class Projection(Protocol[R, P]):
    """One read model. Its fold is the same for catching up, rebuilding and answering from memory.

    It keeps rows as they are, and each row as it was before: from the event that made it so (``valid_from``) up to the one
    that made it otherwise (``valid_to``). So what the rows said at any position is looked up, not folded again.

    Attributes:
        name: Its identity in the checkpoints; never renamed.
        version: Raised when rows would come out differently, or the table changes; the rows are then rebuilt.
        tables: Its tables, called ``package.name``.
        past_table: The one of them that holds rows as they were before.
        ignored: Topics that change nothing; they are skipped without being decoded.
        redactable: Whether rows may hold what people or clusters wrote, so that a redaction rebuilds all of them.
    """

    name: str
    version: int
    tables: tuple[str, ...]
    past_table: str
    ignored: frozenset[str]
    redactable: bool

    def key(self, line: Line) -> str | None:
        """Key of the one row that the event can change, or None."""

    def apply(self, rows: dict[str, R], line: Line) -> None:
        """Fold one more event into the rows by key. Pure and total; the row at `key` is there if it exists at all."""

    def load(self, tables: Asking, key: str) -> R | None:
        """The stored row of a key."""

    def stored(self, tables: Tables) -> Iterator[R]:
        """Every stored row, in no order."""

    def page(self, tables: Asking, after: str, limit: int) -> Sequence[R]:
        """Stored rows with keys above that one, in the order of their keys; for those who may not change them, too."""

    def past_page(self, tables: Asking, after: P | None, limit: int) -> Sequence[P]:
        """Likewise rows as they were before, behind that one, in the order of the table's key."""

    def name_of(self, row: R) -> str:
        """The key of a row."""

    def save(self, tables: Tables, rows: Collection[R]) -> None:
        """Store rows, in place of those with the same keys, in the transaction of the tables."""

    def past(self, row: R, position: int) -> P:
        """A row as it was until a position, at which it became another."""

    def stored_past(self, tables: Tables) -> Iterator[Sequence[object]]:
        """The columns of every row as it was before, in the order of the table's key."""

    def save_past(self, tables: Tables, rows: Iterable[P]) -> None:
        """Store rows as they were, in the transaction of the tables; none of them is there yet."""
