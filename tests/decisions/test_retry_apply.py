"""Try again what the cluster refused."""

from __future__ import annotations

from ledger.commands import RetryApply
from ledger.errors import AppNotFoundError
from ledger.events import ApplyRefused, ApplyRetried
from tests.decisions.scenario import ended, given, opened

REFUSED = ApplyRefused(release=1, through=2, reason="Forbidden", message="no")


def test_what_was_refused_is_tried_again() -> None:
    given(*opened(), REFUSED).when(RetryApply()).then(ApplyRetried())


def test_there_is_nothing_to_try_again_where_nothing_was_refused() -> None:
    given(*opened()).when(RetryApply()).then()
    given(*opened(), REFUSED, ApplyRetried()).when(RetryApply()).then()


def test_a_removal_that_was_refused_is_tried_again() -> None:
    refused = ApplyRefused(release=1, through=3, reason="Forbidden", message="no")
    given(*ended(), refused).when(RetryApply()).then(ApplyRetried())
    given(*ended()).when(RetryApply()).then()


def test_an_app_that_never_was_is_not_found() -> None:
    given().when(RetryApply()).refused("not found", error=AppNotFoundError)
