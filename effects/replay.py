"""Bringing a cluster that is empty to what the ledger asks for, now or at an earlier position. Records nothing.

The objects are the same as those of a worker, label and position included, so a later worker for this ledger finds
them in order. Nothing that is not ours is touched, and an object that reflects a later position is left as it is.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from effects.backoff import Backoff
from effects.cluster import (
    DIGEST_ANNOTATION,
    LEDGER_LABEL,
    LIFE_LABEL,
    ChangedMeanwhileError,
    Cluster,
    ClusterError,
    ClusterUnreachableError,
    NotOursError,
    Ref,
    Seen,
)
from effects.desired import DesiredObject, Surroundings, desired
from effects.redacted import refuse_redacted
from effects.secret_values import LazyValues
from effects.sending import position_text, reflected, send
from effects.work_queue import Work, WorkQueue
from ledger.app import Life
from ledger.errors import OneCtlError, may_pass
from ledger.secret_reader import SecretReader
from ledger.spec import AppId

AT_ONCE = 8
"""How many apps are applied at once: as many as a worker does."""

PATIENCE_SECONDS = 120.0
"""How long no app may come through before the others are given up; more than any server may ask us to wait."""

_EMPTY = "Replay into an empty namespace, or remove what is there."


class OtherStateError(ClusterError):
    """What is there is ours and must not be replaced by a replay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Applies the apps of one ledger to another cluster than the one they are recorded for.

    Attributes:
        ledger: What is asked for.
        cluster: Where it is made true.
        gateway: ``namespace/name`` of the Gateway for routes.
        upto: Position to go back to, or None for now.
    """

    ledger: SecretReader
    cluster: Cluster
    gateway: str
    upto: int | None = None

    def life(self, app_id: AppId) -> Life | None:
        """The life that was open at that position."""
        return self.ledger.app(app_id, upto=self.upto).life

    def replay(self, app_id: AppId, sent: Callable[[Ref], None] = lambda _: None) -> None:
        """Apply one app. May be repeated: what is as desired is not sent again.

        Args:
            app_id: The app.
            sent: Called with each object that had to be sent, once the cluster has it.

        Raises:
            NotOursError: Somebody else has an object of that name.
            OtherStateError: There is an object of another life, or of a later position.
            ChangedMeanwhileError: One is being deleted, or was changed meanwhile; try again.
            SealedError: Secret values are needed that this machine cannot open, or that were shredded since.
            RedactedError: Its pods read a value that was redacted since.
            ClusterError: The cluster cannot be reached, or says no.
        """
        app = self.ledger.app(app_id, upto=self.upto)
        if app.life is None:
            return
        refuse_redacted(app, app.life)
        ledger_id = self.ledger.ledger_id() or ""
        values = LazyValues(self.ledger, app.life)
        epoch = self.ledger.epoch()
        owner_uid: str | None = None
        for entry in desired(app, app.life, Surroundings(ledger_id=ledger_id, gateway=self.gateway)):
            if entry.lost:
                continue
            seen = self.cluster.look(entry.ref, ledger_id=ledger_id)
            if seen is not None:
                if seen.labels.get(LEDGER_LABEL) != ledger_id:
                    raise NotOursError(entry.ref, hint=_EMPTY)
                if seen.labels.get(LIFE_LABEL) != app.life.deployment_id:
                    raise OtherStateError(f"{entry.ref} belongs to another deployment of the app", hint=_EMPTY)
                if reflected(seen) > (epoch, app.head):
                    raise OtherStateError(f"{entry.ref} reflects a later position than the one asked for", hint=_EMPTY)
                if seen.terminating:
                    raise ChangedMeanwhileError(
                        f"{entry.ref} is being deleted; it is made again once it is gone",
                        hint="See what holds it: kubectl get it with -o yaml and look at its finalizers.",
                    )
            if seen is None or not _is_as_asked_for(entry, seen, owner_uid):
                seen = send(
                    self.cluster,
                    entry,
                    ledger_id=ledger_id,
                    position=position_text(epoch, app.head),
                    owner_uid=owner_uid,
                    values=values,
                    expect=seen,
                )
                sent(entry.ref)
            owner_uid = owner_uid or seen.uid


def _is_as_asked_for(entry: DesiredObject, seen: Seen, owner_uid: str | None) -> bool:
    """Whether it was sent as it is to be, and belongs to the first object: the cluster collects what names one that is gone."""
    owned = owner_uid is None or owner_uid in seen.owners
    return owned and seen.annotations.get(DIGEST_ANNOTATION) == entry.digest


class _Apps:
    """Apps that threads replay, each until it came through, or cannot. What becomes of them is heard in `came`.

    An app that only waits for the cluster, or the ledger, to answer goes to the end of the queue, as a worker's does.
    """

    def __init__(self, make: Callable[[], Replay], apps: Sequence[AppId], backoff: Backoff) -> None:
        self.came: SimpleQueue[tuple[AppId, int | OneCtlError] | BaseException] = SimpleQueue()
        self._make = make
        self._backoff = backoff
        self._queue = WorkQueue()
        self._sent = dict.fromkeys(apps, 0)
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        for app_id in apps:
            self._queue.add(app_id)

    def begin(self, at_once: int) -> None:
        """Work on so many at once."""
        for number in range(at_once):
            thread = threading.Thread(target=self._work, name=f"replay-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def end(self) -> None:
        """Begin no further app; return when those in work are done. May be repeated."""
        self._stopping.set()
        self._queue.close()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        try:
            replay = self._make()
            while not self._stopping.is_set():
                if (work := self._queue.take(1.0)) is not None:
                    self._replay(replay, work)
        except BaseException as error:  # noqa: BLE001 - whoever listens raises it
            self.came.put(error)

    def _replay(self, replay: Replay, work: Work) -> None:
        app_id = work.app_id

        def sent(_: Ref) -> None:
            self._sent[app_id] += 1

        try:
            replay.replay(app_id, sent)
        except OneCtlError as error:
            if passes(error):
                retry_after = error.retry_after if isinstance(error, ClusterUnreachableError) else None
                self._queue.failed(work, self._backoff.delay(work.failures + 1, retry_after=retry_after))
            else:
                self._queue.done(work)
            self.came.put((app_id, error))
        else:
            self._queue.done(work)
            self.came.put((app_id, self._sent[app_id]))


def passes(error: OneCtlError) -> bool:
    """Whether trying again may be all that it takes."""
    return isinstance(error, (ClusterUnreachableError, ChangedMeanwhileError)) or may_pass(error)


def replay_all(
    make: Callable[[], Replay],
    apps: Sequence[AppId],
    *,
    at_once: int = AT_ONCE,
    patience: float = PATIENCE_SECONDS,
    retried: Callable[[OneCtlError], None] = lambda _: None,
) -> Generator[tuple[AppId, int | OneCtlError]]:
    """Apply many apps, several at once; yields each as it is done, with the objects that were sent or what went wrong.

    Where the cluster does not answer, or the ledger, it waits and tries again, longer each time and no less than it is
    asked for. If closed before its end, it begins no further app and returns when those in work are done.

    Args:
        make: Makes what replays for one thread.
        apps: The apps, each once.
        at_once: How many at once.
        patience: Seconds in which no app came through, or could be told why not, after which the others are given up.
        retried: Called with each error after which it is tried again.
    """
    work = _Apps(make, apps, Backoff(chance=random.random, longest=10.0))
    left: dict[AppId, int | OneCtlError] = dict.fromkeys(
        apps, ClusterUnreachableError(f"it was not tried: no app came through for {patience:g} s")
    )
    work.begin(min(at_once, len(apps)))
    try:
        until = time.monotonic() + patience
        while left and (came := _heard(work.came, until)) is not None:
            app_id, outcome = came
            if isinstance(outcome, OneCtlError) and passes(outcome):
                left[app_id] = outcome
                retried(outcome)
                continue
            del left[app_id]
            until = time.monotonic() + patience
            yield app_id, outcome
    finally:
        work.end()
    while left and (came := _heard(work.came, 0.0)) is not None:  # of what was in work at the end
        left[came[0]] = came[1]
    yield from left.items()


def _heard(
    came: SimpleQueue[tuple[AppId, int | OneCtlError] | BaseException], until: float
) -> tuple[AppId, int | OneCtlError] | None:
    """What comes next, or None if nothing does until then; what ended a thread is raised."""
    try:
        found = came.get(timeout=max(0.0, until - time.monotonic()))
    except Empty:
        return None
    if isinstance(found, BaseException):
        raise found
    return found
