"""Which parts of an object no apply puts right, and the patch that does."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from effects.cluster import Manifest
from effects.managers import claimed, is_unclaimed
from effects.replacing import parts_to_replace, probes_left
from effects.sandbox_patches import strategic_patched

FROM_SETTINGS = {"configMapKeyRef": {"name": "settings", "key": "a"}}
FROM_POD = {"fieldRef": {"fieldPath": "metadata.name"}}
PORT = {"name": "http", "containerPort": 8080, "protocol": "TCP"}
CONTAINER = {
    "name": "shop",
    "env": [{"name": "A", "valueFrom": FROM_SETTINGS}],
    "ports": [PORT],
    "readinessProbe": {"httpGet": {"path": "/", "port": 8080}},
}
HTTP = {"name": "http", "port": 8080, "protocol": "TCP", "targetPort": 8080}
SERVICE: Manifest = {"kind": "Service", "spec": {"selector": {"app": "shop"}, "ports": [HTTP]}}


def deployment(*containers: Any) -> Any:
    return {"kind": "Deployment", "spec": {"template": {"spec": {"containers": list(containers)}}}}


WANTED = deployment(CONTAINER)


@pytest.mark.parametrize(
    ("edited", "field"),
    [
        ({"env": [{"name": "A", "value": "hand"}]}, "env.A"),
        ({"env": [{"name": "A", "valueFrom": FROM_POD}]}, "env.A"),
        ({"env": [{"name": "A", "valueFrom": FROM_SETTINGS}, {"name": "B", "value": "x"}]}, "env.B"),
        ({"envFrom": [{"secretRef": {"name": "theirs"}}]}, "envFrom"),
        ({"ports": [{**PORT, "containerPort": 80}]}, "ports"),
        ({"ports": [{**PORT, "protocol": "UDP"}]}, "ports"),
        ({"readinessProbe": {"tcpSocket": {"port": 80}}}, "readinessProbe"),
    ],
)
def test_what_stands_in_the_place_of_ours_is_replaced_by_one_patch(edited: dict[str, Any], field: str) -> None:
    sidecar = {"name": "sidecar", "env": [{"name": "A", "value": "theirs"}]}
    live = deployment({**CONTAINER, **edited}, sidecar)
    parts = parts_to_replace(WANTED, live, additions=True)
    assert parts is not None
    assert parts.fields == [f"spec.template.spec.containers.shop.{field}"]
    assert parts.settles(f"{parts.fields[0]}.any")
    assert not parts.settles(f"{parts.fields[0]}other")
    assert strategic_patched(live, parts.patch) == deployment(CONTAINER, sidecar)


@pytest.mark.parametrize(
    "edited",
    [
        {},
        {"image": "evil"},
        {"env": []},
        {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "other", "key": "b"}}}]},
        {"ports": []},
        {"ports": [PORT, {"name": "metrics", "containerPort": 9090, "protocol": "TCP"}]},
        {"ports": [PORT, {"containerPort": 9090, "protocol": "TCP"}]},
        {"ports": [{**PORT, "name": "other"}]},
        {"readinessProbe": {"httpGet": {"path": "/x", "port": 1, "scheme": "HTTP"}, "periodSeconds": 1}},
        {"readinessProbe": None},
    ],
)
def test_what_an_apply_puts_right_and_what_others_add_is_not_replaced(edited: dict[str, Any]) -> None:
    live = deployment({**CONTAINER, **edited})
    assert parts_to_replace(WANTED, live, additions=True) is None


def test_what_others_add_to_a_part_that_is_replaced_stays() -> None:
    probe = {"tcpSocket": {"port": 80}, "periodSeconds": 1}
    metrics = {"name": "metrics", "containerPort": 9090, "protocol": "TCP"}
    live = deployment({**CONTAINER, "readinessProbe": probe, "ports": [{**PORT, "containerPort": 80}, metrics]})
    parts = parts_to_replace(WANTED, live, additions=True)
    assert parts is not None
    (container,) = strategic_patched(live, parts.patch)["spec"]["template"]["spec"]["containers"]
    assert container["readinessProbe"] == {**CONTAINER["readinessProbe"], "periodSeconds": 1}  # type: ignore[dict-item]
    assert container["ports"] == [PORT, metrics]


@pytest.mark.parametrize(
    ("ports", "kept"),
    [
        ([{"name": "http", "port": 80, "protocol": "TCP"}], []),
        ([{"port": 80, "protocol": "TCP"}], []),
        ([{**HTTP, "nodePort": 30000}, {"port": 80, "protocol": "TCP"}], []),
        ([{"name": "http", "port": 80, "protocol": "TCP"}, {"name": "m", "port": 9090, "protocol": "TCP"}], ["m"]),
    ],
)
def test_ports_of_a_service_that_would_stand_beside_ours_under_its_name_or_none_go(
    ports: list[dict[str, Any]], kept: list[str]
) -> None:
    live = {"kind": "Service", "spec": {"selector": {"app": "shop"}, "ports": ports}}
    parts = parts_to_replace(SERVICE, live, additions=False)
    assert parts is not None
    ours, *others = strategic_patched(live, parts.patch)["spec"]["ports"]
    assert HTTP.items() <= ours.items()
    assert [each["name"] for each in others] == kept


def test_a_key_more_in_a_selector_is_removed_as_variables_are_where_additions_go() -> None:
    live: Any = deepcopy(SERVICE)
    live["spec"]["selector"]["version"] = "2"
    parts = parts_to_replace(SERVICE, live, additions=True)
    assert parts is not None
    assert (parts.patch, parts.fields) == ({"spec": {"selector": {"version": None}}}, ["spec.selector.version"])
    assert parts_to_replace(SERVICE, live, additions=False) is None


def test_nothing_is_replaced_in_objects_of_other_kinds() -> None:
    assert parts_to_replace({"kind": "ConfigMap", "data": {"a": "1"}}, {"data": {"a": "2"}}, additions=True) is None


def managed(manager: str, operation: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "fieldsV1": fields}


def test_what_a_manager_patched_is_claimed_as_applied_and_nothing_of_others() -> None:
    theirs = managed("kubectl", "Update", {"f:spec": {"f:b": {}}})
    status = {**managed("ours", "Update", {"f:status": {}}), "subresource": "status"}
    entries = [
        managed("ours", "Apply", {"f:spec": {"f:a": {}}}),
        theirs,
        managed("ours", "Update", {"f:spec": {"f:c": {"f:d": {}}}}),
        status,
    ]
    united = managed("ours", "Apply", {"f:spec": {"f:a": {}, "f:c": {"f:d": {}}}})
    assert claimed(entries, "ours") == [united, theirs, status]
    assert claimed([united, theirs, status], "ours") is None
    assert not is_unclaimed(entries)
    assert is_unclaimed([theirs, managed("1ctl-ours", "Update", {})])
    assert not is_unclaimed([{**status, "manager": "1ctl-ours"}, managed("1ctl-ours", "Apply", {})])
    assert claimed([entries[2]], "ours") == [{**entries[2], "operation": "Apply"}]


PROBE = "f:readinessProbe"


def probed(*owners: tuple[str, str]) -> Any:
    """A Deployment whose probe, with what a server adds, has these owners."""
    probe = {"httpGet": {"path": "/", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 10}
    fields: Any = {"f:httpGet": {"f:path": {}, "f:port": {}}}
    pods = {"f:containers": {'k:{"name":"shop"}': {PROBE: fields}}}
    live = deployment({**CONTAINER, "readinessProbe": probe})
    live["metadata"] = {
        "managedFields": [
            {"manager": manager, "operation": operation, "fieldsV1": {"f:spec": {"f:template": {"f:spec": pods}}}}
            for manager, operation in owners
        ]
    }
    return live


WITHOUT_PROBE = deployment({key: value for key, value in CONTAINER.items() if key != "readinessProbe"})


def test_a_probe_of_ours_that_nobody_asks_for_is_taken_out_with_what_the_server_added() -> None:
    live = probed(("1ctl-l", "Apply"))
    patch = probes_left(WITHOUT_PROBE, live, "l")
    assert patch is not None
    assert strategic_patched(live, patch)["spec"] == WITHOUT_PROBE["spec"]


@pytest.mark.parametrize("owners", [[], [("kubectl-edit", "Update")], [("1ctl-l", "Apply"), ("other", "Update")]])
def test_a_probe_that_is_somebody_elses_too_is_left(owners: list[tuple[str, str]]) -> None:
    assert probes_left(WITHOUT_PROBE, probed(*owners), "l") is None


def test_a_probe_that_is_asked_for_is_left() -> None:
    assert probes_left(WANTED, probed(("1ctl-l", "Apply")), "l") is None
    assert probes_left(SERVICE, SERVICE, "l") is None
