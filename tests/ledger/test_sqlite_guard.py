"""A file that somebody sent is looked at before anything in it can run."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from ledger.backup import back_up
from ledger.errors import LedgerDamagedError, RefusedError
from ledger.sqlite_store import SqliteStore
from tests.cli_support import DROP_GUARDS
from tests.ledger.support import line

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) AS position FROM n"

HOSTILE = {
    "a view in a table's place": f"DROP TABLE stored_events; CREATE VIEW stored_events AS {ENDLESS}",
    "a view in the head's place": f"DROP TABLE ledger_head; CREATE VIEW ledger_head AS {ENDLESS}",
    "a view beside the tables": f"CREATE VIEW more AS {ENDLESS}",
    "a trigger": f"CREATE TRIGGER more AFTER INSERT ON stored_events BEGIN {ENDLESS}; END",
    "a trigger of our name": "DROP TRIGGER stored_events_no_update;"
    f"CREATE TRIGGER stored_events_no_update BEFORE UPDATE ON stored_events BEGIN {ENDLESS}; END",
    "a virtual table": "DROP TABLE requests; CREATE VIRTUAL TABLE requests USING fts5(request_id)",
    "a computed column": "ALTER TABLE ledger_head ADD COLUMN more GENERATED ALWAYS AS (hex(one)) VIRTUAL",
}


def with_lines(path: Path) -> None:
    store = SqliteStore(path)
    store.append([line(1), line(2)], clock_us=1)
    store.close()


def change(path: Path, script: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.commit()
    connection.close()


@pytest.mark.parametrize("script", HOSTILE.values(), ids=HOSTILE)
def test_what_no_ledger_has_is_refused_before_the_first_question(tmp_path: Path, script: str) -> None:
    with_lines(tmp_path / "ledger.db")
    change(tmp_path / "ledger.db", script)
    store = SqliteStore(tmp_path / "ledger.db")
    for ask in (store.head, lambda: store.append([line(3)], clock_us=2), lambda: store.positions(1, limit=1)):
        with pytest.raises(LedgerDamagedError, match="which no ledger has"):
            ask()
    store.close()


@pytest.mark.parametrize("script", HOSTILE.values(), ids=HOSTILE)
def test_a_backup_does_not_ask_the_file_in_its_place_what_it_likes(tmp_path: Path, script: str) -> None:
    for name in ("ledger.db", "other.db"):
        with_lines(tmp_path / name)
    change(tmp_path / "other.db", script.replace("ledger_head", "ledger_instance"))
    store = SqliteStore(tmp_path / "ledger.db")
    with pytest.raises(RefusedError, match="exists and is not a backup"):
        back_up(store, tmp_path / "other.db", sign=lambda _: None, progress=None)  # type: ignore[arg-type]
    store.close()


def test_tables_of_others_and_missing_guards_are_no_harm(tmp_path: Path) -> None:
    with_lines(tmp_path / "ledger.db")
    change(tmp_path / "ledger.db", "CREATE TABLE more (x UNIQUE); CREATE INDEX more_x ON more (x)")
    connection = sqlite3.connect(tmp_path / "ledger.db")
    for (drop,) in connection.execute(DROP_GUARDS).fetchall():
        connection.execute(drop)
    connection.commit()
    connection.close()
    store = SqliteStore(tmp_path / "ledger.db")
    assert store.append([line(3)], clock_us=2)[-1].position == 3
    store.close()
