"""Change the number of pods."""

from __future__ import annotations

import pytest

from ledger.commands import Scale
from ledger.errors import AppNotFoundError, InvalidValueError
from ledger.events import Scaled
from ledger.spec import Spec
from ledger.values import MAX_REPLICAS
from tests.decisions.scenario import deployed, ended, given, opened

THREE = opened(Spec(image="a", replicas=3))


@pytest.mark.parametrize("replicas", [0, 1, 4, MAX_REPLICAS])
def test_another_number_is_recorded(replicas: int) -> None:
    given(*THREE).when(Scale(replicas=replicas)).then(Scaled(replicas=replicas))


def test_the_same_number_is_no_change() -> None:
    given(*THREE).when(Scale(replicas=3)).then()


def test_the_same_number_is_counted_from_the_last_scaling() -> None:
    given(*THREE, Scaled(replicas=5)).when(Scale(replicas=5)).then()
    given(*THREE, Scaled(replicas=5)).when(Scale(replicas=3)).then(Scaled(replicas=3))


def test_the_same_number_is_counted_from_a_later_deploy() -> None:
    history = [*THREE, Scaled(replicas=5), deployed(2, spec=Spec(image="a", replicas=2))]
    given(*history).when(Scale(replicas=2)).then()
    given(*history).when(Scale(replicas=5)).then(Scaled(replicas=5))


@pytest.mark.parametrize("replicas", [-1, MAX_REPLICAS + 1])
def test_a_number_that_makes_no_sense_is_refused(replicas: int) -> None:
    given(*THREE).when(Scale(replicas=replicas)).refused("replicas", error=InvalidValueError)


def test_an_app_without_a_life_is_not_found() -> None:
    given().when(Scale(replicas=1)).refused("not found", error=AppNotFoundError)
    given(*ended()).when(Scale(replicas=1)).refused("not found", error=AppNotFoundError)
