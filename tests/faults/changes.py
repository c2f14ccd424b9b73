"""Changes to the program before it runs, by name: what a test needs to be otherwise, and planted defects."""

from __future__ import annotations

from typing import Any


def write_ahead_log() -> None:
    """Keep ledgers with a write-ahead log, also with a SQLite that loses data when several connections reset it.

    One command at a time never does.
    """
    from ledger import sqlite_database

    sqlite_database.wal_is_safe = lambda version: True


def few_domains() -> None:
    """Give apps host names out of nine, so that two often ask for the same one."""
    import random

    from ledger import domains

    names = random.SystemRandom()
    domains.mint_domain = lambda suffix: f"name-{names.randrange(9)}.{suffix}"


def broken_connection() -> None:
    """Break a connection to PostgreSQL before its user hears the answer to one statement, and leave a file that says so.

    ``ONECTL_TEST_BREAKS`` is how, the number of the statement in this process, and the file: ``ended`` is what a server
    does that shuts down, which does nothing more; ``deaf`` lets it do what it was asked for.
    """
    import os
    import select
    import socket
    from itertools import count
    from pathlib import Path

    import psycopg

    how, number, told = os.environ["ONECTL_TEST_BREAKS"].split(" ", 2)
    numbers, wait = count(1), psycopg.Connection.wait

    def waiting(self: Any, *args: Any, **more: Any) -> Any:
        if not self.closed and next(numbers) == int(number):
            Path(told).touch()
            if how == "deaf":
                with socket.socket(fileno=os.dup(self.fileno())) as line:
                    line.shutdown(socket.SHUT_RD)
            else:
                with psycopg.connect(os.environ["ONECTL_LEDGER"], autocommit=True) as other:
                    other.execute("SELECT pg_terminate_backend(%s)", [self.info.backend_pid])
                select.select([self], [], [], 10)
        return wait(self, *args, **more)

    psycopg.Connection.wait = waiting  # type: ignore[method-assign]


def busy_cluster() -> None:
    """Have the sandbox say at the second write that it is too busy, and for how long, as often as ``ONECTL_TEST_BUSY`` says."""
    import os
    from itertools import count

    from effects import sandbox
    from effects.cluster import ClusterUnreachableError

    times, seconds = (float(part) for part in os.environ["ONECTL_TEST_BUSY"].split())
    numbers, apply = count(1), sandbox.SandboxCluster.apply

    def applied(*args: Any, **more: Any) -> Any:
        if 2 <= next(numbers) < 2 + times:
            raise ClusterUnreachableError("Cluster sandbox did not apply: 429 TooManyRequests", retry_after=seconds)
        return apply(*args, **more)

    sandbox.SandboxCluster.apply = applied  # type: ignore[method-assign]


def absent_cluster() -> None:
    """Have the sandbox give no answer to writes and to looks at pods at first, as often as ``ONECTL_TEST_AWAY`` says.

    It also says how many seconds it asks to be left alone for each time; 0: it asks for nothing.
    """
    import os
    from itertools import count

    from effects import sandbox
    from effects.cluster import ClusterUnreachableError

    times, seconds = (float(part) for part in os.environ["ONECTL_TEST_AWAY"].split())
    numbers = count(1)

    def unless_away(do: Any) -> Any:
        def done(*args: Any, **more: Any) -> Any:
            if next(numbers) <= times:
                raise ClusterUnreachableError("No usable answer from cluster sandbox", retry_after=seconds or None)
            return do(*args, **more)

        return done

    for name in ("apply", "rollout"):
        setattr(sandbox.SandboxCluster, name, unless_away(getattr(sandbox.SandboxCluster, name)))


def closed_output() -> None:
    """Begin without stdout, as after ``>&-``."""
    import os
    import sys

    os.close(1)
    sys.stdout = None  # what an interpreter makes of it when it starts


def impatient() -> None:
    """Wait one second for other writers instead of thirty."""
    from ledger.stores import open_store

    assert open_store.__kwdefaults__ is not None
    open_store.__kwdefaults__["lock_timeout"] = 1.0


def sleep_under_libfaketime() -> None:
    """Sleep by a call that libfaketime leaves alone: as Python does it, it fails where monotonic time stays true."""
    import select
    import time

    def sleep(seconds: float) -> None:
        select.select([], [], [], seconds)

    time.sleep = sleep  # type: ignore[assignment] # takes no other kinds of numbers


def powerless() -> None:
    """Go on without the right of root to do what files do not allow; those of others can then only be read.

    To become another user would not do: the interpreter's own files may be root's alone.
    """
    import ctypes
    import os

    if os.geteuid() != 0:
        return
    overriding = sum(1 << number for number in (1, 2, 3))  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3 of the call, this thread
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice, 32 capabilities each
    library = ctypes.CDLL(None, use_errno=True)
    assert library.capget(header, sets) == 0
    for each in range(3):
        sets[each] &= ~overriding
    assert library.capset(header, sets) == 0, os.strerror(ctypes.get_errno())


def _forget(*names: str) -> None:
    """Be a program from before these events."""
    from ledger import codec

    codec.EVENTS = {name: kind for name, kind in codec.EVENTS.items() if name not in names}


def before_scaling() -> None:
    """Be a program from before `1ctl deploy scale`."""
    _forget("Scaled")


def before_environments() -> None:
    """Be a program from before `1ctl env`."""
    _forget("EnvSet")


def before_restarts() -> None:
    """Be a program from before `1ctl deploy restart`."""
    _forget("Restarted")


def before_newer_releases() -> None:
    """Be a program that knows releases as they were before something was added to them."""
    from ledger import codec
    from ledger.events import SCHEMA_VERSIONS, Deployed

    vars(codec)["SCHEMA_VERSIONS"] = {**SCHEMA_VERSIONS, Deployed: 0}
