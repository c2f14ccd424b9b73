"""What a worker counts, for Prometheus; the one door to its client library. No value, key or message is in a label."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from effects.troubles import REASONS

CONTENT_TYPE = CONTENT_TYPE_LATEST

OUTCOMES = ("done", "waiting", "parked", "retried", "skipped")
"""What can come of looking at an app, see `effects.app_work.Measures.worked`."""

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The counters and gauges of one worker process; safe for many threads.

    Args:
        leading: Whether this process leads.
        queued: How many apps wait or are being worked on.
        lag: How many positions of the ledger were not worked on yet; not a number where that cannot be told.
        parked: How many apps the cluster refused, which wait for a request or a resync.
    """

    def __init__(
        self,
        *,
        leading: Callable[[], bool],
        queued: Callable[[], int],
        lag: Callable[[], float],
        parked: Callable[[], int],
    ) -> None:
        registry = self._registry = CollectorRegistry()
        self._work = Counter("onectl_work", "Apps that were looked at.", ["outcome"], registry=registry)
        self._seconds = Histogram(
            "onectl_work_seconds", "How long looking at an app took.", buckets=_BUCKETS, registry=registry
        )
        self._relists = Counter(
            "onectl_relists", "Watches that could not go on, so that their kind was listed again.", registry=registry
        )
        self._drift = Counter("onectl_drift", "Objects that were edited by hand.", ["action"], registry=registry)
        self._errors = Counter(
            "onectl_cluster_errors", "Requests that failed or were refused.", ["reason"], registry=registry
        )
        # A series that begins with its first event shows no increase.
        for outcome in OUTCOMES:
            self._work.labels(outcome)
        for action in ("healed", "reported"):
            self._drift.labels(action)
        for reason in REASONS:
            self._errors.labels(reason)
        for name, about, value in (
            ("onectl_leader", "1 while this process leads.", leading),
            ("onectl_queue_apps", "Apps that wait or are being worked on.", queued),
            ("onectl_lag_positions", "Positions of the ledger that were not worked on yet.", lag),
            ("onectl_parked_apps", "Apps that the cluster refused, which wait for a request or a resync.", parked),
        ):
            Gauge(name, about, registry=registry).set_function(value)

    def worked(self, outcome: str, seconds: float) -> None:
        """See `effects.app_work.Measures`."""
        self._work.labels(outcome).inc()
        self._seconds.observe(seconds)

    def relisted(self) -> None:
        """See `effects.app_work.Measures`."""
        self._relists.inc()

    def drifted(self, action: str) -> None:
        """See `effects.app_work.Measures`."""
        self._drift.labels(action).inc()

    def cluster_failed(self, reason: str) -> None:
        """See `effects.app_work.Measures`."""
        self._errors.labels(reason).inc()

    def text(self) -> bytes:
        """All of it in the text format for scraping, see `CONTENT_TYPE`."""
        return generate_latest(self._registry)
