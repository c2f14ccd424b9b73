"""Watching pods: what became of the newest roll, recorded once it is certain."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from effects.cluster import Cluster, ClusterUnreachableError, Ref, Rollout, own_container
from effects.crash_points import crash_point
from effects.desired import roll_name
from effects.managers import manager_of, owner_of
from ledger.app import App, Life
from ledger.errors import OneCtlError, may_pass
from ledger.events import ObservedEvent, RolloutCompleted, RolloutFailed
from ledger.fact_writer import FactWriter
from ledger.request import Request
from ledger.spec import AppId

Verdict = Literal["waiting", "completed", "failed", "superseded"]

EDITED = (
    "DeploymentEdited",
    "somebody changed it by hand, so its pods are not those that were asked for; see what: 1ctl deploy diff live",
)
"""Why a roll has no pods whose template somebody replaced: reason and sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutLook:
    """One look at a rollout.

    Attributes:
        verdict: ``superseded`` when a newer roll was asked for meanwhile.
        ready: Ready pods of the newest roll.
        desired: Pods asked for.
        reason: For ``failed``: the cluster's own reason and sentence.
        rollout: What the cluster reports of the roll, or None where there is no Deployment.
    """

    verdict: Verdict
    ready: int
    desired: int
    reason: tuple[str, str] | None = None
    rollout: Rollout | None = None

    @property
    def percent(self) -> int:
        """Ready pods of those asked for, 0 to 100."""
        return 100 * self.ready // self.desired if self.desired else 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutWatch:
    """Looks at one app's pods and records what it sees.

    Attributes:
        ledger: Where facts are recorded.
        cluster: What is looked at.
        request: On whose behalf.
        interval: Seconds between two looks while waiting.
    """

    ledger: FactWriter
    cluster: Cluster
    request: Request
    interval: float = 0.5

    def look(self, app_id: AppId, life: Life) -> RolloutLook:
        """How far the life's newest roll is; a final result is recorded, once.

        The cluster must have been made equal to the ledger before (`life.dirty` is False), else the pods looked at
        would be those of an earlier roll.
        """
        return self._look(app_id, life, self._record)

    def peek(self, app_id: AppId, life: Life) -> RolloutLook:
        """Like `look`, but nothing is recorded."""
        return self._look(app_id, life, lambda app_id, life, _: _same_roll(self.ledger.app(app_id), life))

    def _look(self, app_id: AppId, life: Life, record: Callable[[AppId, Life, Rollout], bool]) -> RolloutLook:
        rollout = self.cluster.rollout(Ref("Deployment", app_id.namespace, app_id.name))
        if rollout is not None and not self._is_asked_for(app_id, life, rollout):
            # Whatever became of those pods, it says nothing about the roll.
            rollout = replace(rollout, updated=0, ready=0, complete=False, failed=None, pods=(), trouble=EDITED)
        if rollout is None or not (rollout.complete or rollout.failed):
            verdict: Verdict = "waiting"
            newest = _same_roll(self.ledger.app(app_id), life)
        else:
            verdict = "completed" if rollout.complete else "failed"
            newest = record(app_id, life, rollout)
        if not newest:
            verdict = "superseded"
        if rollout is None:
            return RolloutLook(verdict=verdict, ready=0, desired=life.spec.replicas)
        return RolloutLook(
            verdict=verdict, ready=rollout.ready, desired=rollout.desired, reason=rollout.failed, rollout=rollout
        )

    def _is_asked_for(self, app_id: AppId, life: Life, rollout: Rollout) -> bool:
        """Whether the template that was judged is the roll's, and not one that somebody put in its place."""
        if rollout.roll != roll_name(life.roll):
            return False
        return rollout.image == life.spec.image or self._is_rewritten(app_id, rollout)

    def _is_rewritten(self, app_id: AppId, rollout: Rollout) -> bool:
        """Whether the cluster's own webhooks made another image of the one that we sent: it is still our field."""
        live = self.cluster.read(Ref("Deployment", app_id.namespace, app_id.name))
        if live is None or (ours := own_container(live["spec"]["template"]))["image"] != rollout.image:
            return False
        owners = owner_of(live, f"spec.template.spec.containers.{ours['name']}.image") or ""
        return f"{manager_of(self.ledger.ledger_id() or '')} (Apply)" in owners.split(", ")

    def wait(
        self,
        app_id: AppId,
        life: Life,
        *,
        timeout: float,
        records: bool = True,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Iterator[RolloutLook]:
        """One progress after another until the verdict is final; ends without one after `timeout` seconds.

        Args:
            app_id: The app.
            life: Its open life.
            timeout: Seconds.
            records: Whether a final result is recorded.
            sleep: Waits.

        Raises:
            ClusterUnreachableError: The cluster could not be asked, up to the end.
            LedgerBusyError, LedgerUnavailableError, OutcomeUnknownError: The ledger could not, up to the end.
        """
        deadline = time.monotonic() + timeout
        while True:
            pause = self.interval
            try:
                progress = self.look(app_id, life) if records else self.peek(app_id, life)
                yield progress
                if progress.verdict != "waiting" or time.monotonic() >= deadline:
                    return
            except OneCtlError as error:
                away = isinstance(error, ClusterUnreachableError) or may_pass(error)
                if not away or time.monotonic() >= deadline:
                    raise
                if isinstance(error, ClusterUnreachableError):
                    pause = max(pause, error.retry_after or 0.0)  # it asked for that
            sleep(min(pause, max(0.0, deadline - time.monotonic())))

    def _record(self, app_id: AppId, life: Life, rollout: Rollout) -> bool:
        """Whether the roll looked at is still the newest one."""
        event = _fact(life, rollout)

        def make(app: App) -> tuple[str, ObservedEvent, int] | None:
            if not _same_roll(app, life):
                return None
            assert app.life is not None
            # Pods that were ready once and crash later are for `status` to show; the rollout itself was good.
            known = {"completed"} if isinstance(event, RolloutCompleted) else {"completed", "failed"}
            news = app.life.rollout not in known
            return (life.deployment_id, event, event.roll) if news else None

        crash_point("before a verdict on pods")
        return _same_roll(self.ledger.observe(app_id, self.request, make), life)


def _fact(life: Life, rollout: Rollout) -> RolloutCompleted | RolloutFailed:
    roll = life.roll
    if rollout.complete:
        digests = {pod.image_digest for pod in rollout.pods if pod.image_digest}
        digest = digests.pop() if len(digests) == 1 else None
        return RolloutCompleted(release=roll.release, roll=roll.position, replicas=rollout.ready, image_digest=digest)
    reason, message = rollout.failed or ("Unknown", "")
    return RolloutFailed(release=roll.release, roll=roll.position, reason=reason, message=message[:1000])


def _same_roll(app: App, life: Life) -> bool:
    current = app.life
    same_life = current is not None and current.deployment_id == life.deployment_id
    return same_life and current is not None and current.roll.position == life.roll.position
