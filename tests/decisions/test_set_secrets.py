"""Set secrets: the decision sees key names and what was sealed, never values."""

from __future__ import annotations

from ledger.commands import SetSecrets
from ledger.errors import AppNotFoundError, InvalidValueError
from ledger.events import EnvSet, EnvUnset, SecretSet
from tests.decisions.scenario import ended, given, opened, sealed


def test_what_was_sealed_for_each_key_is_recorded() -> None:
    both = {"A": sealed(1), "B": sealed(4)}
    given(*opened()).when(SetSecrets(keys=("B", "A")), secrets=both).then(SecretSet(secrets=both))


def test_what_was_sealed_for_keys_not_asked_for_is_not_recorded() -> None:
    both = {"A": sealed(1), "B": sealed(1)}
    given(*opened()).when(SetSecrets(keys=("A",)), secrets=both).then(SecretSet(secrets={"A": sealed(1)}))


def test_a_secret_may_be_set_again() -> None:
    history = [*opened(), SecretSet(secrets={"A": sealed(1)})]
    given(*history).when(SetSecrets(keys=("A",)), secrets={"A": sealed(2)}).then(SecretSet(secrets={"A": sealed(2)}))


def test_the_name_of_an_environment_value_is_refused() -> None:
    history = [*opened(), EnvSet(values={"TOKEN": "x"})]
    given(*history).when(SetSecrets(keys=("TOKEN",)), secrets={"TOKEN": sealed(1)}).refused(
        "TOKEN is an environment value", hint="1ctl env unset --key TOKEN"
    )


def test_the_name_of_an_environment_value_that_was_unset_is_free() -> None:
    history = [*opened(), EnvSet(values={"TOKEN": "x"}), EnvUnset(keys=("TOKEN",))]
    given(*history).when(SetSecrets(keys=("TOKEN",)), secrets={"TOKEN": sealed(1)}).then(
        SecretSet(secrets={"TOKEN": sealed(1)})
    )


def test_a_name_that_no_shell_can_read_is_refused() -> None:
    given(*opened()).when(SetSecrets(keys=("a.b",)), secrets={"a.b": sealed(1)}).refused(
        "secret name 'a.b' must be", error=InvalidValueError
    )


def test_two_names_with_one_key_in_the_cluster_are_refused() -> None:
    both = {"A_B": sealed(1), "a_b": sealed(1)}
    given(*opened()).when(SetSecrets(keys=("A_B", "a_b")), secrets=both).refused("a-b", error=InvalidValueError)
    history = [*opened(), SecretSet(secrets={"A_B": sealed(1)})]
    given(*history).when(SetSecrets(keys=("a_b",)), secrets=both).refused("a-b", error=InvalidValueError)


def test_an_app_without_a_life_is_not_found() -> None:
    given().when(SetSecrets(keys=("A",))).refused("not found", error=AppNotFoundError)
    given(*ended()).when(SetSecrets(keys=("A",))).refused("not found", error=AppNotFoundError)
