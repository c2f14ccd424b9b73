"""What the sandbox cluster refuses, as an API server would: the common rules for objects like ours. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from effects.cluster import API_VERSIONS, ClusterRefusedError, FrozenError, Manifest, ref_of
from effects.replacing import PROBES
from effects.sandbox_rollout import max_surge

NAMESPACE = "default"
"""The only one there is."""

RFC_1123_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
RFC_1035_LABEL = r"[a-z]([-a-z0-9]*[a-z0-9])?"
LABEL_VALUE = r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?"
DATA_KEY = r"[-._a-zA-Z0-9]+"


def check_place(manifest: Manifest) -> None:
    """Refuses an object of an unknown kind, or in an unknown namespace.

    Raises:
        ClusterRefusedError: 404.
    """
    ref = ref_of(manifest)
    if API_VERSIONS.get(ref.kind) != manifest["apiVersion"]:
        kind = f"{manifest['apiVersion']} {ref.kind}"
        raise ClusterRefusedError(f"the sandbox cluster knows no {kind}", status=404, reason="NotFound")
    if ref.namespace != NAMESPACE:
        raise ClusterRefusedError(
            f'namespaces "{ref.namespace}" not found',
            status=404,
            reason="NotFound",
            hint=f"The sandbox cluster has one namespace: {NAMESPACE}.",
        )


def check_rules(manifest: dict[str, Any], *, before: dict[str, Any] | None) -> None:
    """Refuses what an API server would refuse of an object like ours.

    Raises:
        ClusterRefusedError: 422, naming the field and no value.
    """
    _check_metadata(manifest)
    if manifest["kind"] in {"ConfigMap", "Secret"}:
        _check_data(manifest, before)
    if manifest["kind"] == "Deployment":
        _check_deployment(manifest["metadata"]["name"], manifest.get("spec", {}), before)
    if manifest["kind"] == "Service":
        ports = value_at(manifest, ("spec", "ports")) or ()
        _check_names("spec.ports", ports, are_needed=len(ports) > 1)
    if manifest["kind"] == "Service" and before is not None and _address(manifest) != _address(before):
        raise invalid("spec.clusterIP is immutable")


def _check_metadata(manifest: dict[str, Any]) -> None:
    metadata = manifest["metadata"]
    is_service = manifest["kind"] == "Service"
    rule, longest = (RFC_1035_LABEL, 63) if is_service else (RFC_1123_SUBDOMAIN, 253)
    if len(metadata["name"]) > longest or not re.fullmatch(rule, metadata["name"]):
        raise invalid(f"metadata.name {metadata['name']!r} is not a name of at most {longest} characters")
    for label, value in metadata.get("labels", {}).items():
        if not isinstance(value, str) or len(value) > 63 or not re.fullmatch(LABEL_VALUE, value):
            raise invalid(f"metadata.labels.{label} is not a label value")
    for annotation, value in metadata.get("annotations", {}).items():
        if not isinstance(value, str):
            raise invalid(f"metadata.annotations.{annotation} is not a string")


def _check_data(manifest: dict[str, Any], before: dict[str, Any] | None) -> None:
    data = manifest.get("data", {})
    for key, value in data.items():
        if not re.fullmatch(DATA_KEY, key):
            raise invalid(f"data key {key!r} has a character other than letters, digits, '-', '_' and '.'")
        if not isinstance(value, str):
            raise invalid(f"data.{key} is not a string")
    if before is None or not before.get("immutable"):
        return
    if not manifest.get("immutable") or data != before.get("data", {}):
        raise FrozenError(f"{ref_of(manifest)} is immutable", status=422, reason="Invalid")


def _check_deployment(name: str, spec: dict[str, Any], before: dict[str, Any] | None) -> None:
    selected = value_at(spec, ("selector", "matchLabels"))
    labels = value_at(spec, ("template", "metadata", "labels"))
    if not selected or not labels or not selected.items() <= labels.items():
        raise invalid(f"deployment {name}: spec.selector does not match the labels of spec.template")
    if before is not None and selected != value_at(before, ("spec", "selector", "matchLabels")):
        raise invalid(f"deployment {name}: spec.selector is immutable")
    replicas = spec.get("replicas", 1)
    if not isinstance(replicas, int) or replicas < 0:
        raise invalid(f"deployment {name}: spec.replicas is not a number of 0 or more")
    containers = value_at(spec, ("template", "spec", "containers"))
    if not containers or not all(container.get("name") and container.get("image") for container in containers):
        raise invalid(f"deployment {name}: spec.template.spec.containers need a name and an image each")
    for container in containers:
        _check_container(container)
    if not re.fullmatch(r"\d+%?", max_surge(spec)):
        raise invalid(f"deployment {name}: spec.strategy.rollingUpdate.maxSurge is not a number or percentage")


def _check_container(container: dict[str, Any]) -> None:
    """Where a container has one of several things, another one beside it is refused."""
    for variable in container.get("env", ()):
        path, sources = f"env.{variable.get('name')}.valueFrom", variable.get("valueFrom") or {}
        if variable.get("value") and sources:
            raise invalid(f"{path}: may not be specified when `value` is not empty")
        if len(sources) > 1:
            raise invalid(f"{path}: may not have more than one field specified at a time")
    if len(PROBES & container.get("readinessProbe", {}).keys()) > 1:
        raise invalid("readinessProbe: may not specify more than 1 handler type")
    _check_names(f"containers.{container['name']}.ports", container.get("ports", ()), are_needed=False)


def _check_names(path: str, ports: Sequence[dict[str, Any]], *, are_needed: bool) -> None:
    names = [port["name"] for port in ports if port.get("name")]
    if are_needed and len(names) < len(ports):
        raise invalid(f"{path}: name: Required value")
    if len(set(names)) < len(names):
        raise invalid(f"{path}: name: Duplicate value")


def _address(service: dict[str, Any]) -> Any:
    return value_at(service, ("spec", "clusterIP"))


def invalid(message: str) -> ClusterRefusedError:
    """What an API server says of an object that breaks a rule."""
    return ClusterRefusedError(message, status=422, reason="Invalid")


def value_at(node: Any, path: Sequence[str]) -> Any:
    """What is under these keys, one in another; None where there is nothing."""
    for key in path:
        if not isinstance(node, dict):
            return None
        node = node.get(key)
    return node
