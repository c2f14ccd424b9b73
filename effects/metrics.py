"""What a worker counts, for Prometheus; the one door to its client library. No value, key or message is in a label."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The counters and gauges of one worker process; safe for many threads.

    Args:
        leading: Whether this process leads.
        queued: How many apps wait or are in work.
        lag: How many positions of the ledger were not worked on yet; not a number where that cannot be told.
    """

    def __init__(self, *, leading: Callable[[], bool], queued: Callable[[], int], lag: Callable[[], float]) -> None:
        registry = self._registry = CollectorRegistry()
        self._work = Counter("onectl_work", "Apps that were looked at.", ["outcome"], registry=registry)
        self._seconds = Histogram(
            "onectl_work_seconds", "How long looking at an app took.", buckets=_BUCKETS, registry=registry
        )
        self._relists = Counter("onectl_relists", "Kinds that were listed anew.", registry=registry)
        for name, about, value in (
            ("onectl_leader", "1 while this process leads.", leading),
            ("onectl_queue_apps", "Apps that wait or are in work.", queued),
            ("onectl_lag_positions", "Positions of the ledger that were not worked on yet.", lag),
        ):
            Gauge(name, about, registry=registry).set_function(value)

    def worked(self, outcome: str, seconds: float) -> None:
        """See `effects.app_work.Measures`."""
        self._work.labels(outcome).inc()
        self._seconds.observe(seconds)

    def relisted(self) -> None:
        """See `effects.app_work.Measures`."""
        self._relists.inc()

    def text(self) -> bytes:
        """All of it in the text format for scraping, see `CONTENT_TYPE`."""
        return generate_latest(self._registry)
