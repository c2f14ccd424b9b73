"""Take over an object that somebody else made."""

from __future__ import annotations

from ledger.commands import AdoptObject
from ledger.events import Destroyed, ObjectAdopted
from tests.decisions.scenario import given, opened

SERVICE = AdoptObject(kind="Service", name="orders", uid="u-1")
ADOPTED = ObjectAdopted(kind="Service", name="orders", uid="u-1")


def test_an_object_is_adopted_before_the_first_deploy_in_a_life_and_after_one() -> None:
    given().when(SERVICE).then(ADOPTED)
    given(*opened()).when(SERVICE).then(ADOPTED)
    given(*opened(), Destroyed()).when(SERVICE).then(ADOPTED)


def test_the_same_object_is_adopted_once() -> None:
    given(ADOPTED).when(SERVICE).then()


def test_another_object_of_the_same_name_is_adopted_anew() -> None:
    other = AdoptObject(kind="Service", name="orders", uid="u-2")
    given(ADOPTED).when(other).then(ObjectAdopted(kind="Service", name="orders", uid="u-2"))


def test_which_object_is_meant_must_be_said() -> None:
    given().when(AdoptObject(kind="Service", name="orders", uid="")).refused("no uid is given", hint="--uid UID")
