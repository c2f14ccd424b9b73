"""A time is understood as it is typed, and as lists print it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.age import age
from cli.moment import parse_since, parse_time, parse_until
from ledger.clock import LATEST_US, to_micros
from ledger.errors import RefusedError

NOW = to_micros(datetime(2026, 5, 3, 15, 0, tzinfo=UTC))


@pytest.fixture(autouse=True)
def _in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as changed:
        changed.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


def utc(*parts: int) -> int:
    return to_micros(datetime(*parts, tzinfo=UTC))  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("text", "at_us"),
    [
        ("now", NOW),
        ("yesterday", utc(2026, 5, 2, 15)),
        ("1h30m ago", utc(2026, 5, 3, 13, 30)),
        ("5 min ago", utc(2026, 5, 3, 14, 55)),
        ("2 Hours  ago", utc(2026, 5, 3, 13)),
        ("2 months ago", utc(2026, 3, 4, 15)),
        ("today", utc(2026, 5, 3, 15)),  # there it is midnight just now
        ("2026-05-01", utc(2026, 4, 30, 15)),
        ("9:05", utc(2026, 5, 4, 0, 5)),
        ("09:05:30", utc(2026, 5, 4, 0, 5, 30)),
        ("2026-05-01T12:00", utc(2026, 5, 1, 3)),
        ("2026-05-01T12:00Z", utc(2026, 5, 1, 12)),
    ],
)
def test_a_time_is_what_a_person_means(text: str, at_us: int) -> None:
    assert parse_time(text, NOW) == at_us


@pytest.mark.parametrize(
    ("text", "at_us"),
    [
        ("2026-05-01T12:00Z", utc(2026, 5, 1, 12, 0, 0, 999_999)),
        ("2026-05-01 12:00:07+00:00", utc(2026, 5, 1, 12, 0, 7, 999_999)),
        ("20260501T120007Z", utc(2026, 5, 1, 12, 0, 7, 999_999)),
        ("2026-05-01", utc(2026, 4, 30, 15, 0, 0, 999_999)),
        ("09:05:30", utc(2026, 5, 4, 0, 5, 30, 999_999)),
        ("today", utc(2026, 5, 3, 15, 0, 0, 999_999)),
        ("9999-12-31T23:59:59Z", LATEST_US),
    ],
)
def test_up_to_a_time_without_a_fraction_goes_to_the_end_of_that_second(text: str, at_us: int) -> None:
    assert parse_time(text, NOW, to_end=True) == at_us


@pytest.mark.parametrize(
    "text",
    ["2026-05-01T12:00:00.0Z", "2026-05-01T12:00:07.25+00:00", "2026-05-01T12:00:07,25Z", "now", "yesterday", "2h ago"],
)
def test_up_to_a_time_with_a_fraction_or_so_long_ago_is_exact(text: str) -> None:
    assert parse_time(text, NOW, to_end=True) == parse_time(text, NOW)


@pytest.mark.parametrize(
    ("text", "at_us"),
    [
        ("2026-05-01", utc(2026, 5, 1, 14, 59, 59, 999_999)),  # there it is midnight then
        ("20260501", utc(2026, 5, 1, 14, 59, 59, 999_999)),
        ("today", utc(2026, 5, 4, 14, 59, 59, 999_999)),
        ("9999-12-31", utc(9999, 12, 30, 15, 0, 0, 999_999)),
        ("2026-05-01T12:00Z", utc(2026, 5, 1, 12, 0, 0, 999_999)),
        ("yesterday", utc(2026, 5, 3, 14, 59, 59, 999_999)),
        ("1 day ago", utc(2026, 5, 2, 15)),
    ],
)
def test_a_day_that_is_the_last_one_counts_to_its_end(text: str, at_us: int) -> None:
    assert parse_until(text, NOW) == at_us


@pytest.mark.parametrize(
    ("text", "at_us"),
    [
        ("yesterday", utc(2026, 5, 2, 15)),
        ("today", utc(2026, 5, 3, 15)),
        ("2026-05-01", utc(2026, 4, 30, 15)),
        ("1 day ago", utc(2026, 5, 2, 18)),
    ],
)
def test_a_day_that_is_the_first_one_counts_from_its_midnight(text: str, at_us: int) -> None:
    assert parse_since(text, NOW + 3 * 3_600_000_000) == at_us


@pytest.mark.parametrize("parse", [parse_since, parse_until])
def test_a_day_that_never_was_is_no_time(parse: Callable[[str, int], int]) -> None:
    with pytest.raises(RefusedError, match="is not a time"):
        parse("2026-02-30", NOW)


@given(st.integers(0, 4 * 365 * 86_400))
def test_whatever_a_list_says_of_an_age_is_understood_and_not_longer_than_it_was(seconds: int) -> None:
    said = age(NOW - seconds * 1_000_000, NOW)
    understood = (NOW - parse_time(said, NOW)) // 1_000_000
    assert understood <= seconds
    assert age(NOW - understood * 1_000_000, NOW) == said


@pytest.mark.parametrize("text", ["", "ago", "2 ago", "h ago", "2 fortnights ago", "25:00", "1h", "tomorrow", "9:5"])
def test_anything_else_is_no_time(text: str) -> None:
    with pytest.raises(RefusedError, match="is not a time"):
        parse_time(text, NOW)
