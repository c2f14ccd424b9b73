"""Remove secrets."""

from __future__ import annotations

from ledger.commands import UnsetSecrets
from ledger.errors import AppNotFoundError
from ledger.events import EnvSet, SecretSet, SecretUnset
from tests.decisions.scenario import ended, given, opened, sealed

SET = (*opened(), SecretSet(secrets={"A": sealed(1), "B": sealed(1)}))


def test_secrets_that_are_set_are_removed() -> None:
    given(*SET).when(UnsetSecrets(keys=("A",))).then(SecretUnset(keys=("A",)))


def test_an_unknown_secret_is_refused_and_the_known_ones_are_named() -> None:
    given(*SET).when(UnsetSecrets(keys=("A", "C"))).refused("C is not set in the secrets", hint="A, B")


def test_a_secret_that_was_removed_cannot_be_removed_again() -> None:
    given(*SET, SecretUnset(keys=("A",))).when(UnsetSecrets(keys=("A",))).refused("A is not set", hint="B")


def test_an_environment_value_is_no_secret() -> None:
    given(*opened(), EnvSet(values={"A": "1"})).when(UnsetSecrets(keys=("A",))).refused("A is not set", hint="none")


def test_an_app_without_a_life_is_not_found() -> None:
    given().when(UnsetSecrets(keys=("A",))).refused("not found", error=AppNotFoundError)
    given(*ended()).when(UnsetSecrets(keys=("A",))).refused("not found", error=AppNotFoundError)
