"""How a failed command ends: what happened, the next step, and the exit code that says what is in the ledger."""

from __future__ import annotations

import os
import traceback

import typer

from cli.exit_codes import ExitCode, UsageError, exit_code
from cli.terminal import Terminal
from ledger.errors import InvalidValueError, OneCtlError

_OPTIONS = {
    "name": "--name",
    "image": "--image",
    "machine": "--machine",
    "port": "--port",
    "cpu": "--cpu",
    "memory": "--memory",
    "replicas": "--replicas",
    "health_path": "--health-path",
    "duration": "--timeout",
    "reason": "--reason",
    "request id": "--request-id",
    "namespace": "--namespace",
    "domain_suffix": "--domain-suffix",
}
"""The option that sets a value which a rule of the ledger refuses under its own name."""


def report(error: Exception, *, json: bool) -> int:
    """Print an error to stderr; the exit code to end with."""
    terminal = Terminal(json=json)
    if isinstance(error, OneCtlError):
        terminal.error(error.message, _hint(error))
        return exit_code(error)
    if isinstance(error, typer.TyperException):
        terminal.error(_sentence(error), _usage_hint(error))
        return ExitCode.USAGE if error.exit_code == ExitCode.USAGE else ExitCode.FAILED
    if os.environ.get("ONECTL_DEBUG"):
        traceback.print_exception(error)
    # Without its text: an unexpected error may quote anything, a secret included.
    terminal.error(
        f"something unexpected went wrong in 1ctl itself ({type(error).__name__})",
        "This is a bug. With ONECTL_DEBUG=1 in the environment it says where; the text may hold what you typed.",
    )
    return ExitCode.FAILED


def _hint(error: OneCtlError) -> str | None:
    if isinstance(error, UsageError) and error.hint is None:
        return "Run '1ctl --help' for usage"
    if isinstance(error, InvalidValueError) and error.hint == f"Example: {error.field} = {error.example}":
        option = _OPTIONS.get(error.field)
        return f"Example: {option} {_quoted(error.example)}" if option else error.hint
    return error.hint


def _quoted(text: str) -> str:
    import shlex  # noqa: PLC0415 - needed for an error only

    return shlex.quote(text)


def _sentence(error: typer.TyperException) -> str:
    text = error.format_message()
    return text[:1].lower() + text[1:].rstrip(".") if not text.startswith("-") else text.rstrip(".")


def _usage_hint(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f"Run '{context.command_path if context is not None else '1ctl'} --help' for usage"
