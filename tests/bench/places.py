"""Where benchmarks keep things: what they write, and what they need not make again."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
WRITTEN = ("docs/bench.json", "docs/performance.md")
"""What a run writes, relative to the repository."""

ELSEWHERE = "bench-elsewhere.json"
"""What a run on another machine wrote, beside what a run writes."""

NOTES = Path(__file__).with_name("notes")
"""What is said on the page about a row besides its figures, one file a row, by hand."""


def notes() -> dict[str, str]:
    """The notes by row."""
    return {path.stem: path.read_text().strip() for path in NOTES.glob("*.md")}


def cache() -> Path:
    """A directory for what takes long to make or to fetch; may be removed at any time."""
    base = os.environ.get("XDG_CACHE_HOME")
    directory = (Path(base) if base else Path.home() / ".cache") / "1ctl-bench"
    directory.mkdir(parents=True, exist_ok=True)
    return directory
