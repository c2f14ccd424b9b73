"""The process of the `1ctl` command: it starts it, and ends it in order when a signal says so.

Whoever interrupts a command wants to know what became of the request. So until the command runs, when nothing can have
been recorded, a signal just ends the process; then it is told; and once the end is decided no signal changes it.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # `signal` without the imports that take long enough to be interrupted
import sys


def main() -> int:
    """Run the command line; returns the exit code. To be called once, by the process that is the command."""
    # One that is ignored, by `nohup` or for a job in the background, stays ignored.
    heard = [
        number
        for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP)
        if _signal.getsignal(number) is not _signal.SIG_IGN
    ]
    for number in heard:
        _signal.signal(number, _signal.SIG_DFL)
    from cli.exit_codes import EndedError  # noqa: PLC0415 - only from here on does an interrupt find no traceback
    from cli.main import main as run  # noqa: PLC0415

    def end(number: int, _frame: object) -> None:
        ignore()
        raise EndedError(number)

    def ignore() -> None:
        for number in heard:
            _signal.signal(number, _signal.SIG_IGN)

    for number in heard:
        _signal.signal(number, end)
    try:
        return run()
    finally:
        ignore()


if __name__ == "__main__":
    sys.exit(main())
