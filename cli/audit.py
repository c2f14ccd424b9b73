"""`1ctl audit`: query, verify and export the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.lazy import command_group

if TYPE_CHECKING:
    from cli.session import Session
    from ledger.comparing import Comparison
    from ledger.snapshot_upkeep import WrongSnapshot
    from ledger.verify import Verification
    from projections.projection import ReadModelError

app = command_group(
    {
        "log": "cli.audit_show:log",
        "verify": "cli.audit:verify",
        "checkpoint": "cli.audit_proofs:checkpoint",
        "prove": "cli.audit_proofs:prove",
        "verify-proof": "cli.audit_proofs:verify_proof",
        "witness": "cli.audit_witness:witness",
        "witness-key": "cli.audit_witness:witness_key",
        "export": "cli.audit_show:export",
        "import": "cli.audit_import:import_",
    },
)


_EPILOG = """\b
Examples:
  1ctl audit log --since '1 day ago'
  1ctl audit verify --against yesterday.checkpoint
  1ctl audit export --file ledger.jsonl"""


@app.callback(epilog=_EPILOG)
def audit() -> None:
    """Query, verify and export the ledger."""


def verify(
    against: Annotated[
        Path | None, typer.Option(metavar="CHECKPOINT", help="A checkpoint that was kept elsewhere.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="The ledger's verifier key, or a file; default: the ledger's own."),
    ] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Also decode every event, and compare lists with them.")] = False,
) -> None:
    """Check that no recorded event was changed.

    It ends with 7 if an event was altered, moved or removed since it was recorded, or a snapshot is not what the events
    add up to. Only --against finds an administrator who recomputed everything, or who put an older copy back.

    With --deep, also if this program cannot read an event, or what 'deploy list' shows is not what the events add up to,
    now or in the past; that takes several times as long.

    Example:  1ctl audit verify --against yesterday.checkpoint
    """
    if key is not None and against is None:
        from cli.exit_codes import UsageError  # noqa: PLC0415

        raise UsageError("--key needs --against: the chain is checked without a key")
    from cli.progress import progress  # noqa: PLC0415
    from cli.session import Session  # noqa: PLC0415
    from ledger.snapshot_upkeep import wrong_snapshot  # noqa: PLC0415
    from ledger.verify import verify_chain  # noqa: PLC0415

    session = Session.for_questions(may_be_gone=against is not None)  # beside a checkpoint it was rolled back
    session.store.tables_version()  # what cannot even be opened is told as such, not as a line that cannot be read
    with progress("Verifying") as told:
        result = verify_chain(session.store, progress=told, deep=deep)
    compared = _compare(session, against, key) if against is not None and result.damage is None else None
    with progress("Comparing snapshots") as told:
        wrong = wrong_snapshot(session.store, told) if result.damage is None else None
    misled = _wrong_list(session) if deep and result.damage is None else None
    if session.terminal.json:
        session.terminal.document(_document(session, result, compared, wrong, misled, deep=deep))
    _refuse_damage(result, compared)
    _refuse_wrong(wrong)
    if misled is not None:
        raise misled
    if session.terminal.json:
        return
    if result.events == 0:
        from cli.profiles import shown_address  # noqa: PLC0415

        session.terminal.info(f"Nothing is recorded yet in {shown_address(session.place.ledger)}")
        return
    session.terminal.success(f"Ledger is intact: {result.events} events, head {result.head.chain.hex()[:16]}")
    if result.redacted:
        session.terminal.info(
            f"Redacted after they were recorded, as the ledger's key vouches: {', '.join(map(str, result.redacted))}"
        )
    if compared is not None:
        session.terminal.success(f"Against the checkpoint: {compared.detail}")
    if deep:
        readable = "Every event can be read" if result.newer is None else "Every event that this 1ctl knows can be read"
        session.terminal.success(f"{readable}, and the lists are what they add up to")
    if result.newer is not None:
        session.terminal.warn(
            f"Position {result.newer} was written by a newer 1ctl. What is kept beside such events was not compared: requests,"
            " and secrets, keys and lives of the apps that they are about. Upgrade this one: 1ctl --version"
        )


def _wrong_list(session: Session) -> ReadModelError | None:
    """How the read models differ from what the events add up to, if they do."""
    from cli.progress import progress  # noqa: PLC0415
    from projections.app_list import APP_LIST  # noqa: PLC0415
    from projections.projection import ReadModelError, wrong_model  # noqa: PLC0415
    from projections.runner import difference  # noqa: PLC0415

    try:
        with progress("Comparing lists") as told:
            found = difference(session.store, APP_LIST, told)
    except ReadModelError as error:
        return error
    return None if found is None else wrong_model(APP_LIST.name, found)


def _compare(session: Session, against: Path, key: str | None) -> Comparison:
    from cli.audit_proofs import compare  # noqa: PLC0415

    return compare(session, against, key)


def _refuse_damage(result: Verification, compared: Comparison | None) -> None:
    from cli.exit_codes import CommandError, ExitCode  # noqa: PLC0415

    damage = result.damage
    if damage is not None:
        raise CommandError(
            f"the ledger is damaged at position {damage.position} ({damage.fault}): {damage.detail}",
            code=ExitCode.DAMAGED,
            hint=f"{_intact(result)}Compare with a backup before anything else is recorded.",
        )
    if compared is not None and compared.verdict != "consistent":
        raise CommandError(
            f"the ledger is not what was signed ({compared.verdict}): {compared.detail}",
            code=ExitCode.DAMAGED,
            hint=_differs(result, compared),
        )


def _intact(result: Verification) -> str:
    """Up to where the chain was found intact; not said where what is wrong lies within that, beside the chain."""
    is_beyond = result.damage is not None and result.damage.position > result.events
    return f"Positions 1 to {result.events} are intact. " if is_beyond else ""


def _differs(result: Verification, compared: Comparison) -> str:
    from ledger.text import Lines  # noqa: PLC0415

    if not result.events:
        return Lines(
            "Check that this is the right ledger: 1ctl profile current",
            "If it is, put it back from a backup: 1ctl ledger restore FILE",
        )
    if not compared.size:
        return Lines(
            "Check that this is the right ledger, and its checkpoint: 1ctl profile current",
            "If so, somebody replaced the ledger's key or changed the checkpoint. The key that you know tells: --key KEY",
        )
    return "Its chain is intact, so whoever changed it recomputed it. Compare with a backup of your own."


def _refuse_wrong(wrong: WrongSnapshot | None) -> None:
    from cli.exit_codes import CommandError, ExitCode  # noqa: PLC0415

    if wrong is not None:
        raise CommandError(
            f"what is kept beside the events is wrong: {wrong.detail}",
            code=ExitCode.DAMAGED,
            hint="Every event is intact. Rebuild the snapshots: 1ctl ledger rebuild snapshots",
        )


def _document(
    session: Session,
    result: Verification,
    compared: Comparison | None,
    wrong: WrongSnapshot | None,
    misled: ReadModelError | None,
    *,
    deep: bool,
) -> dict[str, object]:
    damage = result.damage
    found: dict[str, object] | None = None
    if damage is not None:
        found = {"position": damage.position, "fault": damage.fault, "detail": damage.detail}
    elif compared is not None and compared.verdict != "consistent":
        blame = compared.blame
        found = {"position": blame.position if blame else None, "fault": compared.verdict, "detail": compared.detail}
    elif wrong is not None:
        found = {"position": wrong.position, "fault": "snapshot", "detail": wrong.detail}
    elif misled is not None:
        found = {"position": None, "fault": "list", "detail": misled.message}
    return {
        "ledger_id": None if damage else session.reader.ledger_id(),
        "events": result.events,
        "head": result.head.chain.hex(),
        "intact": found is None if result.events or found is not None else None,
        "damage": found,
        "redacted": list(result.redacted),
        "newer": result.newer,
        "lists": misled is None if deep and damage is None else None,
        "against": None
        if compared is None
        else {
            "size": compared.checkpoint.size,
            "verdict": compared.verdict,
            "redacted": list(compared.redacted),
            "detail": compared.detail,
        },
    }
