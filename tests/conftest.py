"""Fixtures for tests of every folder, and one line about those of a real cluster."""

from __future__ import annotations

import shutil

import pytest

from tests.in_memory import new_directory
from tests.kubernetes_support import KUBECONFIG
from tests.postgres_support import database, empty_database, migrated, postgres

__all__ = ["database", "empty_database", "migrated", "postgres"]


def pytest_configure(config: pytest.Config) -> None:
    """Lets every test's files be in memory, and removes them at the end, unless ``--basetemp`` says where."""
    if config.option.basetemp is None and not hasattr(config, "workerinput"):
        directory = new_directory("onectl-tests-")
        config.option.basetemp = str(directory / "of")  # pytest makes it, and all processes of a run share it
        config.add_cleanup(lambda: shutil.rmtree(directory, ignore_errors=True))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the tests of processes that wait for each other, or no core has anything to do at the end."""
    items.sort(key=lambda item: item.path.parent.name not in {"worker", "faults"})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tells once why tests of a real cluster were skipped, and every other reason."""
    reasons = [str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", [])]
    others = [reason for reason in reasons if KUBECONFIG not in reason]
    if len(others) < len(reasons):
        count = len(reasons) - len(others)
        terminalreporter.write_line(f"{count} tests of a real cluster were skipped: {KUBECONFIG} names no kubeconfig")
    for reason in others:
        terminalreporter.write_line(reason)
