"""`1ctl audit`: is the ledger what was recorded?"""

from __future__ import annotations

import typer

from cli.lazy import group

app = typer.Typer(
    cls=group({"verify": "cli.audit:verify"}),
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
)


@app.callback()
def audit() -> None:
    """Check the ledger."""


def verify() -> None:
    """Check that no event was changed, moved or removed since it was recorded.

    Exit code 7 if one was. Example:  1ctl audit verify
    """
    from cli.exit_codes import CommandError, ExitCode  # noqa: PLC0415
    from cli.session import Session  # noqa: PLC0415
    from ledger.verify import verify_chain  # noqa: PLC0415

    session = Session()
    result = verify_chain(session.store)
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
    if not session.terminal.json:
        session.terminal.success(f"Ledger is intact: {result.events} events, head {result.head.chain.hex()[:16]}")
