"""`1ctl audit import`: read an export back as a ledger that is only read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from cli.inputs import is_stdin
from cli.profiles import shown_address
from cli.progress import progress
from cli.session import Session
from ledger.errors import RefusedError
from ledger.importing import import_ledger
from ledger.telling import Told


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What 'audit export' wrote as jsonl; - is stdin.")],
) -> None:
    """Read an export into an empty ledger.

    It becomes a read-only replica: every read, check and proof works; nothing is recorded in it.

    Positions, times, bytes and hashes are the original's. Each line is checked; if one is wrong, nothing is imported
    (exit 7). Only a checkpoint shows that the end was not cut off: audit verify --against.

    Example:  1ctl audit import ledger.jsonl --ledger replica.db
    """
    session = Session()
    with ExitStack() as opened:
        try:
            lines = sys.stdin.buffer if is_stdin(file) else opened.enter_context(file.open("rb"))
            size = 0 if is_stdin(file) else file.stat().st_size
        except OSError as error:
            raise RefusedError(f"{file} cannot be read: {error.strerror}", hint="Name another file.") from error
        told = opened.enter_context(progress("Importing"))
        head = import_ledger(session.store, _counted(lines, size, told))
    place = shown_address(session.place.ledger)
    session.terminal.success(f"Imported {head.position} events into {place}, as a read-only replica")
    if session.terminal.json:
        session.terminal.document(
            {"ledger_id": session.reader.ledger_id(), "events": head.position, "head": head.chain.hex()}
        )


def _counted(lines: BinaryIO, size: int, told: Told) -> Iterator[bytes]:
    """The lines, telling how many bytes of all were read; nothing is told of a pipe, whose end nobody knows."""
    read = 0
    for line in lines:
        read += len(line)
        if size:
            told(read, size)
        yield line
