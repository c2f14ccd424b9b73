"""Replace all pods."""

from __future__ import annotations

from ledger.commands import Restart
from ledger.errors import AppNotFoundError
from ledger.events import Restarted
from tests.decisions.scenario import ended, given, opened


def test_a_restart_is_recorded_as_often_as_it_is_asked_for() -> None:
    given(*opened()).when(Restart()).then(Restarted())
    given(*opened(), Restarted()).when(Restart()).then(Restarted())


def test_an_app_without_a_life_is_not_found() -> None:
    given().when(Restart()).refused("not found", error=AppNotFoundError)
    given(*ended()).when(Restart()).refused("not found", error=AppNotFoundError)


def test_an_app_that_was_destroyed_is_told_how_it_comes_back() -> None:
    given(*ended()).when(Restart()).refused("it was destroyed", error=AppNotFoundError, hint="1ctl deploy restore")
