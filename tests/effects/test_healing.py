"""What is recorded of a field that somebody edited."""

from __future__ import annotations

from typing import Any

import pytest

from effects.cluster import Manifest, Ref
from effects.drift import Difference
from effects.healing import PRESENT, field_drifts

LIVE: Manifest = {"metadata": {"name": "shop", "namespace": "default"}}
TOKEN = "ghp_0123456789abcdefghijABCDEFGHIJ012345"


def recorded(field: str, found: object) -> str | None:
    (drift,) = field_drifts([Difference(Ref("Deployment", "default", "shop"), field, "ours", found)], LIVE)
    return drift.found


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ("data.a", f"Bearer {TOKEN}"),
        ("data.API_TOKEN", "hunter2-and-more"),
        ("spec.some", ["plain", f"Bearer {TOKEN}"]),
        ("spec.some", {"deep": [{"er": f"--token={TOKEN}"}]}),
        ("spec.some", {"api-token": "hunter2-and-more"}),
        ("spec.API_TOKEN", ["hunter2-and-more"]),
        ("spec.some", [{"name": "API_TOKEN", "value": "hunter2-and-more"}]),
    ],
)
def test_nothing_is_recorded_of_a_value_that_holds_what_looks_like_a_credential(field: str, found: Any) -> None:
    assert recorded(field, found) is None


@pytest.mark.parametrize("found", [3, True, ["a", "b"], {"name": "LEVEL", "value": "debug"}, [{"port": 80}]])
def test_of_any_other_value_its_json_is_recorded(found: Any) -> None:
    text = recorded("spec.some", found)
    assert text is not None
    assert text.replace(" ", "").lower() == str(found).replace("'", '"').replace(" ", "").lower()


def test_of_the_rules_of_a_route_it_is_only_recorded_that_there_are_some() -> None:
    assert recorded("spec.rules", [{"filters": [{"value": "Basic YW5hOnRpZ2VyMQ=="}]}]) == PRESENT
    assert recorded("spec.rules", None) is None
