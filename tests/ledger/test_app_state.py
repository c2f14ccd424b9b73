"""A state as bytes: what is written is what is read, and nobody can change the state without changing its shape."""

from __future__ import annotations

import os
from dataclasses import fields, is_dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import get_args

import pytest
from hypothesis import given, settings

from ledger import app_state
from ledger.app import App, Life, Parked, Roll, fold
from ledger.events import SCHEMA_VERSIONS, AppliedObject, FieldDrift
from ledger.spec import AppId, Configuration, SecretVersion, Spec
from tests.decisions.scenario import APP, told
from tests.ledger.examples import EXAMPLES
from tests.projections.histories import APPS, Script, Step, Verb, about, perform, script, steps
from tests.seeds import examples

FOLDS = Path(__file__).parents[1] / "golden" / "folds"
STATES = (App, AppId, Life, Roll, Configuration, SecretVersion, Spec, Parked, AppliedObject, FieldDrift)


VERBS = [verb for verb in get_args(Verb) if verb not in ("retry_removal", "overtake", "unmark")]
"""What golden files are made from. Verbs that came later would make another history, not another fold."""


def every_kind_of_fact() -> list[App]:
    """What an app adds up to after each event of a long history that chance made, and after one event of each kind."""
    chance, ledger = Random(1), Script()
    for _ in range(400):
        perform(ledger, Step(APPS[chance.random() < 0.2], chance.choice(VERBS), chance.randrange(12)))
    facts = [event for event in EXAMPLES if type(event) in SCHEMA_VERSIONS]
    states = []
    for app, lines in ((APPS[0], about(ledger.lines, APPS[0])), (APP, told(*facts, *facts))):
        state = App(id=app)
        for line in lines:
            state = fold(state, [line])
            states.append(state)
    return states


def test_a_state_is_read_as_it_was_written() -> None:
    for state in every_kind_of_fact():
        assert app_state.from_bytes(app_state.to_bytes(state)) == state
        assert app_state.to_bytes(app_state.from_bytes(app_state.to_bytes(state))) == app_state.to_bytes(state)


@settings(deadline=None, max_examples=examples(60, short=60))
@given(plan=steps(min_size=10, max_size=60))
def test_any_state_is_read_as_it_was_written(plan: list[Step]) -> None:
    for app in APPS:
        state = fold(App(id=app), about(script(plan).lines, app))
        assert app_state.from_bytes(app_state.to_bytes(state)) == state


def test_types_are_those_of_the_state() -> None:
    state = next(state for state in every_kind_of_fact() if state.life and state.life.bad and state.life.objects)
    read = app_state.from_bytes(app_state.to_bytes(state)).life
    assert read is not None
    assert {type(number) for number in read.bad} == {int}
    assert (type(read.kept), type(read.objects[0]), type(read.roll)) == (tuple, AppliedObject, Roll)
    assert hash(read.spec) == hash(state.life.spec)  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", STATES)
def test_a_field_more_or_of_another_type_is_another_shape(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    def shape() -> int:
        return app_state.shape.__wrapped__()

    before = shape()
    assert 0 < before < 2**31
    monkeypatch.setattr(kind, "__annotations__", {**kind.__annotations__, "note": "str"})
    more = shape()
    monkeypatch.setattr(kind, "__annotations__", {**kind.__annotations__, "note": "int"})
    assert len({before, more, shape()}) == 3


def test_another_fold_is_another_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    before = app_state.shape.__wrapped__()
    monkeypatch.setattr(app_state, "FOLD", app_state.FOLD + 1)
    assert app_state.shape.__wrapped__() != before


def test_the_fold_of_a_shape_never_changes() -> None:
    """What programs of this shape wrote is read by this one, so it has to make the same of the same events."""
    golden = FOLDS / f"{app_state.shape()}.sha256"
    found = sha256(b"\n".join(map(app_state.to_bytes, every_kind_of_fact()))).hexdigest() + "\n"
    if os.environ.get("ONECTL_TEST_GOLDEN") == "write" and not golden.exists():
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(found)
    assert golden.exists(), "the state has other fields: ONECTL_TEST_GOLDEN=write adds a golden file for this shape"
    assert golden.read_text() == found, "the same events lead to another state: raise FOLD in ledger/app_state.py"


@pytest.mark.parametrize("kind", STATES)
def test_every_class_that_a_state_is_made_of_is_described(kind: type) -> None:
    told_about: dict[str, str] = {}
    app_state._describe(App, told_about)
    assert is_dataclass(kind)
    assert all(field.name in told_about[kind.__name__] for field in fields(kind))


@pytest.mark.parametrize("state", [b"", b"null", b"[]", b"{}", b'{"id": 1}', b'{"surprise": 1}', b"\xff"])
def test_bytes_of_something_else_are_refused(state: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        app_state.from_bytes(state)
