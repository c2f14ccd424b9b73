"""A worker: waits until it leads, leads until it is stopped or another one does, and waits again.

Any number of replicas may run for one ledger and cluster. The lease decides which one leads; that no two write over
each other does not depend on it, since every write to the cluster names the state that it was decided on.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from effects.app_work import DisabledError, FatalError
from effects.crash_points import crash_point
from effects.recurring import Outage, fails
from effects.term import Equipment, Settings, Term
from ledger.errors import (
    LedgerDamagedError,
    LedgerDeniedError,
    LedgerEndedError,
    LedgerFullError,
    OneCtlError,
    RefusedError,
)
from ledger.lease import Lease
from ledger.spec import AppId

LOG = logging.getLogger("onectl.worker")

CANDIDATE_SECONDS = 0.25
"""How often a worker that does not lead tries to lead."""

IDLE_SECONDS = 1.0
"""How often a disabled worker looks whether it is wanted."""

STOP_SECONDS = 5.0
"""How long a process that was told to end waits for a cluster that does not answer."""

CHECK_SECONDS = 0.2
"""How often the thread that leads looks whether it has something to do."""


class Stop(Protocol):
    """Says when to end; a `threading.Event` will do, unless a signal's handler sets it."""

    def is_set(self) -> bool:
        """Whether to end."""

    def wait(self, timeout: float, /) -> bool:
        """Wait for that, at most so many seconds; whether to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TermEnd:
    """How a term ended.

    Attributes:
        why: Why before every app was worked on; None if each was, as well as it could be.
        failing: The apps that were tried in vain the last time, with what went wrong.
    """

    why: str | None
    failing: Mapping[AppId, str]


class Worker:
    """One replica.

    Args:
        settings: How to work.
        equipment: What to work with.
        lease: The lease to lead by.
    """

    def __init__(self, settings: Settings, equipment: Equipment, lease: Lease) -> None:
        self._settings = settings
        self._equipment = equipment
        self._lease = lease
        self.alive_at = time.monotonic()
        self.term: Term | None = None
        self._answered_at: float | None = None
        self._outage: Outage | None = None
        self._waits = True

    @property
    def is_ready(self) -> bool:
        """Whether this worker leads or could: it asked for the lease, and the ledger answered within the lease's time."""
        since = self._answered_at
        return not self._waits and since is not None and time.monotonic() - since < self._settings.lease_seconds

    def lag(self) -> float:
        """How many positions are not worked on yet; 0 while standing by, NaN while the ledger does not answer."""
        if self._outage is not None or not self.is_ready:
            return math.nan
        term = self.term
        return 0 if term is None else term.lag()

    def run(self, stop: Stop, prepare: Callable[[], None] | None = None) -> None:
        """Wait until a worker is wanted, then work until `stop` is set.

        Args:
            stop: Says when.
            prepare: Done once before all else; again while the ledger cannot be asked, so it may be repeated.

        Raises:
            DisabledError: Nobody wants a worker any more.
            LedgerDeniedError: The database does not let its user lead.
            RefusedError: `prepare` may not do what it does.
            FatalError, LedgerDamagedError, LedgerEndedError, LedgerFullError: The ledger cannot go on.
        """
        while prepare is not None and not stop.is_set() and not self._is_done(prepare):
            self.alive_at = time.monotonic()
            stop.wait(CANDIDATE_SECONDS)
        self._await_order(stop)
        stands_by = False
        while not stop.is_set():
            self.alive_at = time.monotonic()
            if self._acquire():
                self._lead(stop)
                stands_by = False
            elif self._outage is None and not stands_by:
                LOG.info("standby", extra={"cluster": self._settings.cluster})
                stands_by = True
            stop.wait(CANDIDATE_SECONDS)

    def run_once(self, stop: Stop) -> TermEnd | None:
        """Lead until every app was worked on, or `stop` is set, and say how that ended; None if another worker leads.

        Raises:
            LedgerUnavailableError, LedgerBusyError, LedgerDeniedError: Nobody can tell whether another worker leads.
            FatalError, LedgerDamagedError, LedgerEndedError, LedgerFullError: The ledger cannot go on.
        """
        self._waits = False
        if not self._lease.acquire():
            return None
        try:
            return self._lead(stop, once=True)
        except DisabledError as error:
            return TermEnd(why=error.message, failing={})

    def _is_done(self, prepare: Callable[[], None]) -> bool:
        """Whether it could be done: not while the ledger is away, or busy; errors that do not pass are raised."""

        def done() -> bool:
            prepare()
            return True

        return self._try(done, final=(RefusedError,))

    def _await_order(self, stop: Stop) -> None:
        """Stand by idle while the worker of this cluster is disabled, until whoever disabled it enables it again."""
        ledger, cluster, said = self._equipment.make_ledger(), self._settings.cluster, False

        def is_wanted() -> bool:
            nonlocal said
            if ledger.worker_order(cluster) is not False:
                return True
            if not said:
                detail = f"The worker of cluster {cluster} is disabled; this one waits until: 1ctl worker enable"
                LOG.warning("disabled", extra={"cluster": cluster, "detail": detail})
            said = True
            return False

        while not stop.is_set():
            self.alive_at = time.monotonic()
            if self._try(is_wanted):
                self._waits = False
                return
            stop.wait(IDLE_SECONDS)

    def _acquire(self) -> bool:
        """Whether this worker leads now. A stand-by is ready if this could be asked at all."""
        return self._try(self._lease.acquire)

    def _lead(self, stop: Stop, *, once: bool = False) -> TermEnd:
        LOG.info("leading", extra={"term": self._lease.epoch})
        ended = threading.Event()
        failing: Mapping[AppId, str] = {}
        why: str | None = None
        try:
            term = self.term = Term(self._settings, self._equipment, self._lease, ended)
            try:
                if not once:
                    term.refuse_disabled()
                term.start()
                if not self._keep(term, stop, ended, once=once):
                    why = "it was told to end" if stop.is_set() else "it does not lead any more"
            finally:
                self._end(term, stop)
                self.term = None
                failing = term.queue.failing()
                self._try(lambda: self._lease.renew(term.position()))
            if term.why is not None:
                raise term.why
        except DisabledError as error:
            LOG.info("disabled", extra={"cluster": self._settings.cluster, "detail": error.message})
            raise
        except (FatalError, LedgerDamagedError, LedgerDeniedError, LedgerEndedError, LedgerFullError):
            raise
        except OneCtlError as error:
            LOG.warning("term ended", extra={"error": type(error).__name__, "detail": error.message})
            why = error.message
        finally:
            self._try(self._give_up)
            LOG.info("not leading", extra={"term": self._lease.epoch})
        return TermEnd(why=why, failing=failing)

    def _end(self, term: Term, stop: Stop) -> None:
        """Wait until nothing of the term is in work; once told to end, no longer than `STOP_SECONDS`."""
        told: float | None = None
        while not term.stop(CHECK_SECONDS):
            now = time.monotonic()
            told = now if told is None and stop.is_set() else told
            if told is not None and now - told >= STOP_SECONDS:
                LOG.warning("left in work", extra={"apps": len(term.queue)})
                return

    def _keep(self, term: Term, stop: Stop, ended: threading.Event, *, once: bool) -> bool:
        """Renew the lease until the term has to end; with `once`, until nothing is left to do, which it says."""
        every = self._settings.lease_seconds / 5
        renew_at = time.monotonic() + every
        resync_at = time.monotonic() + self._settings.resync_seconds
        while not stop.is_set() and not ended.is_set():
            self.alive_at = now = time.monotonic()
            if now >= renew_at:
                crash_point("before renewing the lease")
                if self._try(lambda: self._lease.renew(term.position(), term.troubles.worst())):
                    self._try(term.check)
                renew_at = now + every
            if not self._lease.held:
                self._try(term.check)  # which says why: a ledger that was put back knows of no leader
                self.alive_at = time.monotonic()  # the database may just have been waited for
                return False
            if once and term.is_settled():
                return True
            if now >= resync_at:
                term.resync()
                resync_at = now + self._settings.resync_seconds
            ended.wait(CHECK_SECONDS)
        return False

    def _give_up(self) -> bool:
        self._lease.release()
        return True

    def _try(self, ask: Callable[[], bool | None], *, final: tuple[type[OneCtlError], ...] = ()) -> bool:
        """The answer; False if the ledger cannot be asked now. What is final, always or here, is raised."""
        try:
            answer = bool(ask())
        except OneCtlError as error:
            if isinstance(error, (LedgerDamagedError, LedgerDeniedError, LedgerEndedError, LedgerFullError, *final)):
                raise
            self._outage, is_news = fails(self._outage, time.monotonic())
            if is_news:
                about = {"error": type(error).__name__, "detail": error.message, "failures": self._outage.failures}
                LOG.warning("ledger", extra=about)
            return False
        self._answered_at = now = time.monotonic()
        if self._outage is not None:
            about = {"failures": self._outage.failures, "seconds": round(now - self._outage.since, 3)}
            LOG.info("answers again", extra=about)
            self._outage = None
        return answer
