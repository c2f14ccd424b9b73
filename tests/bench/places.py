"""Where benchmarks keep things: what they write, and what they need not make again."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
WRITTEN = ("docs/bench.json", "docs/performance.md")
"""What a run writes, relative to the repository."""


def cache() -> Path:
    """A directory for what takes long to make or to fetch; may be removed at any time."""
    base = os.environ.get("XDG_CACHE_HOME")
    directory = (Path(base) if base else Path.home() / ".cache") / "1ctl-bench"
    directory.mkdir(parents=True, exist_ok=True)
    return directory
