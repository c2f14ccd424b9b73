"""`1ctl ledger migrate|roles`: a ledger that a team shares in a PostgreSQL database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import origin
from cli.profiles import shown_address
from cli.session import Session
from ledger.errors import RefusedError

if TYPE_CHECKING:
    from ledger.request import Request


def migrate() -> None:
    """Make or update a ledger's tables in a database.

    It may be repeated, and run by several at once. The first time it makes the ledger, too; its signing key and effects
    identity are then on this machine.

    Example:  1ctl ledger migrate --ledger postgresql://host/team
    """
    session = Session()
    address = _database(session)
    from ledger.postgres_migrate import migrate as make_tables  # noqa: PLC0415 - a database only

    request: Request = origin.request()
    version = make_tables(address)
    ledger_id = session.ledger.create(request)
    session.terminal.success(f"Ledger {ledger_id} is ready in {shown_address(address)} (tables of version {version})")
    session.terminal.notice("Let others use it: 1ctl ledger roles prints the roles to create.")
    if session.terminal.json:
        session.terminal.document({"ledger_id": ledger_id, "ledger": shown_address(address), "tables_version": version})


def roles(
    prefix: Annotated[str, typer.Option(metavar="NAME", help="What the roles' names begin with.")] = "onectl",
) -> None:
    """Print SQL for roles that may do no more than they must.

    Reader: ask. Writer: record as well. Worker: open secrets as well. For psql, as the owner of the tables, who needs
    CREATEROLE; all of it is done, or nothing.

    Example:  1ctl ledger roles | psql postgresql://host/team
    """
    from ledger.postgres_schema import role_script  # noqa: PLC0415

    session = Session()
    script = role_script(prefix)
    if session.terminal.json:
        session.terminal.document({"prefix": prefix, "sql": script})
    else:
        text = f"\\set ON_ERROR_STOP on\nBEGIN;\n{script}COMMIT;\n"
        session.terminal.bytes([text.encode()])


def _database(session: Session) -> str:
    address = session.place.ledger
    if isinstance(address, Path):
        raise RefusedError(
            f"the ledger {address} is a file, which needs no migration",
            hint="Name a database: 1ctl ledger migrate --ledger postgresql://host/name",
        )
    return address
