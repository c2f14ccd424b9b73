"""What a route's status means; shapes as the Gateway API defines them and its conformant controllers write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from effects.route_state import route_state

GATEWAY = {"name": "edge", "namespace": "gateway-system"}
OTHER = {"name": "internal"}


def condition(kind: str, status: str, reason: str, *, generation: int = 2) -> Mapping[str, object]:
    return {"type": kind, "status": status, "reason": reason, "observedGeneration": generation, "message": "..."}


def said(parent: Mapping[str, object], *conditions: Mapping[str, object]) -> Mapping[str, object]:
    reference = {"group": "gateway.networking.k8s.io", "kind": "Gateway", **parent}
    return {"parentRef": reference, "controllerName": "example.com/gateway", "conditions": conditions}


def route(*statuses: Mapping[str, object], parents: tuple[Mapping[str, object], ...] = (GATEWAY,)) -> Any:
    """A route of generation 2."""
    return {
        "kind": "HTTPRoute",
        "metadata": {"name": "shop", "namespace": "shop", "generation": 2},
        "spec": {"parentRefs": list(parents)},
        **({"status": {"parents": list(statuses)}} if statuses else {}),
    }


ACCEPTED = condition("Accepted", "True", "Accepted")
RESOLVED = condition("ResolvedRefs", "True", "ResolvedRefs")


def test_a_route_of_which_nobody_set_a_status_is_unknown() -> None:
    assert route_state(route()) == "unknown"


def test_a_route_that_its_parent_takes_is_accepted() -> None:
    assert route_state(route(said(GATEWAY, ACCEPTED, RESOLVED))) == "accepted"


@pytest.mark.parametrize(
    ("conditions", "state"),
    [
        ((condition("Accepted", "False", "NotAllowedByListeners"), RESOLVED), "refused: NotAllowedByListeners"),
        ((ACCEPTED, condition("ResolvedRefs", "False", "BackendNotFound")), "refused: BackendNotFound"),
        ((ACCEPTED, condition("ResolvedRefs", "Unknown", "Pending")), "accepted"),
        ((condition("Accepted", "Unknown", "Pending"),), "unknown"),
        ((condition("Programmed", "False", "Invalid"),), "unknown"),
        ((), "unknown"),
    ],
)
def test_one_refusal_is_enough_and_says_why(conditions: tuple[Mapping[str, object], ...], state: str) -> None:
    assert route_state(route(said(GATEWAY, *conditions))) == state


def test_what_was_said_about_an_earlier_generation_does_not_count() -> None:
    assert route_state(route(said(GATEWAY, condition("Accepted", "True", "Accepted", generation=1)))) == "unknown"
    assert route_state(route(said(GATEWAY, condition("Accepted", "False", "Invalid", generation=1)))) == "unknown"


def test_every_parent_has_to_accept() -> None:
    both = (GATEWAY, OTHER)
    assert route_state(route(said(GATEWAY, ACCEPTED), parents=both)) == "unknown"
    assert route_state(route(said(GATEWAY, ACCEPTED), said(OTHER, ACCEPTED), parents=both)) == "accepted"
    refused = said(OTHER, condition("Accepted", "False", "NoMatchingParent"))
    assert route_state(route(said(GATEWAY, ACCEPTED), refused, parents=both)) == "refused: NoMatchingParent"


def test_a_parent_is_the_same_with_the_routes_own_namespace_written_out() -> None:
    assert route_state(route(said({**OTHER, "namespace": "shop"}, ACCEPTED), parents=(OTHER,))) == "accepted"
