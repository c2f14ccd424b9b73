"""One term of leadership: from the moment a worker leads until it stops, or another one does.

Threads: one follows the ledger, some work on apps, one for each kind in each namespace lists and watches. The thread
that leads renews the lease and puts every app in again now and then, so that nothing depends on a wake-up.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import get_args

from effects.app_work import AppWork, DisabledError, FatalError, LeadershipLostError, Measures
from effects.backoff import Backoff
from effects.cluster import Cluster, ClusterError, Ref
from effects.crash_points import crash_point
from effects.desired import named_objects
from effects.healing import Alike, Healer
from effects.inventory import Inventory
from effects.listing import WATCHED, Lister
from effects.reconcile import Reconciler
from effects.rollout import RolloutWatch
from effects.tracing import Span, no_span
from effects.troubles import Troubles, reason_of
from effects.work_queue import WorkQueue
from ledger.app import App
from ledger.clock import SystemClock
from ledger.codec import recorded, request_of, subject_of
from ledger.errors import OneCtlError, UnknownEventError, UnreadableEventError
from ledger.events import (
    FieldDrift,
    LedgerMoved,
    LedgerRestored,
    ObservedEvent,
    WorkerDisabled,
)
from ledger.fact_writer import FactWriter
from ledger.follow import Follower
from ledger.lease import Lease
from ledger.request import Request
from ledger.spec import AppId
from ledger.store import Head, Row, Store
from ledger.stored_leaves import is_as_recorded
from ledger.streams import LEDGER_STREAM

LOG = logging.getLogger("onectl.worker")

REMOVAL_SECONDS = 2.0
"""How long a thread waits for deleted objects to go before it does something else meanwhile."""

PATIENCE = 3
"""How many failures in a row of one app a run with `--once` waits for."""

_OBSERVED = frozenset(kind.__name__ for kind in get_args(ObservedEvent))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a worker works.

    Attributes:
        cluster: The cluster's name in the ledger; only its apps are worked on.
        gateway: ``namespace/name`` of the Gateway for routes.
        threads: How many apps are worked on at once.
        heals: Whether what was edited by hand is set back.
        lease_seconds: How long leadership lasts without being renewed.
        resync_seconds: How often everything is listed and looked at again.
    """

    cluster: str
    gateway: str
    threads: int = 8
    heals: bool = True
    lease_seconds: float = 5.0
    resync_seconds: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Equipment:
    """What a worker works with.

    Attributes:
        store: The ledger's storage; safe for many threads.
        make_ledger: Makes a ledger over it for one thread.
        cluster: The cluster.
        request: On whose behalf facts are recorded.
        chance: A number from 0 up to but not 1.
        measures: What is counted.
        span: Begins a trace's span.
        clock: Rising seconds; what is put off is due by it.
        now_us: The time of day, in microseconds since 1970-01-01 UTC.
    """

    store: Store
    make_ledger: Callable[[], FactWriter]
    cluster: Cluster
    request: Request
    chance: Callable[[], float]
    measures: Measures
    span: Span = no_span
    clock: Callable[[], float] = time.monotonic
    now_us: Callable[[], int] = SystemClock().now_us


