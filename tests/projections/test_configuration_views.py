from __future__ import annotations

import json

from ledger.app import App, Changed, fold
from projections.configuration_views import Environment, Secrets, environment, secrets
from tests.projections.histories import APPS, Script, about

APP = APPS[0]


def env(ledger: Script) -> Environment | None:
    life = fold(App(id=APP), about(ledger.lines, APP)).life
    assert life is not None
    return environment(APP, life)


def sealed(ledger: Script) -> Secrets | None:
    life = fold(App(id=APP), about(ledger.lines, APP)).life
    assert life is not None
    return secrets(APP, life)


def test_an_app_without_configuration_has_neither() -> None:
    ledger = Script()
    ledger.deploy(APP)
    assert (env(ledger), sealed(ledger)) == (None, None)


def test_values_given_with_a_deploy_are_in_its_pods() -> None:
    ledger = Script()
    ledger.deploy(APP, env={"B": "2", "A": "1"})
    shown = env(ledger)
    assert shown is not None
    assert shown.values == (("A", "1", True), ("B", "2", True))


def test_values_set_later_reach_pods_with_the_next_roll() -> None:
    ledger = Script()
    ledger.deploy(APP, env={"A": "1", "B": "1"})
    ledger.env_set(APP, {"A": "2", "C": "2"})
    before = env(ledger)
    ledger.restart(APP)
    after = env(ledger)
    assert before is not None
    assert after is not None
    assert before.values == (("A", "2", False), ("B", "1", True), ("C", "2", False))
    assert [value.in_pods for value in after.values] == [True, True, True]


def test_a_key_that_was_unset_shows_while_pods_read_it() -> None:
    ledger = Script()
    ledger.deploy(APP, env={"A": "1"})
    ledger.env_unset(APP, "A")
    shown = env(ledger)
    assert shown is not None
    assert (shown.values, shown.only_in_pods) == ((), ("A",))
    ledger.restart(APP)
    assert env(ledger) is None


def test_an_environment_has_the_keys_that_scripts_expect() -> None:
    ledger = Script()
    ledger.deploy(APP, env={"A": "1"})
    ledger.scale(APP, 3)
    ledger.env_set(APP, {"B": "2"})
    ledger.secret_set(APP, "S")
    shown = env(ledger)
    assert shown is not None
    document = shown.to_json()
    assert document == {
        "environment_id": document["environment_id"],
        "deployment_id": shown.deployment_id,
        "namespace": "shop",
        "app_label": "orders",
        "key_values": [{"key": "A", "value": "1", "in_pods": True}, {"key": "B", "value": "2", "in_pods": False}],
        "only_in_pods": [],
        "created_at": "2026-01-01T00:00:02.000000Z",
        "updated_at": "2026-01-01T00:00:04.000000Z",
    }


def test_secrets_show_names_and_versions_only() -> None:
    ledger = Script()
    ledger.deploy(APP)
    ledger.secret_set(APP, "PASSWORD", "KEY")
    ledger.deploy(APP)
    ledger.secret_set(APP, "PASSWORD")
    shown = sealed(ledger)
    assert shown is not None
    document = shown.to_json()
    assert document == {
        "secret_id": document["secret_id"],
        "deployment_id": shown.deployment_id,
        "namespace": "shop",
        "app_label": "orders",
        "keys": ["KEY", "PASSWORD"],
        "key_count": 2,
        "versions": [
            {"key": "KEY", "version": 1, "in_pods": True},
            {"key": "PASSWORD", "version": 2, "in_pods": False},
        ],
        "only_in_pods": [],
        "created_at": "2026-01-01T00:00:03.000000Z",
        "updated_at": "2026-01-01T00:00:05.000000Z",
    }
    assert "d" * 64 not in json.dumps(document)


def test_an_unset_secret_shows_while_pods_read_it() -> None:
    ledger = Script()
    ledger.deploy(APP)
    ledger.secret_set(APP, "S")
    ledger.restart(APP)
    ledger.secret_unset(APP, "S")
    shown = sealed(ledger)
    assert shown is not None
    assert (shown.keys, shown.only_in_pods) == ((), ("S",))


def test_ids_last_for_a_life_and_differ_between_its_parts() -> None:
    ledger = Script()
    ledger.deploy(APP, env={"A": "1"})
    ledger.secret_set(APP, "S")
    first, secret = env(ledger), sealed(ledger)
    ledger.env_set(APP, {"A": "2"})
    second = env(ledger)
    ledger.destroy(APP)
    ledger.deploy(APP, env={"A": "1"})
    third = env(ledger)
    assert first is not None and second is not None and third is not None and secret is not None  # noqa: PT018
    ids = [shown.to_json()["environment_id"] for shown in (first, second, third)]
    assert ids[0] == ids[1] != ids[2]
    assert secret.to_json()["secret_id"] not in ids


def test_times_are_those_of_this_life() -> None:
    ledger = Script()
    ledger.deploy(APP, env={"A": "1"})
    ledger.destroy(APP)
    ledger.deploy(APP)
    again = ledger.env_set(APP, {"A": "1"})
    shown = env(ledger)
    assert shown is not None
    assert shown.changed == Changed(again.recorded_us, again.recorded_us)


def test_a_rollback_of_the_configuration_changes_it_one_of_the_code_does_not() -> None:
    ledger = Script()
    ledger.deploy(APP, env={"A": "1"})
    set_again = ledger.env_set(APP, {"A": "2"})
    ledger.roll_back(APP, 1, only="code")
    kept = env(ledger)
    rolled_back = ledger.roll_back(APP, 1, env={"A": "1"})
    restored = env(ledger)
    assert kept is not None
    assert restored is not None
    assert kept.changed.last_us == set_again.recorded_us
    assert restored.changed.last_us == rolled_back.recorded_us
    assert restored.values == (("A", "1", True),)


def test_a_purged_secret_shows_while_pods_read_it() -> None:
    ledger = Script()
    ledger.deploy(APP)
    ledger.secret_set(APP, "S", "T")
    ledger.restart(APP)
    purged = ledger.purge(APP, "S")
    shown = sealed(ledger)
    assert shown is not None
    assert ([entry.key for entry in shown.keys], shown.only_in_pods) == (["T"], ("S",))
    assert shown.changed.last_us == purged.recorded_us
