"""Fixtures for tests of every folder, and one line about those of a real cluster."""

from __future__ import annotations

import pytest

from tests.kubernetes_support import KUBECONFIG
from tests.postgres_support import database, postgres

__all__ = ["database", "postgres"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tells once why tests of a real cluster were skipped, and every other reason."""
    reasons = [str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", [])]
    others = [reason for reason in reasons if KUBECONFIG not in reason]
    if len(others) < len(reasons):
        count = len(reasons) - len(others)
        terminalreporter.write_line(f"{count} tests of a real cluster were skipped: {KUBECONFIG} names no kubeconfig")
    for reason in others:
        terminalreporter.write_line(reason)
