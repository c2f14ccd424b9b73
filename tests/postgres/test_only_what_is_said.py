"""Whoever may record may do nothing else: what a database writes beside the lines has to be what they say."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import count
from typing import get_args

import orjson
import psycopg
import pytest

from ledger.codec import encode
from ledger.envelope import Subject
from ledger.errors import ConflictError, LedgerBusyError, LedgerDeniedError, LedgerUnavailableError
from ledger.events import (
    Deployed,
    Destroyed,
    EnvSet,
    Event,
    LedgerEvent,
    LedgerMoved,
    ObjectAdopted,
    Redacted,
    SecretPurged,
    SecretSet,
)
from ledger.postgres_append import AHEAD_US
from ledger.postgres_names import OLD_READ_MODEL_LOCK, READ_MODEL_LOCK
from ledger.postgres_store import PostgresStore
from ledger.redaction import redacted
from ledger.spec import SecretVersion
from ledger.store import Beside, Blanking, LifeKeyRow, LifeRow, NewRow, RequestRow, SealedRow
from ledger.streams import LEDGER_STREAM
from tests.ledger.examples import ENVELOPE, EXAMPLES
from tests.ledger.telling import SPEC, telling
from tests.postgres.conftest import OpenStore
from tests.postgres_support import administer, holding

A, B, LEDGER = b"a" * 16, b"b" * 16, LEDGER_STREAM.bytes
ABOUT = replace(ENVELOPE, subject=Subject(cluster="prod", namespace="shop", app="orders", deployment_id="life"))
"""The life that is open, in the stream `A`."""
_numbers = count(1)


def asked(beside: Beside) -> Beside:
    """What is written beside lines, with a request of its own."""
    return replace(beside, request=RequestRow(f"r-{next(_numbers)}", b"s" * 16, b"d" * 32, 0, 0))


def noted(stream: bytes, version: int, topic: str = "Noted") -> NewRow:
    """A line that a newer program may write."""
    return NewRow(stream, version, topic, encode(EnvSet(values={}), replace(ENVELOPE, request_id="elsewhere")))


def record(writer: PostgresStore, event: Event, beside: Beside) -> None:
    """Append one line about the open life."""
    request_id = beside.request.request_id if beside.request is not None else None
    state = encode(event, replace(ABOUT, request_id=request_id))
    writer.append([NewRow(A, after(writer, A), type(event).__name__, state)], clock_us=1, beside=beside)


def after(store: PostgresStore, stream: bytes) -> int:
    """The version of a stream's next line."""
    return store.stream_version(stream) + 1


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
        "a key of another life": (
            Beside(life=opened, life_key=key),
            Beside(life=opened, life_key=key._replace(deployment_id="other")),
        ),
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
    opened = asked(OPENED)
    writer.append(telling(opened, A), clock_us=1, beside=opened)
    return writer


@pytest.fixture
def worker(writer: PostgresStore, roles: dict[str, str], open_postgres: OpenStore) -> PostgresStore:
    """A store on the same ledger, as somebody has it who may also say what concerns the ledger as a whole."""
    return open_postgres(roles["worker"])


def lie_called(name: str) -> tuple[Beside, Beside]:
    """About a life that is not there yet if it is about beginnings, so that nothing but the lie is in the way."""
    said, written = lies("life")[name]
    return lies("new life")[name] if written.life or written.life_key or written.sealed else (said, written)


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("with_lines", [True, False])
def test_what_the_lines_do_not_say_is_refused_and_nothing_is_written(
    writer: PostgresStore, worker: PostgresStore, store: PostgresStore, lie: str, with_lines: bool
) -> None:
    said, written = lie_called(lie)
    writer = worker if said.moved else writer
    before = (store.head(), store.sealed("life"), store.life_key("life"), store.instance())
    told = asked(said)
    rows = [*telling(told, B), *telling(asked(Beside(shred="none")), B, 99)] if with_lines else []
    with pytest.raises(LedgerDeniedError, match="not what they say"):
        writer.append(rows, clock_us=1, beside=replace(written, request=told.request) if with_lines else written)
    assert (store.head(), store.sealed("life"), store.life_key("life"), store.instance()) == before
    assert store.life("new life") is None


