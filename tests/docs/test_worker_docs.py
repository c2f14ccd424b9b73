"""What a worker logs and counts is what docs/operations.md says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from effects.metrics import Metrics
from effects.troubles import REASONS

ROOT = Path(__file__).parents[2]
SOURCES = [*(ROOT / "effects").glob("*.py"), ROOT / "cli" / "worker_run.py"]
LEVELS = {"info", "warning", "error"}


def table(heading: str) -> dict[str, str]:
    """The rest of each row by its first cell, without the backquotes."""
    text = (ROOT / "docs" / "operations.md").read_text()
    found = re.search(rf"^\| {heading} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert found, heading
    return dict(re.findall(r"^\| `([^`]+)` \| (.*) \|$", found[1], re.MULTILINE))


def logged() -> set[str]:
    """The messages of all log lines in the source."""
    return {
        str(call.args[0].value)
        for path in SOURCES
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in LEVELS
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id.lower() == "log"
        and isinstance(call.args[0], ast.Constant)
    }


def test_every_message_of_the_log_is_in_the_table_and_no_other() -> None:
    assert set(table("message")) == logged()


def test_every_metric_is_in_the_table_with_its_labels_and_no_other() -> None:
    metrics = Metrics(leading=lambda: True, queued=lambda: 0, lag=lambda: 0, parked=lambda: 0)
    metrics.worked("done", 0.1)
    text = metrics.text().decode()
    found = dict(re.findall(r"^# TYPE (\w+) (counter|gauge|histogram)$", text, re.MULTILINE))
    kinds = {name: kind for name, kind in found.items() if not name.endswith("_created")}
    labels = {name: set(re.findall(rf"^{name}\{{(\w+)=", text, re.MULTILINE)) for name in kinds}
    shown = {f"{name}{{{', '.join(each)}}}" if each else name for name, each in labels.items()}
    assert set(table("metric")) == shown
    assert all(name.endswith("_total") == (kind == "counter") for name, kind in kinds.items())
    assert all(f"`{reason}`" in table("metric")["onectl_cluster_errors_total{reason}"] for reason in REASONS)
