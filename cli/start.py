"""The process of the `1ctl` command: it starts it, and ends it in order when a signal says so.

Whoever interrupts a command wants to know what became of the request. So until the command runs, when nothing can have
been recorded, a signal just ends the process; then it is told; and once the end is decided no signal changes it.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import FrameType

_DEFAULT = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}
"""What each does where nobody changed it; one that is ignored (`nohup`, a job in the background) stays ignored."""


class EndedError(KeyboardInterrupt):
    """A signal says that the process has to end. Like an interrupt, no code takes it for an error of its own.

    Attributes:
        number: The signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main() -> int:
    """Run the command line; returns the exit code. To be called once, by the process that is the command."""
    heard = [number for number, default in _DEFAULT.items() if signal.getsignal(number) == default]
    for number in heard:
        signal.signal(number, signal.SIG_DFL)
    from cli.main import main as run  # noqa: PLC0415 - most of what an interrupt can hit before the command runs

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        _ignore(heard)
        raise EndedError(number)

    for number in heard:
        signal.signal(number, end)
    try:
        return run()
    finally:
        _ignore(heard)


def _ignore(numbers: list[signal.Signals]) -> None:
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
