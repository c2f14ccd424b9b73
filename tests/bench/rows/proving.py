"""B9: verifying the whole ledger, beside the hashing that it cannot do without; and how long a proof is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial

from tests.bench.figures import Line, alone, at_least, at_most, beside
from tests.bench.made import ledger_file, made_user
from tests.bench.programs import run_program
from tests.bench.run import Row, Run

EVENTS, APPS = 1_000_000, 10_000

HASH = """
import sqlite3, struct, sys
from hashlib import sha256
head, chain = struct.Struct(">Q16sQqH"), bytes(32)
for position, stream, version, recorded, topic, state, stored in sqlite3.connect(sys.argv[1]).execute(
    "SELECT notification_id, originator_id, originator_version, recorded_us, topic, state, chain"
    " FROM stored_events ORDER BY notification_id"
):
    name = topic.encode()
    entry = head.pack(position, stream, version, recorded, len(name)) + name + sha256(state).digest()
    chain = sha256(chain + sha256(b"\\0" + entry).digest()).digest()
    assert chain == stored
"""


def _measure(run: Run) -> Iterator[Line]:
    user = made_user(run, events=EVENTS, apps=APPS)

    def ours() -> float:
        return EVENTS / user.seconds("audit", "verify")

    def floor() -> float:
        argv = [sys.executable, "-c", HASH, str(ledger_file(user))]
        return EVENTS / run_program(argv, cwd=user.cwd, environ=user.environ).seconds

    what = f"`1ctl audit verify`, {EVENTS:,} events"
    figures = run.in_turns(what, {"ours": ours, "floor": floor})
    yield beside(what, "events/s", figures["ours"], "leaf and chain", figures["floor"], aim=at_least(0.4))

    user.run("audit", "checkpoint", "--file", "now.checkpoint")
    prove = ("audit", "prove", "--position", str(EVENTS // 2), "--checkpoint", "now.checkpoint", "--file", "proof")
    what = f"`1ctl audit prove`, {EVENTS:,} events"
    yield alone(f"{what}, the first time", "s", [user.seconds(*prove)])
    again = f"{what}, again"
    yield alone(again, "s", run.in_turns(again, {"ours": partial(user.seconds, *prove)})["ours"])
    hashes = (user.cwd / "proof").read_text().partition("\nindex ")[2].partition("\n\n")[0].count("\n")
    yield alone(f"hashes of the proof of one event in {EVENTS:,}", "", [hashes], aim=at_most(20, of="figure"))


ROW = Row(
    name="B9",
    title="verify and prove",
    about="Processes. Beside `audit verify`, which also checks that every line is found by its stream: a script that only"
    " computes every leaf and the chain.",
    measure=_measure,
)
