"""What a file holds that the user named; ``-`` is stdin."""

from __future__ import annotations

import sys
from pathlib import Path

from ledger.errors import RefusedError


def is_stdin(path: Path) -> bool:
    """Whether stdin is meant."""
    return str(path) == "-"


def read_input(path: Path) -> bytes:
    """Its bytes.

    Raises:
        RefusedError: It cannot be read.
    """
    try:
        return sys.stdin.buffer.read() if is_stdin(path) else path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error.strerror) from error


def read_text(path: Path) -> str:
    """Its text, for what is small; of stdin, what is not UTF-8 is left for a rule to refuse.

    Raises:
        RefusedError: It cannot be read, or a file is not UTF-8. A name with an ``=`` is not repeated: where KEY=VALUE was
            given in the place of a file, it may be a secret.
    """
    if is_stdin(path):
        return sys.stdin.read()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        named = "the file that is named" if "=" in str(path) else path
        raise _unreadable(named, error.strerror if isinstance(error, OSError) else "it is not UTF-8") from error


def _unreadable(path: Path | str, why: str | None) -> RefusedError:
    return RefusedError(f"{path} cannot be read: {why}", hint="Name another file.")
