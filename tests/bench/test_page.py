from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.elsewhere import within_noise
from tests.bench.figures import Line, Spread, alone, at_least, at_most, beside
from tests.bench.page import page, sentence
from tests.bench.places import ELSEWHERE, ROOT, WRITTEN, notes
from tests.bench.record import Measured, put, read

COLD = Measured(
    title="cold commands",
    about="Whole processes.",
    commit="abc1234",
    at="2026-01-01T00:00+00:00",
    took=12.3,
    load=0.25,
    machine={"cores": "2", "memory": "24 GiB"},
    versions={"Python": "3.11.7"},
    lines=(
        beside("`1ctl get`", "s", [0.074, 0.072, 0.080], "typer hello", [0.060, 0.060, 0.060], aim=at_most(1.2)),
        alone("memory", "B", [2_500_000], aim=at_most(1_000_000, of="figure")),
    ),
    missing=("helm is not here",),
)


def test_a_line_shows_both_figures_their_ratio_the_aim_and_whether_it_is_met() -> None:
    shown = page({"B1": COLD}, {})

    assert "| `1ctl get` | 74 ms (73 to 77) | typer hello | 60 ms | 1.23x (1.22 to 1.28) | ≤ 1.2x | no |" in shown, (
        shown
    )
    assert "| memory | 2.50 MB | - | - | - | ≤ 1 MB | no |" in shown


def test_a_row_says_which_commit_and_machine_it_was_measured_on_and_what_was_missing() -> None:
    shown = page({"B1": COLD}, {})

    assert "| [B1](#b1-cold-commands) | cold commands | 0 of 2 | `abc1234` |" in shown
    assert "* Not measured: helm is not here." in shown
    assert "Commit `abc1234`, 2026-01-01T00:00+00:00, 12 s (1, 3 turns). cores 2; memory 24 GiB; load 0.2." in shown


def test_a_note_about_a_row_stands_below_its_figures() -> None:
    shown = page({"B1": COLD}, {"B1": "The kernel stands in the way.", "B9": "Another row."})

    assert shown.index("| memory |") < shown.index("The kernel stands in the way.") < shown.index("Commit `abc1234`")
    assert "Another row." not in shown


def test_every_aim_that_is_missed_has_a_note() -> None:
    rows = read(ROOT / WRITTEN[0])

    assert {name for name, row in rows.items() if any(line.met is False for line in row.lines)} <= notes().keys()


def test_a_row_without_a_figure_says_why_instead_of_one() -> None:
    shown = page({"B2": replace(COLD, lines=(), missing=("no API server",))}, {})

    assert "| [B2](#b2-cold-commands) | cold commands | not measured here | `abc1234` |" in shown
    assert "* Not measured: no API server." in shown


def test_a_sentence_for_the_terminal_says_the_same() -> None:
    line = beside("rebuild", "events/s", [61_234], "scan", [313_000], aim=at_least(60_000, of="figure"))

    assert sentence(line) == "rebuild: 61,234 events/s, scan 313,000 events/s, ratio 0.20x, aim ≥ 60,000 events/s: yes"


def test_numbers_have_the_unit_that_suits_them() -> None:
    def shown(unit: str, value: float) -> str:
        return sentence(Line(what="x", unit=unit, ours=alone("", unit, [value]).ours)).removeprefix("x: ")

    assert [shown("s", value) for value in (2, 0.0123, 0.000_251)] == ["2 s", "12.3 ms", "251 µs"]
    assert [shown("B", value) for value in (14, 14_321, 3_200_000)] == ["14 B", "14.3 kB", "3.20 MB"]
    assert [shown("requests", value) for value in (4, 0)] == ["4 requests", "0 requests"]


def test_one_row_is_written_and_the_others_stay_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    put(file, "B10", replace(COLD, commit="old"))
    put(file, "B2", replace(COLD, commit="old"))

    rows = put(file, "B10", replace(COLD, commit="new"))

    assert [(name, row.commit) for name, row in rows.items()] == [("B2", "old"), ("B10", "new")]
    assert read(file) == rows


def test_what_could_not_be_measured_here_does_not_replace_what_was_measured_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    put(file, "B2", COLD)

    rows = put(file, "B2", replace(COLD, lines=(), missing=("no API server",)))

    assert rows == {"B2": COLD}


def test_the_page_in_the_repository_is_the_one_that_its_figures_make() -> None:
    figures, written = (ROOT / path for path in WRITTEN)

    assert written.read_text() == page(read(figures), notes(), read(figures.with_name(ELSEWHERE)))


def test_the_ratios_of_another_machine_stand_beside_those_of_this_one() -> None:
    slow = beside("`1ctl get`", "s", [0.15, 0.14, 0.16], "typer hello", [0.12, 0.12, 0.12])
    other = beside("`1ctl get`", "s", [0.15, 0.14, 0.16], "typer hello", [0.07, 0.07, 0.07])

    def shown(line: Line) -> str:
        return page({"B1": COLD, "B2": COLD}, {}, {"B1": replace(COLD, lines=(line,), commit="def5678")})

    assert "| B1 | `1ctl get` | typer hello | 1.23x (1.22 to 1.28) | 1.25x (1.21 to 1.29) | yes |" in shown(slow)
    assert "1 of 1 ratios are the same within noise." in shown(slow)
    assert "| 2.14x (2.07 to 2.21) | no |" in shown(other)
    assert "0 of 1 ratios" in shown(other)
    assert "There: cores 2; memory 24 GiB. B1 at `def5678`." in shown(other)


@pytest.mark.parametrize(
    ("here", "there", "same"),
    [
        (Spread(1.0, 0.9, 1.2, 9), Spread(1.5, 1.1, 1.6, 9), True),  # they overlap
        (Spread(1.0, 1.0, 1.0, 9), Spread(1.1, 1.1, 1.1, 9), True),  # hardly apart
        (Spread(1.0, 0.9, 1.1, 9), Spread(1.5, 1.2, 1.6, 9), False),
        (Spread(1.5, 1.2, 1.6, 9), Spread(1.0, 0.9, 1.1, 9), False),
    ],
)
def test_two_ratios_are_the_same_if_they_overlap_or_are_hardly_apart(here: Spread, there: Spread, same: bool) -> None:
    assert within_noise(here, there) is same
