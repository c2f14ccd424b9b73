"""B12: what users wait for, in a ledger of few apps and in one of very many."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import count

from tests.bench.figures import Line, at_most, beside
from tests.bench.made import made_user
from tests.bench.programs import User
from tests.bench.run import Row, Run
from tests.bench.turns import Measurement

FEW, MANY = (110, 10), (1_000_000, 10_000)
"""Events and apps."""

APP = "measured"
READS = ("deploy get", "deploy releases", "deploy get --at-release 1", "deploy list", "audit log", "ledger status")
TURNS = 15


def _measure(run: Run) -> Iterator[Line]:
    few, many = (made_user(run, events=events, apps=apps, app=APP) for events, apps in (FEW, MANY))
    numbers = count(2)
    for user in (few, many):
        user.run("deploy", "--image", "nginx:1", "--env", "A=b", "--detach")

    def deploy(user: User) -> Measurement:
        return lambda: user.seconds("deploy", "--image", f"nginx:{next(numbers)}", "--detach")

    yield _compared(run, "deploy --image nginx:2 --detach", deploy(few), deploy(many))
    for command in READS:
        words = command.split()
        yield _compared(run, command, partial(few.seconds, *words), partial(many.seconds, *words))


def _compared(run: Run, command: str, few: Measurement, many: Measurement) -> Line:
    figures = run.in_turns(command, {"few": few, "many": many}, turns=TURNS)
    return beside(
        f"`1ctl {command}`, {_size(MANY)}", "s", figures["many"], _size(FEW), figures["few"], aim=at_most(1.3)
    )


def _size(ledger: tuple[int, int]) -> str:
    events, apps = ledger
    return f"{events:,} events, {apps:,} apps"


ROW = Row(
    name="B12",
    title="few apps and many",
    about="Whole processes on made ledgers, the same app deployed in each.",
    measure=_measure,
)
