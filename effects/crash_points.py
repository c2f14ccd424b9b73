"""Named places where a test may make this process die, to prove that dying there does no harm.

Off unless ``ONECTL_CRASH_AT`` names a place; then the process kills itself there, as a power switch would.
"""

from __future__ import annotations

import os
import signal

_ARMED = os.environ.get("ONECTL_CRASH_AT")


def crash_point(name: str) -> None:
    """Die here if a test asked for it; otherwise free of cost."""
    if _ARMED is not None and name == _ARMED:
        os.kill(os.getpid(), signal.SIGKILL)
