"""The sandbox edited by hand, past the ledger, and who owns what afterwards."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from effects.cluster import ClusterRefusedError, FieldConflictError, Ref
from effects.managers import owner_of
from effects.sandbox import SandboxCluster
from tests.test_sandbox import LEDGER, MANAGER, SHOP, config_map, deployment, put, secret

SETTINGS = Ref("ConfigMap", "default", "shop")
VAULT = Ref("Secret", "default", "shop")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[SandboxCluster]:
    opened = SandboxCluster.open(tmp_path / "sandbox.db", startup_seconds=0.0)
    yield opened
    opened.close()


def data(cluster: SandboxCluster) -> Any:
    live = cluster.read(SETTINGS)
    assert live is not None
    return live.get("data")


def owner(cluster: SandboxCluster, ref: Ref, field: str) -> str | None:
    live = cluster.read(ref)
    assert live is not None
    return owner_of(live, field)


def test_an_edit_changes_adds_and_removes_what_the_patch_says(cluster: SandboxCluster) -> None:
    put(cluster, config_map(data={"A": "1", "B": "2", "C": "3"}))
    cluster.edit(SETTINGS, {"data": {"A": "9", "B": None, "D": "4"}})
    assert data(cluster) == {"A": "9", "C": "3", "D": "4"}


def test_an_edit_that_changes_nothing_is_no_new_version(cluster: SandboxCluster) -> None:
    put(cluster, config_map(data={"A": "1"}))
    seen = cluster.look(SETTINGS, ledger_id=LEDGER)
    assert cluster.edit(SETTINGS, {"data": {"A": "1"}, "status": {"anything": 1}}) == seen


def test_who_edits_owns_what_changed_and_nothing_else(cluster: SandboxCluster) -> None:
    put(cluster, config_map(data={"A": "1", "B": "2"}))
    cluster.edit(SETTINGS, {"data": {"A": "9", "B": "2"}}, manager="kubectl-patch")
    assert owner(cluster, SETTINGS, "data.A") == "kubectl-patch (Update)"
    assert owner(cluster, SETTINGS, "data.B") == f"{MANAGER} (Apply)"
    with pytest.raises(FieldConflictError) as caught:
        put(cluster, config_map(data={"A": "1", "B": "2"}))
    assert caught.value.owners == {"kubectl-patch": ["data.A"]}


def test_what_was_removed_by_hand_belongs_to_nobody_and_comes_back(cluster: SandboxCluster) -> None:
    put(cluster, config_map(data={"A": "1", "B": "2"}))
    cluster.edit(SETTINGS, {"data": {"A": None}})
    assert owner(cluster, SETTINGS, "data.A") is None
    put(cluster, config_map(data={"A": "1", "B": "2"}))
    assert data(cluster) == {"A": "1", "B": "2"}


def test_a_manager_that_edits_and_applies_is_two(cluster: SandboxCluster) -> None:
    put(cluster, config_map(data={"A": "1"}))
    cluster.edit(SETTINGS, {"data": {"A": "9"}}, manager=MANAGER)
    with pytest.raises(FieldConflictError) as caught:
        put(cluster, config_map(data={"A": "1"}))
    assert caught.value.owners == {MANAGER: ["data.A"]}


def test_an_edited_container_belongs_to_its_editor_with_the_list_that_it_is_in(cluster: SandboxCluster) -> None:
    put(cluster, deployment())
    containers = [{"name": "shop", "image": "registry/shop:evil"}]
    cluster.edit(SHOP, {"spec": {"template": {"spec": {"containers": containers}}}})
    assert owner(cluster, SHOP, "spec.template.spec.containers.shop.image") == "kubectl-edit (Update)"
    (pod,) = cluster.pods("default")
    assert pod.image == "registry/shop:evil"


def test_an_edited_object_keeps_to_the_rules(cluster: SandboxCluster) -> None:
    put(cluster, deployment())
    before = cluster.objects("default")
    with pytest.raises(ClusterRefusedError, match="replicas") as caught:
        cluster.edit(SHOP, {"spec": {"replicas": -1}})
    assert caught.value.status == 422
    assert cluster.objects("default") == before


def test_what_is_not_there_cannot_be_edited(cluster: SandboxCluster) -> None:
    with pytest.raises(ClusterRefusedError, match="configmap/shop") as caught:
        cluster.edit(SETTINGS, {"data": {"A": "1"}})
    assert caught.value.status == 404


@pytest.mark.parametrize("field", ["data", "stringData"])
def test_a_secret_that_is_edited_keeps_no_value(cluster: SandboxCluster, tmp_path: Path, field: str) -> None:
    value = "correct horse battery staple"
    encoded = base64.b64encode(value.encode()).decode()
    put(cluster, secret(stringData={"old": "x", "kept": "y"}))
    cluster.edit(VAULT, {field: {"password": encoded if field == "data" else value, "old": None}})
    (kept,) = cluster.objects("default")
    assert kept["data"].keys() == {"kept", "password"}
    for file in tmp_path.iterdir():
        assert value.encode() not in file.read_bytes()
        assert encoded.encode() not in file.read_bytes()


def test_managed_fields_say_it_as_kubernetes_does(cluster: SandboxCluster) -> None:
    put(cluster, config_map(data={"A": "1"}))
    cluster.edit(SETTINGS, {"data": {"B": "2"}})
    live = cluster.read(SETTINGS)
    assert live is not None
    labels: dict[str, Any] = {"f:1ctl.dev/ledger": {}, "f:app": {}}
    common = {"apiVersion": "v1", "fieldsType": "FieldsV1"}
    assert live["metadata"]["managedFields"] == [
        {
            **common,
            "manager": MANAGER,
            "operation": "Apply",
            "fieldsV1": {"f:metadata": {"f:labels": labels}, "f:data": {"f:A": {}}},
        },
        {**common, "manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:data": {"f:B": {}}}},
    ]


def test_an_object_with_managed_fields_can_be_applied_as_it_was_read(cluster: SandboxCluster) -> None:
    put(cluster, config_map(data={"A": "1"}))
    live = cluster.read(SETTINGS)
    assert live is not None
    assert put(cluster, dict(live)).resource_version == live["metadata"]["resourceVersion"]
