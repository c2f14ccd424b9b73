"""Where this user's data is: ``ONECTL_HOME``, else the platform's data directory."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def home() -> Path:
    """The data directory; it need not exist yet."""
    named = os.environ.get("ONECTL_HOME")
    if named:
        return Path(named).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "1ctl"
    base = os.environ.get("XDG_DATA_HOME")
    # The XDG base directory specification asks to ignore a relative path.
    data = Path(base) if base and base.startswith("/") else Path.home() / ".local" / "share"
    return data / "1ctl"
