"""What a change changes, in words: settings with their values, environment and secrets by their keys only."""

from __future__ import annotations

import pytest

from ledger.events import Destroyed, EnvSet, EnvUnset, Event, Restarted, RolledBack, Scaled, SecretSet, SecretUnset
from ledger.spec import Spec
from projections.changes import changes, in_words
from tests.decisions.scenario import app, deployed, opened, sealed

ONE = Spec(image="orders:1", machines=("node-1",))
FIRST = (*opened(ONE), EnvSet(values={"A": "plain", "B": "plain"}), SecretSet(secrets={"KEY": sealed(1)}))


def told(before: tuple[Event, ...], *then: Event) -> str:
    """What the events that follow change, in words."""
    return in_words(changes(app(*before).life, app(*before, *then).life))


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (EnvSet(values={"A": "other", "C": "new"}), "env A changed; env C added"),
        (EnvUnset(keys=("A",)), "env A removed"),
        (SecretSet(secrets={"KEY": sealed(2), "NEW": sealed(1)}), "secret KEY version 1 → 2; secret NEW added"),
        (SecretUnset(keys=("KEY",)), "secret KEY removed"),
        (Scaled(replicas=3), "replicas 1 → 3"),
        (Restarted(), "env A added; env B added; secret KEY added"),
        (EnvSet(values={"A": "plain"}), ""),
    ],
)
def test_what_is_set_and_what_pods_will_read_is_told(event: Event, words: str) -> None:
    assert told(FIRST, event) == words


def test_a_release_is_told_by_all_that_its_pods_read_newly() -> None:
    assert told(FIRST, deployed(2, spec=Spec(image="orders:2"))) == (
        "env A added; env B added; image orders:1 → orders:2; machines node-1 → any; secret KEY added"
    )


@pytest.mark.parametrize("between", [(), (Restarted(),)], ids=["which no pod has read", "which pods read"])
def test_a_rollback_is_told_by_the_value_that_it_takes_back(between: tuple[Event, ...]) -> None:
    leaked = (*FIRST, Restarted(), SecretSet(secrets={"KEY": sealed(2)}), *between)
    env, secrets = {"A": "plain", "B": "plain"}, {"KEY": sealed(1)}
    back = RolledBack(release=2, target=1, only="all", spec=ONE, env=env, secrets=secrets)
    assert told(leaked, back) == "secret KEY version 2 → 1"


def test_nothing_is_told_of_an_app_that_is_not_deployed() -> None:
    assert in_words(changes(None, app(*FIRST).life)) == in_words(changes(app(*FIRST).life, None)) == ""
    assert told(FIRST, Destroyed()) == ""
