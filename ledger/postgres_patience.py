"""Connections that are given up when the server says nothing for too long.

A server that is stopped, or waits for its disk, keeps the network alive: nothing else would end a wait for its answer.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from typing import Any, TypeVar

import psycopg

_T = TypeVar("_T")


def connected(parameters: Mapping[str, str], *, patience: float | None) -> PatientConnection:
    """A connection on which every statement is a transaction of its own, and none is prepared.

    Args:
        parameters: What the driver is given.
        patience: Seconds that an answer may take; None: it is waited for.

    Raises:
        psycopg.Error: The server cannot be reached.
    """
    connection = PatientConnection.connect(
        **parameters,  # type: ignore[arg-type] # all are text
        autocommit=True,
        prepare_threshold=None,
    )
    connection.patience = patience
    return connection


class PatientConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that closes itself, with an error, when an answer takes longer than `patience`."""

    patience: float | None = None

    def wait(self, gen: Generator[Any, Any, _T], *args: Any, **more: Any) -> _T:
        """See `psycopg.Connection.wait`, which hands on every tenth of a second that there is nothing yet."""
        if self.patience is None:
            return super().wait(gen, *args, **more)
        try:
            return super().wait(_within(gen, self.patience), *args, **more)
        except _SilentError:
            self.close()
            raise


class _SilentError(psycopg.OperationalError):
    """The server has not answered in time."""


def _within(gen: Generator[Any, Any, _T], seconds: float) -> Generator[Any, Any, _T]:
    """The same conversation with the server, ended by an error when it is silent for too long."""
    until = time.monotonic() + seconds
    try:
        wants = next(gen)
        while True:
            ready = yield wants
            if not ready and time.monotonic() > until:
                raise _SilentError(f"it has not answered for {seconds:g} s")
            wants = gen.send(ready)
    except StopIteration as end:
        answer: _T = end.value
        return answer
