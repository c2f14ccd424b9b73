"""The `1ctl` command as a user runs it: a process of its own, in a directory, with nothing of this machine around it.

Golden files are written anew with ``ONECTL_TEST_GOLDEN=write`` in the environment; read their difference.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from effects.sandbox import SandboxCluster
from tests.copies import Copy, Stream
from tests.forks import Forks, forks, usable

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "golden"

ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
DOMAIN = r"[a-z]+-[a-z0-9]{7}\.satusky\.com"

SECONDS = "0.2"
"""How long a simulated pod takes to become ready, unless a test says otherwise."""

Process = Copy | subprocess.Popen[bytes]
"""A command that goes on meanwhile."""

_PATH = os.environ["PATH"]  # read once: a thread may ask while another test's environment is being put back

DROP_GUARDS = "SELECT 'DROP TRIGGER ' || name FROM sqlite_master WHERE type = 'trigger'"


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended."""

    command: str
    stdout: str
    stderr: str
    code: int

    @property
    def lines(self) -> list[str]:
        """Of stdout."""
        return self.stdout.splitlines()

    @property
    def json(self) -> Any:
        """The one document on stdout; fails if there is anything else."""
        return json.loads(self.stdout)

    @property
    def answer(self) -> tuple[int, str]:
        """What is answered again when asked about the same moment: code and stdout, but for the hint of a refusal.

        That one is about what can be done now.
        """
        return self.code, re.sub('"hint": ".*"', '"hint": "..."', self.stdout) if self.code == 3 else self.stdout

    def done(self) -> Result:
        """Itself, if it ended with 0."""
        assert self.code == 0, f"{self.command}: {self.code}\n{self.stdout}{self.stderr}"
        return self

    def failed(self, code: int) -> Result:
        """Itself, if it ended with this code and reads as a failure should."""
        assert self.code == code, f"{self.command}: {self.code}\n{self.stdout}{self.stderr}"
        errors = [line for line in self.stderr.splitlines() if line.startswith("❌ ")]
        assert len(errors) == 1, self.stderr
        assert "Traceback" not in self.stderr
        assert "something unexpected" not in self.stderr
        return self

    @property
    def error(self) -> str:
        """What stands from the ❌ on: message and hint."""
        return self.stderr[self.stderr.index("❌ ") :]


def _copies(args: Sequence[str], environ: Mapping[str, str]) -> Forks:
    asked = (environ.get("ONECTL_LEDGER", ""), *args)
    return forks(postgres=any("postgresql://" in each for each in asked), environ=environ)


