"""Text for people, part of which somebody else may have set: an API server, a pod, an imported ledger, a database.

What they set must neither draw on a reader's screen nor begin a line that looks like one of ours.
"""

from __future__ import annotations

from typing import Self


def printable(text: str) -> str:
    r"""The text in one line: ``\n`` for a line break, ``\x1b`` for an escape and so on, bidi controls included."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


class Lines(str):
    """Text of several lines, each of which we begin: a line break within a given line is made printable."""

    __slots__ = ()

    def __new__(cls, *lines: str) -> Self:
        """The lines, joined."""
        return super().__new__(cls, "\n".join(map(printable, lines)))


def lines_of(text: str) -> list[str]:
    """The lines of a text: those that we began, or a single one."""
    return text.split("\n") if isinstance(text, Lines) else [printable(text)]
