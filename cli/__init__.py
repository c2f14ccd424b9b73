"""How you ask: the `1ctl` command. Thin: parse, one command or one query, render."""

import gc

_USUAL = gc.get_threshold()

# A command makes many objects that live as long as it does and little garbage: collecting it costs 5 ms and finds none.
gc.set_threshold(200_000)


def collect_garbage_as_usual() -> None:
    """For a process that stays: ended terms and errors are cycles, and would pile up for hours."""
    gc.set_threshold(*_USUAL)
