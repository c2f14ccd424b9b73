"""`1ctl audit`: read the ledger, check it, take it away."""

from __future__ import annotations

import typer

from cli.lazy import group

app = typer.Typer(
    cls=group(
        {"log": "cli.audit_log:log", "verify": "cli.audit:verify", "export": "cli.audit_log:export"},
    ),
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


@app.callback()
def audit() -> None:
    """Read the ledger, check it, export it."""


def verify() -> None:
    """Check that no recorded event was changed.

    None was altered, moved or removed since it was recorded, else the exit code is 7.

    Example:  1ctl audit verify
    """
    from cli.exit_codes import CommandError, ExitCode  # noqa: PLC0415
    from cli.progress import progress  # noqa: PLC0415
    from cli.session import Session  # noqa: PLC0415
    from ledger.verify import verify_chain  # noqa: PLC0415

    session = Session()
    with progress("Verifying") as told:
        result = verify_chain(session.store, progress=told)
    if session.terminal.json:
        session.terminal.document(
            {
                "ledger_id": None if result.damage else session.ledger.ledger_id(),
                "events": result.events,
                "head": result.head.chain.hex(),
                "intact": result.damage is None,
                "damage": None
                if result.damage is None
                else {
                    "position": result.damage.position,
                    "fault": result.damage.fault,
                    "detail": result.damage.detail,
                },
            }
        )
    if result.damage is not None:
        raise CommandError(
            f"the ledger is damaged at position {result.damage.position} ({result.damage.fault}): {result.damage.detail}",
            code=ExitCode.DAMAGED,
            hint=f"Positions 1 to {result.events} are intact. Compare with a backup before anything else is recorded.",
        )
    if session.terminal.json:
        return
    if result.events == 0:
        session.terminal.info(f"Nothing is recorded yet in {session.place.ledger}")
    else:
        session.terminal.success(f"Ledger is intact: {result.events} events, head {result.head.chain.hex()[:16]}")
