"""Tells how to try a failed case again, counts cases, and writes the counts into the documents if asked to."""

from __future__ import annotations

import json
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import dose, reliability
from tests.faults.dose import Cases
from tests.faults.scenes import FIRST, POSTGRES, Command, Kind, Scene, newcomer, veteran
from tests.in_memory import new_directory
from tests.postgres_support import Server

_CASES = pytest.StashKey[Cases]()
_RECORD = "--record-faults"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option that writes counts down."""
    parser.addoption(_RECORD, action="store_true", help="write how many cases were run into docs/reliability.*")


@pytest.fixture
def cases(request: pytest.FixtureRequest) -> Cases:
    """Counts the cases of this test, where they are more than one."""
    counter: Cases = request.node.stash.setdefault(_CASES, Cases())
    return counter


@pytest.fixture(scope="session")
def in_memory() -> Iterator[Path]:
    """A directory for all tests of this process."""
    directory = new_directory("onectl-faults-")
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def tmp_path(in_memory: Path) -> Iterator[Path]:
    """A directory for one test, with a short name; gone when it is over."""
    directory = Path(tempfile.mkdtemp(dir=in_memory))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def prepared(in_memory: Path, request: pytest.FixtureRequest) -> Callable[[Kind, Command], Scene]:
    """Users as they are before a command, made when first asked for; to be copied, not used."""
    made: dict[tuple[Kind, bool], Scene] = {}

    def before(kind: Kind, command: Command) -> Scene:
        key = kind, command.args == FIRST.args
        if key not in made:
            server: Server | None = request.getfixturevalue("postgres") if kind == POSTGRES else None
            make = newcomer if command.args == FIRST.args else veteran
            made[key] = make(Path(tempfile.mkdtemp(dir=in_memory)), kind, server)
        return made[key]

    return before


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Adds to the report of a case what it was about and, if it failed, the command that tries it again."""
    outcome: Any = yield
    report: pytest.TestReport = outcome.get_result()
    marker = item.get_closest_marker("fault")
    if marker is None or (report.when != "call" and report.passed):
        return
    counter = item.stash.get(_CASES, None)
    parameters = getattr(item, "callspec", None)
    number = counter.now if counter else parameters.params.get("seed") if parameters else None
    if report.failed:
        asked = dose.DOSE if number is None else number
        command = f"{dose.VARIABLE}={asked} .venv/bin/python -m pytest {shlex.quote(_again(item, number))}"
        report.sections.append(("try this case again", command))
    if report.when == "call" and not report.skipped:
        told = {
            "fault": marker.args[0],
            "on": _on(item, marker),
            "cases": counter.count if counter else 1,
            "violations": int(report.failed),
            "seconds": report.duration,
        }
        item.user_properties.append(("fault", json.dumps(told)))
        report.user_properties = list(item.user_properties)


def _on(item: pytest.Item, marker: pytest.Mark) -> str:
    """Where the fault was tried: said by the marker, or by a parameter of the test that it names."""
    named = marker.kwargs.get("on", "")
    parameters = getattr(item, "callspec", None)
    return str(parameters.params.get(named, named)) if parameters else str(named)


def _again(item: pytest.Item, number: int | None) -> str:
    """The test's name where only one case is asked for; that is the same but for the place of a seed in it."""
    return item.nodeid


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Shows what was tried, and writes it down if asked to."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    told = [json.loads(text) for each in reports for name, text in each.user_properties if name == "fault"]
    if not told:
        return
    counts = reliability.added_up(told)
    terminalreporter.section("faults")
    for line in reliability.lines(counts):
        terminalreporter.write_line(line)
    if config.getoption(_RECORD):
        reliability.write_counts(counts, dose.DOSE)
