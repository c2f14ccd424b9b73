"""Delete every sealed value of a key."""

from __future__ import annotations

from ledger.commands import PurgeSecret
from ledger.errors import AppNotFoundError
from ledger.events import SecretPurged, SecretSet, SecretUnset
from tests.decisions.scenario import app, given, opened, sealed

SET = SecretSet(secrets={"KEY": sealed(1), "OTHER": sealed(1)})


def test_a_key_that_is_set_is_purged_and_not_set_any_more() -> None:
    given(*opened(), SET).when(PurgeSecret(key="KEY")).then(SecretPurged(key="KEY"))
    life = app(*opened(), SET, SecretPurged(key="KEY")).life
    assert life is not None
    assert life.secrets == {"OTHER": sealed(1)}
    assert life.dirty


def test_a_key_that_was_unset_can_be_purged_too() -> None:
    facts = (*opened(), SET, SecretUnset(keys=("KEY",)))
    given(*facts).when(PurgeSecret(key="KEY")).then(SecretPurged(key="KEY"))


def test_versions_go_on_counting_after_a_purge() -> None:
    life = app(*opened(), SET, SecretPurged(key="KEY")).life
    assert life is not None
    assert life.secret_versions["KEY"] == 1


def test_a_key_that_never_was_a_secret_is_refused() -> None:
    given(*opened(), SET).when(PurgeSecret(key="NOPE")).refused("NOPE was never a secret", hint="KEY, OTHER")


def test_an_app_without_a_life_is_not_found() -> None:
    given().when(PurgeSecret(key="KEY")).refused("not found", error=AppNotFoundError)
