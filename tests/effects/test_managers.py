"""Who owns a field, told from managed fields as a real API server wrote them (tests/golden/managed_fields)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from effects.managers import as_applied, owner_of
from tests.cli_support import GOLDEN

OURS = "1ctl-3f1c9a52 (Apply)"
EDITOR = "kubectl-edit (Update)"
WEB = "spec.template.spec.containers.web"


def live(name: str) -> Any:
    """A Deployment or Service that 1ctl applied and others edited, as the API server gave it back."""
    return json.loads((GOLDEN / "managed_fields" / f"{name}.json").read_text())


@pytest.mark.parametrize(
    ("field", "owner"),
    [
        ("spec.replicas", EDITOR),
        (f"{WEB}.image", EDITOR),
        (f"{WEB}.name", OURS),
        (f"{WEB}.env.LOG_LEVEL.value", OURS),
        (f"{WEB}.env.DEBUG", EDITOR),
        (f"{WEB}.ports.http.containerPort", OURS),
        (f"{WEB}.resources.limits.cpu", OURS),
        ("metadata.annotations.1ctl.dev/position", OURS),
        ("metadata.annotations.team.example.com/owner", "kubectl-annotate (Update)"),
        ("metadata.finalizers.example.com/hold", "kubectl-annotate (Update)"),
        ("status.replicas", "kube-controller-manager (Update)"),
    ],
)
def test_a_fields_owner_is_its_manager_and_how_it_wrote(field: str, owner: str | None) -> None:
    assert owner_of(live("deployment"), field) == owner


def test_a_port_is_found_by_its_name_though_ports_are_merged_by_number() -> None:
    assert owner_of(live("service"), "spec.ports.http.targetPort") == EDITOR
    assert owner_of(live("service"), "spec.ports.http.port") == OURS


def test_what_is_in_a_field_that_is_owned_as_a_whole_belongs_to_its_owner() -> None:
    assert owner_of(live("deployment"), "spec.selector.matchLabels.app") == OURS


def test_a_list_belongs_to_all_who_own_an_entry_in_the_servers_order() -> None:
    assert owner_of(live("deployment"), f"{WEB}.env") == f"{OURS}, {EDITOR}"


@pytest.mark.parametrize(
    "field", ["spec.paused", f"{WEB}.command", "spec.template.spec.restartPolicy", "nowhere.at.all"]
)
def test_a_field_that_is_not_there_or_was_defaulted_belongs_to_nobody(field: str) -> None:
    assert owner_of(live("deployment"), field) is None


def test_an_object_without_managed_fields_tells_no_owner() -> None:
    assert owner_of({"metadata": {"name": "web"}, "spec": {"replicas": 1}}, "spec.replicas") is None


def test_a_key_that_begins_like_another_is_not_taken_for_it() -> None:
    fields: dict[str, Any] = {"f:metadata": {"f:annotations": {"f:team": {}}}}
    metadata = {
        "annotations": {"team": "a", "team.example.com/owner": "b"},
        "managedFields": [{"manager": "them", "operation": "Update", "fieldsV1": fields}],
    }
    assert owner_of({"metadata": metadata}, "metadata.annotations.team") == "them (Update)"
    assert owner_of({"metadata": metadata}, "metadata.annotations.team.example.com/owner") is None


def test_who_created_an_object_owns_as_if_it_was_applied_what_was_asked_for_and_others_what_is_theirs() -> None:
    port = 'k:{"port":80,"protocol":"TCP"}'
    another = 'k:{"port":81,"protocol":"TCP"}'
    made = {
        "manager": "1ctl-3f1c9a52",
        "operation": "Update",
        "fieldsV1": {
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}, "f:finalizers": {".": {}, 'v:"a.example.com/b"': {}}},
            "f:spec": {
                "f:ports": {".": {}, port: {".": {}, "f:port": {}, "f:targetPort": {}}, another: {".": {}}},
                "f:sessionAffinity": {},
            },
        },
    }
    theirs = {"manager": "webhook", "operation": "Update", "fieldsV1": {"f:spec": {"f:type": {}}}}
    manifest = {
        "kind": "Service",
        "metadata": {"labels": {"app": "web"}, "finalizers": ["a.example.com/b"]},
        "spec": {"ports": [{"port": 80, "protocol": "TCP"}]},
    }
    applied = {
        "f:metadata": {"f:labels": {"f:app": {}}, "f:finalizers": {'v:"a.example.com/b"': {}}},
        "f:spec": {"f:ports": {port: {".": {}, "f:port": {}}}},
    }
    found = as_applied([theirs, made], "1ctl-3f1c9a52", manifest)
    assert found == [theirs, {**made, "operation": "Apply", "fieldsV1": applied}]
