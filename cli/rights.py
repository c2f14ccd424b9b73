"""What a login may do in a database, asked before a command begins that it could not end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.errors import LedgerDeniedError

if TYPE_CHECKING:
    from ledger.store import Store


def require_worker(store: Store, hint: str) -> None:
    """Refuse whoever lacks the rights of a worker; in a file everybody has them.

    Args:
        store: The ledger.
        hint: Which role does it, and why.

    Raises:
        LedgerDeniedError: The database does not allow its user to do it. Nothing was changed.
    """
    try:
        store.require_worker_rights()
    except LedgerDeniedError as error:
        raise LedgerDeniedError(error.message, hint=f"Nothing was changed. {hint}") from error
