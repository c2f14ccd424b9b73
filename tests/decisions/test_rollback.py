"""Make a release that runs what an earlier one ran."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ledger.commands import Rollback
from ledger.errors import AppNotFoundError, NoSuchReleaseError
from ledger.events import (
    EnvSet,
    Event,
    ReleaseMarkedBad,
    Restarted,
    RolledBack,
    RolloutCompleted,
    RolloutFailed,
    Scaled,
    SecretPurged,
    SecretSet,
)
from ledger.spec import Spec
from tests.decisions.scenario import deployed, ended, given, opened, sealed

ONE, TWO, THREE = (Spec(image=f"orders:{number}", port=8000 + number) for number in (1, 2, 3))


def healthy(release: int, roll: int) -> RolloutCompleted:
    return RolloutCompleted(release=release, roll=roll, replicas=1)


def failed(release: int, roll: int) -> RolloutFailed:
    return RolloutFailed(release=release, roll=roll, reason="ImagePullBackOff", message="no such image")


def rolled(release: int, target: int, spec: Spec) -> RolledBack:
    return RolledBack(release=release, target=target, only="all", spec=spec, env={}, secrets={})


TWO_RELEASES: tuple[Event, ...] = (*opened(ONE), healthy(1, 1), deployed(2, spec=TWO), healthy(2, 4))


def test_without_a_number_the_last_healthy_release_comes_back() -> None:
    given(*TWO_RELEASES).when(Rollback()).then(rolled(3, 1, ONE))


def test_a_release_that_was_never_healthy_is_passed_over() -> None:
    facts = (*TWO_RELEASES, deployed(3, spec=THREE), failed(3, 6), deployed(4, spec=THREE))
    given(*facts).when(Rollback()).then(rolled(5, 2, TWO))


def test_two_rollbacks_in_a_row_go_further_back_and_never_return() -> None:
    facts = (*TWO_RELEASES, deployed(3, spec=THREE), healthy(3, 6))
    back_to_two = (*facts, rolled(4, 2, TWO), healthy(4, 8))
    given(*facts).when(Rollback()).then(rolled(4, 2, TWO))
    given(*back_to_two).when(Rollback()).then(rolled(5, 1, ONE))
    given(*back_to_two, rolled(5, 1, ONE), healthy(5, 10)).when(Rollback()).refused("no previous release")


def test_rolling_back_to_the_release_that_runs_since_a_failed_one_leaves_nothing_behind() -> None:
    facts = (*TWO_RELEASES, deployed(3, spec=THREE), failed(3, 6), rolled(4, 2, TWO), healthy(4, 8))
    given(*facts).when(Rollback()).then(rolled(5, 1, ONE))


def test_a_failed_restart_does_not_keep_the_next_rollback_from_leaving_the_release() -> None:
    facts = (*TWO_RELEASES, deployed(3, spec=THREE), healthy(3, 6), Restarted(), failed(3, 8))
    given(*facts).when(Rollback()).then(rolled(4, 2, TWO))
    given(*facts, rolled(4, 2, TWO), healthy(4, 10)).when(Rollback()).then(rolled(5, 1, ONE))


def test_a_rollback_leaves_the_release_that_ran_and_not_the_failed_one_after_it() -> None:
    facts = (*TWO_RELEASES, deployed(3, spec=THREE), failed(3, 6), rolled(4, 1, ONE), healthy(4, 8))
    given(*facts).when(Rollback()).refused("no previous release")


def test_the_pods_last_configuration_comes_back_and_not_what_was_set_later() -> None:
    facts = (
        *opened(ONE),
        EnvSet(values={"A": "1"}),
        SecretSet(secrets={"KEY": sealed(1)}),
        Restarted(),
        healthy(1, 5),
        EnvSet(values={"A": "2", "B": "2"}),
        SecretSet(secrets={"KEY": sealed(2)}),
        deployed(2, spec=TWO),
    )
    restored = RolledBack(release=3, target=1, only="all", spec=ONE, env={"A": "1"}, secrets={"KEY": sealed(1)})
    given(*facts).when(Rollback()).then(restored)
    now = {"A": "2", "B": "2"}
    code = replace(restored, only="code", env=now, secrets={"KEY": sealed(2)})
    given(*facts).when(Rollback(only="code")).then(code)
    given(*facts).when(Rollback(only="config")).then(replace(restored, only="config", spec=TWO))


def test_the_number_of_pods_stays_as_it_is() -> None:
    facts = (*opened(ONE), healthy(1, 1), deployed(2, spec=TWO), Scaled(replicas=7))
    given(*facts).when(Rollback()).then(rolled(3, 1, replace(ONE, replicas=7)))


def test_a_release_can_be_named_also_if_it_was_never_known_to_be_healthy() -> None:
    given(*opened(ONE), deployed(2, spec=TWO)).when(Rollback(version=1)).then(rolled(3, 1, ONE))


def test_a_release_that_does_not_exist_is_refused() -> None:
    given(*TWO_RELEASES).when(Rollback(version=9)).refused(
        "there is no release 9; the newest is 2", error=NoSuchReleaseError
    )


def test_a_release_marked_as_bad_is_neither_meant_nor_taken() -> None:
    facts = (*TWO_RELEASES, ReleaseMarkedBad(release=1))
    given(*facts).when(Rollback()).refused("no previous release", hint="--version N")
    given(*facts).when(Rollback(version=1)).refused("marked as bad")


def test_a_release_whose_secret_was_purged_cannot_come_back() -> None:
    facts = (
        *opened(ONE),
        SecretSet(secrets={"KEY": sealed(1)}),
        Restarted(),
        healthy(1, 4),
        SecretPurged(key="KEY"),
        deployed(2, spec=TWO),
    )
    given(*facts).when(Rollback(version=1)).refused("its secret KEY was purged")


LOST: tuple[Event, ...] = (
    *opened(ONE), EnvSet(values={"A": "[redacted]"}), Restarted(), healthy(1, 4),
    SecretSet(secrets={"KEY": sealed(1)}), deployed(2, spec=TWO), healthy(2, 7), SecretPurged(key="KEY"),
    EnvSet(values={"A": "1"}), deployed(3, spec=THREE), healthy(3, 11),
)  # fmt: skip
"""Release 1 had a value that was redacted since, release 2 a secret that was purged."""


@pytest.mark.parametrize(("target", "spec"), [(1, ONE), (2, TWO)])
def test_code_comes_back_also_where_values_are_gone(target: int, spec: Spec) -> None:
    code = RolledBack(release=4, target=target, only="code", spec=spec, env={"A": "1"}, secrets={})
    given(*LOST).when(Rollback(version=target, only="code")).then(code)
    hint = f"Its code can: 1ctl deploy rollback --version {target} --only code"
    for only in ("all", "config"):
        given(*LOST).when(Rollback(version=target, only=only)).refused("the value of its", hint=hint)
    if target == 2:
        given(*LOST).when(Rollback(only="code")).then(code)


def test_without_a_number_what_stands_against_the_newest_healthy_release_is_told() -> None:
    none = "no previous release to roll back to: "
    given(*opened(ONE)).when(Rollback()).refused(f"{none}no other was healthy")
    given(*LOST).when(Rollback()).refused(f"{none}release 2 was healthy, but the value of its secret KEY was purged")
    bad = (*TWO_RELEASES, ReleaseMarkedBad(release=1))
    given(*bad).when(Rollback()).refused(f"{none}release 1 was healthy, but it was marked as bad")
    left = (*TWO_RELEASES, rolled(3, 1, ONE), healthy(3, 6))
    given(*left).when(Rollback()).refused(
        f"{none}release 2 was healthy, but it was left by the rollback that is release 3"
    )


def test_only_code_or_config_can_be_chosen() -> None:
    given(*TWO_RELEASES).when(Rollback(only="pods")).refused('"pods" cannot be rolled back', hint="--only code")


def test_an_app_without_a_life_is_not_found() -> None:
    given().when(Rollback()).refused("not found", error=AppNotFoundError)
    given(*ended()).when(Rollback(version=1)).refused("not found", error=AppNotFoundError)


def test_the_newest_release_runs_already() -> None:
    given(*TWO_RELEASES).when(Rollback(version=2)).refused("release 2 cannot be rolled back to: it is the newest")
