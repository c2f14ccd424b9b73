"""Named places where a test may make this process die, to prove that dying there does no harm.

Off unless ``ONECTL_CRASH_AT`` names a place, or says ``chance SEED``: then chance arms one place in four, and the process
dies at every fourth armed place that it comes by, on average. It kills itself, as a power switch would.
"""

from __future__ import annotations

import os
import signal
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

_ARMED = os.environ.get("ONECTL_CRASH_AT")
_CHANCE = "chance "
_ARMED_ODDS = _FIRING_ODDS = 0.25


def crash_point(name: str) -> None:
    """Die here if a test asked for it; otherwise free of cost."""
    if _ARMED is not None and (name == _ARMED or (_ARMED.startswith(_CHANCE) and _falls_on(name))):
        os.kill(os.getpid(), signal.SIGKILL)


def _falls_on(name: str) -> bool:
    return _is_armed(name) and _of_this_process().random() < _FIRING_ODDS


@cache
def _is_armed(name: str) -> bool:
    from random import Random  # noqa: PLC0415 - for tests only

    return Random(f"{_ARMED} {name}").random() < _ARMED_ODDS


@cache
def _of_this_process() -> Random:
    from random import Random  # noqa: PLC0415 - for tests only

    return Random(_ARMED)
