"""Remove environment keys."""

from __future__ import annotations

from ledger.commands import UnsetEnv
from ledger.errors import AppNotFoundError
from ledger.events import EnvSet, EnvUnset, SecretSet
from tests.decisions.scenario import ended, given, opened, sealed

SET = (*opened(), EnvSet(values={"B": "2", "A": "1"}))


def test_keys_that_are_set_are_removed() -> None:
    given(*SET).when(UnsetEnv(keys=("B", "A"))).then(EnvUnset(keys=("B", "A")))


def test_an_unknown_key_is_refused_and_the_known_ones_are_named() -> None:
    given(*SET).when(UnsetEnv(keys=("A", "C"))).refused("C is not set in the environment", hint="A, B")


def test_when_nothing_is_set_the_hint_says_none() -> None:
    given(*opened()).when(UnsetEnv(keys=("A",))).refused("A is not set", hint="none")


def test_a_key_that_was_removed_cannot_be_removed_again() -> None:
    given(*SET, EnvUnset(keys=("A",))).when(UnsetEnv(keys=("A",))).refused("A is not set", hint="B")


def test_a_secret_is_no_environment_key() -> None:
    given(*opened(), SecretSet(secrets={"A": sealed(1)})).when(UnsetEnv(keys=("A",))).refused("A is not set")


def test_an_app_without_a_life_is_not_found() -> None:
    given().when(UnsetEnv(keys=("A",))).refused("not found", error=AppNotFoundError)
    given(*ended()).when(UnsetEnv(keys=("A",))).refused("not found", error=AppNotFoundError)