@pytest.mark.parametrize("lie", [name for name in LIES if "nobody" not in name])
def test_what_the_lines_say_is_written(writer: PostgresStore, worker: PostgresStore, lie: str) -> None:
    _, written = lie_called(lie)
    writer = worker if written.moved else writer
    stream = A
    if written.life or written.life_key or written.sealed:  # a life has both, and is there before its secrets
        opened = written.life or written.life_key or written.sealed[0]
        place = written.life or LifeRow(opened.deployment_id, "prod", "shop", "orders", 0)
        key = LifeKeyRow(place.deployment_id, "identity", b"wrapped")
        written = replace(written, life=place, life_key=key)
        stream = A if place[1:4] == ("prod", "shop", "orders") else B
    written = asked(written)
    writer.append(telling(written, stream, after(writer, stream)), clock_us=1, beside=written)


def test_what_was_observed_may_depend_on_what_the_ledger_says_of_itself(writer: PostgresStore) -> None:
    writer.append([noted(B, 1)], clock_us=1, beside=Beside(unchanged=(LEDGER, writer.stream_version(LEDGER))))
    with pytest.raises(ConflictError):
        writer.append([noted(B, 2)], clock_us=1, beside=Beside(unchanged=(LEDGER, writer.stream_version(LEDGER) + 1)))


def test_a_request_is_not_remembered_without_a_line(writer: PostgresStore) -> None:
    with pytest.raises(LedgerDeniedError):
        writer.append([], clock_us=1, beside=Beside(request=RequestRow("r", b"s" * 16, b"d" * 32, 0, 0)))
    assert writer.request("r") is None


# -- Redaction ---------------------------------------------------------------------------------------------------------

SET = encode(EnvSet(values={"A": "leaked", "B": "2"}), replace(ABOUT, request_id="set"))


def to_blank(worker: PostgresStore) -> tuple[int, Redacted, bytes]:
    """A line with an environment; its position, the event that says a value in it is blanked, and what then remains."""
    set_at = Beside(request=RequestRow("set", b"s" * 16, b"d" * 32, 0, 0))
    (line,) = worker.append([NewRow(A, after(worker, A), "EnvSet", SET)], clock_us=1, beside=set_at)
    return line.position, *redacted(line, "values.A")


def changed(state: bytes, *path: str, value: object) -> bytes:
    """The bytes with one thing in them changed."""
    document = orjson.loads(state)
    holder = document
    for name in path[:-1]:
        holder = holder[name]
    holder[path[-1]] = value
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def attempt(worker: PostgresStore, position: int, state: bytes, events: Sequence[Redacted]) -> None:
    beside = asked(Beside(redact=Blanking(position, SET, state)))
    envelope = replace(ENVELOPE, request_id=beside.request.request_id)  # type: ignore[union-attr]
    first = after(worker, LEDGER)
    rows = [NewRow(LEDGER, first + number, "Redacted", encode(event, envelope)) for number, event in enumerate(events)]
    worker.append(rows or [noted(LEDGER, first)], clock_us=1, beside=beside if rows else replace(beside, request=None))


def assert_denied(worker: PostgresStore, position: int, state: bytes, events: Sequence[Redacted]) -> None:
    """The environment cannot be replaced so, and stays as it was set."""
    with pytest.raises(LedgerDeniedError, match="no other"):
        attempt(worker, position, state, events)
    assert worker.positions(position, limit=1)[0].state == SET


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
    worker: PostgresStore, change: tuple[tuple[str, ...], object]
) -> None:
    position, event, blank = to_blank(worker)
    path, value = change
    other = changed(blank, *path, value=value)
    assert_denied(worker, position, other, [replace(event, new_digest=sha256(other).hexdigest())])
    attempt(worker, position, blank, [event])
    assert worker.positions(position, limit=1)[0].state == blank


