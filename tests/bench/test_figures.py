from __future__ import annotations

import pytest

from tests.bench.figures import Line, alone, at_least, at_most, beside, paired, spread


def test_a_spread_is_the_median_between_its_quartiles() -> None:
    found = spread([5, 1, 4, 2, 3])

    assert (found.low, found.median, found.high, found.turns) == (2, 3, 4, 5)


def test_one_measurement_is_its_own_spread() -> None:
    found = spread([7])

    assert (found.low, found.median, found.high, found.turns) == (7, 7, 7, 1)


def test_one_measurement_far_off_moves_neither_median_nor_quartiles() -> None:
    assert spread([1, 2, 3, 4, 1000]) == spread([1, 2, 3, 4, 5])


def test_a_ratio_is_of_neighbours_so_a_machine_that_slows_down_meanwhile_does_not_show() -> None:
    ours, theirs = [2, 2, 2, 20, 20], [1, 1, 1, 10, 10]

    assert spread(ours).high > spread(ours).low
    assert paired(ours, theirs) == spread([2, 2, 2, 2, 2])


def test_there_is_no_ratio_to_nothing() -> None:
    assert beside("x", "", [0, 1], "y", [1, 0]).ratio is None


def test_measurements_without_a_neighbour_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired([1, 2], [1])


@pytest.mark.parametrize(
    ("line", "met"),
    [
        (beside("x", "s", [1.2], "y", [1.0], aim=at_most(1.2)), True),
        (beside("x", "s", [1.3], "y", [1.0], aim=at_most(1.2)), False),
        (beside("x", "ev/s", [41], "y", [100], aim=at_least(0.4)), True),
        (beside("x", "ev/s", [39], "y", [100], aim=at_least(0.4)), False),
        (alone("x", "B", [10], aim=at_most(10, of="figure")), True),
        (alone("x", "B", [11], aim=at_most(10, of="figure")), False),
        (beside("x", "B", [9], "y", [1], aim=at_most(10, of="figure")), True),
        (beside("x", "s", [1], "y", [1]), None),
        (alone("x", "s", [1], aim=at_most(1.2)), None),
    ],
    ids=str,
)
def test_an_aim_is_met_by_the_median_of_what_it_is_about(line: Line, met: bool | None) -> None:
    assert line.met is met
