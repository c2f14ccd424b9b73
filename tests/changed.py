"""`1ctl` after something of it was changed: ``python -m tests.changed MODULE:FUNCTION ARGS...``."""

from __future__ import annotations

import sys

from tests.forks import make

if __name__ == "__main__":
    _, change, *arguments = sys.argv
    make(change)
    sys.argv = ["1ctl", *arguments]
    from cli.start import main

    sys.exit(main())
