"""Fixtures for tests of every folder, and one line about those of a real cluster."""

from __future__ import annotations

import gc
import shutil

import pytest

from tests.faults.dose import LEFT_OUT, VARIABLE
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


def pytest_collection_finish() -> None:
    """What was imported and collected stays, so nobody need look again and again whether it can go."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tells once why tests of a real cluster were skipped, how many take too long for now, and every other reason."""
    reasons = [str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", [])]
    if clusters := sum(KUBECONFIG in reason for reason in reasons):
        terminalreporter.write_line(
            f"{clusters} tests of a real cluster were skipped: {KUBECONFIG} names no kubeconfig"
        )
    if long := sum(LEFT_OUT in reason for reason in reasons):
        terminalreporter.write_line(f"{long} tests that take long were left out: {VARIABLE}=short make test runs them")
    for reason in reasons:
        if KUBECONFIG not in reason and LEFT_OUT not in reason:
            terminalreporter.write_line(reason)
