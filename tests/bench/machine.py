"""Where and what was measured: the machine, the commit, the versions that are always of interest."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from importlib.metadata import version
from pathlib import Path

from tests.bench.places import ROOT, WRITTEN


def machine() -> dict[str, str]:
    """What the figures depend on and a reader can compare."""
    facts = {"cores": str(os.cpu_count()), "memory": f"{_memory_gib():.0f} GiB", "kernel": platform.release()}
    processor = _processor()
    return {"processor": processor, **facts} if processor else facts


def versions() -> dict[str, str]:
    """Of what every row uses; rows add what only they use."""
    return {"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version, "typer": version("typer")}


def load() -> float:
    """How many processes wanted to run during the last minute."""
    return os.getloadavg()[0]


def commit() -> str:
    """The commit of what is measured, and whether it was changed since; ``unknown`` outside of a repository."""
    head = _git("rev-parse", "--short=12", "HEAD")
    if head is None:
        return "unknown"
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *(f":!{path}" for path in WRITTEN))
    return f"{head} and changes" if changed else head


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _processor() -> str:
    """Its model, where the system says."""
    information = Path("/proc/cpuinfo")
    if not information.exists():
        return platform.processor()
    models = (line.partition(":")[2].strip() for line in information.read_text().splitlines() if "model name" in line)
    return next(models, platform.machine())
