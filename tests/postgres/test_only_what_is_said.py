"""Whoever may record may do nothing else: what a database writes beside the lines has to be what they say."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

import orjson
import pytest

from ledger.codec import encode
from ledger.errors import LedgerDeniedError, LedgerUnavailableError
from ledger.events import EnvSet, Redacted
from ledger.postgres_append import AHEAD_US
from ledger.postgres_store import PostgresStore
from ledger.redaction import redacted
from ledger.store import Beside, LifeKeyRow, LifeRow, NewRow, RequestRow, SealedRow
from tests.ledger.examples import ENVELOPE
from tests.ledger.telling import telling
from tests.postgres.conftest import OpenStore

A, B = b"a" * 16, b"b" * 16


def lies(life: str) -> dict[str, tuple[Beside, Beside]]:
    """What the lines say, and what is to be written beside them."""
    opened = LifeRow(life, "prod", "shop", "orders", 0)
    key = LifeKeyRow(life, "identity", b"wrapped")
    value = SealedRow(life, "TOKEN", 1, b"sealed")
    return {
        "a life that nobody opened": (Beside(), Beside(life=opened)),
        "a life of another app": (Beside(life=opened), Beside(life=opened._replace(app="other"))),
        "a life of another namespace": (Beside(life=opened), Beside(life=opened._replace(namespace="other"))),
        "a life of another cluster": (Beside(life=opened), Beside(life=opened._replace(cluster="other"))),
        "another life": (Beside(life=opened), Beside(life=opened._replace(deployment_id="other"))),
        "a key of a life without one": (Beside(life=opened), Beside(life_key=key)),
        "a key of another life": (Beside(life_key=key), Beside(life_key=key._replace(deployment_id="other"))),
        "a value that nobody set": (Beside(), Beside(sealed=[value])),
        "a value of another life": (Beside(sealed=[value]), Beside(sealed=[value._replace(deployment_id="other")])),
        "a value of another version": (Beside(sealed=[value]), Beside(sealed=[value._replace(version=2)])),
        "another value": (Beside(sealed=[value]), Beside(sealed=[value._replace(ciphertext=b"other")])),
        "one value too many": (Beside(sealed=[value]), Beside(sealed=[value, value._replace(key="B")])),
        "a purge that nobody asked for": (Beside(), Beside(purge=(life, "TOKEN"))),
        "a purge of another key": (Beside(purge=(life, "B")), Beside(purge=(life, "TOKEN"))),
        "a purge in another life": (Beside(purge=("other", "TOKEN")), Beside(purge=(life, "TOKEN"))),
        "an end that nobody asked for": (Beside(), Beside(shred=life)),
        "an end of another life": (Beside(shred="other"), Beside(shred=life)),
        "a move that nobody asked for": (Beside(), Beside(moved=("x", "there"))),
        "a move elsewhere": (Beside(moved=("here", "there")), Beside(moved=("x", "there"))),
    }


LIES = list(lies("life"))
OPENED = Beside(
    life=LifeRow("life", "prod", "shop", "orders", 0),
    life_key=LifeKeyRow("life", "identity", b"wrapped"),
    sealed=[SealedRow("life", "TOKEN", 1, b"sealed")],
)


@pytest.fixture
def writer(roles: dict[str, str], open_postgres: OpenStore) -> PostgresStore:
    """A store as somebody has it who may record, with a life in it."""
    writer = open_postgres(roles["writer"])
    writer.append(telling(OPENED, A), clock_us=1, beside=OPENED)
    return writer


def lie_called(name: str) -> tuple[Beside, Beside]:
    """About a life that is not there yet if it is about beginnings, so that nothing but the lie is in the way."""
    said, written = lies("life")[name]
    return lies("new life")[name] if written.life or written.life_key or written.sealed else (said, written)


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("with_lines", [True, False])
def test_what_the_lines_do_not_say_is_refused_and_nothing_is_written(
    writer: PostgresStore, store: PostgresStore, lie: str, with_lines: bool
) -> None:
    said, written = lie_called(lie)
    before = (store.head(), store.sealed("life"), store.life_key("life"), store.instance())
    rows = [*telling(said, B), NewRow(B, 99, "Noted", b"{}")] if with_lines else []
    with pytest.raises(LedgerDeniedError, match="not what they say"):
        writer.append(rows, clock_us=1, beside=written)
    assert (store.head(), store.sealed("life"), store.life_key("life"), store.instance()) == before
    assert store.life("new life") is None


@pytest.mark.parametrize("lie", [name for name in LIES if "nobody" not in name])
def test_what_the_lines_say_is_written(writer: PostgresStore, lie: str) -> None:
    _, written = lie_called(lie)
    writer.append(telling(written, B), clock_us=1, beside=written)


def test_a_request_is_not_remembered_without_a_line(writer: PostgresStore) -> None:
    with pytest.raises(LedgerDeniedError):
        writer.append([], clock_us=1, beside=Beside(request=RequestRow("r", b"s" * 16, b"d" * 32, 0, 0)))
    assert writer.request("r") is None


# -- Redaction ---------------------------------------------------------------------------------------------------------

SET = encode(EnvSet(values={"A": "leaked", "B": "2"}), ENVELOPE)


def with_environment(writer: PostgresStore) -> int:
    (line,) = writer.append([NewRow(B, 1, "EnvSet", SET)], clock_us=1)
    return line.position


def changed(state: bytes, *path: str, value: object) -> bytes:
    """The bytes with one thing in them changed."""
    document = orjson.loads(state)
    holder = document
    for name in path[:-1]:
        holder = holder[name]
    holder[path[-1]] = value
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def attempt(writer: PostgresStore, position: int, state: bytes, events: Sequence[Redacted]) -> None:
    rows = [NewRow(A, 50 + number, "Redacted", encode(event, ENVELOPE)) for number, event in enumerate(events)]
    writer.append(rows, clock_us=1, beside=Beside(redact=(position, state)))


@pytest.mark.parametrize(
    "change",
    [
        (("data", "values", "B"), "evil"),
        (("data", "values", "A"), "evil"),
        (("data", "values", "C"), "more"),
        (("meta", "actor"), "somebody else"),
        (("meta", "salt"), ENVELOPE.salt),
        (("meta", "reason"), "[redacted]"),
        (("schema",), 2),
    ],
)
def test_a_redaction_blanks_one_field_and_changes_nothing_else(
    writer: PostgresStore, change: tuple[tuple[str, ...], object]
) -> None:
    position = with_environment(writer)
    event, blank = redacted(writer.positions(position, limit=1)[0], "values.A")
    path, value = change
    other = changed(blank, *path, value=value)
    with pytest.raises(LedgerDeniedError, match="no other"):
        attempt(writer, position, other, [replace(event, new_digest=sha256(other).hexdigest())])
    assert writer.positions(position, limit=1)[0].state == SET
    attempt(writer, position, blank, [event])
    assert writer.positions(position, limit=1)[0].state == blank


@pytest.mark.parametrize("lie", ["no event", "other position", "other field", "other digests", "not free text"])
def test_a_redaction_is_what_its_event_says(writer: PostgresStore, lie: str) -> None:
    position = with_environment(writer)
    event, blank = redacted(writer.positions(position, limit=1)[0], "values.A")
    events = {
        "no event": [],
        "other position": [replace(event, position=1)],
        "other field": [replace(event, field="values.B")],
        "other digests": [replace(event, new_digest=event.old_digest)],
        "not free text": [replace(event, field="data.values.A")],
    }[lie]
    with pytest.raises(LedgerDeniedError, match="no other"):
        attempt(writer, position, blank, events)
    assert writer.positions(position, limit=1)[0].state == SET


# -- Time --------------------------------------------------------------------------------------------------------------


def test_a_clock_that_is_far_ahead_is_refused_so_that_later_lines_do_not_inherit_it(writer: PostgresStore) -> None:
    before, now = writer.head(), time.time_ns() // 1000
    with pytest.raises(LedgerUnavailableError, match="a day ahead"):
        writer.append([NewRow(B, 1, "Noted", b"{}")], clock_us=now + AHEAD_US + 60_000_000)
    assert writer.head() == before
    (line,) = writer.append([NewRow(B, 1, "Noted", b"{}")], clock_us=now + AHEAD_US // 2)
    assert line.recorded_us == now + AHEAD_US // 2
