"""Set environment values."""

from __future__ import annotations

from ledger.commands import SetEnv
from ledger.errors import AppNotFoundError, InvalidValueError
from ledger.events import EnvSet, EnvUnset, SecretSet, SecretUnset
from ledger.values import MAX_OBJECT_BYTES
from tests.decisions.scenario import ended, given, opened, sealed


def test_values_are_set_as_given() -> None:
    given(*opened()).when(SetEnv(values={"B": "2", "A": ""})).then(EnvSet(values={"B": "2", "A": ""}))


def test_only_what_is_given_is_recorded_not_what_is_set_already() -> None:
    given(*opened(), EnvSet(values={"A": "1"})).when(SetEnv(values={"B": "2"})).then(EnvSet(values={"B": "2"}))


def test_an_app_that_was_never_deployed_is_not_found() -> None:
    given().when(SetEnv(values={"A": "1"})).refused(
        'app "orders" not found in namespace shop', error=AppNotFoundError, hint="1ctl deploy"
    )


def test_an_app_that_was_destroyed_is_not_found() -> None:
    given(*ended()).when(SetEnv(values={"A": "1"})).refused("not found", error=AppNotFoundError)


def test_a_name_that_no_shell_can_read_is_refused() -> None:
    given(*opened()).when(SetEnv(values={"A-B": "1"})).refused("env name", error=InvalidValueError)


def test_a_value_that_no_process_can_be_given_is_refused_without_showing_it() -> None:
    answer = given(*opened()).when(SetEnv(values={"A": "hush\0"}))
    answer.refused("A must not have a NUL", error=InvalidValueError)


def test_the_name_of_a_secret_is_refused() -> None:
    history = [*opened(), SecretSet(secrets={"TOKEN": sealed(1)})]
    given(*history).when(SetEnv(values={"TOKEN": "x"})).refused(
        "TOKEN is a secret of this app already", hint="1ctl secret unset --key TOKEN"
    )


def test_the_name_of_a_secret_that_was_unset_is_free() -> None:
    history = [*opened(), SecretSet(secrets={"TOKEN": sealed(1)}), SecretUnset(keys=("TOKEN",))]
    given(*history).when(SetEnv(values={"TOKEN": "x"})).then(EnvSet(values={"TOKEN": "x"}))


def test_two_names_with_one_key_in_the_cluster_are_refused() -> None:
    history = [*opened(), EnvSet(values={"A_B": "1"})]
    given(*history).when(SetEnv(values={"a_b": "1"})).refused("a-b", error=InvalidValueError)
    given(*history, EnvUnset(keys=("A_B",))).when(SetEnv(values={"a_b": "1"})).then(EnvSet(values={"a_b": "1"}))


def test_all_values_together_must_fit_into_a_configmap() -> None:
    history = [*opened(), EnvSet(values={"A": "x" * (MAX_OBJECT_BYTES - 10)})]
    given(*history).when(SetEnv(values={"B": "x" * 8})).then(EnvSet(values={"B": "x" * 8}))
    given(*history).when(SetEnv(values={"B": "x" * 9})).refused("1 MiB", error=InvalidValueError)


def test_a_value_set_again_counts_once() -> None:
    big, other = "x" * (MAX_OBJECT_BYTES - 1), "y" * (MAX_OBJECT_BYTES - 1)
    given(*opened(), EnvSet(values={"A": big})).when(SetEnv(values={"A": other})).then(EnvSet(values={"A": other}))


def test_values_that_are_set_already_are_no_change() -> None:
    history = [*opened(), EnvSet(values={"A": "1", "B": "2"})]
    given(*history).when(SetEnv(values={"A": "1"})).then()
    given(*history).when(SetEnv(values={"B": "2", "A": "1"})).then()


def test_one_value_that_differs_is_a_change_and_all_are_recorded() -> None:
    history = [*opened(), EnvSet(values={"A": "1", "B": "2"})]
    given(*history).when(SetEnv(values={"A": "1", "B": "3"})).then(EnvSet(values={"A": "1", "B": "3"}))
    given(*history).when(SetEnv(values={"A": "1", "C": ""})).then(EnvSet(values={"A": "1", "C": ""}))


def test_a_value_that_was_unset_is_set_again() -> None:
    history = [*opened(), EnvSet(values={"A": "1"}), EnvUnset(keys=("A",))]
    given(*history).when(SetEnv(values={"A": "1"})).then(EnvSet(values={"A": "1"}))


def test_size_counts_bytes_not_characters() -> None:
    given(*opened()).when(SetEnv(values={"A": "ü" * (MAX_OBJECT_BYTES // 2)})).refused("1 MiB", error=InvalidValueError)
