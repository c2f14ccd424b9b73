"""Identities and hashes that are in every ledger there is: written out, so that nobody changes them by accident."""

from __future__ import annotations

from hashlib import sha1, sha256
from uuid import UUID

from ledger.leaf import GENESIS, chain_hash, entry, leaf_hash
from ledger.spec import AppId
from ledger.streams import LEDGER_STREAM, NAMESPACE, app_stream, domain_stream, observed_stream

STREAM = bytes.fromhex("5b3f6f0e1c7a5d2e9b8a7c6d5e4f3a2b")
STATE = b'{"data":{},"meta":{},"schema":1}'


def uuid5_by_hand(namespace: bytes, name: str) -> UUID:
    """RFC 9562, section 5.5."""
    digest = bytearray(sha1(namespace + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return UUID(bytes=bytes(digest))


def leaf_by_hand(position: int, stream: bytes, version: int, recorded_us: int, topic: str, state: bytes) -> bytes:
    """RFC 6962, section 2.1, over the entry of ADR 4."""
    name = topic.encode("utf-8")
    parts = [
        b"\x00",
        position.to_bytes(8, "big"),
        stream,
        version.to_bytes(8, "big"),
        recorded_us.to_bytes(8, "big", signed=True),
        len(name).to_bytes(2, "big"),
        name,
        sha256(state).digest(),
    ]
    return sha256(b"".join(parts)).digest()


def test_the_namespace_of_streams_is_the_one_published() -> None:
    url = UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8").bytes
    assert UUID("91244e1b-321a-5abf-b075-dee04fa5129e") == NAMESPACE
    assert uuid5_by_hand(url, "https://1ctl.dev/ledger/streams") == NAMESPACE


def test_stream_identities_are_the_ones_in_every_ledger() -> None:
    app = app_stream(AppId("prod", "shop", "orders"))
    assert str(LEDGER_STREAM) == "66533764-ea80-5fc7-b8db-8801e3753f19"
    assert str(app) == "8bcfd975-6b05-5de8-83b9-33c3140fda39"
    assert str(observed_stream(app)) == "2066d75d-17ba-5e15-abf6-503998aff199"
    assert str(domain_stream("calmotter-1111111.example.com")) == "eb635d42-d379-5a50-ac3a-582173794ed1"


def test_stream_identities_follow_from_the_names_alone() -> None:
    namespace = UUID("91244e1b-321a-5abf-b075-dee04fa5129e").bytes
    app = app_stream(AppId("arn:aws:eks/prod", "shop", "orders"))
    assert uuid5_by_hand(namespace, "ledger") == LEDGER_STREAM
    assert app == uuid5_by_hand(namespace, "arn:aws:eks/prod/shop/orders")
    assert observed_stream(app) == uuid5_by_hand(app.bytes, "observed")
    assert domain_stream("a.example.com") == uuid5_by_hand(namespace, "a.example.com")


def test_no_two_kinds_of_stream_share_an_identity() -> None:
    app = app_stream(AppId("prod", "shop", "orders"))
    streams = [LEDGER_STREAM, app, observed_stream(app), domain_stream("orders.example.com")]
    assert len(set(streams)) == len(streams)


def test_the_entry_has_the_documented_layout() -> None:
    digest = sha256(STATE).digest()
    expected = (
        "0000000000000007"  # position
        "5b3f6f0e1c7a5d2e9b8a7c6d5e4f3a2b"  # stream
        "0000000000000003"  # version
        "0006474d9d6b4000"  # recorded at, in microseconds
        "0006"  # length of the topic
        "456e76536574"  # EnvSet
    )
    assert entry(7, STREAM, 3, 0x0006474D9D6B4000, "EnvSet", digest).hex() == expected + digest.hex()


def test_the_leaf_hash_is_the_one_in_every_ledger() -> None:
    leaf = leaf_hash(7, STREAM, 3, 0x0006474D9D6B4000, "EnvSet", STATE)
    assert leaf.hex() == "926e7559f986649f94a94704507ba768083da404ca25b29460a9eda8c1e967e0"
    assert leaf == leaf_by_hand(7, STREAM, 3, 0x0006474D9D6B4000, "EnvSet", STATE)


def test_a_time_before_1970_and_a_topic_beyond_ascii_have_a_leaf_too() -> None:
    assert leaf_hash(1, STREAM, 1, -1, "Über", b"") == leaf_by_hand(1, STREAM, 1, -1, "Über", b"")


def test_the_chain_hash_is_the_one_in_every_ledger() -> None:
    first = leaf_by_hand(1, STREAM, 1, 1, "A", b"a")
    second = leaf_by_hand(2, STREAM, 2, 2, "B", b"b")
    assert bytes(32) == GENESIS
    chain = chain_hash(chain_hash(GENESIS, first), second)
    assert chain == sha256(sha256(bytes(32) + first).digest() + second).digest()
    assert chain.hex() == "48a4ce3a5d583dae3951494fc9c0d1adde6b96806f870a781c890e2598ef36c8"
