"""What a file holds that the user named; ``-`` is stdin."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, AnyStr

from cli.exit_codes import UsageError
from ledger.errors import RefusedError

MAX_INPUT = 16 << 20
"""Bytes, or characters of a text: more than any proof, event or set of values has. What is larger, such as
``/dev/zero``, is not read to its end before it is refused."""


def is_stdin(path: Path) -> bool:
    """Whether stdin is meant."""
    return str(path) == "-"


def without_pairs(path: Path) -> RefusedError:
    """The error for a file that was to hold ``KEY=VALUE`` lines, and was read to its end without one."""
    return RefusedError(
        f"{'stdin' if is_stdin(path) else path} holds no KEY=VALUE line",
        hint="Empty lines and comments set nothing. Is it the file that is meant?",
    )


def one_reads_stdin(*files: tuple[str, Path | None], ask: Sequence[str]) -> None:
    """Refuse a command line of which two options would read stdin: the second would find nothing there.

    Args:
        files: Options that name a file, and the file that each of them was given.
        ask: The keys of ``--key``, whose values are typed or come from stdin.

    Raises:
        UsageError: There are two.
    """
    readers = [f"{option} -" for option, file in files if file is not None and is_stdin(file)]
    readers += ["--key"] if ask else []
    if len(readers) > 1:
        raise UsageError(f"{readers[0]} and {readers[1]} would both read stdin")


def read_input(path: Path) -> bytes:
    """Its bytes.

    Raises:
        RefusedError: It cannot be read, or is too large.
    """
    try:
        if is_stdin(path):
            stdin: IO[bytes] = sys.stdin.buffer
            return _whole(stdin, path)
        with path.open("rb") as file:
            return _whole(file, path)
    except OSError as error:
        raise _unreadable(path, error.strerror) from error


def read_text(path: Path) -> str:
    """Its text, for what is small; of stdin, what is not UTF-8 is left for a rule to refuse.

    Raises:
        RefusedError: It cannot be read, is too large, or a file is not UTF-8. A name with an ``=`` is not repeated: where
            KEY=VALUE was given in the place of a file, it may be a secret.
    """
    if is_stdin(path):
        stdin: IO[str] = sys.stdin
        return _whole(stdin, path)
    try:
        with path.open(encoding="utf-8") as file:
            return _whole(file, path)
    except (OSError, UnicodeDecodeError) as error:
        named = "the file that is named" if "=" in str(path) else path
        raise _unreadable(named, error.strerror if isinstance(error, OSError) else "it is not UTF-8") from error


def _whole(file: IO[AnyStr], path: Path) -> AnyStr:
    content = file.read(MAX_INPUT + 1)
    if len(content) > MAX_INPUT:
        raise _unreadable(path, f"it is larger than {MAX_INPUT >> 20} MiB")
    return content


def _unreadable(path: Path | str, why: str | None) -> RefusedError:
    return RefusedError(f"{path} cannot be read: {why}", hint="Name another file.")
