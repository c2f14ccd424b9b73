"""The `1ctl` command: its groups, its errors, its exit codes."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from cli.lazy import group
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
    "profile": "cli.profile:app",
}

app = typer.Typer(
    cls=group(_COMMANDS),
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _version(*, value: bool) -> None:
    if value:
        sys.stdout.write(f"{PROGRAM}\n")
        raise typer.Exit


@app.callback(
    epilog="Examples:  1ctl deploy --image nginx:alpine --wait   |   1ctl -o json deploy get   |   1ctl deploy releases"
)
def root(
    output: OutputOption = None,
    profile: ProfileOption = None,
    ledger: LedgerOption = None,
    version: Annotated[
        bool, typer.Option("--version", "-v", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Deploy apps to Kubernetes, and remember: every action is an event in an append-only ledger."""


def main() -> int:
    """Run the command line; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    try:
        # `standalone_mode=False`: errors are ours to print, and an exit code comes back as a number.
        return int(app(standalone_mode=False, prog_name="1ctl") or 0)
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. What was recorded stays recorded: 1ctl deploy status\n")
        return 130
    except BrokenPipeError:
        # The reader went away; what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:  # noqa: BLE001 - the last line of defence: no traceback reaches a user
        from cli.failure import report  # noqa: PLC0415 - imported on failure only

        return report(error, json=INVOCATION.json)


if __name__ == "__main__":
    sys.exit(main())
