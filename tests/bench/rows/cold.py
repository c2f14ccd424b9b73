"""B1: what a command costs before it does anything, beside the least that a command written with typer can cost."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial

from tests.bench.cluster import cluster_user, server
from tests.bench.deployers import APPLY, HELM, HelmUpgrade, KubectlApply, Ours, other_deployers
from tests.bench.figures import Aim, Line, at_most, beside
from tests.bench.programs import User, run_program
from tests.bench.run import Row, Run
from tests.bench.turns import Measurement

HELLO = """import typer
app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
@app.command()
def main(name: str = "you") -> None:
    print("hello", name)
app()
"""
COMMANDS: dict[str, Aim | None] = {
    "--version": at_most(1.2),
    "deploy get": at_most(1.6),
    "deploy releases": at_most(1.6),
    "deploy status": None,
    "env list": at_most(1.6),
    "deploy list": at_most(2.0),
}
TURNS = 25
APPS = 20
"""In the namespace, for `list`."""


def _measure(run: Run) -> Iterator[Line]:
    user = User.new(run.scratch)
    hello = user.cwd / "hello.py"
    hello.write_text(HELLO)
    user.run("deploy", "--image", "nginx:alpine", "--env", "A=b", "--wait")

    def floor() -> float:
        return run_program([sys.executable, hello], cwd=user.cwd, environ=user.environ).seconds

    for command, aim in COMMANDS.items():
        yield _one(run, user, command, "typer hello", floor, aim)
    yield from _beside_peers(run)


def _beside_peers(run: Run) -> Iterator[Line]:
    """What they answer about the same apps; kubectl and helm have to ask the server for it."""
    with (
        server(run) as at,
        cluster_user(at, run.scratch / "cluster") as user,
        other_deployers(run, at, run.scratch) as others,
    ):
        helm, kubectl = others.get(HELM), others.get(APPLY)
        run.say(f"deploying {APPS} apps")
        for deployer in filter(None, (Ours(user, ("--detach",)), helm, kubectl)):
            for number in range(1, APPS):
                deployer.deploy(f"app-{number}", "nginx:1")
            deployer.deploy("measured", "nginx:1")
        if isinstance(helm, HelmUpgrade):
            list_ = partial(helm.run, "list")
            yield _one(run, user, "deploy list", f"`helm list`, {APPS} apps", list_, at_most(1.0))
            yield _one(run, user, "deploy releases", "`helm history`", partial(helm.run, "history", "measured"), None)
        if isinstance(kubectl, KubectlApply):
            get = partial(kubectl.run, "get", "deployment", "measured")
            yield _one(run, user, "deploy get", "`kubectl get`", get, None)


def _one(run: Run, user: User, command: str, other: str, theirs: Measurement, aim: Aim | None) -> Line:
    figures = run.in_turns(command, {"ours": partial(user.seconds, *command.split()), "theirs": theirs}, turns=TURNS)
    return beside(f"`1ctl {command}`", "s", figures["ours"], other, figures["theirs"], aim=aim)


ROW = Row(
    name="B1",
    title="cold commands",
    about="Whole processes on the embedded default, an app deployed once on the sandbox, bytecode compiled. Beside a bare"
    " typer command that prints one line; and beside others who answer the same about one app on a real API server.",
    measure=_measure,
)