def test_a_text_with_a_nul_can_be_blanked_and_so_can_one_beside_it(worker: PostgresStore) -> None:
    state = encode(EnvSet(values={"A": "leaked \0", "B\0": "\0"}), replace(ABOUT, request_id="nul"))
    beside = Beside(request=RequestRow("nul", b"s" * 16, b"d" * 32, 0, 0))
    (line,) = worker.append([NewRow(A, after(worker, A), "EnvSet", state)], clock_us=1, beside=beside)
    event, blank = redacted(line, "values.A")
    attempt(worker, line.position, blank, [event])
    assert worker.positions(line.position, limit=1)[0].state == blank


@pytest.mark.parametrize("lie", ["no event", "other position", "other field", "other digests", "not free text"])
def test_a_redaction_is_what_its_event_says(worker: PostgresStore, lie: str) -> None:
    position, event, blank = to_blank(worker)
    events = {
        "no event": [],
        "other position": [replace(event, position=1)],
        "other field": [replace(event, field="values.B")],
        "other digests": [replace(event, new_digest=event.old_digest)],
        "not free text": [replace(event, field="data.values.A")],
    }[lie]
    assert_denied(worker, position, blank, events)


def test_who_may_only_connect_holds_up_neither_a_redaction_nor_a_read_model(
    worker: PostgresStore, roles: dict[str, str], open_postgres: OpenStore
) -> None:
    position, event, blank = to_blank(worker)
    impatient = open_postgres(roles["worker"], lock_timeout=0.5)
    for role in ("reader", "nobody"):
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege),
            holding(roles[role], f"LOCK TABLE onectl.{READ_MODEL_LOCK}"),
        ):
            pass
    with holding(roles["nobody"], f"SELECT pg_advisory_lock({OLD_READ_MODEL_LOCK})"):
        with impatient.change():
            pass
        attempt(impatient, position, blank, [event])


def test_nothing_is_redacted_while_somebody_keeps_what_was_folded_before(
    worker: PostgresStore, roles: dict[str, str], open_postgres: OpenStore
) -> None:
    position, event, blank = to_blank(worker)
    impatient = open_postgres(roles["worker"], lock_timeout=0.5)
    with worker.change(), pytest.raises(LedgerBusyError):
        attempt(impatient, position, blank, [event])
    attempt(impatient, position, blank, [event])


# -- Time --------------------------------------------------------------------------------------------------------------


def test_a_clock_that_is_far_ahead_is_refused_so_that_later_lines_do_not_inherit_it(writer: PostgresStore) -> None:
    before, now = writer.head(), time.time_ns() // 1000
    with pytest.raises(LedgerUnavailableError, match="a day ahead"):
        writer.append([noted(B, 1)], clock_us=now + AHEAD_US + 60_000_000)
    assert writer.head() == before
    (line,) = writer.append([noted(B, 1)], clock_us=now + AHEAD_US // 2)
    assert line.recorded_us == now + AHEAD_US // 2


# -- Lines -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state",
    [
        b"null",
        b"",
        b"{}",
        b"\xff\x00",
        b'{"data":{},"meta":{"clock":"c"}}',
        b'{"data":[],"meta":{"clock":"c"},"schema":1}',
        b'{"data":{},"meta":[],"schema":1}',
        b'{"data":{},"meta":{},"schema":1}',
        b'{"data":{},"meta":{"clock":"c"},"schema":"1"}',
        b'[{"data":{},"meta":{"clock":"c"},"schema":1}]',
        b'{"data":{"n":1e400},"meta":{"clock":"c"},"schema":1}',
        b'{"data":{"n":[-1e400]},"meta":{"clock":"c"},"schema":1}',
        b'{"data":{"n":' + b"[" * 1500 + b"]" * 1500 + b'},"meta":{"clock":"c"},"schema":1}',
        b'{"data":' + b'{"n":' * 1500 + b"1" + b"}" * 1500 + b',"meta":{"clock":"c"},"schema":1}',
    ],
)
def test_a_line_that_no_program_writes_is_refused(writer: PostgresStore, state: bytes) -> None:
    before = writer.head()
    for topic in ("Noted", "ResourcesApplied"):
        with pytest.raises(LedgerUnavailableError):
            writer.append([NewRow(B, 1, topic, state)], clock_us=1)
    assert writer.head() == before


