"""Changes to the program before it runs, by name: what a test needs to be otherwise, and planted defects."""

from __future__ import annotations


def write_ahead_log() -> None:
    """Keep ledgers with a write-ahead log, also with a SQLite that loses data when several connections reset it.

    One command at a time never does.
    """
    from ledger import sqlite_store

    sqlite_store.wal_is_safe = lambda version: True


def few_domains() -> None:
    """Give apps host names out of nine, so that two often ask for the same one."""
    import random

    from ledger import domains

    names = random.SystemRandom()
    domains.mint_domain = lambda suffix: f"name-{names.randrange(9)}.{suffix}"


def closed_output() -> None:
    """Begin without stdout, as after ``>&-``."""
    import os
    import sys

    os.close(1)
    sys.stdout = None  # what an interpreter makes of it when it starts
