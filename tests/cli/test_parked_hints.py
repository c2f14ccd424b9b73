"""What to do about a parked app is told from what is recorded of it, also by who has no cluster to ask."""

from __future__ import annotations

import pytest

from cli.parked_hints import parked_hint, refusal
from effects.cluster import NotOursError, Ref
from ledger.app import Parked
from ledger.spec import AppId

APP = AppId("prod", "shop", "orders")
RETRY = "When that is fixed: 1ctl worker retry orders"


def parked(reason: str, message: str) -> Parked:
    return Parked(through=3, reason=reason, message=message)


def test_an_object_of_somebody_else_can_be_taken_over() -> None:
    error = NotOursError(Ref("Service", "shop", "orders"), uid="0f-1")
    assert parked_hint(APP, parked("NotOurs", error.message)).splitlines() == [
        "Remove it, or deploy under another name: kubectl -n shop get service/orders --show-labels",
        "Or take it over: 1ctl deploy adopt service/orders --uid 0f-1 --reason TEXT",
        RETRY,
    ]


@pytest.mark.parametrize("kind", ["Secret", "Service"])
def test_one_whose_uid_nobody_knows_cannot(kind: str) -> None:
    hint = parked_hint(APP, parked("NotOurs", NotOursError(Ref(kind, "shop", "orders")).message))
    assert "adopt" not in hint
    assert f"get {kind.lower()}/orders" in hint


def test_of_what_is_missing_it_is_the_namespace_or_the_kind() -> None:
    kind = parked_hint(
        APP, parked("Not Found", "Cluster prod did not apply httproute/orders in namespace shop: 404 Not Found")
    )
    assert "needs the Gateway API installed" in kind
    gone = parked_hint(
        APP, parked("NotFound", 'did not apply service/orders: 404 NotFound: namespaces "shop" not found')
    )
    assert "kubectl create namespace shop" in gone


def test_a_machine_without_the_identity_is_not_called_a_cluster_that_refuses() -> None:
    assert refusal("Sealed", "w1 does not hold the identity") == "w1 does not hold the identity"
    assert refusal("Forbidden", "no") == "the cluster refused (Forbidden): no"


@pytest.mark.parametrize("reason", ["Forbidden", "Sealed", "Contended", "Redacted", "StillThere", "NotOurs"])
def test_whatever_it_is_the_last_step_is_to_try_again(reason: str) -> None:
    assert parked_hint(APP, parked(reason, "anything at all")).splitlines()[-1] == RETRY
