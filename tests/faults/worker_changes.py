"""Changes to a worker's process before it runs: what stops it, what it does not know, and planted defects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def stop_at_a_step() -> None:
    """Stop a worker, as SIGSTOP from outside does, at the step that ONECTL_TEST_STOP_AT counts.

    A step is a write that was just allowed and is on its way, or a fact that is about to be recorded. It is not stopped
    within a transaction on a file, where it would keep everybody from writing for as long as it is stopped.
    """
    import os
    from itertools import count

    from effects.term import Term
    from ledger.ledger import Ledger

    steps, at = count(1), int(os.environ["ONECTL_TEST_STOP_AT"])
    may_write, observe = Term._check_leadership, Ledger.observe
    gate = _gate_of_files()

    def step() -> None:
        if next(steps) == at:
            with gate:
                _stop_here()

    def allowed(self: Term) -> None:
        may_write(self)
        step()

    def observed(self: Ledger, *args: Any, **options: Any) -> Any:
        step()
        return observe(self, *args, **options)

    Term._check_leadership = allowed  # type: ignore[method-assign]
    Ledger.observe = observed  # type: ignore[assignment, method-assign]


def _stop_here() -> None:
    """Returns once the process was continued: a signal that a process sends itself may stop it a little later."""
    import os
    import signal
    import time

    before = time.monotonic()
    os.kill(os.getpid(), signal.SIGSTOP)
    while (now := time.monotonic()) - before < 0.5:
        before = now
        time.sleep(0.001)


def _gate_of_files() -> Any:
    """A lock that each transaction on a file, of the ledger or the sandbox, holds from before it begins."""
    import threading
    from contextlib import contextmanager

    from effects.sandbox import SandboxCluster
    from ledger.sqlite_store import SqliteStore

    gate = threading.RLock()

    def gated(method: Any) -> Any:
        @contextmanager
        def within(self: object, *args: Any, **more: Any) -> Iterator[Any]:
            with gate, method(self, *args, **more) as made:
                yield made

        return within

    for owner, names in ((SqliteStore, ("writing", "alone", "moment")), (SandboxCluster, ("_transaction", "_reading"))):
        for name in names:
            setattr(owner, name, gated(getattr(owner, name)))
    query = SqliteStore.query_if_there  # which every other query goes through

    def queried(self: SqliteStore, *args: Any) -> Any:
        with gate:
            return query(self, *args)

    SqliteStore.query_if_there = queried  # type: ignore[assignment, method-assign]
    return gate


def stop_and_go_on() -> None:
    """A defect: a worker that was stopped takes itself for the leader ever after."""
    from ledger.lease import RowLease

    stop_at_a_step()
    RowLease.held = property(lambda self: self.epoch > 0)  # type: ignore[assignment, method-assign]


def leaves_what_comes_late() -> None:
    """A defect: objects of lives that ended are nobody's business any more."""
    from effects.term import Term

    Term._leftover_objects = lambda self, app: {}  # type: ignore[method-assign]


def does_not_know_scaled() -> None:
    """Be a version from before there was a `Scaled`."""
    from ledger import codec

    del codec.EVENTS["Scaled"]  # type: ignore[attr-defined]
