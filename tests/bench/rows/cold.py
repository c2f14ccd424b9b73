"""B1: what a command costs before it does anything, beside the least that a command written with typer can cost."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial

from tests.bench.figures import Aim, Line, at_most, beside
from tests.bench.programs import User, run_program
from tests.bench.run import Row, Run

HELLO = """import typer
app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
@app.command()
def main(name: str = "you") -> None:
    print("hello", name)
app()
"""
COMMANDS: dict[str, Aim] = {
    "--version": at_most(1.2),
    "deploy get": at_most(1.6),
    "deploy releases": at_most(1.6),
    "deploy status": at_most(2.0),
    "env list": at_most(1.6),
    "deploy list": at_most(2.0),
}
TURNS = 25


def _measure(run: Run) -> Iterator[Line]:
    user = User.new(run.scratch)
    hello = user.cwd / "hello.py"
    hello.write_text(HELLO)
    user.run("deploy", "--image", "nginx:alpine", "--env", "A=b", "--wait")

    def floor() -> float:
        return run_program([sys.executable, hello], cwd=user.cwd, environ=user.environ).seconds

    for command, aim in COMMANDS.items():
        ours = partial(user.seconds, *command.split())
        figures = run.in_turns(command, {"ours": ours, "floor": floor}, turns=TURNS)
        yield beside(f"`1ctl {command}`", "s", figures["ours"], "typer hello", figures["floor"], aim=aim)


ROW = Row(
    name="B1",
    title="cold commands",
    about="Whole processes on the embedded default, an app deployed once on the sandbox, bytecode compiled. Beside a bare"
    " typer command that prints one line.",
    measure=_measure,
)
