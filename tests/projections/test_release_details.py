"""What is known about each release beyond its number: what changed, what its pods read, how it ended."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.app import App
from ledger.envelope import Recorded
from ledger.events import (
    Destroyed,
    EnvSet,
    Event,
    Restarted,
    RolloutCompleted,
    RolloutFailed,
    Scaled,
    SecretSet,
    SecretsFingerprinted,
)
from ledger.spec import Spec
from projections.fingerprints import fingerprints
from projections.release_details import ReleaseDetails, release_details
from projections.releases import releases
from tests.decisions.scenario import APP, NEXT_LIFE, deployed, opened, sealed, told


def details(*facts: Event) -> Sequence[ReleaseDetails]:
    history: list[Recorded] = told(*facts)
    life = releases(history)[-1]
    return release_details(App(id=APP), history, life.releases, fingerprints(history, life.deployment_id))


def fingerprinted(**marks: str) -> SecretsFingerprinted:
    return SecretsFingerprinted(fingerprints={"KEY": {version[1:]: mark for version, mark in marks.items()}})


ONE, TWO = Spec(image="orders:1"), Spec(image="orders:2")


def test_a_sentence_says_what_changed_from_the_release_before() -> None:
    first, second = details(*opened(ONE), EnvSet(values={"A": "1"}), deployed(2, spec=TWO))
    assert first.sentence == "first release"
    assert second.sentence == "env A added; image orders:1 → orders:2"


def test_a_release_that_changes_nothing_says_so() -> None:
    assert details(*opened(ONE), deployed(2, spec=ONE))[1].sentence == "same again"


def test_scaling_between_two_releases_is_not_a_change_of_the_later_one() -> None:
    scaled = Spec(image="orders:1", replicas=5)
    assert details(*opened(ONE), Scaled(replicas=5), deployed(2, spec=scaled))[1].sentence == "same again"


def test_a_secret_that_returns_to_an_earlier_value_is_told_by_its_fingerprint() -> None:
    last = details(
        *opened(ONE), SecretSet(secrets={"KEY": sealed(1)}), deployed(2, spec=ONE),
        SecretSet(secrets={"KEY": sealed(2)}), deployed(3, spec=ONE),
        SecretSet(secrets={"KEY": sealed(3)}), deployed(4, spec=ONE),
        fingerprinted(v1="aa", v2="bb", v3="aa"),
    )[-1]  # fmt: skip
    assert last.sentence == "secret KEY version 2 → 3 (the value of release 2)"


def test_without_fingerprints_nothing_is_claimed_about_values() -> None:
    facts = (*opened(ONE), SecretSet(secrets={"KEY": sealed(1)}), deployed(2, spec=ONE))
    changed = (*facts, SecretSet(secrets={"KEY": sealed(2)}), deployed(3, spec=ONE))
    assert details(*changed)[-1].sentence == "secret KEY version 1 → 2"


def test_the_outcome_and_the_time_to_ready_are_told() -> None:
    healthy, failed, unknown = details(
        *opened(ONE), RolloutCompleted(release=1, roll=1, replicas=1),
        deployed(2, spec=TWO), RolloutFailed(release=2, roll=4, reason="ImagePullBackOff", message="no"),
        deployed(3, spec=TWO),
    )  # fmt: skip
    assert (healthy.to_json({})["outcome"], healthy.to_json({})["seconds_to_ready"]) == ("healthy", 2.0)
    assert (failed.to_json({})["outcome"], failed.to_json({})["failure_reason"]) == ("failed", "ImagePullBackOff")
    assert (unknown.to_json({})["outcome"], unknown.to_json({})["seconds_to_ready"]) == ("unknown", None)


def test_a_later_restart_does_not_make_the_release_slower_to_become_ready() -> None:
    (only,) = details(
        *opened(ONE), RolloutCompleted(release=1, roll=1, replicas=1, image_digest="sha256:old"),
        Restarted(), RolloutCompleted(release=1, roll=4, replicas=1, image_digest="sha256:new"),
    )  # fmt: skip
    assert (only.to_json({})["seconds_to_ready"], only.image_digest) == (2.0, "sha256:new")


def test_a_failed_restart_does_not_fail_the_release() -> None:
    (only,) = details(
        *opened(ONE), RolloutCompleted(release=1, roll=1, replicas=1),
        Restarted(), RolloutFailed(release=1, roll=4, reason="CrashLoopBackOff", message="no"),
    )  # fmt: skip
    assert (only.release.status, only.to_json({})["outcome"]) == ("active", "healthy")


def test_what_the_pods_of_an_ended_life_tell_when_the_next_one_is_open_is_about_neither() -> None:
    history = [*told(*opened(ONE), Destroyed()), *told(deployed(life=NEXT_LIFE, spec=TWO), after=3)]
    late = told(RolloutCompleted(release=1, roll=1, replicas=1), after=4)
    for life, spec in zip(releases([*history, *late]), (ONE, TWO), strict=True):
        (only,) = release_details(App(id=APP), [*history, *late], life.releases, {})
        assert (only.past.spec, only.past.healthy, only.outcome) == (spec, False, "unknown")


def test_what_is_set_is_told_apart_from_what_the_pods_read() -> None:
    (only,) = details(*opened(ONE), EnvSet(values={"A": "1"}))
    configuration = only.to_json({})["configuration"]
    assert configuration == {"set": {"env": {"A": "1"}, "secrets": {}}, "in_pods": {"env": {}, "secrets": {}}}
