"""What a person or a script sees. Results go to stdout, everything said about them to stderr.

In JSON mode stdout holds one document and nothing else, that of the error if a command fails before it has another:
the lines that a person would read go to stderr.
A text is one line, whatever is in it (`ledger.text`). Commands that notices and hints name are completed here (see
`cli.follow_up`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TextIO

from cli.exit_codes import UsageError
from cli.follow_up import completed
from cli.options import INVOCATION
from ledger.errors import OneCtlError
from ledger.text import lines_of, printable

_COLOURS = {"✅": "32", "💡": "36", "❗️": "33", "❌": "31"}


class OutputError(OneCtlError):
    """What a command says cannot be written where it was told to: a full disk, for instance."""


class Terminal:
    """Prints. Colour only on a terminal, and not where NO_COLOR is set (no-color.org)."""

    def __init__(self, *, json: bool) -> None:
        self.json = json

    def line(self, text: str = "") -> None:
        """A line of the result as a person reads it."""
        _write(sys.stderr if self.json else sys.stdout, text)

    def success(self, text: str) -> None:
        """Something was done."""
        self.line(f"✅ {text}")

    def info(self, text: str) -> None:
        """Something worth knowing that belongs to the result."""
        self.line(f"💡 {completed(text)}")

    def step(self, number: int, doing: str, app: str) -> None:
        """One of the five steps of a deploy, once it is true."""
        self.line(f"Step {number}/5: {doing} {app} ✓")

    def notice(self, text: str) -> None:
        """Something about the circumstances: never part of the result. It may have several lines (`ledger.text.Lines`)."""
        first, *more = lines_of(text)
        _write(sys.stderr, f"💡 {completed(first)}")
        for line in more:
            self.notice_line(completed(line))

    def notice_line(self, text: str) -> None:
        """A line that belongs to the notice before it, indented."""
        _write(sys.stderr, f"  {text}")

    def warn(self, text: str) -> None:
        """Something the user may want to act upon."""
        _write(sys.stderr, f"❗️ {completed(text)}")

    def error(self, message: str, hint: str | None) -> None:
        """Why the command failed, and the next step, which may have several lines (`ledger.text.Lines`)."""
        _write(sys.stderr, f"❌ {message}")
        if hint:
            for line in lines_of(hint):
                _write(sys.stderr, completed(line))

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Left-aligned columns as wide as their longest cell, two spaces apart, a rule under each header."""
        shown = [[printable(cell) for cell in row] for row in rows]
        widths = [max(map(_width, column)) for column in zip(headers, *shown, strict=True)]
        for cells in (headers, ["─" * width for width in widths], *shown):
            padded = [cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True)]
            self.line("  ".join(padded).rstrip())

    def fields(self, title: str, values: Mapping[str, str]) -> None:
        """A title, its rule, and one aligned line a field."""
        title = printable(title)
        self.line(title)
        self.line("─" * _width(title))
        width = max(map(_width, values)) + 1
        for name, value in values.items():
            self.line(f"{name + ':':<{width}} {printable(value)}")

    def document(self, content: object) -> None:
        """The one JSON document of a command: two-space indent, keys in a stable order."""
        import orjson  # noqa: PLC0415 - commands that print tables need not load it for this

        self.bytes([orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n"])

    def bytes(self, content: Iterable[bytes]) -> None:
        """A result that is not for reading, or not for people."""
        INVOCATION.has_output = True
        with _output_errors():
            sys.stdout.buffer.writelines(content)
            sys.stdout.buffer.flush()

    def confirm(self, question: str) -> bool:
        """Whether the user says yes; on a terminal, the end of input means no.

        Raises:
            UsageError: Nobody is there to answer: the input is not a terminal, and ends before there is an answer.
        """
        INVOCATION.is_asking = True  # and still is, if a signal ends it here
        sys.stderr.write(f"{printable(question)} [y/N]: ")
        sys.stderr.flush()
        answer = sys.stdin.readline()
        INVOCATION.is_asking = False
        if not answer.endswith("\n"):
            sys.stderr.write("\n")
        if not answer and not sys.stdin.isatty():
            # Not a "no", which would end with 0: a script that forgot --yes has to be told that nothing was done.
            raise UsageError(
                "nobody is there to answer", hint="Nothing was changed. To go on without being asked: -y/--yes"
            )
        return answer.strip().lower() in {"y", "yes"}


def _write(stream: TextIO, text: str) -> None:
    """One line. Part of it may come from a cluster, a database or a file that somebody sent, so it can hold anything."""
    text = printable(text)
    if stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
        text = _coloured(text)
    with _output_errors():
        stream.write(text + "\n")
        stream.flush()


@contextmanager
def _output_errors() -> Iterator[None]:
    """A block that writes; a reader that went away is not an error of the output."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"the output cannot be written: {error.strerror}") from error


def _coloured(text: str) -> str:
    for glyph, colour in _COLOURS.items():
        if text.startswith(glyph):
            return f"\033[{colour}m{text}\033[0m"
    return text


def _width(text: str) -> int:
    """Cells on a terminal; only the wide characters of our own texts matter."""
    if text.isascii():
        return len(text)
    import unicodedata  # noqa: PLC0415 - most tables are plain

    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )
