"""How a failed command ends: what happened, the next step, and the exit code that says what is in the ledger."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise

import typer

from cli.exit_codes import ExitCode, UsageError, exit_code
from cli.follow_up import completed
from cli.options import INVOCATION
from cli.terminal import OutputError, Terminal
from ledger.errors import InvalidValueError, LedgerBusyError, LedgerUnavailableError, OneCtlError
from ledger.text import Lines, lines_of

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
    "lease": "--lease",
    "resync": "--resync",
    "reason": "--reason",
    "request id": "--request-id",
    "namespace": "--namespace",
    "domain_suffix": "--domain-suffix",
    "gateway": "--gateway",
    "ledger address": "--ledger",
    "prefix": "--prefix",
}
"""The option for each value that a rule of the ledger refuses under the ledger's own name for it."""

_ENDED = {signal.SIGINT: "Interrupted", signal.SIGTERM: "Terminated", signal.SIGHUP: "Ended: the terminal is gone"}


def report(error: Exception, *, json: bool) -> int:
    """Print an error to stderr and, in JSON mode, its document if there is no other; the exit code to end with."""
    terminal, code = Terminal(json=json), exit_code_of(error)
    if isinstance(error, OutputError):
        _give_up_stdout()
        INVOCATION.has_output = True
    elif not isinstance(error, OneCtlError | typer.TyperException) and os.environ.get("ONECTL_DEBUG"):
        traceback.print_exception(error)
    message, hint = _told(error)
    with suppress(OutputError, BrokenPipeError):  # then there is nowhere to say it
        terminal.error(message, hint)
    if (json or (code == ExitCode.USAGE and _asks_for_json(sys.argv[1:]))) and not INVOCATION.has_output:
        try:
            terminal.document({"error": _fields(message, hint, code)})
        except (OutputError, BrokenPipeError):
            _give_up_stdout()
    return code


def exit_code_of(error: Exception) -> ExitCode:
    """The exit code of a process that this error ends."""
    if isinstance(error, OneCtlError) and not isinstance(error, OutputError):
        return exit_code(error)
    if isinstance(error, typer.TyperException):
        return ExitCode.USAGE if error.exit_code == ExitCode.USAGE else ExitCode.FAILED
    if isinstance(error, BrokenPipeError):
        return ExitCode.BROKEN_PIPE
    # Nobody knows how far it got; without a request nothing can have been recorded.
    return ExitCode.FAILED if INVOCATION.request_id is None else ExitCode.UNKNOWN


def report_end(number: int | None) -> int:
    """Print what became of a command that a signal ended, to stderr; the exit code to end with.

    Args:
        number: The signal's; None for a prompt that was left.
    """
    number = signal.SIGINT if number is None else number
    told = f"{_ENDED[signal.Signals(number)]}. {_what_stays()}"
    with suppress(OSError, ValueError):
        sys.stderr.write(f"\n{completed(told)}\n")
        sys.stdout.flush()
    return 128 + number


def _what_stays() -> str:
    """What is in the ledger after a command that was ended, as far as this process can know."""
    request_id = INVOCATION.request_id
    if request_id is None or (INVOCATION.is_asking and not INVOCATION.is_named):
        return "Nothing was recorded."
    if INVOCATION.is_asking:
        return f"Nothing was recorded now.\n{_whether_before()}"
    return (
        "What was recorded stays recorded; see: 1ctl deploy status\n"
        f"Whether this request was: 1ctl audit log --request-id {request_id}"
    )


def _told(error: Exception) -> tuple[str, str | None]:
    """What happened, and the next step."""
    if isinstance(error, OutputError):
        return error.message, _find_out()
    if isinstance(error, LedgerBusyError | LedgerUnavailableError) and INVOCATION.is_named:
        return error.message, _of_this_run(error.hint or "")
    if isinstance(error, OneCtlError):
        return error.message, _hint(error)
    if isinstance(error, typer.TyperException):
        return _sentence(error), _usage_hint(error)
    # Without its text: an unexpected error may quote anything, a secret included.
    bug = "This is a bug. With ONECTL_DEBUG=1 in the environment it says where; the text may hold what you typed."
    find_out = _find_out()
    return (
        f"something unexpected went wrong in 1ctl itself ({type(error).__name__})",
        bug if find_out is None else Lines(bug, find_out),
    )


def _fields(message: str, hint: str | None, code: int) -> dict[str, object]:
    return {
        "code": int(code),
        "name": ExitCode(code).name,
        "message": _unicode(message),
        "hint": None if hint is None else _unicode(completed(hint)),
        "request_id": INVOCATION.request_id,
    }


def _unicode(text: str) -> str:
    """The text without the surrogates that stand for bytes of a file name which are not UTF-8: JSON has none."""
    return text.encode(errors="backslashreplace").decode()


def _asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether the command line says ``-o json``; for when parsing was given up before it got there."""
    given = arguments[: arguments.index("--")] if "--" in arguments else arguments
    apart = any(pair in {("-o", "json"), ("--output", "json")} for pair in pairwise(given))
    return apart or "-ojson" in given or "--output=json" in given


def _give_up_stdout() -> None:
    """What is still buffered cannot be written either; Python would try again at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _find_out() -> str | None:
    """How to tell what became of a request that may have been recorded; None if none was made."""
    if INVOCATION.request_id is None:
        return None
    return f"Whether the request was recorded: 1ctl audit log --request-id {INVOCATION.request_id}"


def _of_this_run(hint: str) -> str:
    """What to do where the ledger is away: nothing was recorded, but what an earlier run of the same request did stays."""
    now = hint.replace("Nothing was recorded.", "Nothing was recorded now.")
    return Lines(*(lines_of(now) if now else ()), _whether_before())


def _whether_before() -> str:
    """How to tell what an earlier run of the same request did."""
    return f"Whether it was before: 1ctl audit log --request-id {INVOCATION.request_id}"


def _hint(error: OneCtlError) -> str | None:
    if isinstance(error, UsageError) and error.hint is None:
        return f"Run '{_command_typed(sys.argv[1:])} --help' for usage"
    if isinstance(error, InvalidValueError) and error.hint == f"Example: {error.field} = {error.example}":
        option = _OPTIONS.get(error.field)
        variable = f"ONECTL_{(option or error.field).lstrip('-').replace('-', '_').upper()}"
        if error.value is not None and os.environ.get(variable) == error.value:
            return f"Example: {variable}={_quoted(error.example)}"
        return f"Example: {option} {_quoted(error.example)}" if option else error.hint
    return error.hint


def _command_typed(arguments: Sequence[str]) -> str:
    """The command that was typed; the words in it that name a command of their group, one after another."""
    from cli.main import command as all_commands  # noqa: PLC0415 - needed for an error only

    typed, command = ["1ctl"], all_commands()
    for word in arguments:
        found = command.get_command(None, word) if hasattr(command, "get_command") else None
        if found is not None:
            typed, command = [*typed, word], found
    return " ".join(typed)


def _quoted(text: str) -> str:
    import shlex  # noqa: PLC0415 - needed for an error only

    return shlex.quote(text)


def _sentence(error: typer.TyperException) -> str:
    text = _without_pairs(error.format_message())
    for word in ("is not a valid int range", "is not a valid int"):
        text = text.replace(word, "is not a whole number")
    return text[:1].lower() + text[1:].rstrip(".") if not text.startswith("-") else text.rstrip(".")


def _without_pairs(text: str) -> str:
    """The text without what was given with an ``=`` in it: KEY=VALUE in a wrong place may hold a secret."""
    for word in sys.argv[1:]:
        given = word.partition("=")[2] if word.startswith("-") else word
        if "=" in given:
            for quoted in (given, repr(given)[1:-1]):
                text = text.replace(quoted, "[not shown]")
    return text


def _usage_hint(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else _command_typed(sys.argv[1:])
    return f"Run '{command} --help' for usage"
