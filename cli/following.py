"""Output that goes on until the user ends it: a log that is followed, a status that is watched."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from cli.exit_codes import EndedError


@contextmanager
def until_interrupted() -> Iterator[None]:
    """A block that is meant to be ended by Ctrl-C.

    Raises:
        EndedError: Another signal ends the process; whoever sent it is to see that in the exit code.
    """
    try:
        yield
    except KeyboardInterrupt as end:
        if isinstance(end, EndedError) and end.number != signal.SIGINT:
            raise
