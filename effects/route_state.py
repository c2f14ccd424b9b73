"""What the Gateways say about a route, read from its status (Gateway API v1: RouteParentStatus). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NewType

from effects.cluster import Manifest

RouteState = NewType("RouteState", str)
"""``accepted``, ``refused: REASON``, or ``unknown``."""

ACCEPTED = RouteState("accepted")
"""Every parent accepts the route, and what it refers to was found."""

UNKNOWN = RouteState("unknown")
"""A parent has not said anything about the route as it is now: nobody serves it, or not yet."""


def route_state(live_httproute: Manifest) -> RouteState:
    """Whether the parents of a live HTTPRoute take it.

    Each parent says so by its conditions ``Accepted`` and ``ResolvedRefs``, about one generation of the route; what was
    said about an earlier one does not count. One refusal is enough; its reason is the Gateway's, for instance
    ``NotAllowedByListeners`` or ``BackendNotFound``.
    """
    parents = (live_httproute.get("spec") or {}).get("parentRefs") or ()
    said = (live_httproute.get("status") or {}).get("parents") or ()
    generation = live_httproute["metadata"].get("generation", 0)
    for status in said:
        for condition in _current(status, generation):
            if condition.get("type") in {"Accepted", "ResolvedRefs"} and condition.get("status") == "False":
                return RouteState(f"refused: {condition.get('reason') or 'no reason given'}")
    accepted = [_key(status.get("parentRef") or {}, live_httproute) for status in said if _accepts(status, generation)]
    return ACCEPTED if parents and all(_key(each, live_httproute) in accepted for each in parents) else UNKNOWN


def _accepts(status: Mapping[str, Any], generation: int) -> bool:
    return any(
        condition.get("type") == "Accepted" and condition.get("status") == "True"
        for condition in _current(status, generation)
    )


def _current(status: Mapping[str, Any], generation: int) -> Iterator[Mapping[str, Any]]:
    for condition in status.get("conditions") or ():
        if condition.get("observedGeneration", generation) >= generation:
            yield condition


def _key(reference: Mapping[str, Any], route: Manifest) -> tuple[object, ...]:
    """A parent reference with the API's defaults filled in."""
    return (
        reference.get("group", "gateway.networking.k8s.io"),
        reference.get("kind", "Gateway"),
        reference.get("namespace", route["metadata"].get("namespace")),
        reference.get("name"),
        reference.get("sectionName"),
        reference.get("port"),
    )
