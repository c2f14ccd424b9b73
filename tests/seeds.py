"""How often tests try what chance decides: ``ONECTL_TEST_SEEDS=100`` lets each of them try a hundred seeds."""

from __future__ import annotations

import os


def seeds(enough: int) -> range:
    """That many, unless another number was asked for."""
    return range(int(os.environ.get("ONECTL_TEST_SEEDS", enough)))
