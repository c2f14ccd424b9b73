"""B5 and B6: one app's history, in a ledger that grows, and when it grows itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial

from ledger.reader import LedgerReader
from ledger.spec import AppId
from ledger.sqlite_store import SqliteStore
from tests.bench.figures import Line, alone, at_least, at_most, beside
from tests.bench.made import ledger_file, made_user
from tests.bench.programs import User
from tests.bench.run import Row, Run
from tests.bench.turns import seconds

APP = "measured"
RELEASES = 12
READS = ("deploy releases", "deploy events", "deploy get", "deploy get --at-release 1")
EVENTS, APPS = 1_000_000, 10_000
LONG = 10_000
TURNS = 15


def _measure_growing_ledger(run: Run) -> Iterator[Line]:
    small, big = User.new(run.scratch / "small", APP), made_user(run, events=EVENTS, apps=APPS, app=APP)
    for user in (small, big):
        for release in range(1, RELEASES + 1):
            user.run("deploy", "--image", f"nginx:1.{release}", "--env", f"RELEASE={release}")
    for command in READS:
        words = command.split()
        contenders = {"small": partial(small.seconds, *words), "big": partial(big.seconds, *words)}
        figures = run.in_turns(command, contenders, turns=TURNS)
        yield beside(
            f"`1ctl {command}`, {_size(big)} events", "s", figures["big"],
            f"{_size(small)} events", figures["small"], aim=at_most(1.2),
        )  # fmt: skip
    app_id = AppId("sandbox", "default", APP)
    with closing(SqliteStore(ledger_file(small))) as few, closing(SqliteStore(ledger_file(big))) as many:
        reads = {"small": LedgerReader(few), "big": LedgerReader(many)}
        contenders = {name: partial(seconds, partial(each.history, app_id)) for name, each in reads.items()}
        figures = run.in_turns("without the process", contenders, turns=100)
        yield beside(
            f"the same events read and decoded, without the process, {_size(big)} events", "s", figures["big"],
            f"{_size(small)} events", figures["small"], aim=at_most(1.2),
        )  # fmt: skip


def _measure_long_history(run: Run) -> Iterator[Line]:
    short = User.new(run.scratch / "short", APP)
    for release in range(1, RELEASES + 1):
        short.run("deploy", "--image", f"nginx:1.{release}")
    long = made_user(run, events=10 * LONG, apps=10, releases_of_first_app=LONG)
    answered: list[bool] = []

    def ask(user: User) -> float:
        before = user.seconds("deploy", "get", "--at-release", "1")
        deployment = user.json("deploy", "get", "--at-release", "1")
        answered.append(deployment["release"] == 1 and bool(deployment["domain"]))
        return before

    figures = run.in_turns("--at-release 1", {"short": partial(ask, short), "long": partial(ask, long)})
    yield alone(
        "answers to `1ctl deploy get --at-release 1`, of all that were asked for",
        "",
        [sum(answered) / len(answered)],
        aim=at_least(1, of="figure"),
    )
    yield beside(
        f"`1ctl deploy get --at-release 1` after {LONG:,} releases", "s", figures["long"],
        f"after {RELEASES}", figures["short"],
    )  # fmt: skip


def _size(user: User) -> str:
    with closing(SqliteStore(ledger_file(user))) as store:
        return f"{store.head().position:,}"


GROWING_LEDGER = Row(
    name="B5",
    title="one app's history in a growing ledger",
    about=f"The same {RELEASES} releases of one app, alone in a ledger and among {APPS:,} other apps.",
    measure=_measure_growing_ledger,
)
LONG_HISTORY = Row(
    name="B6",
    title="release 1 after many more",
    about='"What was the domain at release 1?", asked of an app with few and of one with many releases.',
    measure=_measure_long_history,
)
