"""What a worker does for one app: make it true, see how its pods are doing, and decide when to come back.

Every failure is either tried again later, longer each time; or parked, since the cluster said no; or it ends the
process, since the ledger itself cannot go on. None is passed over.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from effects.backoff import Backoff
from effects.cluster import Cluster, ClusterUnreachableError, Ref
from effects.healing import CONTENDED
from effects.reconcile import ParkedError, Reconciler
from effects.removal import STILL_THERE, StillThereError, delete
from effects.rollout import RolloutWatch
from effects.tracing import Span, no_span
from effects.troubles import Troubles, reason_of
from effects.work_queue import Work, WorkQueue
from ledger.app import App, Life
from ledger.errors import (
    LedgerDamagedError,
    LedgerEndedError,
    LedgerFullError,
    OneCtlError,
    SealedError,
    UnknownEventError,
    UnreadableEventError,
)
from ledger.spec import AppId
from ledger.stored_leaves import is_as_recorded

LOG = logging.getLogger("onectl.worker")

FIRST_LOOK_SECONDS = 0.2
LONGEST_LOOK_SECONDS = 5.0
"""How soon pods that are not ready are looked at again: soon at first, then less and less often."""


class FatalError(OneCtlError):
    """The ledger cannot go on; the process ends, and whoever keeps it running sees that."""


class DisabledError(OneCtlError):
    """Somebody disabled the worker of this cluster: commands apply what they record again."""


class LeadershipLostError(OneCtlError):
    """Another worker leads; nothing may be written to the cluster any more."""


class Measures(Protocol):
    """What is counted; see `effects.metrics`."""

    def worked(self, outcome: str, seconds: float) -> None:
        """An app was looked at: ``done``, ``waiting``, ``parked``, ``retried`` or ``skipped``."""

    def relisted(self) -> None:
        """A watch could not go on, and everything of its kind was listed again."""

    def drifted(self, action: str) -> None:
        """An object was edited by hand, which was ``healed``, or only ``reported``."""

    def cluster_failed(self, reason: str) -> None:
        """The cluster did not do what it was asked for; one of `effects.troubles.REASONS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppWork:
    """Works on apps, for one thread.

    Attributes:
        reconciler: Makes one app true.
        rollouts: Looks at its pods.
        queue: Where work comes from and goes back to.
        backoff: How long to wait after failures.
        troubles: What fails now.
        parked: Apps that wait for a request or a resync, see `_is_left_alone`; shared by all threads.
        cluster: The cluster itself, for what was written when another led already.
        leftovers: Objects with their uids that carry an app's label and may not belong to it any more.
        measures: What is counted.
        span: Begins a trace's span.
    """

    reconciler: Reconciler
    rollouts: RolloutWatch
    queue: WorkQueue
    backoff: Backoff
    troubles: Troubles
    parked: set[AppId]
    cluster: Cluster
    leftovers: Callable[[App], Mapping[Ref, str]]
    measures: Measures
    span: Span = no_span

    def do(self, work: Work) -> None:
        """Do one piece of work, and hand it back.

        Raises:
            LedgerDamagedError, LedgerEndedError, LedgerFullError: The ledger cannot go on. Not so if a line of the app was
                recorded by somebody who wrote what nobody can read: then only this app cannot be worked on.
            LeadershipLostError: Another worker leads.
        """
        began = time.monotonic()
        outcome = "retried"
        try:
            with self.span("app", {"app": work.app_id.name, "namespace": work.app_id.namespace}):
                outcome = self._attempt(work)
            self._went_well(work.app_id, outcome)
        except UnknownEventError as error:
            self._retry(work, error.message, type(error).__name__)  # this app only, until somebody upgrades us
            self._failed(work.app_id, error)
        except UnreadableEventError as error:
            if not self._was_recorded_so(error):
                self.queue.failed(work, 0.0)
                raise
            self._retry(work, error.message, type(error).__name__)  # this app only, nobody else's line is in doubt
            self._failed(work.app_id, error)
        except (LeadershipLostError, LedgerDamagedError, LedgerEndedError, LedgerFullError):
            self.queue.failed(work, 0.0)
            raise
        except ClusterUnreachableError as error:
            self._retry(work, error.message, type(error).__name__, error.retry_after)
            self._failed(work.app_id, error)
        except OneCtlError as error:
            self._retry(work, error.message, type(error).__name__)
            self._failed(work.app_id, error)
        except Exception as error:  # noqa: BLE001 - a defect in one app's work must not end that of all others
            # Without its text, which may quote anything.
            unexpected = "something unexpected went wrong in 1ctl itself"
            self._retry(work, unexpected, type(error).__name__)
            self._failed(work.app_id, OneCtlError(unexpected))
        finally:
            self.measures.worked(outcome, time.monotonic() - began)

    def _was_recorded_so(self, error: UnreadableEventError) -> bool:
        """Whether somebody recorded what cannot be read; a line that was changed since is damage of the ledger."""
        return error.position is not None and is_as_recorded(self.reconciler.ledger.store, error.position)

    def _attempt(self, work: Work) -> str:
        app = self.reconciler.ledger.app(work.app_id)
        if _is_left_alone(app, again=work.again):
            self.queue.done(work)
            return "skipped"
        try:
            # Everything of a leaving life goes first.
            was_leaving = app.leaving is not None
            before = app
            made = {} if was_leaving else dict(self.leftovers(app))
            app = self._reconcile(app, made)
        except ParkedError as error:
            self._count(error.__cause__)
            LOG.warning("parked", extra=_about(work.app_id, reason=error.reason, detail=error.message))
            self.queue.done(work)
            return "parked"
        except SealedError as error:
            self.reconciler.refuse(work.app_id, "Sealed", error.message)
            LOG.warning("parked", extra=_about(work.app_id, reason="Sealed", detail=error.message))
            self.queue.done(work)
            return "parked"
        _tell(app, before)
        if was_leaving:
            self.queue.add(work.app_id)  # for what is left of a life before that one
        return self._look_at_pods(work, app, before.life)

    def _reconcile(self, app: App, made: dict[Ref, str]) -> App:
        try:
            return self.reconciler.reconcile(app.id, made=made, known=app)
        except LeadershipLostError:
            self._take_back(app.id, {ref: uid for ref, uid in made.items() if ref.kind == "Secret"})
            raise

    def _take_back(self, app_id: AppId, secrets: Mapping[Ref, str]) -> None:
        """Delete what was written too late and nobody asks for: whoever leads now is told of all else by lists."""
        if not secrets:
            return
        try:
            secrets = self.reconciler.unasked(app_id, secrets)
            delete(self.cluster, secrets)
        except OneCtlError as error:
            named = ", ".join(ref.name for ref in secrets)
            LOG.warning(
                "left behind", extra=_about(app_id, error=type(error).__name__, detail=error.message, secrets=named)
            )

    def _look_at_pods(self, work: Work, app: App, before: Life | None) -> str:
        life = app.life
        if life is None or life.rollout == "completed":
            self.queue.done(work)
            return "done"
        if before is None or before.applied_through < life.applied_through:
            # No pod is ready at once; meanwhile another app can be applied. Not as one that waits: it was not looked at.
            self.queue.add(app.id, delay=FIRST_LOOK_SECONDS)
            self.queue.done(work)
            return "waiting"
        progress = self.rollouts.look(app.id, life)
        if progress.verdict in ("completed", "failed"):
            LOG.info("rollout", extra=_about(app.id, release=life.release, verdict=progress.verdict))
        if progress.verdict == "completed" and len(life.kept) > 1:
            self.queue.add(app.id)  # what only earlier pods read can go now
        if progress.verdict != "waiting" or life.rollout == "failed":
            self.queue.done(work)
            return "done"
        self.queue.wait(work, min(LONGEST_LOOK_SECONDS, FIRST_LOOK_SECONDS * 1.5 ** min(work.waits, 20)))
        return "waiting"

    def _went_well(self, app_id: AppId, outcome: str) -> None:
        """The cluster answered; an app that is parked is not the worker's trouble."""
        self.troubles.over(app_id)
        if outcome in ("parked", "skipped"):
            self.parked.add(app_id)
        else:
            self.parked.discard(app_id)

    def _failed(self, app_id: AppId, error: OneCtlError) -> None:
        self._count(error)
        self.troubles.met(app_id, error, app=app_id)
        if isinstance(error, StillThereError):
            self.parked.add(app_id)

    def _count(self, error: BaseException | None) -> None:
        if (reason := reason_of(error)) is not None:
            self.measures.cluster_failed(reason)

    def _retry(self, work: Work, message: str, error: str, retry_after: float | None = None) -> None:
        delay = self.backoff.delay(work.failures + 1, retry_after=retry_after)
        extra = _about(work.app_id, error=error, detail=message, failures=work.failures + 1, retry_in=round(delay, 3))
        LOG.warning("retry", extra=extra)
        self.queue.failed(work, delay, message)


def _tell(app: App, before: App) -> None:
    """What the cluster has now and did not have before; what it no longer has."""
    life = app.life
    for ended in (*before.unremoved, *((before.life,) if before.life else ())):
        if ended.deployment_id != app.deployment_id and not app.is_leaving(ended.deployment_id):
            LOG.info("removed", extra=_about(app.id, release=ended.release))
    if life is not None and life.applied_through > (before.life.applied_through if before.life is not None else 0):
        extra = _about(app.id, release=life.release, through=life.applied_through, objects=len(life.objects))
        LOG.info("applied", extra=extra)


def _is_left_alone(app: App, *, again: bool) -> bool:
    """Whether the cluster refused last, and nothing suggests that it would not now.

    A resync tries what may have passed by itself, as a right that was missing; two who set one field go on for ever. An
    object that is only slow to go is waited for.
    """
    life = app.leaving or app.life
    if life is None or life.parked is None or life.parked.reason == STILL_THERE:
        return False
    return life.parked.reason == CONTENDED or not again


def _about(app_id: AppId, **more: object) -> dict[str, object]:
    return {"app": app_id.name, "namespace": app_id.namespace, **more}
