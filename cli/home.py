"""Where this user's data is: ``ONECTL_HOME``, else the platform's data directory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ledger.errors import RefusedError


def home() -> Path:
    """The data directory; it need not exist yet.

    Raises:
        RefusedError: This user's home directory is not known.
    """
    named = os.environ.get("ONECTL_HOME")
    if named:
        return expanded(named)
    if sys.platform == "darwin":
        return expanded("~") / "Library" / "Application Support" / "1ctl"
    base = os.environ.get("XDG_DATA_HOME")
    # The XDG base directory specification asks to ignore a relative path.
    data = Path(base) if base and base.startswith("/") else expanded("~") / ".local" / "share"
    return data / "1ctl"


def expanded(path: str) -> Path:
    """A path that somebody named, where ``~`` or ``~user`` is a home directory.

    Raises:
        RefusedError: It is not known which one.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise RefusedError(
            f'the home directory that "{path}" begins with is not known',
            hint="Write the whole path; without a home directory, say where this user's data is: ONECTL_HOME=/path",
        ) from error
