"""B5 and B6: one app's history, in a ledger that grows, and when it grows itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial

import orjson

from ledger.reader import LedgerReader
from ledger.spec import AppId
from ledger.sqlite_store import SqliteStore
from tests.bench.cluster import cluster_user, server
from tests.bench.deployers import HELM, HelmUpgrade, Ours, other_deployers
from tests.bench.figures import Line, alone, at_least, at_most, beside
from tests.bench.made import ledger_file, made_user
from tests.bench.programs import FailedError, User
from tests.bench.run import Row, Run
from tests.bench.turns import Measurement, seconds

APP = "measured"
RELEASES = 12
READS = ("deploy releases", "deploy events", "deploy get", "deploy get --at-release 1")
EVENTS, APPS = 1_000_000, 10_000
LONG = 10_000
REVISIONS = 100
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
    yield from _beside_helm(run)


def _beside_helm(run: Run) -> Iterator[Line]:
    """What the history of a long-lived app costs those who keep it in the cluster."""
    with (
        server(run) as direct,
        direct.counted(run.scratch) as (at, proxy),
        other_deployers(run, at, run.scratch) as others,
        cluster_user(at, run.scratch / "long") as user,
    ):
        helm = others.get(HELM)
        if not isinstance(helm, HelmUpgrade):
            return
        helm.options = ("--history-max", "0")
        run.say(f"deploying {REVISIONS} times with each")
        for deployer in (Ours(user, ("--detach",)), helm):
            for number in range(REVISIONS):
                deployer.deploy(APP, f"nginx:{number}")
        down: dict[str, list[float]] = {"ours": [], "helm": []}

        def ask(name: str, measure: Measurement) -> float:
            proxy.forget()
            took = measure()
            down[name].append(proxy.sent())
            return took

        ours = partial(user.seconds, "deploy", "releases")
        theirs = partial(helm.run, "history", APP, "--max", str(REVISIONS))
        contenders = {"ours": partial(ask, "ours", ours), "helm": partial(ask, "helm", theirs)}
        figures = run.in_turns("beside helm history", contenders, turns=TURNS)
    what, other = f"`1ctl deploy releases` of {REVISIONS}", f"`helm history` of {REVISIONS}"
    yield beside(what, "s", figures["ours"], other, figures["helm"])
    yield beside(f"{what}: bytes down", "B", down["ours"], other, down["helm"], aim=at_most(0, of="figure"))


def _measure_long_history(run: Run) -> Iterator[Line]:
    short = User.new(run.scratch / "short", APP)
    for release in range(1, RELEASES + 1):
        short.run("deploy", "--image", f"nginx:1.{release}")
    long = made_user(run, events=10 * LONG, apps=10, releases_of_first_app=LONG)
    answered: list[bool] = []

    def ask(user: User) -> float:
        ended = user.run("-o", "json", "deploy", "get", "--at-release", "1")
        deployment = orjson.loads(ended.stdout)
        answered.append(deployment["release"] == 1 and bool(deployment["domain"]))
        return ended.seconds

    figures = run.in_turns("--at-release 1", {"short": partial(ask, short), "long": partial(ask, long)}, turns=TURNS)
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
    yield from _asked_of_helm(run)


def _asked_of_helm(run: Run) -> Iterator[Line]:
    with server(run) as at, other_deployers(run, at, run.scratch) as others:
        helm = others.get(HELM)
        if not isinstance(helm, HelmUpgrade):
            return
        for number in range(RELEASES):
            helm.deploy(APP, f"nginx:{number}")
        answers = 1.0
        try:
            helm.run("get", "manifest", APP, "--revision", "1")
        except FailedError:
            answers = 0.0
    what = f"answers about release 1 after {RELEASES}"
    yield beside(what, "", [1], "`helm get manifest --revision 1`, as it comes", [answers])


def _size(user: User) -> str:
    with closing(SqliteStore(ledger_file(user))) as store:
        return f"{store.head().position:,}"


GROWING_LEDGER = Row(
    name="B5",
    title="one app's history in a growing ledger",
    about=f"The same {RELEASES} releases of one app, alone in a ledger and among {APPS:,} other apps; and {REVISIONS} of"
    " them beside helm, which keeps them in the cluster and is told to keep them all.",
    measure=_measure_growing_ledger,
)
LONG_HISTORY = Row(
    name="B6",
    title="release 1 after many more",
    about='"What was the domain at release 1?", asked of an app with few and of one with many releases; and of helm, which keeps'
    " ten revisions unless told otherwise.",
    measure=_measure_long_history,
)
