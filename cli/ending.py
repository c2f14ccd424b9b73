"""What a signal does to a running command: it ends the command in order, once, wherever it is."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # `signal` makes classes that no command needs to start
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

from cli.exit_codes import EndedError
from cli.main import end_process

_A_MOMENT = 0.005
"""Seconds after which a signal that came during an import is looked at again."""


class Ending:
    """Raises `EndedError` in the main thread at the first of some signals.

    An import is waited for: native modules crash when one is interrupted, and Python takes it for an error of its own.

    Args:
        numbers: The signals.
    """

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = numbers
        self._over = False

    def begin(self) -> None:
        """From now on they are heard."""
        sys.unraisablehook = self._lost
        self._all(self._heard)

    def cease(self) -> None:
        """From now on none of them changes anything; may be repeated."""
        self._over = True
        # Not SIG_IGN: Python would print a traceback of one that came together with the one that is being handled.
        self._all(self._let_go)
        _signal.pthread_sigmask(_signal.SIG_BLOCK, [*self._numbers, _signal.SIGALRM])

    def _all(self, handler: Any) -> None:
        for number in self._numbers:
            _signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self._over:
            return
        if _is_importing(frame):
            _signal.signal(_signal.SIGALRM, lambda _, then: self._heard(number, then))
            _signal.setitimer(_signal.ITIMER_REAL, _A_MOMENT)
            return
        self.cease()
        raise EndedError(number)

    def _let_go(self, _number: int, _frame: FrameType | None) -> None:
        pass

    def _lost(self, unraisable: sys.UnraisableHookArgs) -> None:
        # Where nothing can be raised, as while an object is taken apart, Python only prints that something was.
        if isinstance(unraisable.exc_value, EndedError):
            end_process(unraisable.exc_value.number)
        sys.__unraisablehook__(unraisable)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
