"""A second server that follows the first, as it is before and after a fail-over."""

from __future__ import annotations

import time

from tests.postgres_support import Server

PATIENCE = 60.0


class Standby(Server):
    """A server that receives all that another one writes, by streaming replication.

    Args:
        primary: The other one.
    """

    def __init__(self, primary: Server) -> None:
        self._primary = primary
        super().__init__()

    def _make_data(self, *, durable: bool) -> None:
        """A copy of the primary's, with what it takes to follow it."""
        self.allow_user()
        options = ("-D", str(self.directory), "-R", "-X", "stream", "-c", "fast", "--no-sync")
        self.program("pg_basebackup", *options, "-d", self._primary.url())
        for of_the_primary in (*self.directory.glob(".s.PGSQL*"), self.directory / "log"):
            of_the_primary.unlink()

    def wait_until_it_follows(self, *, synchronously: bool) -> None:
        """Until the primary knows it, and waits for it if it shall."""
        state = "sync" if synchronously else "async"
        query = f"SELECT 1 FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = '{state}'"
        deadline = time.monotonic() + PATIENCE
        while not self._primary.ask(query):
            assert time.monotonic() < deadline, self._primary.ask("SELECT * FROM pg_stat_replication")
            time.sleep(0.02)

    def promote(self) -> None:
        """Be the primary from now on."""
        self.execute("SELECT pg_promote()")

    def cut_off(self) -> None:
        """Follow nobody any more, as when the network between them is gone."""
        self.execute("ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")
        deadline = time.monotonic() + PATIENCE
        while self.ask("SELECT 1 FROM pg_stat_wal_receiver"):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def replicate(primary: Server, *, synchronously: bool) -> None:
    """Whether a commit waits until a standby has it on disk, too."""
    names = "*" if synchronously else ""
    primary.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'", "SELECT pg_reload_conf()")
