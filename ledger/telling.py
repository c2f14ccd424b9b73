"""How long work tells how far it is, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

Told = Callable[[int, int], None]
"""Told how much of how much is done."""

Begin = Callable[[str], AbstractContextManager[Told]]
"""Begins to tell how far work is that is called by a word: ``Copying``."""
