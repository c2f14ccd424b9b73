"""`1ctl ledger`: maintain the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.lazy import command_group
from cli.options import offer

if TYPE_CHECKING:
    from cli.identities import IdentityRow
    from cli.session import Session

app = command_group(
    {
        "status": "cli.ledger_commands:status",
        "migrate": "cli.ledger_database:migrate",
        "roles": "cli.ledger_database:roles",
        "rebuild": "cli.ledger_commands:rebuild",
        "orphans": "cli.ledger_orphans:orphans",
        "redact": "cli.redact:redact",
        "backup": "cli.ledger_moves:backup",
        "restore": "cli.ledger_moves:restore",
        "copy": "cli.ledger_moves:copy",
    }
)


SNAPSHOTS = "snapshots"
"""What the snapshots are called where a command takes the name of a read model."""

_EPILOG = """\b
Examples:
  1ctl ledger status
  1ctl ledger backup /mnt/backup/ledger.db"""


@app.callback(epilog=_EPILOG)
def ledger() -> None:
    """Maintain the ledger."""


def status() -> None:
    """Show where the ledger is and how far it goes.

    Also how far its read models lag, and which identity opens its secrets.

    Example:  1ctl ledger status
    """
    from cli.identities import known_identities  # noqa: PLC0415
    from cli.profiles import shown_address  # noqa: PLC0415
    from cli.session import Session  # noqa: PLC0415
    from cli.version import PROGRAM  # noqa: PLC0415
    from ledger.clock import iso  # noqa: PLC0415
    from projections.app_list import APP_LIST  # noqa: PLC0415
    from projections.projection import ReadModelError  # noqa: PLC0415
    from projections.runner import checkpoint  # noqa: PLC0415

    session = Session()
    session.require_named_ledger()
    identities = known_identities(session)
    try:
        reached = checkpoint(session.store, APP_LIST) or 0
    except ReadModelError:
        reached = None
    head = session.store.head()
    lag = None if reached is None else head.position - reached
    if session.terminal.json:
        session.terminal.document(
            {
                "ledger_id": session.reader.ledger_id(),
                "ledger": shown_address(session.place.ledger) or "",
                "position": head.position,
                "recorded_at": iso(head.recorded_us) if head.position else None,
                "head": head.chain.hex(),
                "epoch": session.reader.epoch(),
                "writable": session.reader.may_append(),
                "program": PROGRAM,
                "tables_version": session.store.tables_version(),
                "identities": identities,
                "read_models": [{"name": APP_LIST.name, "position": reached, "lag": lag}],
            }
        )
        return
    session.terminal.fields(
        "Ledger",
        {
            "Ledger ID": session.reader.ledger_id() or "none yet",
            "Kept in": shown_address(session.place.ledger) or "",
            "Events": str(head.position),
            "Newest": iso(head.recorded_us) if head.position else "-",
            "Head": head.chain.hex(),
            "Goes on": "here" if session.reader.may_append() else f"not here: {_why_not(session)}",
            "Versions": f"{PROGRAM}, tables {session.store.tables_version()}",
            f"Read model {APP_LIST.name}": f"at {reached}, {lag} behind"
            if reached is not None
            else f"damaged; make it again: 1ctl ledger rebuild {APP_LIST.name}",
            **{_identity_name(row): _identity_text(row) for row in identities or []},
        },
    )


def _identity_name(row: IdentityRow) -> str:
    return "Identity" if row["newest"] else f"Older identity {row['identity'][:4]}"


def _identity_text(row: IdentityRow) -> str:
    from cli.identities import lives  # noqa: PLC0415

    here = "its key is here" if row["held"] else "its key is not here"
    return f"{row['identity']}, opens the secrets of {lives(row['lives'])}; {here}"


def _why_not(session: Session) -> str:
    from ledger.instance import ended_error  # noqa: PLC0415

    here = session.store.instance()
    assert here is not None
    return ended_error(here.writer or "", here.note).message


def rebuild(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", autocompletion=offer("models"), help="Read model, or snapshots; default: all."
        ),
    ] = None,
) -> None:
    """Rebuild read models and snapshots from the ledger.

    Others may go on working meanwhile. Without a name, snapshots are only dropped: the next command that asks about an
    app rebuilds its own. 'ledger rebuild snapshots' rebuilds all of them now.

    In a database, read models need the writer's role, snapshots the worker's.

    Example:  1ctl ledger rebuild
    """
    from cli.progress import progress  # noqa: PLC0415
    from cli.rights import require_worker  # noqa: PLC0415
    from cli.session import Session  # noqa: PLC0415
    from ledger.errors import RefusedError  # noqa: PLC0415
    from ledger.snapshot_upkeep import drop_snapshots, rebuild_snapshots  # noqa: PLC0415
    from projections.app_list import APP_LIST  # noqa: PLC0415
    from projections.runner import rebuild as fold_anew  # noqa: PLC0415

    session = Session()
    session.require_named_ledger()
    names = [APP_LIST.name, SNAPSHOTS]
    if name is not None and name not in names:
        raise RefusedError(f'there is no read model "{name}"', hint=f"There are: {', '.join(names)}")
    is_empty = session.store.head().position == 0
    if name != APP_LIST.name and not is_empty:
        require_worker(
            session.store,
            "Snapshots are kept by workers: use a login of onectl_worker, or be the owner."
            f" A writer may: 1ctl ledger rebuild {APP_LIST.name}",
        )
    if not is_empty:
        session.store.prepare()  # in a file of an older program nothing can be kept
    if name in (None, APP_LIST.name):
        with progress(f"Rebuilding {APP_LIST.name}") as told:
            fold_anew(session.store, APP_LIST, told, any_version=True)
        session.terminal.success(f"Read model {APP_LIST.name} is rebuilt")
    if name is None and not is_empty:
        drop_snapshots(session.store)
        session.terminal.success("Snapshots are dropped; each is rebuilt when its app is asked about")
    if name == SNAPSHOTS and not is_empty:
        with progress("Rebuilding snapshots") as told:
            made = rebuild_snapshots(session.store, told)
        session.terminal.success(f"Snapshots are rebuilt: {made}")
    if session.terminal.json:
        session.terminal.document({"rebuilt": names if name is None else [name]})
