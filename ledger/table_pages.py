"""Reading a table beside the log, a page at a time, so that memory stays small however large it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ledger.store import Asking

PAGE = 2000


def table_pages(source: Asking, statement: str) -> Iterator[Sequence[tuple[Any, ...]]]:
    """The rows of a table, a page at a time, by rising text in their first column.

    Args:
        source: The ledger.
        statement: One that selects at most ``limit`` of the rows that come ``after`` a text, in that order.
    """
    after = ""
    while rows := source.ask(statement, {"after": after, "limit": PAGE}):
        yield rows
        after = rows[-1][0]
