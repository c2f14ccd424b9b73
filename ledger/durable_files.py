"""Names that survive a power failure: what was synced into a file is lost with the file's name."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def make_directory(path: Path) -> None:
    """Make a directory, mode 0700, and its parents, each with its name on disk; nothing if it is there.

    Raises:
        OSError: It cannot be made, or something else has its name.
    """
    made = [path, *path.parents][: _missing(path)]
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for directory in made:
        sync_directory(directory.parent)


def sync_directory(path: Path) -> None:
    """Put the names in a directory on disk.

    Raises:
        OSError: It cannot be opened or synced.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, content: bytes) -> None:
    """Write a file, mode 0600, complete and on disk or not at all; an older one of that name is replaced.

    Raises:
        OSError: It cannot be written.
    """
    write_all_durably(path, [content])


def write_all_durably(path: Path, parts: Iterable[bytes]) -> None:
    """As `write_durably`, of what is made part by part; what making it raises is passed on.

    Raises:
        OSError: It cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync_directory(path.parent)


def sync_file(path: Path) -> None:
    """Put what was written to a file, by whomever, on disk.

    Raises:
        OSError: It cannot be opened or synced.
    """
    sync_directory(path)


def _missing(path: Path) -> int:
    """How many of the path and its parents are not there."""
    return next((count for count, directory in enumerate((path, *path.parents)) if directory.exists()), 0)