@pytest.mark.parametrize("topic", ["", "a b", "\u202e evil\nx", "Noted\n", "1st", "Größe", "N" * 65])
def test_a_line_has_a_name_that_an_event_may_have(writer: PostgresStore, topic: str) -> None:
    with pytest.raises(LedgerDeniedError):
        writer.append([noted(B, 1, topic)], clock_us=1)
    assert len(writer.append([noted(B, 1, "N" * 64)], clock_us=1)) == 1, "as a newer program may call it"


def test_every_event_that_this_program_writes_may_be_recorded(writer: PostgresStore, worker: PostgresStore) -> None:
    for event in EXAMPLES:
        if type(event).__name__ in ("Deployed", "SecretSet", "SecretPurged", "Destroyed", "LedgerMoved"):
            continue  # they say what is written beside them; see above
        record(worker if isinstance(event, get_args(LedgerEvent)) else writer, event, asked(Beside()))


@pytest.mark.parametrize("event", [event for event in EXAMPLES if isinstance(event, get_args(LedgerEvent))])
def test_what_concerns_the_ledger_as_a_whole_is_recorded_by_the_worker(
    writer: PostgresStore, worker: PostgresStore, event: Event
) -> None:
    beside = asked(Beside(moved=(event.target, "there")) if isinstance(event, LedgerMoved) else Beside())
    assert beside.request is not None
    state = encode(event, replace(ENVELOPE, subject=None, request_id=beside.request.request_id))
    before, version = (writer.head(), writer.instance()), after(writer, LEDGER)
    for stream, topic in ((LEDGER, type(event).__name__), (B, type(event).__name__), (LEDGER, "Noted")):
        with pytest.raises(LedgerDeniedError, match="set by the worker"):
            writer.append([NewRow(stream, after(writer, stream), topic, state)], clock_us=1, beside=beside)
    assert (writer.head(), writer.instance()) == before
    worker.append([NewRow(LEDGER, version, type(event).__name__, state)], clock_us=1, beside=beside)


def test_a_text_may_hold_whatever_json_can(writer: PostgresStore) -> None:
    for text in ("\0", "\\u0000", "\\\0", '"', "\u2028😀"):
        record(writer, EnvSet(values={"A": text, text: ""}), asked(Beside()))


@pytest.mark.parametrize(
    "event",
    [
        EnvSet(values={}),
        Deployed(deployment_id="new", release=1, spec=SPEC, life_key="key"),
        SecretSet(secrets={"B": SecretVersion(1, "00" * 32)}),
        SecretPurged(key="TOKEN"),
        Destroyed(),
        LedgerMoved(target="x"),
    ],
)
@pytest.mark.parametrize("with_request", [True, False])
def test_what_the_lines_say_is_also_written(
    writer: PostgresStore, worker: PostgresStore, event: Event, with_request: bool
) -> None:
    before = writer.head()
    writer = worker if isinstance(event, LedgerMoved) else writer
    if not (with_request and isinstance(event, EnvSet)):
        with pytest.raises(LedgerDeniedError, match="what the lines say"):
            record(writer, event, asked(Beside()) if with_request else Beside())
        assert writer.head() == before


@pytest.mark.parametrize(
    ("written", "other"),
    [
        (b'"release":1', b'"release":"1"'),
        (b'"life_key":"', b'"life_key": "'),
        (b'"life_key":"key"', b'"life_key":null'),
        (b'"version":1', b'"version":"1"'),
    ],
)
def test_what_is_written_beside_a_line_is_what_it_says_to_every_reader(
    writer: PostgresStore, written: bytes, other: bytes
) -> None:
    life, key = LifeRow("new", "prod", "shop", "orders", 0), LifeKeyRow("new", "identity", b"wrapped")
    told = asked(Beside(life=life, life_key=key, sealed=[SealedRow("new", "TOKEN", 1, b"sealed")]))
    rows = telling(told, A, after(writer, A))
    lies = [row._replace(state=row.state.replace(written, other)) for row in rows]
    assert lies != rows
    with pytest.raises(LedgerDeniedError, match=r"what (the lines say|is written beside)"):
        writer.append(lies, clock_us=1, beside=told)
    writer.append(rows, clock_us=1, beside=told)


