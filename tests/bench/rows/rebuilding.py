"""B8: every read model folded anew from the whole ledger, beside the least that reads and decodes every event."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing

from ledger.stores import open_store
from tests.bench.figures import Line, alone, at_least, at_most, beside
from tests.bench.made import ledger_file, made_user
from tests.bench.make_ledger import fill
from tests.bench.programs import User, run_program
from tests.bench.run import Row, Run
from tests.postgres_support import Server

EVENTS, APPS = 1_000_000, 10_000
EVENTS_ON_POSTGRES, APPS_ON_POSTGRES = 500_000, 5_000
"""Fewer, since they are made each time."""

MEMORY = 150 * 2**20

SCAN_SQLITE = """
import sqlite3, sys, orjson
newest = {}
for stream, topic, state in sqlite3.connect(sys.argv[1]).execute(
    "SELECT originator_id, topic, state FROM stored_events ORDER BY notification_id"
):
    newest[stream] = topic, orjson.loads(state)
"""
SCAN_POSTGRES = """
import psycopg, sys, orjson
newest = {}
with psycopg.connect(sys.argv[1]) as connection, connection.cursor("events") as cursor:
    cursor.itersize = 5000
    cursor.execute("SELECT originator_id, topic, state FROM onectl.stored_events ORDER BY notification_id", binary=True)
    for stream, topic, state in cursor:
        newest[stream] = topic, orjson.loads(state)
"""


def _measure(run: Run) -> Iterator[Line]:
    user = made_user(run, events=EVENTS, apps=APPS)
    yield from _compared(run, "SQLite", user, SCAN_SQLITE, str(ledger_file(user)), EVENTS, 60_000)
    with closing(Server(durable=True)) as server:
        run.versions["PostgreSQL"] = server.version()
        url = server.new_database()
        run.say(f"filling a database with {EVENTS_ON_POSTGRES:,} events")
        with closing(open_store(url)) as store:
            fill(store, events=EVENTS_ON_POSTGRES, apps=APPS_ON_POSTGRES)
        user = User.new(run.scratch / "postgres").having("--ledger", url)
        yield from _compared(run, "PostgreSQL", user, SCAN_POSTGRES, url, EVENTS_ON_POSTGRES, 45_000)


def _compared(run: Run, database: str, user: User, scan: str, address: str, events: int, least: int) -> Iterator[Line]:
    def ours() -> float:
        return events / user.seconds("ledger", "rebuild")

    def floor() -> float:
        return events / run_program([sys.executable, "-c", scan, address], cwd=user.cwd, environ=user.environ).seconds

    what = f"{database}, {events:,} events"
    figures = run.in_turns(what, {"ours": ours, "floor": floor})
    other = "scan and decode"
    aim = at_least(least, of="figure")
    yield beside(f"{what}: rebuild", "events/s", figures["ours"], other, figures["floor"], aim=aim)
    peak = user.peak("ledger", "rebuild")
    yield alone(f"{what}: memory at most", "B", [peak], aim=at_most(MEMORY, of="figure"))


ROW = Row(
    name="B8",
    title="rebuild",
    about="`1ctl ledger rebuild` as a process, beside a script that only reads, decodes and keeps the newest event of"
    " each stream.",
    measure=_measure,
)
