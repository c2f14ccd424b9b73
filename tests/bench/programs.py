"""Whole programs, as a user runs them: `1ctl` in a home of its own, and its peers beside it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import orjson

PROGRAM = str(Path(sys.executable).with_name("1ctl"))
"""The console script, as installed."""


class FailedError(Exception):
    """A program that has to succeed did not; the text is what it said."""


class Ended(NamedTuple):
    """How a program ended.

    Attributes:
        seconds: From its start to its end.
        stdout: What it printed.
    """

    seconds: float
    stdout: bytes


def run_program(argv: Sequence[str | Path], *, cwd: Path, environ: Mapping[str, str]) -> Ended:
    """Run a program to its end.

    Raises:
        FailedError: It did not end with 0.
    """
    with (cwd / ".stdout").open("w+b") as out, (cwd / ".stderr").open("w+b") as err:
        began = time.perf_counter()
        child = subprocess.Popen(argv, cwd=cwd, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        try:
            child.wait()
        except BaseException:
            child.kill()
            child.wait()
            raise
        seconds = time.perf_counter() - began
        out.seek(0)
        err.seek(0)
        if child.returncode != 0:
            said = (out.read() + err.read()).decode(errors="replace")
            raise FailedError(f"{' '.join(map(str, argv))} ended with {child.returncode}:\n{said}")
        return Ended(seconds, out.read())


def high_water(process: int) -> int:
    """The most memory that a process has held so far, in bytes; 0 once it has ended.

    What the kernel says of an ended child is no use: it counts what its parent held before the child's program began.
    """
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def bare_environ(home: Path) -> dict[str, str]:
    """The environment of a user who has set nothing up."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "TZ": "UTC"}


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with a home and a directory of their own, who runs `1ctl`.

    Attributes:
        home: The home directory; ONECTL_HOME is where it is by default.
        cwd: Where commands run.
        options: Global options that every command gets.
        more: Environment besides the bare one.
    """

    home: Path
    cwd: Path
    options: tuple[str, ...] = ()
    more: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def new(cls, directory: Path, app: str = "measured") -> User:
        """A user in the directory of an app; both directories are made."""
        user = cls(directory / "home", directory / app)
        user.home.mkdir(parents=True)
        user.cwd.mkdir()
        (user.cwd / "satusky.toml").write_text(f'[app]\nname = "{app}"\nport = 8081\n')
        return user

    @property
    def data(self) -> Path:
        """ONECTL_HOME."""
        return self.home / ".local/share/1ctl"

    @property
    def environ(self) -> dict[str, str]:
        """The environment of a command."""
        return {**bare_environ(self.home), "ONECTL_HOME": str(self.data), "ONECTL_ACTOR": "bench", **self.more}

    def run(self, *args: str) -> Ended:
        """A `1ctl` command that has to succeed."""
        return run_program([PROGRAM, *self.options, *args], cwd=self.cwd, environ=self.environ)

    def seconds(self, *args: str) -> float:
        """How long a `1ctl` command takes, from the start of its process to its end."""
        return self.run(*args).seconds

    def peak(self, *args: str) -> int:
        """The most memory that a `1ctl` command which has to succeed holds, in bytes, looked at 100 times a second."""
        argv, peak = [PROGRAM, *self.options, *args], 0
        child = subprocess.Popen(
            argv, cwd=self.cwd, env=self.environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        while child.poll() is None:
            peak = max(peak, high_water(child.pid))
            with suppress(subprocess.TimeoutExpired):
                child.wait(0.01)
        if child.returncode != 0:
            raise FailedError(f"{' '.join(map(str, argv))} ended with {child.returncode}")
        return peak

    def json(self, *args: str) -> Any:
        """What a `1ctl` command answers."""
        return orjson.loads(self.run("-o", "json", *args).stdout)

    def having(self, *options: str, **more: str) -> User:
        """The same user with more global options, or more in the environment."""
        return replace(self, options=(*self.options, *options), more={**self.more, **more})
