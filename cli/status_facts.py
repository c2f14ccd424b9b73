"""What is known about how an app is doing: what the ledger says, and what the cluster says beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cli.follow_up import completed

if TYPE_CHECKING:
    from cli.session import Session
    from effects.rollout import RolloutLook
    from ledger.app import App, Life
    from ledger.request import Request

UNKNOWN = "unknown"
"""Nobody can say, or nobody was asked."""

SCALED_TO_0 = "Scaled to 0: no pods are asked for"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How an app is doing.

    Attributes:
        status: ``Running``, ``NotReady``, ``Failed`` or ``Destroyed``; about its pods.
        message: One sentence.
        progress: Ready pods of those asked for, 0 to 100.
        applied: ``yes``, ``pending``, or ``refused: REASON``; about its objects.
        route: ``accepted``, ``refused: REASON`` or ``unknown``; what the Gateway says.
        dns: ``resolves``, ``does not resolve`` or ``unknown``.
        drift: Fields that are known to differ from what is asked for, as ``kind/name field``.
        hint: What to do, or None.
        seen: Whether the cluster was asked for its pods; else they are as the ledger knows them from their roll.
        again_in: Seconds after which a cluster that gave no answer may be asked again; None: it answered, or will not.
    """

    status: str
    message: str
    progress: int
    applied: str = "yes"
    route: str = UNKNOWN
    dns: str = UNKNOWN
    drift: tuple[str, ...] = ()
    hint: str | None = None
    seen: bool = False
    again_in: float | None = None


def ledger_facts(life: Life, *, past: bool = False) -> Status:
    """What the ledger knows; the cluster of the past cannot be asked."""
    reason, message = life.rollout_failure or ("", "")
    ready, waiting = (
        ("Its pods were ready", "Its pods were not known to be ready")
        if past
        else (
            f"Its pods became ready when release {life.roll.release} was rolled out",
            "Its pods are not known to be ready yet",
        )
    )
    if life.spec.replicas == 0:
        ready = SCALED_TO_0
    found = {
        "completed": Status(status="Running", message=ready, progress=100),
        "failed": Status(status="Failed", message=f"Release {life.release}: {reason}: {message}", progress=0),
        "pending": Status(status="NotReady", message=waiting, progress=0),
    }[life.rollout]
    if life.destroyed is not None:
        found = Status(status="NotReady", message="It is being removed from the cluster", progress=0)
    found = replace(found, drift=drifted(life))
    if life.parked is not None:
        refuses = "refused what was asked for" if past else "refuses what is asked for"
        why = "It cannot be applied" if life.parked.reason == "Sealed" else f"The cluster {refuses}"
        return replace(
            found,
            applied=f"refused: {life.parked.reason}",
            message=f"{why}: {life.parked.message}",
            hint="When that is fixed: 1ctl worker retry, or ask for something else",
        )
    return replace(found, applied="pending") if life.dirty or life.destroyed is not None else found


def cluster_facts(session: Session, app: App, known: Status, request: Request, *, records: bool) -> Status:
    """What the cluster says beside what is known, if this machine may ask it.

    Args:
        session: This run's session.
        app: The app, with an open life that is applied.
        known: What the ledger says.
        request: On whose behalf to look.
        records: Whether what is certain about its pods is recorded; where no cluster answers, that is an error then.

    Raises:
        ClusterError: `records`, and the cluster cannot be asked.
    """
    from effects.cluster import ClusterError, ClusterUnreachableError, Ref  # noqa: PLC0415
    from effects.route_state import route_state  # noqa: PLC0415
    from ledger.errors import RefusedError  # noqa: PLC0415

    assert app.life is not None
    found = known
    try:
        watch = session.watch(request)
        progress = watch.look(app.id, app.life) if records else watch.peek(app.id, app.life)
        live = session.cluster.read(Ref("HTTPRoute", app.id.namespace, app.id.name))
    except (ClusterError, RefusedError) as error:
        if records:
            raise
        session.notice_once(f"The cluster cannot be asked from here; this is what the ledger knows. ({error.message})")
        if isinstance(error, ClusterUnreachableError):
            found = replace(found, again_in=error.retry_after or 0.0)
        return found
    if known.applied == "yes":
        described = _describe(app.life, progress)
        found = replace(
            found, status=described.status, message=described.message, progress=described.progress, seen=True
        )
    return replace(found, route=route_state(live) if live is not None else "refused: it is not there")


def _describe(life: Life, progress: RolloutLook) -> Status:
    if progress.verdict == "completed":
        message = "Deployment is running normally" if progress.desired else SCALED_TO_0
        return Status(status="Running", message=message, progress=100)
    if progress.verdict == "failed":
        reason, message = progress.reason or ("Unknown", "")
        return Status(
            status="Failed", message=f"Release {life.release}: {reason}: {message}", progress=progress.percent
        )
    why = f" ({trouble})" if (trouble := why_not_ready(progress)) else ""
    if progress.ready >= progress.desired:
        return Status(status="NotReady", message=f"Its pods are ready; older ones are still going{why}", progress=99)
    return Status(
        status="NotReady",
        message=f"{progress.ready} of {progress.desired} pods are ready{why}",
        progress=progress.percent,
    )


def why_not_ready(progress: RolloutLook) -> str:
    """Reason and message of what keeps its pods from being ready, if anything is known."""
    trouble = (progress.rollout.trouble if progress.rollout else None) or ()
    return completed(": ".join(part for part in trouble if part))


def drifted(life: Life) -> tuple[str, ...]:
    """The fields of its objects that are known to differ from what is asked for, as ``kind/name field``."""
    return tuple(
        f"{kind.lower()}/{name} {each.field}".rstrip()
        for key, fields in sorted(life.drift.items())
        for kind, _, name in [key.partition("/")]
        for each in fields
    )


def dns(domain: str | None) -> str:
    """Whether this machine's resolver knows a host name."""
    import socket  # noqa: PLC0415

    try:
        return "resolves" if domain and socket.getaddrinfo(domain, 443) else UNKNOWN
    except OSError:
        return "does not resolve"
