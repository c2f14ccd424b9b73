from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from ledger.app import App, Changed, Life, Roll, fold
from ledger.sqlite_store import SqliteStore
from projections.configuration_views import Environment, Secrets, environment, secrets, serving
from tests.projections.histories import APPS, Script, about, write

APP = APPS[0]


def read(ledger: Script) -> tuple[Life, Sequence[Roll]]:
    """The app's open life, and the rolls whose pods may run."""
    life = fold(App(id=APP), about(ledger.lines, APP)).life
    assert life is not None
    with TemporaryDirectory() as directory, closing(SqliteStore(Path(directory) / "ledger.db")) as store:
        write(store, ledger.lines)
        return life, serving(store, APP, life)


def env(ledger: Script) -> Environment | None:
    return environment(APP, *read(ledger))


def sealed(ledger: Script) -> Secrets | None:
    return secrets(APP, *read(ledger))


def reached(ledger: Script) -> Mapping[str, str]:
    """By key, whether pods read what is set."""
    shown, hidden = env(ledger), sealed(ledger)
    found: dict[str, str] = {each.key: each.reach for each in shown.values} if shown else {}
    return found | ({each.key: each.reach for each in hidden.keys} if hidden else {})


def test_an_app_without_configuration_has_neither() -> None:
    ledger = Script()
    ledger.deploy(APP)
    assert (env(ledger), sealed(ledger)) == (None, None)


def test_values_given_with_a_deploy_are_in_its_pods_once_those_are_ready() -> None:
    ledger = Script()
    ledger.deploy(APP, env={"B": "2", "A": "1"})
    before = env(ledger)
    ledger.completed(APP)
    after = env(ledger)
    assert before is not None
    assert after is not None
    assert before.values == (("A", "1", "not yet"), ("B", "2", "not yet"))
    assert after.values == (("A", "1", "yes"), ("B", "2", "yes"))


def test_values_of_a_roll_that_failed_are_in_no_pods_but_those_that_the_good_ones_read_too() -> None:
    ledger = Script()
    ledger.deploy(APP, env={"SAME": "1", "OTHER": "1"})
    ledger.secret_set(APP, "S")
    ledger.restart(APP)
    ledger.completed(APP)
    ledger.env_set(APP, {"OTHER": "2"})
    ledger.secret_set(APP, "T")
    ledger.deploy(APP)
    assert reached(ledger) == {"SAME": "yes", "OTHER": "not yet", "S": "yes", "T": "not yet"}
    ledger.failed(APP)
    assert reached(ledger) == {"SAME": "yes", "OTHER": "no", "S": "yes", "T": "no"}
    ledger.env_set(APP, {"OTHER": "1"})
    assert reached(ledger)["OTHER"] == "after restart"
    ledger.restart(APP)
    assert reached(ledger) == {"SAME": "yes", "OTHER": "not yet", "S": "yes", "T": "not yet"}
    ledger.completed(APP)
    assert reached(ledger) == {"SAME": "yes", "OTHER": "yes", "S": "yes", "T": "yes"}


def test_where_no_pods_were_ever_ready_no_value_is_in_pods() -> None:
    ledger = Script()
    ledger.deploy(APP, env={"A": "1"})
    ledger.failed(APP)
    assert reached(ledger) == {"A": "no"}
    ledger.restart(APP)
    assert reached(ledger) == {"A": "not yet"}


def test_a_roll_that_became_ready_while_a_newer_one_was_asked_for_counts() -> None:
    ledger = Script()
    first = ledger.deploy(APP, env={"A": "1"})
    ledger.restart(APP)
    ledger.completed(APP, roll=first.position)
    assert reached(ledger) == {"A": "yes"}


def test_values_set_later_reach_pods_with_the_next_roll() -> None:
    ledger = Script()
    ledger.deploy(APP, env={"A": "1", "B": "1"})
    ledger.env_set(APP, {"A": "2", "C": "2"})
    ledger.completed(APP)
    before = reached(ledger)
    ledger.restart(APP)
    ledger.completed(APP)
    assert before == {"A": "after restart", "B": "yes", "C": "after restart"}
    assert reached(ledger) == {"A": "yes", "B": "yes", "C": "yes"}


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
    ledger.completed(APP)
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
        "updated_at": "2026-01-01T00:00:05.000000Z",
    }


def test_secrets_show_names_and_versions_only() -> None:
    ledger = Script()
    ledger.deploy(APP)
    ledger.secret_set(APP, "PASSWORD", "KEY")
    ledger.deploy(APP)
    ledger.completed(APP)
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
        "updated_at": "2026-01-01T00:00:06.000000Z",
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
    assert restored.values == (("A", "1", "not yet"),)


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
