from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from psycopg.conninfo import conninfo_to_dict

from ledger.errors import InvalidValueError, LedgerUnavailableError
from ledger.postgres_address import Address, parse
from ledger.postgres_store import PostgresStore
from ledger.sqlite_store import SqliteStore
from ledger.stores import open_store

CANARY = "c4n4ry"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgres://u@host:5433/db", "postgresql://u@host:5433/db"),
        (f"postgresql://u:{CANARY}@host/db", "postgresql://u:***@host/db"),
        (f"postgresql+psycopg://u:{CANARY}@host/db?sslmode=require", "postgresql://u:***@host/db"),
        (f"postgresql://host/db?user=u&password={CANARY}", "postgresql://u:***@host/db"),
        (f"postgresql://u:{CANARY}%40%2F@host/db", "postgresql://u:***@host/db"),
        (f"postgresql://u:p?{CANARY}@host/db", "postgresql://u:***@host/db"),
        (f"postgresql://u:{CANARY}@/db?host=/run/pg", "postgresql://u:***@/db?host=/run/pg"),
        (f"postgresql://u:{CANARY}@one:1,two:2/db", "postgresql://u:***@one:1,two:2/db"),
        (f"postgresql://u@[::1]:5433/db?oauth_client_secret={CANARY}", "postgresql://u@[::1]:5433/db"),
        (f"postgresql://u@host/db?sslpassword={CANARY}", "postgresql://u@host/db"),
        ("postgresql:///?service=team", "postgresql:///?service=team"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str) -> None:
    assert Address(url).shown == shown
    assert CANARY not in repr(Address(url)) + repr(PostgresStore(url))


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{CANARY}@more@host/db",
        f"postgresql://u:{CANARY}/more@host/db",
        f"postgresql://u:more/{CANARY}@host/db",
        f"postgresql://u:{CANARY}%zz@host/db",
        f"postgresql://u:p@host/db?{CANARY}",
        f"mysql://u:{CANARY}@host/db",
        f"postgresql://u:1/{CANARY}?x=more@host/db",
        f"postgresql://host/db?{CANARY}=1",
        f"postgresql://u:{CANARY} more@host/db",
        f"postgresql://u@host/db?password={CANARY}&x=a=b",
        f"postgresql://u:{CANARY}%00@host/db",
        f"postgresql://u:{CANARY}@[::1/db",
        f"postgresql://u:{CANARY}@host:٣/db",
    ],
)
def test_a_bad_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        open_store(url)
    assert CANARY not in caught.value.message + str(caught.value.hint)
    assert caught.value.__cause__ is None


PIECES = "u p h db : @ / ? & = , [ ] ::1 %40 %2F % 5432 sslmode require ssl true password host # %zz é %ff service port . '".split()

KNOWN = {"user", "password", "host", "port", "dbname", "sslmode", "service"}


def test_what_we_read_in_an_address_is_what_libpq_reads() -> None:
    chance = Random(5432)
    read = 0
    for _ in range(20_000):
        user, place = chance.choice(["", "u@", "u:p@", ":p@"]), chance.choice(["h", "h:1", "h,i:2", "[::1]:1", ""])
        tail = "".join(chance.choices(PIECES, k=chance.randint(0, 6)))
        url = "postgresql://" + chance.choice([tail, f"{user}{place}{chance.choice(['', '/', '/db'])}?{tail}"])
        try:
            ours = parse(url)
        except InvalidValueError:
            continue
        if ours.keys() <= KNOWN:  # what libpq does not know is refused by whoever connects
            assert ours == conninfo_to_dict(url), url
            read += 1
    assert read > 1000


def test_of_several_hosts_the_one_that_can_be_written_is_used() -> None:
    assert Address("postgresql://one,two/db").parameters["target_session_attrs"] == "read-write"
    assert "target_session_attrs" not in Address("postgresql://one/db").parameters
    assert Address("postgresql://one,two/db?target_session_attrs=any").parameters["target_session_attrs"] == "any"


def test_the_scheme_chooses_the_store(tmp_path: Path) -> None:
    assert isinstance(open_store(tmp_path / "ledger.db"), SqliteStore)
    assert isinstance(open_store(str(tmp_path / "ledger.db")), SqliteStore)
    assert isinstance(open_store("postgres://host/db"), PostgresStore)


def test_a_server_that_is_not_there_is_said_with_a_hint(tmp_path: Path) -> None:
    store = PostgresStore(f"postgresql://u:{CANARY}@/db?host={tmp_path}")
    for ask in (store.head, lambda: store.append([], clock_us=1)):
        with pytest.raises(LedgerUnavailableError, match="cannot be reached") as caught:
            ask()
        assert caught.value.hint is not None
        assert f"postgresql://u:***@/db?host={tmp_path}" in caught.value.message
        assert CANARY not in caught.value.message + str(caught.value.__cause__)
    store.close()
