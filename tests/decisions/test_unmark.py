"""Let everybody roll back to a release again that was marked as bad."""

from __future__ import annotations

from ledger.commands import MarkBad, Unmark
from ledger.errors import AppNotFoundError, NoSuchReleaseError
from ledger.events import ReleaseMarkedBad, ReleaseUnmarked
from tests.decisions.scenario import app, deployed, given, opened

BAD = ReleaseMarkedBad(release=1)
GOOD = ReleaseUnmarked(release=1)


def test_a_mark_is_taken_back() -> None:
    given(*opened(), BAD).when(Unmark(release=1)).then(GOOD)


def test_a_release_that_is_not_marked_needs_none() -> None:
    given(*opened()).when(Unmark(release=1)).then()
    given(*opened(), BAD, GOOD).when(Unmark(release=1)).then()


def test_a_release_that_does_not_exist_is_refused() -> None:
    given(*opened()).when(Unmark(release=2)).refused("there is no release 2; the newest is 1", error=NoSuchReleaseError)


def test_it_can_be_marked_again() -> None:
    given(*opened(), BAD, GOOD).when(MarkBad(release=1)).then(BAD)


def test_no_other_mark_is_taken_back_and_nothing_is_asked_of_the_cluster() -> None:
    life = app(*opened(), deployed(2), BAD, ReleaseMarkedBad(release=2), GOOD).life
    assert life is not None
    assert life.changed == 3
    assert life.bad == {2: "no reason given"}


def test_an_app_without_a_life_is_not_found() -> None:
    given().when(Unmark(release=1)).refused("not found", error=AppNotFoundError)
