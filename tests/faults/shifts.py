"""Workers as real processes, kept running by a supervisor as an operator would, that are killed, stopped and continued."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from ledger.lease import LeaseRow
from ledger.store import Store
from tests.cli_support import Cli
from tests.effects.worlds import eventually
from tests.forks import forks

SECONDS = 60.0
"""How long the busiest machine may take for anything."""


@dataclass
class Process:
    """One run of ``1ctl worker run``.

    Attributes:
        cli: Whose.
        log: What it prints.
        args: More options.
        pid: Its process id.
        code: How it ended, as of `subprocess`; None while it runs.
    """

    cli: Cli
    log: Path
    args: tuple[str, ...] = ()
    pid: int = 0
    code: int | None = None
    _begun: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> Process:
        """Returns once it runs."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._begun.wait(SECONDS)
        return self

    def _run(self) -> None:
        def begun(pid: int) -> None:
            self.pid = pid
            self._begun.set()

        with self.log.open("wb") as log:
            self.code, _, _ = forks(postgres="postgresql://" in self.cli.env.get("ONECTL_LEDGER", "")).run(
                ("worker", "run", *self.args),
                cwd=self.cli.cwd,
                environ=self.cli.environ(),
                stdin=b"",
                timeout=600,
                change=self.cli.change,
                stdout=log.fileno(),
                stderr=log.fileno(),
                before=begun,
            )

    def signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.code is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def ended(self) -> int:
        """Wait for its end; how it ended."""
        assert self._thread is not None
        self._thread.join(SECONDS)
        assert self.code is not None, self.log.read_text()
        return self.code

    def ends(self) -> set[int]:
        """Exit codes that SIGTERM leads to: 143 before it has begun to work, for there is nothing to end in order."""
        return {0} if self.said("leading") else {0, 128 + signal.SIGTERM, -signal.SIGTERM}

    def is_stopped(self) -> bool:
        """Whether it stands still, by a signal that it got."""
        with suppress(FileNotFoundError):
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        return False

    def lines(self) -> list[dict[str, object]]:
        """Of its log, each one JSON object; what it says to people before and after its work is left out.

        A line that is still being written, or that the end of the process cut off, is none.
        """
        if not self.log.exists():
            return []
        lines = self.log.read_bytes().rpartition(b"\n")[0].decode().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]  # the others are for people

    def said(self, message: str) -> bool:
        """Whether such a line is in its log."""
        return any(line["message"] == message for line in self.lines())


@dataclass
class Crew:
    """Replicas that are started again whenever they are killed.

    Attributes:
        cli: Whose.
        directory: Where their logs are.
        env: Of the n-th process, more of its environment.
        killed: How often one was.
        bad: Ends that an operator would not expect.
    """

    cli: Cli
    directory: Path
    args: tuple[str, ...]
    env: Callable[[int], dict[str, str]]
    processes: list[Process] = field(default_factory=list)
    killed: int = 0
    bad: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def supervise(self) -> None:
        """Run one replica until `stop`, starting it again when it was killed."""
        while not self._stop.is_set():
            process = self.start()
            if process is None:
                return
            while process.code is None and not self._stop.wait(0.02):
                pass
            process.signal(signal.SIGTERM)
            code = process.ended()
            if code == -signal.SIGKILL:
                self.killed += 1
            elif not self._stop.is_set() or code not in process.ends():
                self.bad.append(f"{process.code}: {process.log.read_text()}")
                return

    def start(self) -> Process | None:
        """One more process; None if it is over."""
        with self._turn:
            if self._stop.is_set():
                return None
            number = len(self.processes)
            cli = replace(self.cli, env={**self.cli.env, **self.env(number)})
            process = Process(cli, self.directory / f"worker-{number}.log", self.args)
            self.processes.append(process)
        return process.start()

    def stop(self) -> None:
        """No more are started, and those that run are asked to end."""
        with self._turn:
            self._stop.set()

    def logs(self) -> dict[str, str]:
        """What was said, by file."""
        return {process.log.name: process.log.read_text() for process in self.processes if process.log.exists()}


def _nothing(_: int) -> dict[str, str]:
    return {}


@contextmanager
def crew(
    cli: Cli,
    directory: Path,
    *,
    count: int,
    args: Sequence[str] = (),
    env: Callable[[int], dict[str, str]] = _nothing,
) -> Iterator[Crew]:
    """So many replicas at a time; at the end each ended well, or was killed by a test."""
    directory.mkdir(exist_ok=True)
    made = Crew(cli, directory, ("--listen", "none", *args), env)
    supervisors = [threading.Thread(target=made.supervise, daemon=True) for _ in range(count)]
    for supervisor in supervisors:
        supervisor.start()
    try:
        yield made
    finally:
        made.stop()
        for supervisor in supervisors:
            supervisor.join(SECONDS)
    assert not made.bad, made.bad
    assert not any(supervisor.is_alive() for supervisor in supervisors)


def leader(store: Store, cluster: str, *, other_than: int = 0) -> LeaseRow:
    """Wait until somebody leads who is not that process; the lease."""

    def led() -> LeaseRow | None:
        row = store.lease_row(cluster)
        return row if row is not None and row.valid and pid_of(row) != other_than else None

    return eventually(led, within=SECONDS)


def pid_of(row: LeaseRow) -> int:
    """Process id of the holder, as its note says."""
    return int(row.note.rpartition(" ")[2])
