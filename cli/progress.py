"""How far long work is: one line on stderr that is rewritten, on a terminal only; nothing in logs and pipes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ledger.telling import Told

_WIDTH = 30
_SECONDS = 0.1


def clear() -> None:
    """Take the line away, so that something else can be said; the next step shows it again."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")


@contextmanager
def progress(what: str) -> Iterator[Told]:
    """A function to be told how much of how much is done; the line is gone at the end, also after an error."""
    stream = sys.stderr
    if not stream.isatty():
        yield lambda _done, _total: None
        return
    shown = 0.0

    def show(done: int, total: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown < _SECONDS:
            return
        shown = now
        filled = _WIDTH * done // total if total else _WIDTH
        percent = 100 * done // total if total else 100
        stream.write(f"\r{what} [{'#' * filled}{'.' * (_WIDTH - filled)}] {percent:3}% {done}/{total}")
        stream.flush()

    try:
        yield show
    finally:
        if shown:
            stream.write("\r\033[K")
            stream.flush()
