"""How you ask: the `1ctl` command. Thin: parse, one command or one query, render."""
