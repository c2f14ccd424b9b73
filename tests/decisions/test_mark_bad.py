"""Keep everybody from rolling back to a release."""

from __future__ import annotations

from ledger.commands import MarkBad
from ledger.errors import AppNotFoundError, NoSuchReleaseError
from ledger.events import ReleaseMarkedBad
from tests.decisions.scenario import app, deployed, given, opened


def test_a_release_of_this_life_is_marked() -> None:
    given(*opened(), deployed(2)).when(MarkBad(release=1)).then(ReleaseMarkedBad(release=1))


def test_a_mark_is_set_once() -> None:
    given(*opened(), ReleaseMarkedBad(release=1)).when(MarkBad(release=1)).then()


def test_a_release_that_does_not_exist_is_refused() -> None:
    given(*opened()).when(MarkBad(release=2)).refused(
        "there is no release 2; the newest is 1", error=NoSuchReleaseError
    )
    given(*opened()).when(MarkBad(release=0)).refused("there is no release 0", error=NoSuchReleaseError)


def test_a_mark_asks_nothing_of_the_cluster() -> None:
    life = app(*opened(), ReleaseMarkedBad(release=1)).life
    assert life is not None
    assert life.changed == 2
    assert life.bad == {1: "no reason given"}


def test_an_app_without_a_life_is_not_found() -> None:
    given().when(MarkBad(release=1)).refused("not found", error=AppNotFoundError)
