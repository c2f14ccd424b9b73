"""The benchmark from end to end, on rows that take no time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.__main__ import main
from tests.bench.figures import Line, alone, at_most, beside
from tests.bench.programs import FailedError, User, run_program
from tests.bench.record import read
from tests.bench.rows import ROWS
from tests.bench.run import MissingError, Row, Run

ALL = tuple(f"B{number}" for number in range(1, 14))


def _version(run: Run) -> Iterator[Line]:
    user = User.new(run.scratch)

    def floor() -> float:
        return run_program([sys.executable, "-c", "pass"], cwd=user.cwd, environ=user.environ).seconds

    figures = run.in_turns("--version", {"ours": lambda: user.seconds("--version"), "floor": floor}, turns=15)
    yield beside("`1ctl --version`", "s", figures["ours"], "python", figures["floor"], aim=at_most(100))


def _interrupted(run: Run) -> Iterator[Line]:
    yield alone("before", "s", [1])
    raise KeyboardInterrupt


def _broken(run: Run) -> Iterator[Line]:
    yield alone("before", "s", [1])
    run_program([sys.executable, "-c", "print('said'); exit(3)"], cwd=run.scratch, environ={})


def _half(run: Run) -> Iterator[Line]:
    yield alone("what can be", "s", [1])
    assert run.if_there(lambda: _nowhere("helm is not here")) is None
    raise MissingError("there is no API server")


def _nowhere(why: str) -> object:
    raise MissingError(why)


TINY = Row("B1", "tiny", "The smallest row.", _version)


def rows(**measures: Row) -> dict[str, Row]:
    return {row.name: row for row in measures.values()}


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """Writes and works in a directory of its own, one turn each."""
    (tmp_path / "scratch").mkdir()
    return ["--directory", str(tmp_path), "--scratch", str(tmp_path / "scratch"), "--turns", "1"]


def test_a_row_is_measured_written_and_shown(
    tmp_path: Path, arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments, rows=rows(tiny=TINY)) == 0

    row = read(tmp_path / "bench.json")["B1"]
    (line,) = row.lines
    assert line.met
    assert line.ratio is not None
    assert line.theirs is not None
    assert line.ratio.median == pytest.approx(line.ours.median / line.theirs.median)
    assert row.versions["Python"] in sys.version
    assert "| `1ctl --version` |" in (tmp_path / "performance.md").read_text()
    said = capfd.readouterr()
    assert said.out.startswith("B1 `1ctl --version`: ")
    assert said.err == "B1 tiny\nB1 --version\n"
    assert list((tmp_path / "scratch").iterdir()) == []


def test_an_interrupted_run_keeps_the_rows_that_were_finished(
    tmp_path: Path, arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    stopped = Row("B2", "stopped", "", _interrupted)

    assert main(arguments, rows=rows(tiny=TINY, stopped=stopped)) == 130

    assert list(read(tmp_path / "bench.json")) == ["B1"]
    assert list((tmp_path / "scratch").iterdir()) == []
    assert "Interrupted in B2" in capfd.readouterr().err


def test_a_row_that_fails_leaves_no_figure_and_the_others_are_measured(
    tmp_path: Path, arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    broken = Row("B0", "broken", "", _broken)

    assert main(arguments, rows=rows(broken=broken, tiny=TINY)) == 1

    assert list(read(tmp_path / "bench.json")) == ["B1"]
    said = capfd.readouterr().err
    assert f"{FailedError.__name__}: {sys.executable}" in said
    assert "ended with 3:\nsaid" in said


def test_a_row_says_what_is_missing_and_keeps_what_it_has(tmp_path: Path, arguments: list[str]) -> None:
    assert main(arguments, rows=rows(half=Row("B3", "half", "", _half))) == 0

    row = read(tmp_path / "bench.json")["B3"]
    assert [line.what for line in row.lines] == ["what can be"]
    assert row.missing == ("helm is not here", "there is no API server")


def test_too_few_turns_are_not_kept_in_the_documents() -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--turns", "8"], rows=rows(tiny=TINY))


def test_a_row_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["B99"], rows=rows(tiny=TINY))


def test_every_row_of_the_table_can_be_asked_for() -> None:
    assert tuple(ROWS) == ALL