def test_a_life_is_opened_once(writer: PostgresStore) -> None:
    life, key = LifeRow("new", "prod", "shop", "orders", 0), LifeKeyRow("new", "identity", b"wrapped")
    told, first = asked(Beside(life=life, life_key=key)), after(writer, A)
    with pytest.raises(LedgerDeniedError, match="what the lines say"):
        writer.append([*telling(told, A, first), *telling(told, A, first + 1)], clock_us=1, beside=told)


def test_a_life_is_opened_where_it_can_be_found(writer: PostgresStore) -> None:
    life, key = LifeRow("new", "prod", "shop", "orders", 0), LifeKeyRow("new", "identity", b"wrapped")
    told, first = asked(Beside(life=life, life_key=key)), after(writer, A)
    assert told.request is not None
    state = encode(EnvSet(values={}), replace(ENVELOPE, request_id=told.request.request_id))
    others = [NewRow(B, version, "Noted", state) for version in (1, 2, 3)]
    with pytest.raises(LedgerDeniedError, match="what the lines say"):
        writer.append([*others, *telling(told, A, first)], clock_us=1, beside=told)
    writer.append([*others[:2], *telling(told, A, first)], clock_us=1, beside=told)
    ended = asked(Beside(shred="new"))
    writer.append(telling(ended, A, after(writer, A)), clock_us=1, beside=ended)


@pytest.mark.parametrize("left_out", ["life", "life_key"])
def test_a_life_and_its_key_are_written_with_the_line_that_opens_it_or_it_is_not(
    writer: PostgresStore, left_out: str
) -> None:
    life, key = LifeRow("new", "prod", "shop", "orders", 0), LifeKeyRow("new", "identity", b"wrapped")
    before, both = writer.head(), asked(Beside(life=life, life_key=key))
    half = replace(both, life=None) if left_out == "life" else replace(both, life_key=None)
    with pytest.raises(LedgerDeniedError, match="what the lines say"):
        writer.append(telling(both, A, after(writer, A)), clock_us=1, beside=half)
    assert writer.head() == before
    writer.append(telling(both, A, after(writer, A)), clock_us=1, beside=both)


def test_a_request_is_remembered_for_lines_that_name_it_and_no_others(writer: PostgresStore) -> None:
    taken = asked(Beside())
    first = after(writer, A)
    state = encode(EnvSet(values={}), replace(ABOUT, request_id="another"))
    with pytest.raises(LedgerDeniedError, match="what the lines say"):
        writer.append([NewRow(A, first, "EnvSet", state)], clock_us=1, beside=taken)
    assert taken.request is not None
    own = replace(ABOUT, request_id=taken.request.request_id)
    states = [encode(EnvSet(values={}), own), encode(EnvSet(values={}), replace(own, clock="2001-01-01T00:00:00Z"))]
    rows = [NewRow(A, number, "EnvSet", state) for number, state in enumerate(states, start=first)]
    with pytest.raises(LedgerDeniedError, match="what the lines say"):
        writer.append(rows, clock_us=1, beside=taken)
    assert writer.request(taken.request.request_id) is None
    writer.append(rows[:1], clock_us=1, beside=taken)


# -- Streams -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [A, B])
def test_a_line_is_the_next_one_of_its_stream(writer: PostgresStore, stream: bytes) -> None:
    before, version = writer.head(), after(writer, stream)
    for wrong in (0, version - 1, version + 1, 2**63 - 1):
        with pytest.raises(ConflictError):
            writer.append([noted(stream, wrong)], clock_us=1)
    for wrong in (version, version + 2):
        with pytest.raises(ConflictError):
            writer.append([noted(stream, version), noted(stream, wrong)], clock_us=1)
    assert writer.head() == before
    writer.append([noted(stream, version), noted(stream, version + 1), noted(b"c" * 16, 1)], clock_us=1)


