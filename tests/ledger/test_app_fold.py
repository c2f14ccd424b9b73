"""`evolve`: what a stream of facts adds up to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.app import KEPT_ROLLS, App, Life, Parked, evolve, fold
from ledger.envelope import Recorded
from ledger.events import (
    SCHEMA_VERSIONS,
    AppliedObject,
    ApplyRefused,
    ApplyRetried,
    Destroyed,
    DomainAssigned,
    DriftDetected,
    DriftHealed,
    EnvSet,
    EnvUnset,
    Event,
    FieldDrift,
    ObjectAdopted,
    ObservedEvent,
    ResourcesApplied,
    ResourcesRemoved,
    Restarted,
    RolloutCompleted,
    RolloutFailed,
    Scaled,
    SecretSet,
    SecretsFingerprinted,
    SecretUnset,
)
from ledger.spec import Configuration, SecretVersion, Spec
from ledger.streams import app_stream, observed_stream
from tests.decisions.scenario import (
    APP,
    FIRST_DOMAIN,
    FIRST_LIFE,
    KEY,
    NEXT_LIFE,
    START_US,
    app,
    deployed,
    ended,
    envelope,
    opened,
    sealed,
    told,
)
from tests.seeds import examples

PARKED = ("Forbidden", "Invalid", "NotOurs", "FieldConflict", "Contended", "Sealed", "Redacted", "StillThere")
"""Reasons for which apps are parked, by the cluster and by ourselves."""

LIVES = (FIRST_LIFE, NEXT_LIFE, "33333333-3333-4333-8333-333333333333")
OBSERVED = get_args(ObservedEvent)


def life_of(*facts: Event | tuple[str, Event]) -> Life:
    life = app(*facts).life
    assert life is not None
    return life


def applied(through: int, *objects: AppliedObject, release: int = 1) -> ResourcesApplied:
    return ResourcesApplied(release=release, through=through, objects=objects)


def completed(roll: int, release: int = 1) -> RolloutCompleted:
    return RolloutCompleted(release=release, roll=roll, replicas=1)


def failed(roll: int, release: int = 1) -> RolloutFailed:
    return RolloutFailed(release=release, roll=roll, reason="ImagePullBackOff", message="no such image")


# -- Totality ------------------------------------------------------------------------------------------------------

small = st.integers(0, 40)
keys = st.sampled_from(["A", "B", "C"])
texts = st.sampled_from(["", "x", "y"])
_BY_FIELD: dict[str, st.SearchStrategy[Any]] = {
    "deployment_id": st.sampled_from(LIVES),
    "spec": st.builds(Spec, image=texts, replicas=small),
    "values": st.dictionaries(keys, texts),
    "env": st.dictionaries(keys, texts),
    "keys": st.lists(keys).map(tuple),
    "secrets": st.dictionaries(keys, st.builds(SecretVersion, version=small, digest=texts)),
}


def _anything_of(kind: type[Event]) -> st.SearchStrategy[Event]:
    fields = {name: strategy for name, strategy in _BY_FIELD.items() if name in kind.__dataclass_fields__}
    numbers = {name: small for name, entry in kind.__dataclass_fields__.items() if entry.type == "int"}
    return st.builds(kind, **fields, **numbers)


events: st.SearchStrategy[Event] = st.one_of([_anything_of(kind) for kind in SCHEMA_VERSIONS])
subjects = st.sampled_from([None, *LIVES])
requests = st.sampled_from(["r1", "r2", "r3"])


@settings(max_examples=examples(150, short=150), deadline=None)
@given(st.lists(st.tuples(events, subjects, requests), max_size=30))
def test_any_sequence_of_any_events_can_be_folded(sequence: list[tuple[Event, str | None, str]]) -> None:
    state = App(id=APP)
    for position, (event, life, request) in enumerate(sequence, start=1):
        line = Recorded(position, UUID(int=0), position, START_US + position, envelope(life, request), event)
        state = evolve(state, line)
        assert state.head == position
        assert position == (state.observed_version if isinstance(event, OBSERVED) else state.version)
        assert state.life is None or state.life.kept[-1] == state.life.roll
        assert state.life is None or len(state.life.kept) <= KEPT_ROLLS + 1
        assert state.life is None or state.life.destroyed is None
        assert state.leaving is None or state.leaving.destroyed is not None
        assert isinstance(state.dirty, bool)


# -- Lives ---------------------------------------------------------------------------------------------------------


def test_before_its_first_event_an_app_has_no_life() -> None:
    assert app() == App(id=APP)
    assert not app().dirty


def test_the_first_deploy_opens_a_life() -> None:
    spec = Spec(image="orders:1", replicas=2)
    state = app(*opened(spec))
    life = state.life
    assert life is not None
    assert (life.deployment_id, life.release, life.spec, life.life_key) == (FIRST_LIFE, 1, spec, KEY)
    assert life.domain == FIRST_DOMAIN
    assert (life.opened_us, life.updated_us) == (START_US + 1_000_000, START_US + 2_000_000)
    assert (state.lives, state.version, state.observed_version, state.head) == (1, 2, 0, 2)


def test_facts_observed_count_in_a_version_of_their_own() -> None:
    state = app(*opened(), applied(2), completed(1), Scaled(replicas=2))
    assert (state.version, state.observed_version, state.head) == (3, 2, 5)


def test_the_streams_of_an_app_are_its_own_and_the_observed_one() -> None:
    assert app().stream == app_stream(APP)
    assert app().observed == observed_stream(app_stream(APP))


def test_destroy_ends_the_life_and_leaves_it_to_be_removed() -> None:
    state = app(*opened(), EnvSet(values={"A": "1"}), Destroyed())
    assert state.life is None
    assert state.leaving is not None
    assert (state.leaving.destroyed, state.leaving.changed, state.leaving.updated_us) == (4, 4, START_US + 4_000_000)
    assert state.leaving.env == {"A": "1"}
    assert state.dirty


def test_a_life_is_gone_once_its_objects_are() -> None:
    state = app(*ended(), ResourcesRemoved(through=3))
    assert state.leaving is None
    assert not state.dirty
    assert state.lives == 1


def test_each_destroyed_life_is_left_until_it_is_known_to_be_gone_itself() -> None:
    history = [*told(*ended(), deployed(life=NEXT_LIFE), Destroyed())]

    def left(*removals: tuple[str, int]) -> list[str]:
        lines = list(history)
        for life, through in removals:
            lines += told(ResourcesRemoved(through=through), life=life, after=len(lines))
        return [life.deployment_id for life in fold(App(id=APP), lines).unremoved]

    assert left() == [FIRST_LIFE, NEXT_LIFE]
    assert left((FIRST_LIFE, 3)) == [NEXT_LIFE]
    assert left((NEXT_LIFE, 5)) == [FIRST_LIFE]
    assert left((NEXT_LIFE, 5), (FIRST_LIFE, 3)) == []


def test_an_outdated_removal_does_not_clear_a_later_destroy() -> None:
    history = [*ended(), deployed(life=NEXT_LIFE), Destroyed()]
    assert app(*history, ResourcesRemoved(through=3)).is_leaving(NEXT_LIFE)
    assert not app(*history, ResourcesRemoved(through=5)).is_leaving(NEXT_LIFE)


def test_what_was_refused_of_a_destroyed_life_is_known_until_it_is_gone_whatever_is_destroyed_since() -> None:
    refused = ApplyRefused(release=1, through=3, reason="Forbidden", message="no")
    state = app(*ended(), refused, deployed(life=NEXT_LIFE), Destroyed())
    assert [life.parked is not None for life in state.unremoved] == [True, False]


def test_the_next_deploy_opens_a_new_life_that_inherits_nothing() -> None:
    history = [*opened(), EnvSet(values={"A": "1"}), SecretSet(secrets={"S": sealed(3)}), completed(1), Destroyed()]
    state = app(*history, deployed(life=NEXT_LIFE, spec=Spec(image="new")))
    life = state.life
    assert life is not None
    assert (life.deployment_id, life.release, state.lives) == (NEXT_LIFE, 1, 2)
    assert (life.domain, life.env, life.secrets, life.secret_versions) == (None, {}, {}, {})
    assert (life.rollout, life.applied_through, life.opened_us) == ("pending", 0, START_US + 7_000_000)
    assert state.leaving is not None
    assert state.leaving.deployment_id == FIRST_LIFE


@pytest.mark.parametrize(
    "late",
    [
        applied(9),
        completed(4),
        failed(4),
        EnvSet(values={"A": "late"}),
        EnvUnset(keys=("B",)),
        SecretSet(secrets={"S": sealed(9)}),
        SecretUnset(keys=("T",)),
        Scaled(replicas=9),
        Restarted(),
        DomainAssigned(domain="late"),
        Destroyed(),
    ],
)
@pytest.mark.parametrize("about", [FIRST_LIFE, None])
def test_an_event_of_an_older_life_or_of_none_changes_counters_only(late: Event, about: str | None) -> None:
    history = [*ended(), deployed(life=NEXT_LIFE), EnvSet(values={"B": "1"}), SecretSet(secrets={"T": sealed(1)})]
    before = app(*history)
    stream = observed_stream(app_stream(APP)) if isinstance(late, OBSERVED) else app_stream(APP)
    after = evolve(before, Recorded(7, stream, 70, START_US + 70, envelope(about, "late"), late))
    counted = replace(before, observed_version=70) if isinstance(late, OBSERVED) else replace(before, version=70)
    assert after == replace(counted, head=7)


# -- What is asked for ---------------------------------------------------------------------------------------------


def test_environment_is_merged_and_removed_by_key() -> None:
    life = life_of(
        *opened(), EnvSet(values={"A": "1", "B": "2"}), EnvSet(values={"B": "3", "C": "4"}), EnvUnset(keys=("A", "Z"))
    )
    assert life.env == {"B": "3", "C": "4"}


def test_secrets_are_merged_and_removed_by_key() -> None:
    life = life_of(
        *opened(),
        SecretSet(secrets={"A": sealed(1), "B": sealed(1)}),
        SecretSet(secrets={"B": sealed(2)}),
        SecretUnset(keys=("A",)),
    )
    assert life.secrets == {"B": sealed(2)}


def test_the_version_of_a_secret_that_was_unset_is_remembered() -> None:
    life = life_of(*opened(), SecretSet(secrets={"A": sealed(7)}), SecretUnset(keys=("A",)))
    assert life.secret_versions == {"A": 7}


def test_scaling_changes_what_the_release_runs_but_makes_no_pods_anew() -> None:
    life = life_of(*opened(), Scaled(replicas=4))
    assert (life.spec.replicas, life.release, life.roll.position, len(life.kept)) == (4, 1, 1, 1)


@pytest.mark.parametrize(
    "event",
    [
        deployed(2),
        DomainAssigned(domain="other"),
        EnvSet(values={"A": "1"}),
        EnvUnset(keys=("A",)),
        SecretSet(secrets={}),
        SecretUnset(keys=("A",)),
        Scaled(replicas=2),
        Restarted(),
        ApplyRetried(),
        ObjectAdopted(kind="Service", name="orders", uid="u-1"),
    ],
)
def test_whatever_is_asked_for_makes_the_app_dirty_and_tries_a_parked_one_again(event: Event) -> None:
    refused = ApplyRefused(release=1, through=2, reason="Forbidden", message="no")
    before = app(*opened(), applied(2), refused)
    assert before.life is not None
    assert not before.dirty
    assert before.life.parked == Parked(through=2, reason="Forbidden", message="no")
    after = app(*opened(), applied(2), refused, event)
    assert after.life is not None
    assert after.dirty
    assert after.life.parked is None
    assert (after.life.changed, after.life.updated_us) == (5, START_US + 5_000_000)


# -- What was seen -------------------------------------------------------------------------------------------------


def test_an_app_is_clean_once_the_cluster_was_made_equal_to_its_newest_event() -> None:
    assert app(*opened()).dirty
    assert app(*opened(), applied(1)).dirty
    assert not app(*opened(), applied(2)).dirty


def test_what_was_applied_of_a_line_that_the_ledger_lost_says_nothing_about_those_that_came_instead() -> None:
    assert [life_of(*opened(), applied(through)).applied_through for through in (2, 3, 4)] == [2, 0, 0]
    healed = life_of(*opened(), applied(9), Restarted(), applied(4))
    assert (healed.applied_through, healed.dirty) == (4, False)


def test_objects_are_those_of_the_last_apply() -> None:
    one, two = (AppliedObject(kind="Service", name=name, uid="u", digest="d") for name in "ab")
    assert life_of(*opened(), applied(2, one), applied(2, two)).objects == (two,)


def test_applying_clears_a_refusal() -> None:
    refused = ApplyRefused(release=1, through=2, reason="Forbidden", message="no")
    assert life_of(*opened(), refused, applied(2)).parked is None


def test_a_refusal_leaves_what_was_applied() -> None:
    refused = ApplyRefused(release=1, through=3, reason="Forbidden", message="no")
    life = life_of(*opened(), applied(2), Scaled(replicas=2), refused)
    assert (life.applied_through, life.dirty) == (2, True)


def test_facts_observed_are_no_news_about_what_was_asked_for() -> None:
    life = life_of(*opened(), applied(2), completed(1))
    assert (life.changed, life.updated_us) == (2, START_US + 2_000_000)


def test_the_rollout_is_pending_until_its_own_outcome_is_known() -> None:
    assert life_of(*opened()).rollout == "pending"
    assert life_of(*opened(), completed(1)).rollout == "completed"
    assert life_of(*opened(), failed(1)).rollout == "failed"
    assert life_of(*opened(), failed(1)).rollout_failure == ("ImagePullBackOff", "no such image")


def test_a_completion_after_a_failure_wins() -> None:
    life = life_of(*opened(), failed(1), completed(1))
    assert (life.rollout, life.rollout_failure) == ("completed", None)


@pytest.mark.parametrize("outcome", [completed(1), failed(1)])
def test_the_outcome_of_an_older_roll_says_nothing_about_the_newest(outcome: Event) -> None:
    life = life_of(*opened(), deployed(2), outcome)
    assert (life.rollout, life.rollout_failure) == ("pending", None)


@pytest.mark.parametrize("again", [deployed(2), Restarted()])
def test_a_new_roll_is_pending_whatever_became_of_the_last(again: Event) -> None:
    life = life_of(*opened(), failed(1), again)
    assert (life.rollout, life.rollout_failure) == ("pending", None)


# -- Rolls ---------------------------------------------------------------------------------------------------------


def positions(life: Life) -> list[int]:
    return [roll.position for roll in life.kept]


def test_deploys_and_restarts_roll_and_nothing_else_does() -> None:
    life = life_of(*opened(), Scaled(replicas=2), EnvSet(values={"A": "1"}), Restarted(), applied(5), deployed(2))
    assert positions(life) == [1, 5, 7]
    assert [roll.release for roll in life.kept] == [1, 1, 2]
    assert life.roll == life.kept[-1]


def test_what_the_same_request_sets_reaches_its_own_pods() -> None:
    secret = {"S": sealed(1)}
    life = life_of(("deploy", deployed()), ("deploy", EnvSet(values={"A": "1"})), ("deploy", SecretSet(secrets=secret)))
    assert life.roll.configuration == Configuration({"A": "1"}, secret)
    assert life.kept == (life.roll,)


def test_what_another_request_sets_waits_for_the_next_roll() -> None:
    life = life_of(("r1", deployed()), ("r2", EnvSet(values={"A": "1"})), ("r3", SecretSet(secrets={"S": sealed(1)})))
    assert life.roll.configuration == Configuration()
    assert life.configuration == Configuration({"A": "1"}, {"S": sealed(1)})


def test_the_next_roll_reads_what_was_set_meanwhile() -> None:
    life = life_of(("r1", deployed()), ("r2", EnvSet(values={"A": "1"})), ("r3", Restarted()))
    assert [roll.configuration for roll in life.kept] == [Configuration(), Configuration({"A": "1"})]


def test_what_is_unset_with_a_roll_is_not_in_its_pods() -> None:
    life = life_of(
        ("r1", deployed()),
        ("r1", EnvSet(values={"A": "1", "B": "2"})),
        ("r2", deployed(2)),
        ("r2", EnvUnset(keys=("A",))),
    )
    assert [roll.configuration.env for roll in life.kept] == [{"A": "1", "B": "2"}, {"B": "2"}]


def test_a_request_of_an_older_roll_does_not_change_the_newest() -> None:
    life = life_of(("r1", deployed()), ("r2", Restarted()), ("r1", EnvSet(values={"A": "1"})))
    assert [roll.configuration.env for roll in life.kept] == [{}, {}]


def test_a_good_roll_makes_the_older_ones_forgotten() -> None:
    history = [*opened(), deployed(2), deployed(3), deployed(4)]
    assert positions(life_of(*history)) == [1, 3, 4, 5]
    assert positions(life_of(*history, completed(4, 3))) == [4, 5]
    assert positions(life_of(*history, completed(5, 4))) == [5]


def test_the_news_that_an_older_roll_is_good_brings_nothing_back() -> None:
    history = [*opened(), deployed(2), deployed(3), completed(3, 2)]
    assert positions(life_of(*history, completed(1))) == [3, 4]


def test_a_roll_that_was_never_asked_for_forgets_nothing() -> None:
    assert positions(life_of(*opened(), completed(99))) == [1]


def test_the_last_good_roll_is_kept_however_many_follow() -> None:
    good = life_of(*opened(), completed(1), *[deployed(release) for release in range(2, 40)])
    assert len(good.kept) == KEPT_ROLLS + 1
    assert positions(good) == [1, *range(42 - KEPT_ROLLS, 42)]


def test_as_many_rolls_as_are_kept_are_all_there() -> None:
    life = life_of(*opened(), *[Restarted() for _ in range(KEPT_ROLLS)])
    assert positions(life) == [1, *range(3, KEPT_ROLLS + 3)]


# -- Folding in pieces ---------------------------------------------------------------------------------------------


def test_folding_in_pieces_is_folding_at_once() -> None:
    lines = told(*opened(), EnvSet(values={"A": "1"}), applied(3), Restarted(), completed(5), Destroyed())
    for cut in range(len(lines)):
        assert fold(fold(App(id=APP), lines[:cut]), lines[cut:]) == fold(App(id=APP), lines)


def test_folding_changes_no_earlier_state() -> None:
    before = app(*opened(), EnvSet(values={"A": "1"}), SecretSet(secrets={"S": sealed(1)}))
    copy = app(*opened(), EnvSet(values={"A": "1"}), SecretSet(secrets={"S": sealed(1)}))
    fold(before, told(EnvSet(values={"A": "2"}), SecretUnset(keys=("S",)), Restarted(), after=before.head))
    assert before == copy


def test_a_refused_removal_parks_the_life_that_is_leaving() -> None:
    leaving = app(*ended(), ApplyRefused(release=1, through=3, reason="Forbidden", message="no")).leaving
    assert leaving is not None
    assert leaving.parked == Parked(through=3, reason="Forbidden", message="no")


@pytest.mark.parametrize("asked", [Scaled(replicas=2), Destroyed()])
def test_a_refusal_that_is_recorded_after_something_else_was_asked_for_parks_nothing(asked: Event) -> None:
    now = app(*opened(), asked, ApplyRefused(release=1, through=2, reason="Forbidden", message="no"))
    life = now.life or now.leaving
    assert life is not None
    assert (life.changed, life.parked) == (3, None)


@pytest.mark.parametrize("reason", PARKED)
def test_destroying_a_parked_app_is_a_new_request_that_is_tried(reason: str) -> None:
    leaving = app(*opened(), ApplyRefused(release=1, through=2, reason=reason, message="no"), Destroyed()).leaving
    assert leaving is not None
    assert leaving.parked is None


# -- Drift and what somebody else made ----------------------------------------------------------------------------


def drifted(*fields: str, name: str = "orders") -> DriftDetected:
    return DriftDetected(
        kind="Service",
        name=name,
        fields=tuple(FieldDrift(field=path, wanted="1", found="2", manager="kubectl-edit") for path in fields),
    )


def test_drift_is_known_until_the_object_is_as_asked_for_again() -> None:
    known = life_of(*opened(), drifted("spec.ports"), drifted("spec.type", name="other")).drift
    assert {key: [each.field for each in fields] for key, fields in known.items()} == {
        "Service/orders": ["spec.ports"],
        "Service/other": ["spec.type"],
    }
    assert life_of(*opened(), drifted("spec.ports"), drifted()).drift == {}
    healed = DriftHealed(kind="Service", name="orders", fields=("spec.ports",))
    assert life_of(*opened(), drifted("spec.ports"), healed).drift == {}


def test_the_newest_times_a_field_was_set_back_are_remembered_until_something_is_asked_for() -> None:
    healed = DriftHealed(kind="Service", name="orders", fields=("spec.ports",))
    other = DriftHealed(kind="Service", name="orders", fields=("spec.type",))
    life = life_of(*opened(), healed, healed, other, healed, healed)
    at = [START_US + position * 1_000_000 for position in range(8)]
    assert life.heals == {"Service/orders": {"spec.ports": (at[4], at[6], at[7]), "spec.type": (at[5],)}}
    assert life_of(*opened(), healed, Restarted()).heals == {}


def test_what_is_seen_of_objects_asks_nothing_of_the_cluster() -> None:
    healed = DriftHealed(kind="Service", name="orders", fields=("spec.ports",))
    assert not app(*opened(), applied(2), drifted("spec.ports"), healed).dirty


def test_an_object_can_be_adopted_before_there_is_a_life() -> None:
    before = app(ObjectAdopted(kind="Service", name="orders", uid="u-1"))
    assert before.adopted == {"Service/orders": "u-1"}
    assert before.life is None
    after = app(ObjectAdopted(kind="Service", name="orders", uid="u-1"), *opened(), Destroyed())
    assert after.adopted == {"Service/orders": "u-1"}


def test_a_parked_removal_is_tried_again_when_somebody_asks() -> None:
    refused = ApplyRefused(release=1, through=3, reason="StillThere", message="no")
    parked = app(*ended(), refused)
    assert parked.leaving is not None
    assert parked.leaving.parked is not None
    again = app(*ended(), refused, ApplyRetried())
    assert again.leaving is not None
    assert again.leaving.parked is None
    assert again.leaving.destroyed == 3


def test_a_version_of_thousands_of_digits_is_none() -> None:
    known = SecretsFingerprinted(fingerprints={"KEY": {"2": "aa", "9" * 5000: "bb"}, "OTHER": {"9" * 5000: "bb"}})
    life = app(*opened(), known).life
    assert life is not None
    assert life.fingerprinted == {"KEY": 2}
