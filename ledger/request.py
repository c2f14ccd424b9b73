"""One request: who asks, why, and its digest, by which a repeated request is recognised."""

from __future__ import annotations

import os
from dataclasses import replace
from hashlib import sha256
from typing import get_args

import orjson

from ledger.commands import Command, Deploy, LedgerCommand, Restore, SetSecrets
from ledger.envelope import Source
from ledger.errors import RequestReusedError
from ledger.events import AppEvent, DomainEvent, Redacted
from ledger.spec import BLANK, AppId
from ledger.store import RequestRow
from ledger.value import Value, value

REQUESTED = frozenset(kind.__name__ for kind in (*get_args(AppEvent), *get_args(DomainEvent), Redacted))
"""Topics of lines that are only appended with a request, which is remembered with them. Facts that were observed, and
what is recorded about the ledger as a whole, name a request in their envelopes and have none of their own."""


@value
class Request(Value):
    """What surrounds a command.

    Attributes:
        request_id: The client's name for it. Repeating it with the same command gives the first answer.
        actor: Who asks, as claimed.
        source: From where.
        reason: Why, or None.
    """

    request_id: str
    actor: str
    source: Source
    reason: str | None = None


def request_digest(salt: bytes, app: AppId | None, command: Command | LedgerCommand) -> bytes:
    """SHA-256 over what was asked for: verb, app and arguments; of secrets the key names only, nothing minted.

    No app means the ledger as a whole.
    """
    asked: object = command
    if isinstance(command, SetSecrets):
        asked = {"keys": sorted(command.keys)}
    if isinstance(command, Deploy | Restore):
        asked = replace(command, secret_keys=tuple(sorted(command.secret_keys)))
    if isinstance(command, Deploy) and not command.secret_keys:
        # As it was digested before a release could bring secrets: they are its last field.
        text = orjson.dumps(command, option=orjson.OPT_SORT_KEYS)
        asked = orjson.Fragment(text.removesuffix(b',"secret_keys":[]}') + b"}")
    content = [type(command).__name__, str(app), asked]
    return sha256(salt + orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).digest()


def request_row(request: Request, app: AppId | None, command: Command | LedgerCommand) -> RequestRow:
    """What is remembered of a request for as long as the ledger lives; the store adds what was recorded for it."""
    salt = os.urandom(16)
    return RequestRow(request.request_id, salt, request_digest(salt, app, command), 0, 0)


def refuse_other(prior: RequestRow, app: AppId | None, command: Command | LedgerCommand) -> None:
    """See that what was recorded before under a request id is this very command.

    Raises:
        RequestReusedError: It is another.
    """
    if request_digest(prior.salt, app, command) != prior.digest:
        raise _reused(prior)


def refuse_other_reason(prior: RequestRow, recorded: str | None, given: str | None) -> None:
    """Likewise for the reason, which is part of what `MarkBad` asks for, but never was of a digest.

    Raises:
        RequestReusedError: It is another.
    """
    if recorded not in (given, BLANK):
        raise _reused(prior)


def _reused(prior: RequestRow) -> RequestReusedError:
    return RequestReusedError(
        f'request id "{prior.request_id}" was used for another request',
        hint="Nothing was recorded. Use a new id, or repeat the very same command.",
    )
