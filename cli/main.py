"""The `1ctl` command: its groups, its errors, its exit codes."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.main import get_command

from cli.exit_codes import EndedError, UsageError
from cli.lazy import group, say
from cli.options import INVOCATION, LedgerOption, OutputOption, ProfileOption
from cli.version import PROGRAM

_DEPLOY = "cli.deploy:app"
_ENV = "cli.env:app"
_COMMANDS = {
    "deploy": _DEPLOY,
    "app": _DEPLOY,
    "env": _ENV,
    "config": _ENV,
    "environment": _ENV,
    "secret": "cli.secret:app",
    "audit": "cli.audit:app",
    "ledger": "cli.ledger_commands:app",
    "worker": "cli.worker:app",
    "profile": "cli.profile:app",
    "completion": "cli.completion:completion",
}

app = typer.Typer(
    cls=group(_COMMANDS),
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _version(*, value: bool) -> None:
    if value:
        say(PROGRAM)
        raise typer.Exit


_EPILOG = """\b
Examples:
  1ctl deploy --image nginx:alpine --machine compute-main-01 --wait
  1ctl -o json deploy get | jq -r .domain
  1ctl deploy releases

-o, -p and --ledger may stand before or after a command."""


@app.callback(epilog=_EPILOG)
def root(
    output: OutputOption = None,
    profile: ProfileOption = None,
    ledger: LedgerOption = None,
    version: Annotated[
        bool, typer.Option("--version", "-v", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Deploy apps to Kubernetes, and remember: every action is an event in an append-only ledger."""


@cache
def command() -> Any:
    """All commands, as far as they are built yet."""
    return get_command(app)


def main() -> int:
    """Run the command line; returns the exit code."""
    try:
        return _run()
    except (KeyboardInterrupt, typer.Abort) as end:
        end_process(end.number if isinstance(end, EndedError) else None)
    except BrokenPipeError:
        # The reader went away; what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:  # noqa: BLE001 - the last line of defence: no traceback reaches a user
        from cli.failure import report  # noqa: PLC0415 - imported on failure only

        return report(error, json=INVOCATION.json)
    finally:
        INVOCATION.close()


def end_process(number: int | None) -> NoReturn:
    """Say what became of the command, and end the process at once; nothing more is done, as if it had been killed.

    Args:
        number: The signal that says so; None for a prompt that was left.
    """
    from cli.failure import report_end  # noqa: PLC0415 - imported on failure only

    code = report_end(number)
    os._exit(code)


def _run() -> int:
    _use_utf8()
    if os.environ.get("_1CTL_COMPLETE"):
        with suppress(Exception):  # the user is still typing
            app(prog_name="1ctl")  # answers the shell, and exits
        return 0
    _refuse_what_is_no_text()
    try:
        # Not `app()`, which ends in its own way when it is interrupted or its reader goes away.
        with command().make_context("1ctl", sys.argv[1:]) as context:
            context.command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return 0


def _use_utf8() -> None:
    """Whatever the locale says: the guide's glyphs are not ASCII, and input that is not UTF-8 must not crash it."""
    for name, errors in (("stdin", "surrogateescape"), ("stdout", "backslashreplace"), ("stderr", "backslashreplace")):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started us
            setattr(sys, name, Path(os.devnull).open("r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115
        else:
            stream.reconfigure(encoding="utf-8", errors=errors)


def _refuse_what_is_no_text() -> None:
    """Refuse bytes that are not UTF-8: what is recorded and shown is text.

    Raises:
        UsageError: An argument or one of our variables has such bytes; they are not shown.
    """
    given = [("an argument", text) for text in sys.argv[1:]]
    given += [(name, text) for name, text in os.environ.items() if name.startswith("ONECTL_")]
    for what, text in given:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{what} is not UTF-8 text") from None


if __name__ == "__main__":
    from cli import start

    sys.exit(start.main())
