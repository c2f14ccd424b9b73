from __future__ import annotations

import time
from dataclasses import replace

from ledger.envelope import Recorded
from ledger.events import Deployed, RolloutCompleted, RolloutFailed
from ledger.spec import Spec
from projections.releases import Completion, Failure, releases
from tests.projections.histories import APPS, SECOND, START_US, Script

APP, OTHER = APPS[0], APPS[1]


def statuses(ledger: Script) -> list[list[str]]:
    return [[release.status for release in life.releases] for life in releases(ledger.lines)]


def test_an_app_that_was_never_deployed_has_no_releases() -> None:
    assert releases(Script().lines) == ()


def test_a_release_is_what_was_deployed_by_whom_and_why() -> None:
    ledger = Script()
    deployed = ledger.deploy(APP, Spec(image="nginx:alpine", cpu="0.25", memory="128Mi", replicas=2))
    (life,) = releases(ledger.lines)
    (release,) = life.releases
    assert (release.number, release.image, release.cpu, release.memory, release.replicas) == (
        1, "nginx:alpine", "0.25", "128Mi", 2,
    )  # fmt: skip
    assert (release.position, release.deployed_us) == (deployed.position, START_US + 2 * SECOND)
    assert (release.actor, release.reason) == (deployed.envelope.actor, deployed.envelope.reason)
    assert (release.status, release.outcome) == ("active", None)
    assert life.destroyed_us is None


def test_a_redeploy_supersedes_the_older_release_at_once() -> None:
    ledger = Script()
    ledger.deploy(APP)
    ledger.deploy(APP)
    assert statuses(ledger) == [["superseded", "active"]]


def test_scaling_and_configuration_are_not_releases() -> None:
    ledger = Script()
    ledger.deploy(APP, Spec(image="a"), env={"A": "b"})
    ledger.scale(APP, 5)
    ledger.secret_set(APP, "S")
    ledger.restart(APP)
    (life,) = releases(ledger.lines)
    assert [release.replicas for release in life.releases] == [1]


def test_when_a_release_fails_the_one_before_is_active_again() -> None:
    ledger = Script()
    for _ in range(3):
        ledger.deploy(APP)
    ledger.failed(APP)
    assert statuses(ledger) == [["superseded", "active", "failed"]]


def test_a_life_whose_releases_all_failed_has_no_active_one() -> None:
    ledger = Script()
    ledger.deploy(APP)
    ledger.failed(APP)
    ledger.deploy(APP)
    ledger.failed(APP)
    assert statuses(ledger) == [["failed", "failed"]]


def test_a_later_completion_of_the_same_roll_wins() -> None:
    ledger = Script()
    ledger.deploy(APP)
    ledger.failed(APP)
    completed = ledger.completed(APP)
    (life,) = releases(ledger.lines)
    assert life.releases[0].status == "active"
    assert life.releases[0].outcome == Completion(completed.recorded_us, f"sha256:{life.releases[0].position}")


def test_a_failed_restart_does_not_fail_the_release() -> None:
    ledger = Script()
    ledger.deploy(APP)
    ledger.deploy(APP)
    ledger.completed(APP)
    ledger.restart(APP)
    ledger.failed(APP)
    assert statuses(ledger) == [["superseded", "active"]]


def test_a_completed_restart_heals_a_failed_release() -> None:
    ledger = Script()
    ledger.deploy(APP)
    ledger.deploy(APP)
    ledger.failed(APP)
    ledger.secret_set(APP, "PASSWORD")
    ledger.restart(APP)
    assert statuses(ledger) == [["active", "failed"]]
    ledger.completed(APP)
    assert statuses(ledger) == [["superseded", "active"]]


def test_a_failure_is_told_in_the_clusters_words() -> None:
    ledger = Script()
    ledger.deploy(APP)
    failed = ledger.failed(APP)
    outcome = releases(ledger.lines)[0].releases[0].outcome
    assert outcome == Failure(failed.recorded_us, "ImagePullBackOff", "no such image")


def test_a_rollback_is_a_release_that_says_what_it_restores() -> None:
    ledger = Script()
    ledger.deploy(APP)
    ledger.deploy(APP)
    ledger.roll_back(APP, 1)
    assert statuses(ledger) == [["superseded", "rolled_back", "active"]]
    restoring = releases(ledger.lines)[0].releases[2]
    assert (restoring.number, restoring.restores, restoring.image, restoring.replicas) == (3, 1, "orders:1", 2)
    assert restoring.to_json()["restores"] == 1