class Term:
    """Leads until `stop`. Made and used by one thread.

    Args:
        settings: How to work.
        equipment: What to work with.
        lease: The lease, which was just acquired.
        ended: Set when the term has to end; see `why`.
    """

    def __init__(self, settings: Settings, equipment: Equipment, lease: Lease, ended: threading.Event) -> None:
        self.queue = WorkQueue(equipment.clock)
        self.ended = ended
        self.why: OneCtlError | None = None
        self._settings = settings
        self._equipment = equipment
        self._lease = lease
        self._backoff = Backoff(chance=equipment.chance, longest=10.0)
        self._inventory = Inventory(equipment.cluster, self._check_leadership)
        self._ledger = equipment.make_ledger()
        self._epoch = self._ledger.epoch()
        self._ledger_id = self._ledger.ledger_id() or ""
        self._read = equipment.store.head()
        self._follower = Follower(equipment.store, self._read.position)
        self.parked: set[AppId] = set()
        self.troubles = Troubles(equipment.clock)
        self._alike: dict[Ref, Alike] = {}
        self._starting = threading.Lock()  # of what is begun and, at the end, waited for
        self._listers: dict[tuple[str, str], Lister] = {}
        self._heard_of: set[str] = set()  # namespaces of lines since the last resync began
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._looked = threading.Event()

    # -- From the thread that leads ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to work."""
        self._start("follow", self._follow)
        for number in range(self._settings.threads):
            self._start(f"apply-{number}", self._work)
        self.resync()

    def refuse_disabled(self) -> None:
        """Raise if the worker was disabled before this term began to follow; later orders are followed.

        Raises:
            DisabledError: It was.
        """
        if self._ledger.worker_order(self._settings.cluster) is False:
            raise _disabled(self._settings.cluster)

    def position(self) -> int:
        """Everything up to here was worked on once."""
        read, lowest = self._read.position, self.queue.lowest()
        return read if lowest is None else min(read, lowest - 1)

    def lag(self) -> int:
        """How many positions were not worked on yet when the lease was last renewed. Asks nobody."""
        return max(self._lease.head, self._read.position) - self.position()

    def is_settled(self) -> bool:
        """Whether every app was worked on, but for those whose pods are awaited and those that failed repeatedly."""
        return self._looked.is_set() and self.queue.is_settled(PATIENCE)

    def resync(self) -> None:
        """List everything again, then look at every app: whatever was missed before is caught by this."""
        for lister in self._all_listers():
            lister.list_again()
        self._inventory.forget_secrets()
        self._start("resync", self._look_at_everything)

    def check(self) -> None:
        """End the term if the ledger does not continue what was read, or if another worker leads."""
        read = self._read
        found = self._equipment.store.positions(read.position, read.position, limit=1)
        if read.position and (not found or found[0].chain != read.chain):
            detail = f"the ledger does not continue what was read up to position {read.position}: it was put back"
            self._end(LeadershipLostError(detail))
        elif not self._lease.held:
            self._end(_not_leading())

    def stop(self, within: float | None = None) -> bool:
        """Finish what is in work, begin nothing more, and return when all threads have ended. May be repeated until then.

        Args:
            within: Seconds after which to return in any case, if the process ends then: a write on its way to a
                cluster that does not answer ends as if the process had been killed. None: wait.

        Returns:
            Whether all have ended.
        """
        deadline = None if within is None else time.monotonic() + within
        with self._starting:
            self._stopping.set()
        self.queue.close()
        self._follower.wake()
        for lister in self._all_listers():
            lister.stop()
        for thread in self._threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            return False
        self._follower.close()
        self._inventory.close()
        return True

    # -- Threads -----------------------------------------------------------------------------------------------------

    def _start(self, name: str, run: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                run()
            except OneCtlError as error:
                self._end(error)
            except Exception as error:  # noqa: BLE001 - a thread that dies silently would stop work for ever
                self._end(FatalError(f"something unexpected went wrong in 1ctl itself ({type(error).__name__})"))

        with self._starting:
            if self._stopping.is_set():
                return
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            thread = threading.Thread(target=guarded, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def _all_listers(self) -> list[Lister]:
        with self._starting:
            return list(self._listers.values())

    def _end(self, why: OneCtlError) -> None:
        if self.why is None:
            self.why = why
        self.ended.set()

    def _work(self) -> None:
        work = self.make_work()
        while not self._stopping.is_set():
            taken = self.queue.take(1.0)
            if taken is not None:
                work.do(taken)

    def make_work(self) -> AppWork:
        """What one thread works on apps with."""
        ledger = self._equipment.make_ledger()
        healer = Healer(
            ledger=ledger,
            request=self._equipment.request,
            heals=self._settings.heals,
            now_us=self._equipment.now_us,
            told=self._tell_drift,
            seen_alike=self._alike,
        )
        reconciler = Reconciler(
            ledger=ledger,
            cluster=self._inventory,
            gateway=self._settings.gateway,
            request=self._equipment.request,
            epoch=self._epoch,
            healer=healer,
            removal_seconds=REMOVAL_SECONDS,
        )
        return AppWork(
            reconciler=reconciler,
            rollouts=RolloutWatch(ledger=ledger, cluster=self._inventory, request=self._equipment.request),
            queue=self.queue,
            backoff=self._backoff,
            troubles=self.troubles,
            parked=self.parked,
            cluster=self._equipment.cluster,
            leftovers=self._leftover_objects,
            measures=self._equipment.measures,
            span=self._equipment.span,
        )

    def _follow(self) -> None:
        while not self._stopping.is_set():
            self._follower.wait(1.0)
            self.read_on()

    def read_on(self) -> None:
        """Take every line that was recorded meanwhile. Only in the thread that follows."""
        while rows := self._follower.read(500):
            crash_point("before taking up what was recorded")
            for row in rows:
                self._take(row)
            self._read = Head(rows[-1].position, rows[-1].recorded_us, rows[-1].chain)

    def _take(self, row: Row) -> None:
        try:
            self._take_up(row)
        except UnreadableEventError as error:
            if row.stream == LEDGER_STREAM.bytes or not is_as_recorded(self._equipment.store, row.position):
                raise
            # Whose app's it is, it does not say; that app cannot be read, which shows when it is looked at.
            LOG.warning("unreadable", extra={"position": row.position, "detail": error.message})

    def _take_up(self, row: Row) -> None:
        if row.topic in _OBSERVED and request_of(row.state) == self._equipment.request.request_id:
            return  # we saw that ourselves
        if row.stream == LEDGER_STREAM.bytes:
            if row.topic in (WorkerDisabled.__name__, LedgerMoved.__name__, LedgerRestored.__name__):
                self._take_order(row)
            else:
                subject_of(row.state)
            return
        subject = subject_of(row.state)
        if subject is None or subject.cluster != self._settings.cluster:
            return
        self._heard_of.add(subject.namespace)
        self._know_namespace(subject.namespace)
        if row.topic in _OBSERVED:
            self._wake(subject.namespace, subject.app)  # an earlier leader may have written what is no longer true
        else:
            self._inventory.forget_secrets_of(subject.namespace, subject.app)
            self.queue.add(subject.app_id, position=row.position)

    def _take_order(self, row: Row) -> None:
        match recorded(row).event:
            case WorkerDisabled() as event if event.cluster == self._settings.cluster:
                self._end(_disabled(event.cluster))
            case LedgerMoved():
                self._end(FatalError("the ledger goes on elsewhere", hint="See where: 1ctl ledger status"))
            case LedgerRestored():
                self._end(LeadershipLostError("the ledger was restored; positions are of another epoch now"))
            case _:
                pass

    def _look_at_everything(self) -> None:
        self._heard_of = set()
        apps = self._ledger.apps(self._settings.cluster)
        for namespace, named in groupby(apps, key=lambda app_id: app_id.namespace):
            # Where every app was destroyed nothing is watched: a resync's list finds what is left there.
            self._know_namespace(namespace, wanted=any(map(self._is_alive, named)))
        for lister in self._all_listers():
            while not self._stopping.is_set() and not lister.wait_listed(1.0):
                pass
        for ref in list(self._alike):
            if self._inventory.get(ref) is None:
                self._alike.pop(ref, None)
        for app_id in apps:
            self.queue.add(app_id, again=True)
        for namespace, name in self._inventory.apps() - {(app.namespace, app.name) for app in apps}:
            self.queue.add(AppId(self._settings.cluster, namespace, name))  # see `_leftover_objects`
        self._looked.set()
        LOG.info("resync", extra={"apps": len(apps), "objects": self._inventory.size})

    def _is_alive(self, app_id: AppId) -> bool:
        """Whether the cluster has objects of it, or is to have; assumed for an app that cannot be read."""
        try:
            app = self._ledger.app(app_id)
        except (UnknownEventError, UnreadableEventError):
            return True
        return app.life is not None or app.leaving is not None

    def _know_namespace(self, namespace: str, *, wanted: bool = True) -> None:
        for kind in WATCHED:
            with self._starting:
                known = self._listers.get((kind, namespace))
                lister = known or self._listers.setdefault((kind, namespace), self._make_lister(kind, namespace))
                goes_on = lister.want(wanted=wanted or namespace in self._heard_of)
                if self._stopping.is_set() or (goes_on and known is not None):
                    continue
            self._start(f"list-{kind}-{namespace}", lister.run)

    def _make_lister(self, kind: str, namespace: str) -> Lister:
        return Lister(
            kind=kind,
            namespace=namespace,
            inventory=self._inventory,
            ledger_id=self._ledger_id,
            wake=self._wake,
            backoff=self._backoff,
            restarted=self._equipment.measures.relisted,
            failed=partial(self._list_failed, kind, namespace),
            well=partial(self.troubles.over, (kind, namespace)),
            clock=self._equipment.clock,
        )

    def _list_failed(self, kind: str, namespace: str, error: ClusterError) -> None:
        if (reason := reason_of(error)) is not None:
            self._equipment.measures.cluster_failed(reason)
        self.troubles.met((kind, namespace), error)

    def _tell_drift(self, action: str, app_id: AppId, ref: Ref, fields: Sequence[FieldDrift]) -> None:
        self._equipment.measures.drifted(action)
        named = [each.field or "(object)" for each in fields]
        extra = {
            "app": app_id.name,
            "namespace": app_id.namespace,
            "object": str(ref),
            "fields": named,
            "action": action,
        }
        LOG.info("drift", extra=extra)

    def _wake(self, namespace: str, app: str) -> None:
        # Not at once: our own writes are seen here, too, and mostly before the app that we are working on is done.
        self.queue.add(AppId(self._settings.cluster, namespace, app), delay=0.2)

    def _leftover_objects(self, app: App) -> Mapping[Ref, str]:
        """With their uids, the objects of lives of this app. Those of a life that the ledger does not know stay.

        Those of another app's life, whose label somebody edited, are left to that app; but not what this app has by
        that name itself, whose life somebody edited.
        """
        found = self._inventory.of_app(app.id.namespace, app.id.name)
        now = app.life.deployment_id if app.life is not None else None
        whose = {
            life: app.id if life == now else self._ledger.find(life)
            for life in {known.life for known in found.values()}
        }
        own = set(named_objects(app.id.name, app.id.namespace)) if app.life is not None else set[Ref]()
        own |= {Ref(each.kind, app.id.namespace, each.name) for each in (app.life.objects if app.life else ())}
        for ref, known in found.items():
            other = whose[known.life]
            if other is None or other == app.id or ref in own or not _is_beside(other, app.id):
                continue
            self._inventory.belongs(ref, known.life, other.name)
            self.queue.add(other)
        return {ref: known.uid for ref, known in found.items() if whose[known.life] == app.id}

    def _check_leadership(self) -> None:
        if not self._lease.held:
            raise _not_leading()


def _not_leading() -> LeadershipLostError:
    return LeadershipLostError("another worker leads, or this one was stopped for too long")


def _disabled(cluster: str) -> DisabledError:
    return DisabledError(f"The worker of cluster {cluster} was disabled")


def _is_beside(one: AppId, other: AppId) -> bool:
    return (one.cluster, one.namespace) == (other.cluster, other.namespace)
