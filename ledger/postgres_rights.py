"""What a worker's login may do in a ledger on PostgreSQL, asked before anything depends on it."""

from __future__ import annotations

from sqlalchemy import func, literal, select

from ledger.errors import LedgerDeniedError
from ledger.postgres_connection import Database
from ledger.postgres_names import SCHEMA

NEEDED = (
    ("worker_leases", "INSERT"),
    ("worker_leases", "UPDATE"),
    ("life_keys", "SELECT"),
    ("sealed_values", "SELECT"),
)
"""The rights that only the worker's role has, and that no worker can do without."""

_RIGHTS = select(
    func.current_user(),
    *(func.has_table_privilege(literal(f"{SCHEMA}.{table}"), literal(right)) for table, right in NEEDED),
)


def require_worker_rights(database: Database) -> None:
    """Refuse a login that may not do what a worker does.

    Raises:
        LedgerDeniedError: It lacks a right; the message names what.
        LedgerUnavailableError: The tables are not there, or too old.
    """
    ((user, *has),) = database.run(_RIGHTS, {})
    lacking = [f"{right} on {table}" for (table, right), granted in zip(NEEDED, has, strict=True) if not granted]
    if lacking:
        raise LedgerDeniedError(
            f"the ledger {database.shown} does not let {user} be a worker: it lacks {', '.join(lacking)}"
        )
