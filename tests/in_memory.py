"""Where tests keep their files: in memory, if there is enough of it, so that none waits for a disk.

What a disk may lose is tried by `tests.faults.power`, which knows what was synced; how often is synced, by tracing.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

SHARED = Path("/dev/shm")
ENOUGH = 2 << 30
"""Bytes that must be free in memory to work there."""


def new_directory(prefix: str) -> Path:
    """A directory that nobody else uses, in memory or else where temporary files are; whoever asked removes it."""
    enough = SHARED.is_dir() and shutil.disk_usage(SHARED).free >= ENOUGH
    return Path(tempfile.mkdtemp(prefix=prefix, dir=SHARED if enough else None))
