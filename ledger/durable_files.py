"""Names that survive a power failure: what was synced into a file is lost with the file's name."""

from __future__ import annotations

import os
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


def _missing(path: Path) -> int:
    """How many of the path and its parents are not there."""
    return next((count for count, directory in enumerate((path, *path.parents)) if directory.exists()), 0)
