from __future__ import annotations

import pytest

from ledger.app import App, Life, fold
from ledger.spec import Spec
from projections.app_views import deployment
from tests.projections.histories import APPS, Script, about

APP = APPS[0]


def life(ledger: Script) -> Life:
    app = fold(App(id=APP), about(ledger.lines, APP))
    found = app.life or app.leaving
    assert found is not None
    return found


def status(ledger: Script) -> str:
    return deployment(APP, life(ledger)).status


@pytest.fixture
def ledger() -> Script:
    result = Script()
    result.deploy(APP, Spec(image="nginx:alpine", machines=("m1",), health_path="/ready", image_pull_secret="pull"))
    return result


def test_a_deployment_has_the_keys_that_scripts_expect(ledger: Script) -> None:
    ledger.env_set(APP, {"A": "b"})
    ledger.applied(APP)
    shown = deployment(APP, life(ledger))
    assert shown.to_json() == {
        "deployment_id": shown.deployment_id,
        "app_label": "orders",
        "cluster": "prod",
        "namespace": "shop",
        "environment": "production",
        "type": "production",
        "hostnames": ["m1"],
        "status": "completed",
        "rollout": "pending",
        "release": 1,
        "image": "nginx:alpine",
        "replicas": 1,
        "port": 8080,
        "cpu_request": "0.5",
        "cpu_limit": "0.5",
        "memory_request": "256Mi",
        "memory_limit": "256Mi",
        "health_path": "/ready",
        "image_pull_secret": "pull",
        "env_enabled": True,
        "secret_enabled": False,
        "volume_enabled": False,
        "domain": f"https://{shown.deployment_id[:8]}.example.com",
        "created_at": "2026-01-01T00:00:02.000000Z",
        "updated_at": "2026-01-01T00:00:03.000000Z",
    }


def test_what_is_unknown_is_left_out() -> None:
    ledger = Script()
    ledger.deploy(APP, Spec(image="a"))
    document = deployment(APP, life(ledger)).to_json()
    assert not {"health_path", "image_pull_secret", "destroyed_at"} & document.keys()


def test_scaling_shows_in_the_replicas(ledger: Script) -> None:
    ledger.scale(APP, 7)
    assert deployment(APP, life(ledger)).replicas == 7


def test_a_change_is_pending_until_the_cluster_acknowledged_it(ledger: Script) -> None:
    assert status(ledger) == "pending"
    ledger.applied(APP)
    assert status(ledger) == "completed"
    changed = ledger.scale(APP, 2)
    assert status(ledger) == "pending"
    ledger.applied(APP, through=changed.position - 1)
    assert status(ledger) == "pending"


def test_a_refusal_of_the_newest_change_is_failed_until_the_next_change(ledger: Script) -> None:
    ledger.refused(APP)
    assert status(ledger) == "failed"
    ledger.scale(APP, 2)
    assert status(ledger) == "pending"


def test_a_refusal_of_an_older_change_says_nothing_about_the_newest(ledger: Script) -> None:
    changed = ledger.scale(APP, 2)
    ledger.refused(APP, through=changed.position - 1)
    assert status(ledger) == "pending"


def test_a_refusal_is_over_once_the_cluster_acknowledged(ledger: Script) -> None:
    ledger.refused(APP)
    ledger.applied(APP)
    assert status(ledger) == "completed"


def test_a_life_that_leaves_is_pending_and_says_when_it_ended(ledger: Script) -> None:
    ledger.applied(APP)
    ledger.destroy(APP)
    shown = deployment(APP, life(ledger))
    assert (shown.status, shown.to_json()["destroyed_at"]) == ("pending", "2026-01-01T00:00:04.000000Z")
