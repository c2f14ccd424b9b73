"""One row being measured: what its measurement works with, and what becomes of it."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from cli.progress import progress
from tests.bench import machine
from tests.bench.figures import LEAST_TURNS, Line
from tests.bench.page import sentence
from tests.bench.record import Measured
from tests.bench.turns import Measurement, in_turns

_T = TypeVar("_T")


class MissingError(Exception):
    """Something that a measurement needs is not here; its text says what, and how to get it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table.

    Attributes:
        name: As in ``make bench ROW=B4``.
        title: What it is about, a few words.
        about: How it is measured, for whoever reads the page.
        measure: Yields the lines, each as soon as it is measured; may raise `MissingError`.
    """

    name: str
    title: str
    about: str
    measure: Callable[[Run], Iterator[Line]]


@dataclass(slots=True)
class Run:
    """A row being measured.

    Attributes:
        name: The row's.
        turns: How many measurements of each; None for as many as the row thinks best.
        scratch: A directory of its own on the disk of interest, removed afterwards.
        versions: Of what is used; rows add to it.
        missing: What could not be measured, and why.
    """

    name: str
    turns: int | None
    scratch: Path
    versions: dict[str, str] = field(default_factory=machine.versions)
    missing: list[str] = field(default_factory=list)

    def in_turns(
        self, what: str, contenders: Mapping[str, Measurement], *, turns: int = LEAST_TURNS, warm_up: bool = True
    ) -> dict[str, list[float]]:
        """Measure contenders in turns, saying how far it is; see `tests.bench.turns.in_turns`."""
        if not sys.stderr.isatty():  # which `progress` would tell nothing
            self.say(what)
        with progress(f"{self.name} {what}") as told:
            return in_turns(contenders, self.turns or turns, told, warm_up=warm_up)

    def say(self, text: str) -> None:
        """Something that takes a while begins."""
        sys.stderr.write(f"{self.name} {text}\n")
        sys.stderr.flush()

    def if_there(self, find: Callable[[], _T]) -> _T | None:
        """What `find` returns; None, and a sentence on the page, if it raises `MissingError`."""
        try:
            return find()
        except MissingError as error:
            self.missing.append(str(error))
            return None


def measure(row: Row, *, turns: int | None, directory: Path) -> Measured:
    """Measure a row, saying each line when it is known.

    Args:
        row: The row.
        turns: See `Run`.
        directory: Where scratch files lie meanwhile.
    """
    began, at, load = time.monotonic(), datetime.now(UTC), machine.load()
    commit = machine.commit()
    lines: list[Line] = []
    scratch = Path(tempfile.mkdtemp(prefix="1ctl-bench-", dir=directory))
    run = Run(row.name, turns, scratch)
    run.say(row.title)
    try:
        for line in row.measure(run):
            sys.stdout.write(f"{row.name} {sentence(line)}\n")
            sys.stdout.flush()
            lines.append(line)
    except MissingError as error:
        run.missing.append(str(error))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for why in run.missing:
        run.say(f"not measured: {why}")
    return Measured(
        title=row.title,
        about=row.about,
        commit=commit,
        at=at.isoformat(timespec="minutes"),
        took=time.monotonic() - began,
        load=load,
        machine=machine.machine(),
        versions=run.versions,
        lines=tuple(lines),
        missing=tuple(run.missing),
    )
