"""What to do about a parked app is told from what is recorded of it, also by who has no cluster to ask."""

from __future__ import annotations

import pytest

from cli.parked_hints import parked_hint
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


@pytest.mark.parametrize("reason", ["Forbidden", "Sealed", "Contended", "Redacted", "StillThere", "NotOurs"])
def test_whatever_it_is_the_last_step_is_to_try_again(reason: str) -> None:
    assert parked_hint(APP, parked(reason, "anything at all")).splitlines()[-1] == RETRY
