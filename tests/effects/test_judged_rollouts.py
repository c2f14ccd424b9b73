"""What a Deployment, its ReplicaSets and its pods say about a rollout: plain data as an API server lists them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from effects.cluster import APP_LABEL
from effects.kubernetes_rollout import container_to_explain, rollout_of

Object = dict[str, Any]

READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
CRASHED = {"lastState": {"terminated": {"exitCode": 1}}}


def deployment(*, replicas: int = 1) -> Object:
    return {
        "metadata": {"name": "web", "namespace": "shop", "uid": "d", "generation": 2},
        "spec": {"replicas": replicas},
        "status": {"observedGeneration": 2, "updatedReplicas": replicas},
    }


def replica_set(revision: int) -> Object:
    return {"metadata": owned(f"rs{revision}", "d", annotations={"deployment.kubernetes.io/revision": f"{revision}"})}


def owned(uid: str, owner: str, **more: Any) -> Object:
    return {"name": uid, "uid": uid, "ownerReferences": [{"uid": owner, "controller": True}], **more}


def pod(*containers: str, owner: str = "rs1", app: str = "web", **said: Mapping[str, Any]) -> Object:
    """A ready pod of these containers; `said` by their names, with underscores."""
    return {
        "metadata": owned("web-1", owner, labels={APP_LABEL: app}),
        "spec": {"containers": [{"name": each, "image": f"{each}:1"} for each in containers]},
        "status": {**READY, "containerStatuses": [status(each, said) for each in containers]},
    }


def status(container: str, said: Mapping[str, Mapping[str, Any]]) -> Object:
    image = f"registry.example.com/{container}@sha256:{container[0].encode().hex() * 32}"
    return {"name": container, "imageID": image, "state": {"running": {}}, **said.get(container.replace("-", "_"), {})}


def image_of(each: Object) -> tuple[str, str | None]:
    found = rollout_of(deployment(), [replica_set(1)], [each])
    assert found.complete
    return found.pods[0].image, found.pods[0].image_digest


# Sidecars


def test_a_sidecar_that_stands_first_is_not_taken_for_the_app() -> None:
    assert image_of(pod("istio-proxy", "web")) == ("web:1", f"sha256:{'77' * 32}")


def test_where_no_container_has_the_apps_name_the_first_one_is_taken_for_it() -> None:
    assert image_of(pod("server", "proxy")) == ("server:1", f"sha256:{'73' * 32}")


def test_the_log_of_the_apps_container_is_shown_before_that_of_a_sidecar() -> None:
    assert container_to_explain(pod("istio-proxy", "web")) == ("web", False)
    assert container_to_explain(pod("istio-proxy", "web", istio_proxy=CRASHED, web=CRASHED)) == ("web", True)
    assert container_to_explain(pod("istio-proxy", "web", istio_proxy=CRASHED)) == ("istio-proxy", True)