@dataclass(frozen=True, slots=True)
class Cli:
    """Runs `1ctl` for one user.

    Attributes:
        home: ONECTL_HOME.
        cwd: Where it runs.
        env: Environment besides the little that every run has.
        change: ``module:function`` that changes something of the program before it runs; for faults and defects.
    """

    home: Path
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    change: str | None = None

    def run(self, *args: str, input: str | None = None, env: Mapping[str, str] | None = None) -> Result:  # noqa: A002
        """One command; stdin is empty unless there is input."""
        environ, typed = self.environ(env), (input or "").encode()
        if usable(environ):
            code, out, err = _copies(args, environ).run(
                args, cwd=self.cwd, environ=environ, stdin=typed, timeout=60, change=self.change
            )
        else:
            done = subprocess.run(
                self.argv(*args), cwd=self.cwd, env=environ, input=typed, capture_output=True, check=False, timeout=60
            )
            code, out, err = done.returncode, done.stdout, done.stderr
        return Result(" ".join(args), out.decode(), err.decode(), code)

    def start(
        self,
        *args: str,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = subprocess.PIPE,
        stderr: Stream = subprocess.PIPE,
    ) -> Process:
        """One command that goes on meanwhile; the streams are as of `subprocess.Popen`."""
        environ = self.environ()
        if usable(environ):
            return _copies(args, environ).start(
                args, cwd=self.cwd, environ=environ, change=self.change, stdin=stdin, stdout=stdout, stderr=stderr
            )
        return subprocess.Popen(
            self.argv(*args),
            cwd=self.cwd,
            env=environ,
            preexec_fn=_obey_ctrl_c,  # noqa: PLW1509 - it takes no lock
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )

    def argv(self, *args: str) -> list[str]:
        """The command line of a process."""
        if self.change is not None:
            return [sys.executable, "-m", "tests.changed", self.change, *args]
        return [sys.executable, "-m", "cli.start", *args]

    def environ(self, env: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a process: none of ours but what finds the programs."""
        return {
            "PATH": _PATH,
            "HOME": str(self.home.parent),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "COLUMNS": "80",
            "PYTHONPATH": str(ROOT),
            "ONECTL_HOME": str(self.home),
            "ONECTL_SANDBOX_SECONDS": SECONDS,
            **self.env,
            **(env or {}),
        }

    def within(self, directory: Path) -> Cli:
        """The same user elsewhere."""
        return replace(self, cwd=directory)

    def having(self, **env: str) -> Cli:
        """The same user with more in the environment."""
        return replace(self, env={**self.env, **env})

    # What the user does not see

    @property
    def ledger(self) -> Path:
        """The ledger file of the sandbox."""
        return self.home / "ledgers" / "sandbox.db"

    @property
    def cluster_file(self) -> Path:
        """The sandbox's file."""
        return self.home / "sandbox.db"

    def events(self, ledger: Path | None = None) -> list[str]:
        """Topics of everything recorded, in order."""
        path = ledger or self.ledger
        return [topic for (topic,) in query(path, "SELECT topic FROM stored_events ORDER BY notification_id")]

    def objects(self) -> dict[str, dict[str, Any]]:
        """The sandbox's objects by ``Kind/name``."""
        cluster = self.cluster()
        try:
            found = cluster.objects("default")
        finally:
            cluster.close()
        return {f"{each['kind']}/{each['metadata']['name']}": each for each in found}

    def cluster(self) -> SandboxCluster:
        """The sandbox itself; to be closed."""
        return SandboxCluster.open(self.cluster_file, startup_seconds=float(SECONDS))


def query(path: Path, text: str) -> list[tuple[Any, ...]]:
    """Rows of a database, read by its file alone; none if it does not exist."""
    if not path.exists():
        return []
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        return connection.execute(text).fetchall()
    finally:
        connection.close()


def tamper(path: Path, text: str) -> None:
    """Change a ledger as somebody would who has the file and knows SQL."""
    connection = sqlite3.connect(path)
    try:
        for (drop,) in connection.execute(DROP_GUARDS).fetchall():
            connection.execute(drop)
        assert connection.execute(text).rowcount == 1
        connection.commit()
    finally:
        connection.close()


def write_toml(directory: Path, name: str, port: int = 8081, more: str = "") -> Path:
    """A `satusky.toml` as in the guide; makes the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "satusky.toml"
    path.write_text(f'[app]\nname   = "{name}"\nport   = {port}\ncpu    = "0.25"\nmemory = "128Mi"\n{more}')
    return path


def newcomer(root: Path) -> Cli:
    """A user in the directory of user-service, which is not deployed."""
    directory = root / "services" / "user-service"
    write_toml(directory, "user-service")
    return Cli(root / "home", directory)


def commands() -> list[tuple[str, ...]]:
    """Every command and group as typed, without aliases; the program itself is ``()``."""
    from typer.main import get_command

    from cli.main import app

    found: list[tuple[str, ...]] = []

    def walk(path: tuple[str, ...], command: Any) -> None:
        found.append(path)
        for name in command.list_commands(None) if hasattr(command, "list_commands") else ():
            walk((*path, name), command.get_command(None, name))

    walk((), get_command(app))
    return found


def compare_golden(path: Path, text: str) -> None:
    """The text is that of the golden file, which is written first if that is asked for."""
    if os.environ.get("ONECTL_TEST_GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.exists(), f"{path} is missing; write it with ONECTL_TEST_GOLDEN=write"
    assert text == path.read_text()


def match(pattern: str, text: str) -> re.Match[str]:
    """The match of the whole text."""
    found = re.fullmatch(pattern, text)
    assert found is not None, f"{text!r} is not {pattern!r}"
    return found


def looks_like(template: Sequence[str], lines: Sequence[str]) -> dict[str, str]:
    """The values of ``<id>``, ``<domain>`` and other names in angle brackets; everything else is literal.

    A name stands for the same text wherever it occurs.
    """
    pattern, seen = "", set()
    for part in re.split(r"(<[a-z]+>)", "\n".join(template)):
        name = part[1:-1]
        if not re.fullmatch(r"<[a-z]+>", part):
            pattern += re.escape(part)
        elif name in seen:
            pattern += f"(?P={name})"
        else:
            seen.add(name)
            pattern += f"(?P<{name}>{ {'id': ID, 'domain': DOMAIN}.get(name, '[^ ]+') })"
    return match(pattern, "\n".join(lines)).groupdict()


def _obey_ctrl_c() -> None:
    # What a shell does for a command in the foreground; one in the background inherits "ignore".
    signal.signal(signal.SIGINT, signal.default_int_handler)
