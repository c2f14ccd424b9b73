"""Keeping an inventory up to date for one kind in one namespace: a list, then what changes, for ever.

Invariants:

* A watch that ends is opened again from where it was. If it is silent or breaks, or if the cluster no longer knows that
  place (410), everything is listed again. Nothing is passed over in silence.
* A server that ends one watch after the other at once and tells nothing is asked less and less often.
* Where nothing is expected, it ends with a list that finds nothing or is refused, until the next resync.
* Each app that something new was seen of, by a watch or by such a list, is woken; whether its objects are as they should
  be is for its reconcile to find out.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from effects.backoff import Backoff
from effects.cluster import Change, ClusterError, ClusterRefusedError, ClusterUnreachableError, ExpiredError, Watch
from effects.crash_points import crash_point
from effects.inventory import Inventory

LOG = logging.getLogger("onectl.worker")

WATCHED = ("ConfigMap", "Deployment", "Service", "HTTPRoute")
"""Kinds that are listed and watched; of Secrets the worker may do neither."""

AT_ONCE = 1.0
"""Seconds; a watch that told nothing and was shorter than this is not opened again at once."""


@dataclass(slots=True, kw_only=True)
class Lister:
    """Lists and watches one kind in one namespace, until it is stopped. Runs in a thread of its own.

    Attributes:
        kind: Kubernetes kind.
        namespace: Kubernetes namespace.
        inventory: What is kept up to date.
        ledger_id: Whose objects.
        wake: Called with the namespace and app name of an object that changed.
        backoff: How long to wait after failures.
        restarted: Called each time a list is repeated because a watch could not go on.
        failed: Called with each error, after which it is tried again.
        well: Called when there was a list, or none is needed any more.
        wanted: Whether objects are expected there; see `want`.
        clock: Rising seconds.
    """

    kind: str
    namespace: str
    inventory: Inventory
    ledger_id: str
    wake: Callable[[str, str], None]
    backoff: Backoff
    restarted: Callable[[], None]
    failed: Callable[[ClusterError], None] = lambda _: None
    well: Callable[[], None] = lambda: None
    wanted: bool = True
    clock: Callable[[], float] = time.monotonic
    _stopped: threading.Event = field(default_factory=threading.Event)
    _listed: threading.Event = field(default_factory=threading.Event)
    _again: threading.Event = field(default_factory=threading.Event)
    _woken: threading.Event = field(default_factory=threading.Event)  # by whoever sets one of these
    _ending: threading.Lock = field(default_factory=threading.Lock)
    _is_over: bool = False
    _found: bool = False
    _watch: Watch | None = None
    _version: str | None = None
    _failures: int = 0
    _in_vain: int = 0

    def run(self) -> None:
        """List and watch until `stop`, or until nothing is expected and nothing is there."""
        while not self._stopped.is_set() and (pause := self.turn()) is not None:
            self._woken.wait(pause)
            self._woken.clear()

    def turn(self) -> float | None:
        """A list if one is due, then one watch until it ends; the seconds to wait before the next turn, None for no more."""
        try:
            if self._version is None or self._again.is_set():
                self._again.clear()
                self._version = None
                self._version, self._found = self._list()
                self.well()
            if not self._found and self._ends():
                return None
            self._listed.set()
            began = self.clock()
            told = self._follow(self._version)
            self._failures = 0
        except ExpiredError as error:
            self.restarted()
            return self._fail(error) if self._failures else self._begin_anew()
        except ClusterError as error:
            if self._version is not None:  # it is the watch that failed
                self.restarted()
            self._listed.set()  # whoever waits for the first list need not wait for a cluster that refuses it
            refused = isinstance(error, ClusterRefusedError) and error.status in (403, 404)
            return None if refused and self._ends() else self._fail(error)
        return self._pause(in_vain=not told and self.clock() - began < AT_ONCE)

    def want(self, *, wanted: bool) -> bool:
        """Say whether objects are expected there from now on; returns False if `run` has ended, and is to run again."""
        with self._ending:
            self.wanted = wanted
            goes_on, self._is_over = not self._is_over, False
        if not wanted:
            self._close()  # it ends, if there is nothing
        return goes_on

    def _ends(self) -> bool:
        """Whether it ends now, since nothing is expected there."""
        with self._ending:
            if self.wanted:
                return False
            self._is_over, self._version = True, None
        self.inventory.untold(self.kind, self.namespace)
        self.well()  # what kept it from listing is nobody's trouble any more
        self._listed.set()
        return True

    def list_again(self) -> None:
        """Begin with a list again, as if the watch had expired; at once, however long it would wait otherwise."""
        self._again.set()
        self._woken.set()
        self._close()

    def stop(self) -> None:
        """End `run` soon."""
        self._stopped.set()
        self._woken.set()
        self._close()

    def wait_listed(self, timeout: float) -> bool:
        """Wait until there was a first list, or the cluster refused one."""
        return self._listed.wait(timeout)

    def _list(self) -> tuple[str, bool]:
        """One list, page by page: what is known is not held a second time while it is being compared.

        Returns:
            Its version, and whether there was anything.
        """
        names: set[str] = set()
        version = ""
        for page in self.inventory.pages(self.kind, self.namespace, ledger_id=self.ledger_id):
            self._wake_all(self.inventory.listed(page.objects))
            names.update(each.ref.name for each in page.objects)
            version = page.version
        crash_point("listed")
        self._wake_all(self.inventory.listed_all(self.kind, self.namespace, names, version))
        return version, bool(names)

    def _wake_all(self, apps: Iterable[str]) -> None:
        if self._listed.is_set():  # all apps are looked at after the first list
            for app in apps:
                self.wake(self.namespace, app)

    def _follow(self, since: str) -> bool:
        """Take what a watch tells, until it ends; whether it told anything."""
        told = False
        with self.inventory.watch(self.kind, self.namespace, ledger_id=self.ledger_id, since=since) as watch:
            self._watch = watch
            if self._is_interrupted():
                return told  # whoever interrupts it may have closed the watch before
            for change in watch:
                told = True
                self._take(change)
                self._version = change.version
                self._failures = 0
                if self._is_interrupted():
                    break
        return told

    def _is_interrupted(self) -> bool:
        """Whether a watch is to end before the cluster ends it. Whoever says so does it before closing the watch."""
        is_done = not self.wanted and not self._found
        return is_done or self._stopped.is_set() or self._again.is_set()

    def _take(self, change: Change) -> None:
        self._found = self._found or change.kind == "present"
        if change.kind != "bookmark" and change.ref is not None and (app := self.inventory.changed(change)):
            self.wake(self.namespace, app)

    def _pause(self, *, in_vain: bool) -> float:
        """Seconds before the next watch: none, unless this one was as good as none, and nobody here ended it."""
        self._in_vain = self._in_vain + 1 if in_vain and not self._is_interrupted() else 0
        return self.backoff.delay(self._in_vain) if self._in_vain else 0.0

    def _begin_anew(self) -> float:
        """What happened meanwhile is listed: at once, if the list before that had led to something."""
        self._failures = 1
        self._version = None
        return 0.0

    def _fail(self, error: ClusterError) -> float:
        self._failures += 1
        self.inventory.untold(self.kind, self.namespace)
        self._version = None  # what happened meanwhile is listed
        self.failed(error)
        retry_after = error.retry_after if isinstance(error, ClusterUnreachableError) else None
        delay = self.backoff.delay(self._failures, retry_after=retry_after)
        about = {"kind": self.kind, "namespace": self.namespace}
        LOG.warning("list", extra={**about, "detail": error.message, "retry_in": round(delay, 3)})
        return delay

    def _close(self) -> None:
        watch = self._watch
        if watch is not None:
            watch.close()
