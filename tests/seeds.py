"""How often tests try what chance decides: ``ONECTL_TEST_SEEDS=100`` lets each of them try a hundred seeds or examples."""

from __future__ import annotations

import os


def seeds(few: int, *, short: int | None = None) -> range:
    """A few; `short` of them where more than a few of each fault is asked for; or the number that was asked for."""
    return range(examples(few, short=few if short is None else short))


def examples(few: int, *, short: int) -> int:
    """How many examples a property is tried with: likewise."""
    if asked := os.environ.get("ONECTL_TEST_SEEDS"):
        return int(asked)
    return few if os.environ.get("ONECTL_FAULTS", "few") == "few" else short