def test_a_rollback_to_what_is_active_leaves_nothing() -> None:
    ledger = Script()
    ledger.deploy(APP)
    ledger.roll_back(APP, 1, only="config")
    assert statuses(ledger) == [["superseded", "active"]]


def test_a_rollback_away_from_a_failed_release_leaves_the_one_that_was_active() -> None:
    ledger = Script()
    for _ in range(3):
        ledger.deploy(APP)
    ledger.failed(APP)
    ledger.roll_back(APP, 1)
    assert statuses(ledger) == [["superseded", "rolled_back", "failed", "active"]]


def test_when_a_rollback_fails_what_it_left_is_active_again() -> None:
    ledger = Script()
    ledger.deploy(APP)
    ledger.deploy(APP)
    ledger.roll_back(APP, 1)
    ledger.failed(APP)
    assert statuses(ledger) == [["superseded", "active", "failed"]]


def test_a_release_that_heals_after_a_rollback_passed_it_over_can_be_active_again() -> None:
    ledger = Script()
    ledger.deploy(APP)
    second = ledger.deploy(APP)
    ledger.failed(APP)
    ledger.roll_back(APP, 1)
    ledger.completed(APP, roll=second.position)
    ledger.failed(APP)
    assert statuses(ledger) == [["superseded", "active", "failed"]]


def test_a_release_marked_bad_says_why() -> None:
    ledger = Script()
    ledger.deploy(APP)
    marked = ledger.mark_bad(APP, 1)
    (release,) = releases(ledger.lines)[0].releases
    assert (release.status, release.marked_bad) == ("active", marked.envelope.reason)


def test_an_ended_life_keeps_its_numbers_and_has_no_active_release() -> None:
    ledger = Script()
    ledger.deploy(APP)
    ledger.deploy(APP)
    destroyed = ledger.destroy(APP)
    ledger.deploy(APP)
    ended, opened = releases(ledger.lines)
    assert [(release.number, release.status) for release in ended.releases] == [(1, "superseded"), (2, "superseded")]
    assert ended.destroyed_us == destroyed.recorded_us
    assert [(release.number, release.status) for release in opened.releases] == [(1, "active")]
    assert ended.deployment_id != opened.deployment_id


def test_what_pods_did_is_told_of_a_life_until_the_next_one_is_open() -> None:
    ledger = Script()
    roll = ledger.deploy(APP).position
    failed = RolloutFailed(release=1, roll=roll, reason="ImagePullBackOff", message="no such image")
    ledger.destroy(APP)
    ledger.late(APP, failed)
    assert statuses(ledger) == [["failed"]]
    ledger.deploy(APP)
    ledger.late(APP, RolloutCompleted(release=1, roll=roll, replicas=1))
    ledger.late(APP, failed)
    assert statuses(ledger) == [["failed"], ["active"]]
    assert [life.releases[0].outcome is None for life in releases(ledger.lines)] == [False, True]


def test_lives_of_several_apps_may_be_mixed() -> None:
    ledger = Script()
    ledger.deploy(APP)
    ledger.deploy(OTHER)
    ledger.deploy(APP)
    assert statuses(ledger) == [["superseded", "active"], ["active"]]


def test_a_release_has_the_keys_that_scripts_expect() -> None:
    ledger = Script()
    ledger.deploy(APP, Spec(image="nginx:alpine"))
    ledger.completed(APP)
    (life,) = releases(ledger.lines)
    document = life.releases[0].to_json()
    assert document == {
        "version_id": document["version_id"],
        "deployment_id": life.deployment_id,
        "version_number": 1,
        "image": "nginx:alpine",
        "cpu": "0.5",
        "memory": "256Mi",
        "replicas": 1,
        "deployed_at": "2026-01-01T00:00:02.000000Z",
        "status": "active",
        "actor": "actor 2",
        "position": 3,
        "completed_at": "2026-01-01T00:00:03.000000Z",
        "image_digest": "sha256:3",
    }
    assert document["version_id"] == releases(ledger.lines)[0].releases[0].to_json()["version_id"]


def test_ten_thousand_releases_cost_no_more_each_than_a_thousand() -> None:
    def seconds(count: int) -> float:
        ledger = Script()
        deployed = ledger.deploy(APP)
        lines = [_later(deployed, number) for number in range(1, count + 1)]
        times = []
        for _ in range(3):
            begun = time.process_time()
            (life,) = releases(lines)
            times.append(time.process_time() - begun)
            assert len(life.releases) == count
        return min(times) / count

    assert seconds(10_000) < 5 * seconds(1_000)


def _later(deployed: Recorded, number: int) -> Recorded:
    assert isinstance(deployed.event, Deployed)
    return replace(deployed, position=number, event=replace(deployed.event, release=number))
