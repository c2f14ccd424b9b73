"""One request: who asks, why, and its digest, by which a repeated request is recognised."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import get_args

import orjson

from ledger.commands import Command, Deploy, LedgerCommand, Restore, SetSecrets
from ledger.envelope import Source
from ledger.events import AppEvent, DomainEvent, Redacted
from ledger.spec import AppId
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
