"""Answers are found by tables and indexes that no hash covers; verification finds where these mislead."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path

import orjson
import pytest

from ledger.backup import back_up
from ledger.codec import decode, encode
from ledger.commands import Command, Deploy, Destroy, PurgeSecret, SetEnv, SetSecrets
from ledger.envelope import Source, Subject
from ledger.errors import LedgerDamagedError, UnreadableEventError
from ledger.events import (
    Destroyed,
    EnvSet,
    Event,
    LedgerCreated,
    ResourcesRemoved,
    Restarted,
    SecretPurged,
    WorkerEnabled,
)
from ledger.keys import KeyFiles
from ledger.landmarks import LANDMARKS
from ledger.ledger import Ledger
from ledger.reader import LedgerReader
from ledger.request import Request
from ledger.spec import AppId
from ledger.sqlite_store import SqliteStore
from ledger.store import ModelStore, NewRow
from ledger.stores import open_store
from ledger.streams import LEDGER_STREAM, app_stream
from ledger.verify import Damage, verify_chain
from projections.app_list import APP_LIST, app_list
from projections.runner import rebuild
from tests.ledger.examples import ENVELOPE
from tests.ledger.support import forged
from tests.moves.support import silent
from tests.postgres_support import Server, administer, name_of

SHOP, BLOG, NEWS = (AppId("sandbox", "default", name) for name in ("shop", "blog", "news"))
ENVELOPE_BYTES = orjson.dumps(ENVELOPE)
INDEX = "stored_events_landmarks"
BOTH_LAST = "SELECT sum(last_position) FROM requests WHERE request_id IN ('r-3', 'r-5')"

Change = Callable[..., None]


def asked(request_id: str) -> Request:
    return Request(request_id=request_id, actor="ann", source=Source(program="test", host="h"))


def release(image: str) -> Deploy:
    return Deploy(image=image)


@pytest.fixture(scope="module")
def story(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Callable[[str], tuple[Path, str]]:
    """By kind of database, a directory of keys and the address of a ledger, to be copied; made when first asked for."""

    @cache
    def made(kind: str) -> tuple[Path, str]:
        directory = tmp_path_factory.mktemp(kind)
        if kind == "sqlite":
            address = str(directory / "ledger.db")
        else:
            address = request.getfixturevalue("postgres").new_database()
        tell(address, directory / "keys")
        return directory, address

    return made


def tell(address: str, keys: Path) -> None:
    """Record three lives of two apps, and seven releases."""
    numbers, requests = iter(range(100)), iter(range(100))
    with closing(open_store(address)) as store:
        ledger = Ledger(store, KeyFiles(keys), mint_domain=lambda: f"a-{next(numbers)}.example.com")

        def ask(app: AppId, command: Command, **secrets: bytes) -> None:
            ledger.execute(app, command, asked(f"r-{next(requests)}"), secret_values=secrets)

        for image in ("nginx:1", "nginx:2"):
            for app in (SHOP, BLOG):
                ask(app, release(image))
        ask(SHOP, SetEnv(values={"A": "1"}))
        ask(SHOP, SetSecrets(keys=("GONE",)), GONE=b"x")
        ask(SHOP, Destroy())
        for value in (b"one", b"two"):
            ask(BLOG, SetSecrets(keys=("TOKEN", "LEAKED")), TOKEN=value, LEAKED=value)
        ask(BLOG, PurgeSecret(key="LEAKED"))
        for image in ("nginx:3", "nginx:4", "nginx:5"):
            ask(SHOP, release(image))


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path, story: Callable[[str], tuple[Path, str]]) -> Iterator[str]:
    """The ledger of `tell`, for one test."""
    directory, original = story(request.param)
    shutil.copytree(directory, tmp_path, dirs_exist_ok=True)
    if request.param == "sqlite":
        yield str(tmp_path / "ledger.db")
        return
    server: Server = request.getfixturevalue("postgres")
    copied = server.new_database(f"TEMPLATE {name_of(original)}")
    yield copied
    server.drop(copied)


@pytest.fixture
def ledger(store: ModelStore, tmp_path: Path) -> Ledger:
    numbers = iter(range(100, 200))
    return Ledger(store, KeyFiles(tmp_path / "keys"), mint_domain=lambda: f"a-{next(numbers)}.example.com")


@pytest.fixture
def change(address: str) -> Change:
    """Changes what is stored, as somebody does who knows SQL."""

    def run(*statements: str) -> None:
        if "://" in address:
            administer(address, *statements)
            return
        with closing(sqlite3.connect(address)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    return run


@pytest.fixture
def store(address: str) -> Iterator[ModelStore]:
    with closing(open_store(address)) as opened:
        yield opened


def damage(store: ModelStore) -> Damage | None:
    return verify_chain(store).damage


def test_what_was_recorded_is_intact(store: ModelStore) -> None:
    assert damage(store) is None
    assert len(store.ask("ledger.lives_page", {"after": "", "limit": 9})) == 3


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE lives SET opened = opened + 1 WHERE opened = 1",
        "UPDATE lives SET opened = opened - 1 WHERE opened > 9",
        "UPDATE lives SET opened = opened + 2 WHERE opened > 9",
        "UPDATE lives SET app = 'other' WHERE opened = 1",
        "UPDATE lives SET namespace = 'other' WHERE opened = 1",
        "UPDATE lives SET cluster = 'other' WHERE opened = 1",
        "UPDATE lives SET deployment_id = 'other' WHERE opened = 1",
        "DELETE FROM lives WHERE opened = 1",
        "DELETE FROM lives",
        "INSERT INTO lives VALUES ('made up', 'sandbox', 'default', 'shop', 5)",
        "INSERT INTO lives SELECT 'made up', cluster, namespace, app, opened FROM lives WHERE opened = 1",
        "INSERT INTO lives VALUES ('made up', 'sandbox', 'default', 'ghost', 1000000)",
        "INSERT INTO lives VALUES ('made up', 'sandbox', 'default', 'shop', 1000000)",
        "INSERT INTO lives VALUES ('made up', 'elsewhere', 'default', 'shop', -1)",
    ],
)
def test_a_table_of_lives_that_says_something_else_is_found(store: ModelStore, change: Change, statement: str) -> None:
    change(statement)
    found = damage(store)
    assert found is not None
    assert found.fault == "unfindable"
    assert "lives" in found.detail


# PostgreSQL answers by an index only where the question implies its condition, so there none can lie like this.
@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
@pytest.mark.parametrize("lost", [0, 2, -1])
def test_an_index_that_leaves_out_a_release_is_found(
    address: str, store: ModelStore, change: Change, lost: int
) -> None:
    position = [row.position for row in store.positions(1, limit=1000) if row.topic == "Deployed"][lost]
    topics = ", ".join(f"'{topic}'" for topic in LANDMARKS)
    honest = f"CREATE INDEX {INDEX} ON stored_events (originator_id, notification_id, topic) WHERE topic IN ({topics})"
    quoted = honest.replace("'", "''")
    change(f"DROP INDEX {INDEX}", f"{honest} AND notification_id <> {position}")
    change("PRAGMA writable_schema = ON", f"UPDATE sqlite_schema SET sql = '{quoted}' WHERE name = '{INDEX}'")
    with closing(SqliteStore(Path(address))) as misled:
        entries = misled.indexed("landmarks", after=(b"", 0), upto=2**62, limit=100)
        assert len(entries) == 7, "the index answers, not the table"
        found = damage(misled)
    assert found is not None
    assert (found.position, found.fault) == (position, "unfindable")


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
@pytest.mark.parametrize("app", [SHOP, BLOG], ids=str)
def test_an_index_that_leaves_out_a_life_is_found(
    address: str, store: ModelStore, ledger: Ledger, change: Change, app: AppId
) -> None:
    life = ledger.app(app).life
    assert life is not None
    row = store.life(life.deployment_id)
    assert row is not None
    honest = "CREATE INDEX lives_app ON lives (cluster, namespace, app)"
    change("DROP INDEX lives_app", f"{honest} WHERE opened <> {row.opened}")
    change("PRAGMA writable_schema = ON", f"UPDATE sqlite_schema SET sql = '{honest}' WHERE name = 'lives_app'")
    with closing(SqliteStore(Path(address))) as misled:
        assert len(misled.apps("sandbox")) == (2 if app == SHOP else 1), "the index answers, not the table"
        found = damage(misled)
    assert found is not None
    assert (found.position, found.fault) == (row.opened, "unfindable")
    assert "index of lives" in found.detail


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("app", "told"), [("blog", "finds a life after"), ("ghost", "an app that never lived")])
def test_an_index_that_finds_a_life_of_one_app_as_that_of_another_as_well_is_found(
    store: ModelStore, change: Change, app: str, told: str
) -> None:
    writable, newest = "PRAGMA writable_schema = ON", "FROM lives WHERE opened = (SELECT max(opened) FROM lives)"
    change(f"CREATE TABLE life AS SELECT rowid AS place, * {newest}")
    change("CREATE TABLE entry AS SELECT * FROM sqlite_schema WHERE name = 'lives_app'")
    change(f"UPDATE lives SET app = '{app}' WHERE rowid = (SELECT place FROM life)")
    change(writable, "DELETE FROM sqlite_schema WHERE name = 'lives_app'")
    change("DELETE FROM lives WHERE rowid = (SELECT place FROM life)")  # which leaves what the index says of it
    change(writable, "INSERT INTO sqlite_schema SELECT * FROM entry")
    change("INSERT INTO lives (rowid, deployment_id, cluster, namespace, app, opened) SELECT * FROM life")
    change("DROP TABLE life", "DROP TABLE entry")
    found = damage(store)
    assert found is not None
    assert (found.fault, told in found.detail) == ("unfindable", True)


def test_a_head_with_another_time_is_found(store: ModelStore, change: Change) -> None:
    change("UPDATE ledger_head SET recorded_us = recorded_us + 1000000")
    found = damage(store)
    assert found is not None
    assert (found.position, found.fault) == (store.head().position, "edited")


# -- Lines that cannot be read -----------------------------------------------------------------------------------------

ODD = [b"null", b"", b"{}", b"\xff\x00", b'"life_key":"', b'{"life_key":"x"}', b'{"data":{"life_key":"x"},"meta":[]}']


def append(store: ModelStore, topic: str, state: bytes) -> int:
    """Record one line as somebody does who has the right to, and wants no good; its position."""
    version = store.stream_version(app_stream(SHOP).bytes) + 1
    (line,) = store.append([NewRow(app_stream(SHOP).bytes, version, topic, state)], clock_us=1)
    return line.position


@pytest.mark.parametrize("state", ODD)
@pytest.mark.parametrize("topic", ["Deployed", "EnvSet", "ResourcesApplied", "SecretSet", "Unknown"])
def test_a_line_that_no_program_writes_is_found_where_it_is_and_not_the_next(
    store: ModelStore, ledger: Ledger, topic: str, state: bytes
) -> None:
    position = append(store, topic, state)
    ledger.execute(NEWS, release("nginx:9"), asked("later"))  # opens a life behind it
    found = verify_chain(store, deep=topic == "ResourcesApplied").damage
    assert found is not None
    assert (found.position, found.fault) == (position, "unreadable")
    assert verify_chain(store, reading=False).damage is None, "it is no reason to have no backup"


@pytest.mark.parametrize("topic", ["\u202e evil\nx", "", "a b", "N" * 65])
def test_a_name_that_no_event_can_have_is_found(store: ModelStore, topic: str) -> None:
    position = append(store, topic, encode(EnvSet(values={}), ENVELOPE))
    assert (found := damage(store)) is not None
    assert (found.position, found.fault) == (position, "unreadable")


@pytest.mark.parametrize("data", [{}, {"values": 5}, {"values": {"A": 5}}, {"values": {}, "more": 1}])
def test_data_that_an_event_cannot_have_are_found_by_who_looks_deeper(
    store: ModelStore, data: dict[str, object]
) -> None:
    observed = b'{"data":{"through":"x"},"meta":' + ENVELOPE_BYTES + b',"schema":1}'
    position = append(store, "ResourcesRemoved", observed)
    for state in (observed, b'{"data":' + orjson.dumps(data) + b',"meta":' + ENVELOPE_BYTES + b',"schema":1}'):
        topic = "ResourcesRemoved" if state == observed else "EnvSet"
        with pytest.raises(UnreadableEventError):
            decode(topic, state)
    assert (found := verify_chain(store, deep=True).damage) is not None
    assert (found.position, found.fault) == (position, "unreadable")


NOWHERE = b"q" * 16

OF_SHOP = replace(ENVELOPE, subject=Subject(cluster="sandbox", namespace="default", app="shop", deployment_id="d"))


@pytest.mark.parametrize(
    ("stream", "version"),
    [(app_stream(SHOP).bytes, 0), (app_stream(SHOP).bytes, 99), (NOWHERE, 2), (NOWHERE, 2**62)],
    ids=range(4),
)
def test_a_line_that_is_not_the_next_of_its_stream_is_found(store: ModelStore, stream: bytes, version: int) -> None:
    state = encode(ResourcesRemoved(through=1), OF_SHOP)
    line = forged(store, NewRow(stream, version, "ResourcesRemoved", state))
    assert (found := damage(store)) is not None
    assert (found.position, found.fault) == (line.position, "unreadable")
    assert found.detail == f"position {line.position} is not the next of its stream: its version is {version}"
    assert verify_chain(store, reading=False).damage is None, "it is no reason to have no backup"


@pytest.mark.parametrize(
    ("event", "deep"),
    [(Destroyed(), False), (SecretPurged(key="K"), False), (EnvSet(values={}), True), (Restarted(), True)],
    ids=lambda value: type(value).__name__,
)
def test_a_line_about_an_app_in_a_stream_that_is_not_the_apps_is_found(
    store: ModelStore, ledger: Ledger, event: Event, deep: bool
) -> None:
    known = app_list(store, SHOP.cluster, SHOP.namespace, ended=True)
    life = ledger.app(SHOP).life or ledger.app(SHOP).leaving
    subject = Subject(
        cluster=SHOP.cluster,
        namespace=SHOP.namespace,
        app=SHOP.name,
        deployment_id=life.deployment_id if life is not None else "",
    )
    state = encode(event, replace(ENVELOPE, subject=subject))
    (line,) = store.append([NewRow(NOWHERE, 1, type(event).__name__, state)], clock_us=1)
    found = verify_chain(store, deep=deep).damage
    assert found is not None
    assert (found.position, found.fault) == (line.position, "unreadable")
    assert found.detail == f"position {line.position} lies in another stream than what it is about"
    assert app_list(store, SHOP.cluster, SHOP.namespace, ended=True) == known, "nobody believes it"
    rebuild(store, APP_LIST)
    assert app_list(store, SHOP.cluster, SHOP.namespace, ended=True) == known


def test_a_later_line_does_not_give_the_ledger_another_id(store: ModelStore) -> None:
    known = LedgerReader(store).ledger_id()
    other = LedgerCreated(ledger_id="another", origin="1ctl.dev/ledger/another", verification_key="")
    state = encode(other, replace(ENVELOPE, subject=None))
    line = forged(store, NewRow(LEDGER_STREAM.bytes, 0, "LedgerCreated", state))
    assert LedgerReader(store).ledger_id() == known
    assert (found := damage(store)) is not None
    assert found.position == line.position


@pytest.mark.parametrize("deep", [True, False])
def test_what_a_newer_program_wrote_is_no_damage(store: ModelStore, ledger: Ledger, deep: bool) -> None:
    of_schema = b'{"data":{"other":[]},"meta":' + ENVELOPE_BYTES + b',"schema":%d}'
    first = append(store, "Invented", of_schema % 1)
    for topic in ("EnvSet", "Deployed", "SecretSet", "ResourcesApplied"):
        append(store, topic, of_schema % 9)
    append(store, "EnvSet", b'{"data":{"values":{}},"meta":{"schema":2,"who":"ann"},"schema":1}')
    ledger.execute(NEWS, release("nginx:9"), asked("later"))
    result = verify_chain(store, deep=deep)
    assert (result.damage, result.newer) == (None, first)


NEWER_META = b'{"schema":2,"who":"ann"}'
NEWER = {
    "a kind": ("Invented", b'{"data":{},"meta":' + ENVELOPE_BYTES + b',"schema":1}'),
    "a shape": ("DomainReleased", b'{"data":{"of":"x"},"meta":' + ENVELOPE_BYTES + b',"schema":9}'),
    "an envelope": ("SecretSet", b'{"data":{"secrets":{}},"meta":' + NEWER_META + b',"schema":1}'),
}


@pytest.mark.parametrize("newer", NEWER)
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM requests WHERE request_id = 'r-3'",
        "INSERT INTO requests SELECT 'other', salt, digest, 1, 5 FROM requests WHERE request_id = 'r-3'",
        "INSERT INTO lives VALUES ('made up', 'sandbox', 'default', 'ghost', 2)",
        "DELETE FROM sealed_values",
        "DELETE FROM life_keys",
    ],
)
def test_what_a_newer_program_wrote_of_one_app_hides_nothing_of_the_others(
    store: ModelStore, change: Change, newer: str, statement: str
) -> None:
    topic, state = NEWER[newer]
    position = append(store, topic, state)  # of SHOP; the secrets are those of BLOG
    result = verify_chain(store)
    assert (result.damage, result.newer) == (None, position)
    change(statement)
    assert damage(store) is not None


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("INSERT INTO requests SELECT 'other', salt, digest, {0}, {0} FROM requests WHERE request_id = 'r-3'", False),
        ("INSERT INTO requests SELECT 'other', salt, digest, 1, {0} FROM requests WHERE request_id = 'r-3'", True),
        ("INSERT INTO lives VALUES ('another', 'sandbox', 'default', 'shop', {0})", False),
        (
            "INSERT INTO life_keys SELECT l.deployment_id, identity, wrapped FROM lives l, life_keys WHERE opened = 1 LIMIT 1",
            False,
        ),
    ],
    ids=range(4),
)
def test_what_may_lie_beside_an_event_of_a_newer_program_is_no_damage(
    store: ModelStore, change: Change, statement: str, found: bool
) -> None:
    position = append(store, *NEWER["an envelope"])
    change(statement.format(position))
    assert (damage(store) is not None) is found


def test_every_event_is_read_when_asked_to(store: ModelStore) -> None:
    assert verify_chain(store, deep=True).damage is None


# -- Requests ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM requests WHERE request_id = 'r-3'",
        "DELETE FROM requests WHERE first_position = 1",
        "DELETE FROM requests",
        "UPDATE requests SET first_position = first_position + 1 WHERE request_id = 'r-3'",
        "UPDATE requests SET last_position = last_position + 1 WHERE request_id = 'r-3'",
        "UPDATE requests SET first_position = 1, last_position = 5 WHERE request_id = 'r-3'",
        "UPDATE requests SET request_id = 'other' WHERE request_id = 'r-3'",
        f"UPDATE requests SET last_position = ({BOTH_LAST}) - last_position WHERE request_id IN ('r-3', 'r-5')",
        "INSERT INTO requests SELECT 'other', salt, digest, first_position, last_position FROM requests LIMIT 1",
        "INSERT INTO requests SELECT 'other', salt, digest, 0, 0 FROM requests WHERE request_id = 'r-3'",
        "INSERT INTO requests SELECT 'other', salt, digest, 1000000, 1000000 FROM requests WHERE request_id = 'r-3'",
        "INSERT INTO requests SELECT 'other', salt, digest, -5, 1000000 FROM requests WHERE request_id = 'r-3'",
    ],
)
def test_a_table_of_requests_that_says_something_else_is_found(
    store: ModelStore, change: Change, statement: str
) -> None:
    change(statement)
    found = damage(store)
    assert found is not None
    assert found.fault == "beside"
    assert "requests" in found.detail
    assert 0 < found.position <= store.head().position


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
def test_a_life_at_no_position_is_found(store: ModelStore, change: Change) -> None:
    change("INSERT INTO lives VALUES ('made up', 'sandbox', 'default', 'ghost', 'x')")
    assert (found := damage(store)) is not None
    assert found.fault == "unfindable"


def test_what_is_asked_for_while_it_is_checked_is_not_beyond_the_end(store: ModelStore, ledger: Ledger) -> None:
    done: list[object] = []

    def meanwhile(*_: int) -> None:
        if not done:
            done.append(ledger.execute(NEWS, release("nginx:9"), asked("meanwhile")))

    assert verify_chain(store, progress=meanwhile, following=False).damage is None


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
@pytest.mark.parametrize("column", ["first_position", "last_position", "salt"])
def test_a_request_at_no_position_is_found(store: ModelStore, change: Change, column: str) -> None:
    change(f"UPDATE requests SET {column} = 'x' WHERE request_id = 'r-3'")
    assert (damage(store) is not None) is (column != "salt"), "no line holds what was asked for"


def test_a_request_is_looked_for_where_its_lines_are(store: ModelStore, change: Change) -> None:
    row = store.request("r-3")
    assert row is not None
    change("DELETE FROM requests WHERE request_id = 'r-3'")
    assert (found := damage(store)) is not None
    assert (found.position, "'r-3'" in found.detail) == (row.first_position, True)


def test_what_was_observed_and_marked_for_a_request_is_none_of_its_lines(store: ModelStore, ledger: Ledger) -> None:
    same = asked("same")
    ledger.execute(SHOP, release("nginx:8"), same)
    life = ledger.app(SHOP).life
    assert life is not None
    ledger.observe(SHOP, same, lambda app: (life.deployment_id, ResourcesRemoved(through=1), 1))
    ledger.mark(WorkerEnabled(cluster="sandbox"), same)
    assert damage(store) is None


@pytest.mark.parametrize("odd", ['r"3', "r\\3", "größe", '"request_id":"x"', ',"source":{'])
def test_a_request_may_have_any_name(store: ModelStore, ledger: Ledger, odd: str) -> None:
    ledger.execute(SHOP, SetEnv(values={"request_id": odd, "clock": odd}), asked(odd))
    assert damage(store) is None


# -- Sealed values, keys, the instance ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM sealed_values",
        "DELETE FROM sealed_values WHERE version = 1",
        "UPDATE sealed_values SET ciphertext = deployment_id WHERE version = 2",
        "UPDATE sealed_values SET version = 7 WHERE version = 2",
        "INSERT INTO sealed_values SELECT deployment_id, 'LEAKED', version, ciphertext FROM sealed_values",
        "INSERT INTO sealed_values SELECT 'other', key, version, ciphertext FROM sealed_values",
        "DELETE FROM life_keys",
        "INSERT INTO life_keys SELECT 'other', identity, wrapped FROM life_keys LIMIT 1",
        "DELETE FROM ledger_instance",
    ],
)
def test_what_is_sealed_is_what_the_lines_say(
    address: str, store: ModelStore, change: Change, tmp_path: Path, statement: str
) -> None:
    as_bytes = "= deployment_id::bytea" if "://" in address else "= CAST(deployment_id AS BLOB)"
    change(statement.replace("= deployment_id", as_bytes))
    found = damage(store)
    assert found is not None
    assert found.fault == "beside"
    with pytest.raises(LedgerDamagedError):
        back_up(store, tmp_path / "backup.db", sign=lambda _: None, progress=silent)


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO ledger_instance SELECT 2, instance, writer, note FROM ledger_instance",
        "UPDATE ledger_instance SET writer = x'ff'",
        "UPDATE ledger_instance SET instance = x'ff'",
    ],
    ids=["a second row", "no writer", "no instance"],
)
def test_a_row_that_cannot_say_who_may_append_is_found(
    store: ModelStore, change: Change, tmp_path: Path, statement: str
) -> None:
    change(statement)
    assert (found := damage(store)) is not None
    assert found.fault == "beside"
    with pytest.raises(LedgerDamagedError):
        back_up(store, tmp_path / "backup.db", sign=lambda _: None, progress=silent)


def test_what_is_destroyed_while_it_is_checked_is_not_missed(store: ModelStore, ledger: Ledger) -> None:
    done: list[object] = []

    def meanwhile(*_: int) -> None:
        if not done:
            done.append(ledger.execute(BLOG, Destroy(), asked("meanwhile")))

    assert verify_chain(store, progress=meanwhile, following=False).damage is None
