"""Effects identities as `ledger status` and `secret rotate-keys` show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

from ledger.errors import LedgerUnavailableError
from ledger.rotation import standing
from ledger.sealing import identity_fingerprint

if TYPE_CHECKING:
    from cli.session import Session
    from ledger.rotation import IdentityStanding


class IdentityRow(TypedDict):
    """One identity: its fingerprint and public key, whether it is the newest and here, and how many lives it opens."""

    identity: str
    public_key: str
    newest: bool
    held: bool
    lives: int


def known_identities(session: Session) -> Sequence[IdentityRow] | None:
    """Those of the ledger; None where its tables do not tell this user, such as those of an older version."""
    try:
        found = standing(session.reader, session.keys)
    except LedgerUnavailableError:
        return None
    return identity_rows(found) if found else []


def identity_rows(found: IdentityStanding) -> Sequence[IdentityRow]:
    """The newest identity first, then others that lives' keys are wrapped for."""
    newest = found.current.public_key
    others = sorted(public for public in found.lives if public != newest)
    return [
        {
            "identity": identity_fingerprint(public),
            "public_key": public,
            "newest": public == newest,
            "held": public in found.held,
            "lives": found.lives.get(public, 0),
        }
        for public in (newest, *others)
    ]


def lives(count: int) -> str:
    """``1 life``, ``2 lives``."""
    return f"{count} life" if count == 1 else f"{count} lives"
