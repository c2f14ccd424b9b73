from __future__ import annotations

from itertools import count

from tests.bench.turns import in_turns


def test_contenders_take_turns_and_the_first_turn_is_not_counted() -> None:
    asked: list[str] = []
    numbers = count(1)

    def measure(name: str) -> float:
        asked.append(name)
        return next(numbers)

    figures = in_turns({"A": lambda: measure("A"), "B": lambda: measure("B")}, 3, lambda _done, _total: None)

    assert "".join(asked) == "AB" + "ABABAB"
    assert figures == {"A": [3, 5, 7], "B": [4, 6, 8]}


def test_without_a_warm_up_every_turn_counts() -> None:
    numbers = count(1)

    assert in_turns({"A": lambda: next(numbers)}, 2, lambda _done, _total: None, warm_up=False) == {"A": [1, 2]}


def test_it_is_told_how_far_it_is_until_all_is_done() -> None:
    told: list[tuple[int, int]] = []

    in_turns({"A": lambda: 0, "B": lambda: 0}, 1, lambda done, total: told.append((done, total)))

    assert told == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
