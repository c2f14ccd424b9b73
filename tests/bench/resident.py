"""A resident worker beside whoever deploys, and what it has got done."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ledger.commands import Deploy
from ledger.domains import mint_domain
from ledger.envelope import Source
from ledger.keys import KeyFiles
from ledger.ledger import Ledger
from ledger.request import Request
from ledger.spec import AppId
from ledger.stores import open_store
from tests.bench.programs import PROGRAM, FailedError, User, high_water, run_program
from tests.bench.run import MissingError

PATIENCE = 120.0
"""Seconds that a worker gets for what it is given at once."""


@dataclass(slots=True)
class Worker:
    """A worker that runs.

    Attributes:
        process: `1ctl worker run`.
        peak: The most memory that it held, in bytes; known once it has ended.
    """

    process: subprocess.Popen[bytes]
    peak: int = 0


def require_worker(user: User) -> None:
    """Do nothing.

    Raises:
        MissingError: There is no worker yet.
    """
    try:
        run_program([PROGRAM, "worker", "run", "--help"], cwd=user.cwd, environ=user.environ)
    except FailedError:
        raise MissingError("`1ctl worker run` is not there yet") from None


@contextmanager
def resident_worker(user: User) -> Iterator[Worker]:
    """A worker for the user's profile, until the end of the block; it has begun when its first app is applied.

    Raises:
        MissingError: There is no worker yet.
        FailedError: It ended by itself.
    """
    require_worker(user)
    log = user.cwd / "worker.log"
    with log.open("wb") as out:
        argv = [PROGRAM, *user.options, "worker", "run", "--listen", "none"]
        process = subprocess.Popen(
            argv, cwd=user.cwd, env=user.environ, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
    worker = Worker(process)
    try:
        yield worker
        if process.poll() is not None:
            raise FailedError(f"the worker ended with {process.returncode}:\n{log.read_text()[-4000:]}")
    finally:
        if process.poll() is None:
            worker.peak = high_water(process.pid)
            process.terminate()
            process.wait()


class Team:
    """Records requests of a user's ledger in this process, without the price of a command, and sees what is applied.

    Args:
        user: Whose profile says which ledger and cluster.
    """

    def __init__(self, user: User) -> None:
        place = user.json("profile", "current")
        self._place = (place["cluster"], place["namespace"])
        address = place["ledger"]
        store = open_store(address if "://" in address else Path(address))
        self.ledger = Ledger(store, KeyFiles(user.data / "keys"), mint_domain=lambda: mint_domain("example.com"))
        self._source = Source(program="bench", host="bench")
        self._number = 0

    def close(self) -> None:
        """Give the ledger back."""
        self.ledger.store.close()

    def app_id(self, name: str) -> AppId:
        """An app of the user's namespace."""
        return AppId(*self._place, name)

    def deploy(self, name: str, image: str, *, replicas: int | None = None) -> float:
        """Record a deploy; the time at which it was durable, seconds since 1970."""
        self._number += 1
        request = Request(request_id=f"bench-{os.getpid()}-{self._number}", actor="bench", source=self._source)
        env = {"LOG_LEVEL": "debug", "REGION": "eu-central"}
        self.ledger.execute(self.app_id(name), Deploy(image=image, replicas=replicas, env=env), request)
        return time.time()

    def dirty(self, names: Sequence[str]) -> list[str]:
        """Which of these apps the cluster has not caught up with."""
        lives = {name: self.ledger.app(self.app_id(name)).life for name in names}
        return [name for name, life in lives.items() if life is None or life.dirty]

    def wait_until_applied(self, names: Sequence[str], *, patience: float = PATIENCE) -> None:
        """Return when the cluster has caught up with all of these apps.

        Raises:
            FailedError: It has not within so many seconds.
        """
        rest = list(names)

        def is_empty() -> bool:
            nonlocal rest
            rest = self.dirty(rest)
            return not rest

        wait_until(is_empty, "every app applied", patience=patience)


def wait_until(is_so: Callable[[], bool], what: str, *, patience: float = PATIENCE) -> None:
    """Ask until it is so.

    Raises:
        FailedError: It is not, within so many seconds.
    """
    deadline = time.monotonic() + patience
    tick = threading.Event()
    while not is_so():
        if time.monotonic() > deadline:
            raise FailedError(f"not within {patience:g} s: {what}")
        tick.wait(0.02)
