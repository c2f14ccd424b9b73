"""How you ask: the `1ctl` command. Thin: parse, one command or one query, render."""

import gc

# A command makes many objects that live as long as it does and little garbage: collecting it costs 5 ms and finds none.
gc.set_threshold(200_000)
