"""What keeps a worker from working: each thing that fails, from its first failure until it works again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import NamedTuple

from effects.cluster import (
    ChangedMeanwhileError,
    ClusterError,
    ClusterRefusedError,
    ClusterUnreachableError,
    ExpiredError,
    FieldConflictError,
)
from ledger.errors import OneCtlError
from ledger.lease import Trouble
from ledger.spec import AppId

_BY_STATUS = {401: "unauthorized", 403: "forbidden", 404: "missing", 409: "conflict", 422: "invalid"}

REASONS = ("unreachable", *_BY_STATUS.values(), "expired", "refused")
"""All that `reason_of` tells apart."""


def reason_of(error: BaseException | None) -> str | None:
    """One word for why a cluster did not do what it was asked for; None if it is not the cluster's error."""
    match error:
        case ClusterUnreachableError():
            return "unreachable"
        case ClusterRefusedError():
            return _BY_STATUS.get(error.status, "refused")
        case FieldConflictError() | ChangedMeanwhileError():
            return "conflict"
        case ExpiredError():
            return "expired"
        case _:
            return None


class _Began(NamedTuple):
    at: float
    trouble: Trouble


class Troubles:
    """What fails now. Safe for several threads.

    Args:
        clock: Rising seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turn = threading.Lock()
        self._now: dict[Hashable, _Began] = {}

    def met(self, what: Hashable, error: OneCtlError, *, app: AppId | None = None) -> None:
        """Something failed; if it is failing already, the earlier start counts.

        Args:
            what: Names it.
            error: How.
            app: The app that alone is concerned; None where it may be the others as well.
        """
        reason = reason_of(error)
        everybody = app is None or reason in ("unreachable", "unauthorized")
        name = None if everybody or app is None else f"{app.namespace}/{app.name}"
        with self._turn:
            began = self._now[what].at if what in self._now else self._clock()
            why = reason or ("cluster" if isinstance(error, ClusterError) else type(error).__name__)
            self._now[what] = _Began(began, Trouble(reason=why, message=error.message, seconds=0.0, app=name))

    def over(self, what: Hashable) -> None:
        """It worked."""
        with self._turn:
            self._now.pop(what, None)

    def worst(self) -> Trouble | None:
        """What concerns everybody, else what concerns one app; the longest lasting of these. None if all is well."""
        with self._turn:
            known = list(self._now.values())
        if not known:
            return None
        worst = min(known, key=lambda each: (each.trouble.app is not None, each.at))
        return worst.trouble._replace(seconds=self._clock() - worst.at)
