"""How long a cold command takes, against the least that a command written with typer can take.

``python tests/docs/measure_cold.py [RUNS]`` deploys one app on the sandbox in a temporary home, then runs each command
as a process of its own, in turn with a typer "hello", so that both see the same machine. It prints medians in
milliseconds and the median of the ratios of neighbouring runs.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HELLO = """import typer
app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
@app.command()
def main(name: str = "you") -> None:
    print("hello", name)
app()
"""
COMMANDS = {
    "--version": ["--version"],
    "deploy get": ["deploy", "get"],
    "deploy releases": ["deploy", "releases"],
    "deploy list": ["deploy", "list"],
    "env list": ["env", "list"],
}


def main(runs: int) -> None:
    """Measure and print."""
    program = str(Path(sys.executable).with_name("1ctl"))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "satusky.toml").write_text('[app]\nname = "measured"\n')
        (directory / "hello.py").write_text(HELLO)
        environ = {**os.environ, "ONECTL_HOME": str(directory / "home")}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as installed: compiled once, not at every start
        for setup in (["deploy", "--image", "nginx:alpine", "--env", "A=b", "--wait"], *COMMANDS.values()):
            subprocess.run([program, *setup], cwd=directory, env=environ, check=True, capture_output=True)
        lines = {"hello": [sys.executable, "hello.py"], **{each: [program, *args] for each, args in COMMANDS.items()}}
        seconds: dict[str, list[float]] = {each: [] for each in lines}
        for _ in range(runs):
            for each, line in lines.items():
                began = time.perf_counter()
                subprocess.run(line, cwd=directory, env=environ, check=True, capture_output=True)
                seconds[each].append(time.perf_counter() - began)
    for each, taken in seconds.items():
        ratio = statistics.median(one / floor for one, floor in zip(taken, seconds["hello"], strict=True))
        least = min(taken) / min(seconds["hello"])
        print(f"{each:16} {statistics.median(taken) * 1000:6.0f} ms   x{ratio:4.2f}   least of each: x{least:4.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
