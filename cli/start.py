"""The process of the `1ctl` command: starts the command, and ends it in order when a signal says so.

Whoever interrupts a command wants to know what became of the request. So until the command runs, when nothing can have
been recorded, a signal just ends the process; then it is told (`cli.ending`); and once the end is decided no signal
changes it.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # `signal` without the imports that take long enough to be interrupted
import atexit
import os
import sys


def process() -> int:
    """Run the command line, and end the process with its exit code.

    It returns the code only where Python has to end the process itself: for a thread, or an output that fails.
    """
    code = main()
    threading = sys.modules.get("threading")
    if threading is None or threading.active_count() == 1:
        # Everything is closed. To take the interpreter apart as well is an eighth of a command's time.
        atexit._run_exitfuncs()  # noqa: SLF001 - what `os._exit` leaves out, and Python's own way has first
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):
            return code
        os._exit(code)
    return code


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
    from cli.ending import Ending  # noqa: PLC0415 - only from here on does an interrupt find no traceback
    from cli.exit_codes import EndedError  # noqa: PLC0415
    from cli.main import end_process  # noqa: PLC0415
    from cli.main import main as run  # noqa: PLC0415

    ending = Ending(heard)
    ending.begin()
    try:
        try:
            return run()
        finally:
            ending.cease()
    except EndedError as end:  # while it was being closed, or just told how it had failed
        end_process(end.number)


if __name__ == "__main__":
    sys.exit(process())
