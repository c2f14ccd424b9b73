"""The stored bytes of every event, for good: what was once written is read for ever."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from ledger import codec
from ledger.codec import decode, encode
from ledger.envelope import ENVELOPE_SCHEMA
from ledger.errors import LedgerDamagedError, UnknownEventError, UnreadableEventError
from ledger.events import SCHEMA_VERSIONS, EnvSet, Event, Scaled
from ledger.readable import document_of
from ledger.store import Row
from ledger.upcasters import UPCASTERS
from tests.ledger.examples import ENVELOPE, EXAMPLES, GOLDEN, golden_name

GOLDEN_FILES = sorted(GOLDEN.glob("*.json"))
NO_ROW = Row(1, b"s" * 16, 1, "", b"", 0, b"", b"")
STORED = encode(Scaled(replicas=3), ENVELOPE)

# One line for each golden file, only ever added to: a shape once stored is in ledgers that this program must read.
EVER_STORED = """
ApplyRefused.v1 Deployed.v1 Destroyed.v1 DomainAssigned.v1 DomainClaimed.v1 DomainReleased.v1 EnvSet.v1 EnvUnset.v1
LedgerCreated.v1 LedgerMoved.v1 LedgerRestored.v1 Redacted.v1 ReleaseMarkedBad.v1 ResourcesApplied.v1
ResourcesRemoved.v1 Restarted.v1 RolledBack.v1 RolloutCompleted.v1 RolloutFailed.v1 Scaled.v1 SecretPurged.v1
SecretSet.v1 SecretUnset.v1 SecretsFingerprinted.v1 WorkerIdentitySet.v1
Redacted.v2 ResourcesApplied.v2 ApplyRetried.v1 DriftDetected.v1 DriftHealed.v1 ObjectAdopted.v1 WorkerDisabled.v1 WorkerEnabled.v1
ReleaseUnmarked.v1
"""


def named(event: Event) -> str:
    return type(event).__name__


def changed(**parts: Any) -> bytes:
    return orjson.dumps({**orjson.loads(STORED), **parts})


def test_every_event_has_an_example_and_a_golden_file() -> None:
    assert {type(event) for event in EXAMPLES} == set(SCHEMA_VERSIONS)
    missing = [golden_name(event) for event in EXAMPLES if not (GOLDEN / golden_name(event)).exists()]
    assert not missing, "write them: python -m tests.ledger.examples"


def test_every_shape_ever_stored_still_has_its_golden_file() -> None:
    assert [path.stem for path in GOLDEN_FILES] == sorted(EVER_STORED.split())


@pytest.mark.parametrize("path", GOLDEN_FILES, ids=lambda path: path.stem)
def test_every_golden_file_can_be_read(path: Path) -> None:
    topic, version = re.fullmatch(r"(\w+)\.v(\d+)", path.stem).groups()  # type: ignore[union-attr]
    assert topic in {kind.__name__ for kind in SCHEMA_VERSIONS}, "its topic vanished from the vocabulary"
    assert orjson.loads(path.read_bytes())["schema"] == int(version)
    event, envelope = decode(topic, path.read_bytes())
    assert (type(event).__name__, envelope) == (topic, ENVELOPE)


@pytest.mark.parametrize("event", EXAMPLES, ids=named)
def test_an_example_is_stored_as_exactly_the_golden_bytes(event: Event) -> None:
    assert encode(event, ENVELOPE) == (GOLDEN / golden_name(event)).read_bytes()


@pytest.mark.parametrize("event", EXAMPLES, ids=named)
def test_the_golden_bytes_are_read_as_exactly_the_example(event: Event) -> None:
    assert decode(named(event), (GOLDEN / golden_name(event)).read_bytes()) == (event, ENVELOPE)


@pytest.mark.parametrize("event", EXAMPLES, ids=named)
def test_what_was_read_can_be_compared_hashed_into_bytes_and_read_again(event: Event) -> None:
    again, envelope = decode(named(event), encode(*decode(named(event), encode(event, ENVELOPE))))
    assert (again, envelope) == (event, ENVELOPE)


def test_the_order_in_which_keys_were_given_does_not_matter() -> None:
    one = EnvSet(values={"A": "1", "B": "2"})
    other = EnvSet(values={"B": "2", "A": "1"})
    assert encode(one, ENVELOPE) == encode(other, ENVELOPE)


def test_an_unknown_topic_is_from_a_newer_program() -> None:
    with pytest.raises(UnknownEventError, match="'Teleported' that this version does not know") as caught:
        decode("Teleported", STORED)
    assert caught.value.hint is not None
    assert "Upgrade" in caught.value.hint


@pytest.mark.parametrize("topic", ["os.system", "ledger.events:Scaled", "Spec", "AppliedObject", "scaled", ""])
def test_a_topic_never_names_anything_but_an_event(topic: str) -> None:
    with pytest.raises((UnknownEventError, UnreadableEventError)):
        decode(topic, STORED)


def test_a_newer_schema_is_from_a_newer_program() -> None:
    with pytest.raises(UnknownEventError, match="a Scaled of schema 2; this version reads up to 1"):
        decode("Scaled", changed(schema=2))


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"\xff\x00garbage",
        STORED[:-1],
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        changed(data=None),
        changed(data=[]),
        changed(data={}),
        changed(data={"replicas": 3, "extra": 1}),
        changed(schema=0),
        changed(schema=None),
        changed(schema="1"),
        changed(meta=None),
        changed(meta={}),
        changed(meta={**orjson.loads(STORED)["meta"], "source": None}),
        changed(meta={**orjson.loads(STORED)["meta"], "subject": {"app": "x"}}),
        changed(meta={key: value for key, value in orjson.loads(STORED)["meta"].items() if key != "salt"}),
        changed(meta={**orjson.loads(STORED)["meta"], "address": "192.0.2.1"}),
        changed(meta={**orjson.loads(STORED)["meta"], "schema": 1}),
        changed(meta={**orjson.loads(STORED)["meta"], "schema": "2"}),
        b"[" * 100_000,
    ],
    ids=lambda state: state[:40].decode(errors="replace"),
)
def test_bytes_that_encode_never_wrote_are_damage(state: bytes) -> None:
    with pytest.raises(LedgerDamagedError, match="'Scaled' cannot be read") as caught:
        decode("Scaled", state)
    assert not isinstance(caught.value, UnknownEventError)


NESTED: dict[str, tuple[str, dict[str, Any]]] = {
    "a number for a fingerprint's versions": ("SecretsFingerprinted", {"fingerprints": {"K": 5}}),
    "a number for a fingerprint": ("SecretsFingerprinted", {"fingerprints": {"K": {"1": 5}}}),
    "an object among paths": ("DriftHealed", {"fields": [{}]}),
    "a number among keys": ("EnvUnset", {"keys": [1]}),
    "null among secret keys": ("SecretUnset", {"keys": [None]}),
    "a number for a value": ("EnvSet", {"values": {"A": 1}}),
    "a text for a version": ("SecretSet", {"secrets": {"K": {"version": "2", "digest": "00"}}}),
    "a list for a version": ("SecretSet", {"secrets": {"K": [1]}}),
    "no digest": ("SecretSet", {"secrets": {"K": {"version": 2}}}),
    "a text for an object": ("ResourcesApplied", {"objects": ["Service"]}),
    "a list for a field": ("DriftDetected", {"fields": [{"field": [], "wanted": "", "found": "", "manager": ""}]}),
    "a huge number": ("Scaled", {"replicas": 2**63}),
    "true for a number": ("Scaled", {"replicas": True}),
}


@pytest.mark.parametrize("odd", NESTED)
def test_what_a_field_holds_is_what_it_is_to_hold_all_the_way_down(odd: str) -> None:
    topic, data = NESTED[odd]
    example = next(event for event in EXAMPLES if named(event) == topic)
    whole = orjson.loads(encode(example, ENVELOPE))
    state = orjson.dumps({**whole, "data": {**whole["data"], **data}})
    for read in (lambda: decode(topic, state), lambda: document_of(NO_ROW._replace(topic=topic, state=state))):
        with pytest.raises(UnreadableEventError):
            read()


@pytest.mark.parametrize(
    "spec", [{"port": "80"}, {"machines": [1]}, {"machines": "ab"}, {"replicas": 2**63}, {"more": 1}]
)
@pytest.mark.parametrize("topic", ["Deployed", "RolledBack"])
def test_what_a_release_runs_is_read_only_if_it_can_run(topic: str, spec: dict[str, Any]) -> None:
    example = next(event for event in EXAMPLES if named(event) == topic)
    whole = orjson.loads(encode(example, ENVELOPE))
    whole["data"]["spec"] |= spec
    with pytest.raises(UnreadableEventError):
        decode(topic, orjson.dumps(whole))


@pytest.mark.parametrize("event", EXAMPLES, ids=named)
def test_what_can_be_decoded_is_known_to_be_readable(event: Event) -> None:
    state = encode(event, ENVELOPE)
    assert document_of(NO_ROW._replace(topic=named(event), state=state)) == orjson.loads(state)


def newer(**parts: Any) -> bytes:
    """An event in an envelope of the next schema."""
    return changed(meta={**orjson.loads(STORED)["meta"], "schema": ENVELOPE_SCHEMA + 1, **parts})


def test_a_newer_envelope_is_from_a_newer_program() -> None:
    with pytest.raises(UnknownEventError, match="an envelope of schema 2; this version reads up to 1") as caught:
        decode("Scaled", newer(address="192.0.2.1"))
    assert "Upgrade" in str(caught.value.hint)


def test_of_a_newer_envelope_what_it_still_says_in_the_same_way_is_read() -> None:
    assert codec.subject_of(newer(address="192.0.2.1")) == ENVELOPE.subject
    assert codec.request_of(newer(address="192.0.2.1")) == ENVELOPE.request_id
    with pytest.raises(UnknownEventError):
        codec.subject_of(newer(subject={"app": "x"}))


@pytest.mark.parametrize("state", [b"", b"null", b"[]", b"{}", changed(meta=None), changed(meta=[]), changed(meta={})])
def test_what_no_envelope_is_in_is_damage(state: bytes) -> None:
    for read in (codec.subject_of, codec.request_of):
        with pytest.raises(LedgerDamagedError, match="cannot be read"):
            read(state)


def test_the_first_envelope_does_not_say_its_schema() -> None:
    assert ENVELOPE_SCHEMA == 1
    assert "schema" not in orjson.loads(STORED)["meta"]


@pytest.mark.parametrize("event", EXAMPLES, ids=named)
def test_an_event_without_one_of_its_fields_is_damage(event: Event) -> None:
    whole = orjson.loads(encode(event, ENVELOPE))
    optional = {"life_key", "image_digest", "restored_from"}
    for name in set(whole["data"]) - optional:
        data = {key: value for key, value in whole["data"].items() if key != name}
        with pytest.raises(LedgerDamagedError):
            decode(named(event), orjson.dumps({**whole, "data": data}))


def test_an_error_about_a_stored_event_does_not_show_what_it_holds() -> None:
    state = encode(EnvSet(values={"PASSWORD": "hush-hush"}), ENVELOPE).replace(b'"values"', b'"valued"')
    with pytest.raises(LedgerDamagedError) as caught:
        decode("EnvSet", state)
    assert "hush" not in str(caught.value)


def test_older_shapes_are_read_through_every_upcaster_between(monkeypatch: pytest.MonkeyPatch) -> None:
    def from_1(data: dict[str, Any]) -> dict[str, Any]:
        return {"count": data["pods"]}

    def from_2(data: dict[str, Any]) -> dict[str, Any]:
        return {"replicas": data["count"]}

    monkeypatch.setattr(codec, "SCHEMA_VERSIONS", {**SCHEMA_VERSIONS, Scaled: 3})
    monkeypatch.setattr(codec, "UPCASTERS", {("Scaled", 1): from_1, ("Scaled", 2): from_2})
    assert decode("Scaled", changed(schema=1, data={"pods": 7}))[0] == Scaled(replicas=7)
    assert decode("Scaled", changed(schema=2, data={"count": 7}))[0] == Scaled(replicas=7)
    assert decode("Scaled", changed(schema=3, data={"replicas": 7}))[0] == Scaled(replicas=7)
    assert orjson.loads(encode(Scaled(replicas=7), ENVELOPE))["schema"] == 3


def test_an_upcaster_gives_restored_types_too(monkeypatch: pytest.MonkeyPatch) -> None:
    example = next(event for event in EXAMPLES if named(event) == "Deployed")
    whole = orjson.loads(encode(example, ENVELOPE))
    whole["data"]["what"] = whole["data"].pop("spec")

    def from_1(data: dict[str, Any]) -> dict[str, Any]:
        return {**{key: value for key, value in data.items() if key != "what"}, "spec": data["what"]}

    monkeypatch.setattr(codec, "SCHEMA_VERSIONS", {**SCHEMA_VERSIONS, type(example): 2})
    monkeypatch.setattr(codec, "UPCASTERS", {("Deployed", 1): from_1})
    assert decode("Deployed", orjson.dumps(whole))[0] == example


def test_there_is_an_upcaster_from_every_older_shape_to_the_next() -> None:
    needed = {(kind.__name__, schema) for kind, newest in SCHEMA_VERSIONS.items() for schema in range(1, newest)}
    assert set(UPCASTERS) == needed
