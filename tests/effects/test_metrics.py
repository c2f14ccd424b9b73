"""What a worker counts is there to be compared from its first scrape on."""

from __future__ import annotations

from effects.metrics import OUTCOMES, Metrics
from effects.troubles import REASONS


def test_every_series_begins_with_zero() -> None:
    metrics = Metrics(leading=lambda: False, queued=lambda: 0, lag=lambda: 0.0, parked=lambda: 0)
    lines = metrics.text().decode().splitlines()
    for outcome in OUTCOMES:
        assert f'onectl_work_total{{outcome="{outcome}"}} 0.0' in lines
    for reason in REASONS:
        assert f'onectl_cluster_errors_total{{reason="{reason}"}} 0.0' in lines
    for action in ("healed", "reported"):
        assert f'onectl_drift_total{{action="{action}"}} 0.0' in lines