@pytest.mark.parametrize(
    "beside",
    [
        Beside(shred="life"),
        Beside(purge=("life", "TOKEN")),
        Beside(sealed=[SealedRow("life", "TOKEN", 2, b"sealed")]),
        Beside(life=LifeRow("new", "prod", "shop", "orders", 0), life_key=LifeKeyRow("new", "identity", b"wrapped")),
    ],
)
def test_what_is_said_of_a_life_is_said_in_the_stream_of_its_app(
    writer: PostgresStore, store: PostgresStore, beside: Beside
) -> None:
    before = (store.head(), store.sealed("life"), store.life_key("life"))
    told = asked(beside)
    with pytest.raises(LedgerDeniedError, match="not in the stream of what it is about"):
        writer.append(telling(told, B), clock_us=1, beside=told)
    assert (store.head(), store.sealed("life"), store.life_key("life")) == before
    writer.append(telling(told, A, after(writer, A)), clock_us=1, beside=told)


@pytest.mark.parametrize("name", ["cluster", "namespace", "app", "deployment_id"])
def test_a_line_in_the_stream_of_an_app_is_about_that_app(writer: PostgresStore, name: str) -> None:
    assert ABOUT.subject is not None
    subject = replace(ABOUT.subject, **{name: "other"})
    state = encode(EnvSet(values={}), replace(ABOUT, subject=subject, request_id=None))
    for topic in ("EnvSet", "Destroyed", "ObjectAdopted"):
        beside = Beside(shred=subject.deployment_id) if topic == "Destroyed" else Beside()
        with pytest.raises(LedgerDeniedError, match="not in the stream of what it is about"):
            writer.append([NewRow(A, after(writer, A), topic, state)], clock_us=1, beside=beside)


def test_whose_stream_it_is_takes_a_few_blocks_to_tell_however_long_the_ledger_is(
    writer: PostgresStore, database: str
) -> None:
    subject = '\'{"cluster": "prod", "namespace": "shop", "app": "orders", "deployment_id": "life"}\''
    read = " + ".join(
        f"pg_stat_get_xact_blocks_fetched('{name}'::regclass)"
        for name in ("stored_events", "stored_events_pkey", "stored_events_stream", "stored_events_landmarks")
    )
    home = f"is_home_of(repeat('a', 16)::bytea, {subject}, number % 2 = 0)"
    administer(
        database,
        "INSERT INTO stored_events SELECT number, decode(md5(number::text), 'hex'), 1, 'Deployed', repeat('x', 600)::bytea, 0,"
        " leaf, chain FROM stored_events, generate_series(1000, 9000) AS number WHERE notification_id = 1",
    )
    ((here, blocks),) = administer(
        database,
        f"WITH asked AS MATERIALIZED (SELECT sum(({home})::int) AS here FROM generate_series(1, 100) AS number)"
        f" SELECT here, {read} FROM asked",
    )
    assert (here, blocks < 1000) == (100, True)


def test_a_stream_is_of_one_app(writer: PostgresStore) -> None:
    life, key = LifeRow("new", "prod", "shop", "other", 0), LifeKeyRow("new", "identity", b"wrapped")
    told = asked(Beside(life=life, life_key=key))
    with pytest.raises(LedgerDeniedError, match="not in the stream of what it is about"):
        writer.append(telling(told, A, after(writer, A)), clock_us=1, beside=told)
    subject = Subject(cluster="prod", namespace="shop", app="other", deployment_id="")
    adopted = asked(Beside())
    assert adopted.request is not None
    envelope = replace(ENVELOPE, subject=subject, request_id=adopted.request.request_id)
    state = encode(ObjectAdopted(kind="Service", name="other", uid="1"), envelope)
    writer.append([NewRow(B, 1, "ObjectAdopted", state)], clock_us=1, beside=adopted)
    writer.append(telling(told, B, 2), clock_us=1, beside=told)


def test_a_release_is_one_of_the_life_that_its_line_is_about(writer: PostgresStore) -> None:
    with pytest.raises(LedgerDeniedError, match="what the lines say"):
        record(writer, Deployed(deployment_id="other", release=2, spec=SPEC), asked(Beside()))
    record(writer, Deployed(deployment_id="life", release=2, spec=SPEC), asked(Beside()))
