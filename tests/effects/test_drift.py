"""What counts as a difference between what the ledger asks for and what the cluster has."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from effects.cluster import DIGEST_ANNOTATION, LEDGER_LABEL, Manifest
from effects.drift import ABSENT, differences

WANTED: Manifest = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {
        "name": "shop",
        "namespace": "default",
        "annotations": {DIGEST_ANNOTATION: "abc"},
        "labels": {"app": "shop"},
    },
    "spec": {
        "replicas": 2,
        "template": {
            "spec": {
                "containers": [
                    {
                        "name": "shop",
                        "image": "nginx:1",
                        "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "a"}}}],
                        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                        "resources": {"limits": {"cpu": "0.25", "memory": "128Mi"}},
                    }
                ]
            }
        },
    },
}


def live() -> Any:
    """The object as an API server gives it back: completed, with quantities in its own form."""
    found: Any = deepcopy(WANTED)
    found["metadata"]["uid"] = "1"
    found["metadata"]["annotations"] = {DIGEST_ANNOTATION: "other", "1ctl.dev/position": "0.3"}
    found["status"] = {"replicas": 2}
    container = found["spec"]["template"]["spec"]["containers"][0]
    container["imagePullPolicy"] = "Always"
    container["resources"]["limits"]["cpu"] = "250m"
    found["spec"]["template"]["spec"]["containers"].append({"name": "sidecar", "image": "proxy"})
    return found


def test_what_others_add_and_how_the_server_writes_quantities_is_no_difference() -> None:
    assert differences(WANTED, live()) == []


def test_an_object_that_is_not_there_is_one_difference() -> None:
    (difference,) = differences(WANTED, None)
    assert (difference.field, difference.wanted, difference.found) == ("", "present", ABSENT)


@pytest.mark.parametrize(
    ("path", "value", "field", "wanted"),
    [
        (("spec", "replicas"), 5, "spec.replicas", 2),
        (("metadata", "labels", "app"), "x", "metadata.labels.app", "shop"),
    ],
)
def test_an_edited_field_is_named_with_both_values(
    path: tuple[str, ...], value: object, field: str, wanted: object
) -> None:
    found = live()
    holder = found
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    (difference,) = differences(WANTED, found)
    assert (difference.field, difference.wanted, difference.found) == (field, wanted, value)


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        (lambda container: container.update(image="evil"), "image"),
        (lambda container: container["resources"]["limits"].update(cpu="500m"), "resources.limits.cpu"),
        (lambda container: container["resources"]["limits"].update(memory="128M"), "resources.limits.memory"),
        (lambda container: container["ports"][0].update(containerPort=1), "ports.http.containerPort"),
        (lambda container: container["env"][0].update(valueFrom={"configMapKeyRef": {"name": "d", "key": "a"}}),
         "env.A.valueFrom.configMapKeyRef.name"),
        (lambda container: container["env"].append({"name": "B", "value": "x"}), "env.B"),
        (lambda container: container.update(envFrom=[{"configMapRef": {"name": "theirs"}}]), "envFrom"),
        (lambda container: container.update(env=[]), "env.A.name"),
    ],
)  # fmt: skip
def test_an_edited_container_is_found_field_by_field(edit: Any, field: str) -> None:
    found = live()
    edit(found["spec"]["template"]["spec"]["containers"][0])
    fields = [each.field for each in differences(WANTED, found)]
    assert f"spec.template.spec.containers.shop.{field}" in fields


@pytest.mark.parametrize("asked_for", [True, False])
def test_a_variable_that_nobody_asked_for_is_named_and_its_value_is_not_told(*, asked_for: bool) -> None:
    wanted: Any = deepcopy(WANTED)
    found = live()
    found["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "B", "value": "hunter2"})
    if not asked_for:
        wanted["spec"]["template"]["spec"]["containers"][0]["env"] = []
    (*_, difference) = differences(wanted, found)
    assert (difference.field, difference.wanted) == ("spec.template.spec.containers.shop.env.B", ABSENT)
    assert "hunter2" not in str(differences(wanted, found))


def settings(**data: str) -> Any:
    metadata = {"name": "shop", "namespace": "default", "labels": {LEDGER_LABEL: "l"}, "annotations": {}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


@pytest.mark.parametrize(("wanted", "found"), [("1.10", "1.1"), ("1000", "1k"), ("0.5", "500m"), ("1Ki", "1024")])
def test_values_that_would_be_the_same_quantity_are_not_the_same_text(wanted: str, found: str) -> None:
    assert [each.field for each in differences(settings(a=wanted), settings(a=found))] == ["data.a"]


@pytest.mark.parametrize(
    ("managers", "is_difference"),
    [
        ([("1ctl-l", "Apply")], True),
        ([("1ctl-l", "Apply"), ("theirs", "Apply")], False),
        ([("theirs", "Update")], False),
        ([], False),
    ],
)
def test_a_key_that_is_not_asked_for_is_a_difference_if_the_next_apply_removes_it(
    managers: list[tuple[str, str]], is_difference: bool
) -> None:
    found = settings(a="1", b="2")
    found["metadata"]["managedFields"] = [
        {"manager": manager, "operation": operation, "fieldsV1": {"f:data": {"f:b": {}}}}
        for manager, operation in managers
    ]
    fields = [(each.field, each.wanted, each.found) for each in differences(settings(a="1"), found)]
    assert fields == ([("data.b", ABSENT, "2")] if is_difference else [])


def test_a_field_that_was_removed_is_a_difference() -> None:
    found = live()
    del found["spec"]["replicas"]
    (difference,) = differences(WANTED, found)
    assert (difference.field, difference.wanted, difference.found) == ("spec.replicas", 2, ABSENT)


def service(selector: dict[str, str]) -> Any:
    metadata = {"name": "shop", "namespace": "default", "labels": {}, "annotations": {}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"selector": selector}}


def test_a_key_more_in_a_selector_is_a_difference_since_it_selects_fewer_pods() -> None:
    (difference,) = differences(service({"app": "shop"}), service({"app": "shop", "version": "2"}))
    assert difference[1:] == ("spec.selector.version", ABSENT, "2")


def route(**changes: Any) -> Any:
    metadata = {"name": "shop", "namespace": "default", "labels": {}, "annotations": {}}
    backend = {"name": "shop", "port": 80}
    rule = {"backendRefs": [backend], "matches": [{"path": {"type": "PathPrefix", "value": "/"}}], **changes}
    spec = {"hostnames": ["shop.example.com"], "rules": [rule]}
    return {"apiVersion": "v1", "kind": "HTTPRoute", "metadata": metadata, "spec": spec}


def test_what_an_api_server_adds_to_the_rules_of_a_route_is_no_difference() -> None:
    backend = {"name": "shop", "port": 80, "group": "", "kind": "Service", "weight": 1}
    assert differences(route(), route(backendRefs=[backend])) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"backendRefs": [{"name": "shop", "port": 80}, {"name": "other", "port": 80, "weight": 99}]},
        {"backendRefs": [{"name": "shop", "port": 80, "weight": 0}]},
        {"backendRefs": [{"name": "shop", "port": 80, "namespace": "other"}]},
        {"filters": [{"type": "URLRewrite"}]},
        {"timeouts": {"request": "1s"}},
        {"matches": [{"path": {"type": "PathPrefix", "value": "/"}, "headers": [{"name": "x-canary", "value": "1"}]}]},
        {"matches": [{"path": {"type": "PathPrefix", "value": "/"}}, {"path": {"type": "Exact", "value": "/x"}}]},
    ],
)
def test_anything_more_in_the_rules_of_a_route_is_a_difference(changes: dict[str, Any]) -> None:
    assert [each.field for each in differences(route(), route(**changes))] == ["spec.rules"]


def test_a_rule_more_is_a_difference() -> None:
    found = route()
    found["spec"]["rules"].append({"backendRefs": [{"name": "other", "port": 80}]})
    assert [each.field for each in differences(route(), found)] == ["spec.rules"]
