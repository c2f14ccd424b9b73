"""The clusters that workers are tested on: the sandbox always, a real API server where there is one."""

from __future__ import annotations

from tests.effects.conftest import world

__all__ = ["world"]
