"""Sealing secrets."""

from __future__ import annotations

import traceback
from base64 import b64decode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import sealing
from ledger.errors import SealedError
from tests.seeds import examples

LIFE = "7a6b5c4d-3e2f-4a1b-8c9d-0e1f2a3b4c5d"
OTHER = "8a6b5c4d-3e2f-4a1b-8c9d-0e1f2a3b4c5d"
PRIVATE, PUBLIC = sealing.generate()


@settings(max_examples=examples(30, short=30), deadline=None)
@given(st.binary(max_size=5000))
def test_what_was_sealed_can_be_opened_and_is_overhead_longer(value: bytes) -> None:
    ciphertext = sealing.seal_value(value, LIFE, "TOKEN", 3, PUBLIC)
    assert sealing.open_value(ciphertext, LIFE, "TOKEN", 3, PRIVATE) == value
    assert len(ciphertext) == len(value) + sealing.OVERHEAD
    assert len(value) < 4 or value not in ciphertext


def test_the_same_value_is_never_sealed_the_same_way_twice() -> None:
    assert len({sealing.seal_value(b"x", LIFE, "TOKEN", 1, PUBLIC) for _ in range(5)}) == 5


def test_every_key_pair_is_another_one() -> None:
    private, public = sealing.generate()
    assert len(private) == len(b64decode(public)) == 32
    assert (private, public) != (PRIVATE, PUBLIC)
    assert sealing.public_half(private) == public


def test_the_public_half_is_that_of_rfc_7748() -> None:
    private = b"\x09" + bytes(31)  # section 5.2, after one iteration
    public = "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"
    assert b64decode(sealing.public_half(private)).hex() == public


@pytest.mark.parametrize(
    ("life", "key", "version"), [(OTHER, "TOKEN", 3), (LIFE, "OTHER", 3), (LIFE, "TOKEN", 2), (LIFE, "TOKEN", 33)]
)
def test_a_value_cannot_be_passed_off_as_another(life: str, key: str, version: int) -> None:
    ciphertext = sealing.seal_value(b"hush", LIFE, "TOKEN", 3, PUBLIC)
    with pytest.raises(SealedError):
        sealing.open_value(ciphertext, life, key, version, PRIVATE)


def test_key_and_version_cannot_be_confused() -> None:
    ciphertext = sealing.seal_value(b"hush", LIFE, "TOKEN1", 1, PUBLIC)
    with pytest.raises(SealedError):
        sealing.open_value(ciphertext, LIFE, "TOKEN", 11, PRIVATE)


def test_a_value_cannot_be_opened_with_another_key() -> None:
    ciphertext = sealing.seal_value(b"hush", LIFE, "TOKEN", 3, PUBLIC)
    with pytest.raises(SealedError):
        sealing.open_value(ciphertext, LIFE, "TOKEN", 3, sealing.generate()[0])


@pytest.mark.parametrize("ciphertext", [b"", b"short", bytes(48), bytes(100)])
def test_what_was_never_sealed_cannot_be_opened(ciphertext: bytes) -> None:
    with pytest.raises(SealedError):
        sealing.open_value(ciphertext, LIFE, "TOKEN", 3, PRIVATE)


def test_no_byte_of_a_sealed_value_can_be_changed() -> None:
    ciphertext = sealing.seal_value(b"hush", LIFE, "TOKEN", 3, PUBLIC)
    for place in range(len(ciphertext)):
        changed = bytearray(ciphertext)
        changed[place] ^= 1
        with pytest.raises(SealedError):
            sealing.open_value(bytes(changed), LIFE, "TOKEN", 3, PRIVATE)


def test_a_life_key_is_wrapped_for_one_identity_and_one_life() -> None:
    identity_private, identity = sealing.generate()
    wrapped = sealing.wrap(PRIVATE, LIFE, identity)
    assert PRIVATE not in wrapped
    assert sealing.unwrap(wrapped, LIFE, identity_private) == PRIVATE
    with pytest.raises(SealedError):
        sealing.unwrap(wrapped, OTHER, identity_private)
    with pytest.raises(SealedError):
        sealing.unwrap(wrapped, LIFE, PRIVATE)


def test_a_wrapped_life_key_cannot_be_opened_as_a_value() -> None:
    identity_private, identity = sealing.generate()
    wrapped = sealing.wrap(PRIVATE, LIFE, identity)
    with pytest.raises(SealedError):
        sealing.open_value(wrapped, LIFE, "", 0, identity_private)


def test_a_failure_to_open_shows_neither_key_nor_ciphertext() -> None:
    ciphertext = sealing.seal_value(b"hush", LIFE, "TOKEN", 3, PUBLIC)
    with pytest.raises(SealedError) as caught:
        sealing.open_value(ciphertext, OTHER, "TOKEN", 3, PRIVATE)
    shown = "".join(traceback.format_exception(caught.value))
    assert "InvalidTag" not in shown
    assert repr(PRIVATE)[2:-1] not in shown
    assert caught.value.__suppress_context__
