"""`1ctl worker run` as a process of its own, and what it says."""

from __future__ import annotations

import json
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cli_support import Cli, Process
from tests.effects.worlds import eventually


class Run:
    """A worker process.

    Attributes:
        port: Where its endpoints are.
    """

    def __init__(self, process: Process, log: Path) -> None:
        self.process = process
        self._log = log
        eventually(lambda: "listening" in log.read_text() or process.poll() is not None)
        found = re.search(r"listening on 127\.0\.0\.1:(\d+)", log.read_text())
        assert found, log.read_text()
        self.port = int(found[1])

    def log(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]

    def leads(self) -> bool:
        return any(line["message"] == "leading" for line in self.log())

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@contextmanager
def worker(cli: Cli, *args: str, code: int | None = 0, leads: bool = True, name: str = "worker") -> Iterator[Run]:
    """A worker that leads, if it is to; stopped at the end, with this exit code."""
    log = cli.home.parent / f"{name}.log"
    with log.open("wb") as out:
        process = cli.start("worker", "run", "--listen", "127.0.0.1:0", *args, stdout=out, stderr=out)
    try:
        run = Run(process, log)
        if leads:
            eventually(run.leads)
        yield run
    finally:
        process.send_signal(signal.SIGTERM)
        ended = process.wait(30)
    assert code is None or ended == code, log.read_text()
