"""A request is recognised when it is repeated, also by a later program: its digest is stored for good."""

from __future__ import annotations

import pytest

from ledger.commands import Command, Deploy, Destroy, Restore, SetEnv, SetSecrets
from ledger.request import request_digest
from ledger.spec import AppId

APP = AppId("prod", "shop", "orders")


@pytest.mark.parametrize(
    ("command", "digest"),
    [
        (Deploy(image="nginx:1", replicas=2), "7c8fd23a526681c511d8df8f2e3c9e1c411f355af1661e2a4254421ca40bd3cc"),
        (Restore(deployment_id="d"), "660c43af101e4ed2626c0c5add94322d25e3ddf58011f99821097c8d00a3851b"),
        (SetEnv(values={"A": "1"}), "11517797f86fe09331d5f63e950e9c0c79283c0c2a870e34a9b5f9339a6cc01d"),
        (Destroy(), "f75641d8ec7b0dc60d6cbbe95153944dbd87e3fc2ca327d54a8a2baa5dfd7bff"),
    ],
    ids=lambda part: type(part).__name__,
)
def test_a_digest_is_what_earlier_programs_stored(command: Command, digest: str) -> None:
    assert request_digest(b"salt", APP, command).hex() == digest


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Deploy(image="nginx:1"), Deploy(image="nginx:2")),
        (Deploy(image="nginx:1"), Deploy(image="nginx:1", secret_keys=("A",))),
        (Deploy(image="nginx:1"), Restore(deployment_id="d")),
        (SetSecrets(keys=("A",)), SetSecrets(keys=("B",))),
    ],
)
def test_another_request_has_another_digest(one: Command, other: Command) -> None:
    assert request_digest(b"salt", APP, one) != request_digest(b"salt", APP, other)
    assert request_digest(b"salt", APP, one) != request_digest(b"other", APP, one)
    assert request_digest(b"salt", APP, one) != request_digest(b"salt", AppId("prod", "shop", "other"), one)


def test_the_order_of_keys_does_not_matter() -> None:
    one, other = Deploy(secret_keys=("A", "B")), Deploy(secret_keys=("B", "A"))
    assert request_digest(b"salt", APP, one) == request_digest(b"salt", APP, other)
