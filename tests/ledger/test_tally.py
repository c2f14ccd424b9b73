"""Two lots of rows add up to the same only if they are the same."""

from __future__ import annotations

import sys
from itertools import permutations
from random import Random

import pytest

from ledger.tally import Tally


def tally(*rows: tuple[object, ...]) -> Tally:
    result = Tally()
    result.add(rows)
    return result


def test_the_order_of_rows_does_not_matter() -> None:
    rows = [("a", 1, 2), ("b", 3, 4), ("c", 5, 5)]
    assert all(tally(*each).matches(tally(*rows)) for each in permutations(rows))
    one_by_one = Tally()
    for row in rows:
        one_by_one.add([row])
    assert one_by_one.matches(tally(*rows))


def test_no_rows_are_the_same_as_no_rows_and_no_others() -> None:
    assert tally().matches(tally())
    assert not tally().matches(tally(("a", 1, 2)))
    assert not tally(("a", 1, 2)).matches(tally(("a", 1, 2), ("a", 1, 2)))


@pytest.mark.parametrize("column", [0, 1, 2])
def test_two_rows_that_swap_a_column_are_others(column: int) -> None:
    chance = Random(column)
    for _ in range(100):
        one, other = ([f"{chance.getrandbits(64):x}", chance.getrandbits(40), chance.getrandbits(40)] for _ in range(2))
        before = tally(tuple(one), tuple(other))
        one[column], other[column] = other[column], one[column]
        assert not tally(tuple(one), tuple(other)).matches(before)


@pytest.mark.parametrize(
    "row", [("1", 2, 3), (1, 2, "3"), (1.0, 2, 3), (1, 2, 3.0), (b"1", 2, 3), ("1 2", 2, 3), (None, 2, 3)]
)
def test_values_of_other_types_are_others(row: tuple[object, ...]) -> None:
    assert not tally(row).matches(tally((1, 2, 3)))


def test_a_stream_is_bytes_of_any_length() -> None:
    assert not tally((1, b"s" * 16, 1)).matches(tally((1, b"s" * 17, 1)))
    assert not tally((1, b"s 1", 1)).matches(tally((1, b"s", "1 1")))


def test_a_text_is_the_same_whether_or_not_python_keeps_it_once() -> None:
    kept, made = sys.intern("RolledBack"), "".join(["Rolled", "Back"])
    assert kept is not made
    assert tally((1, b"s", kept)).matches(tally((1, b"s", made)))


@pytest.mark.parametrize("number", [-1, 2**31 - 1, 2**31, 2**63 - 1, -(2**63)])
def test_a_number_is_the_same_however_long_it_is(number: int) -> None:
    assert tally((number, b"s", 1)).matches(tally((int(str(number)), b"s", 1)))
    assert not tally((number, b"s", 1)).matches(tally((number - 1, b"s", 1)))
