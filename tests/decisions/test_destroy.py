"""End the life."""

from __future__ import annotations

from ledger.commands import Destroy
from ledger.errors import AppNotFoundError
from ledger.events import Destroyed
from tests.decisions.scenario import NEXT_LIFE, deployed, ended, given, opened


def test_an_open_life_ends() -> None:
    given(*opened()).when(Destroy()).then(Destroyed())


def test_a_second_life_ends_as_well() -> None:
    given(*ended(), deployed(life=NEXT_LIFE)).when(Destroy()).then(Destroyed())


def test_a_life_ends_once() -> None:
    given(*ended()).when(Destroy()).refused("not found", error=AppNotFoundError)


def test_an_app_that_was_never_deployed_is_not_found() -> None:
    given().when(Destroy()).refused('app "orders" not found', error=AppNotFoundError, hint="1ctl deploy")
