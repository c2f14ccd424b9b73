"""Exit codes: a contract with scripts and CI. They say what is in the ledger, not only that something went wrong."""

from __future__ import annotations

from enum import IntEnum

from ledger.errors import LedgerDamagedError, OneCtlError, OutcomeUnknownError, RefusedError


class ExitCode(IntEnum):
    """What a command's end means."""

    DONE = 0
    """Done; also "no" at a prompt."""
    FAILED = 1
    """Something broke; the request was not recorded."""
    USAGE = 2
    """The command line cannot be understood, or asks what nobody is there to answer; nothing was recorded."""
    REFUSED = 3
    """A rule said no; nothing was recorded."""
    ROLLOUT_FAILED = 4
    """Recorded and applied, but the pods will not become ready."""
    TIMED_OUT = 5
    """Recorded and applied, but not ready in time."""
    UNKNOWN = 6
    """It cannot be told whether the request was recorded; repeat it with the same request id."""
    DAMAGED = 7
    """The ledger contradicts itself."""
    NOT_APPLIED = 8
    """Recorded, but the cluster does not reflect it yet."""
    HUNG_UP = 129
    """The terminal is gone (SIGHUP)."""
    INTERRUPTED = 130
    """Interrupted by the user."""
    BROKEN_PIPE = 141
    """The reader of the output went away."""
    TERMINATED = 143
    """Ended from outside (SIGTERM)."""


class EndedError(KeyboardInterrupt):
    """A signal says that the process has to end. As with an interrupt, no code takes it for an error of its own.

    Attributes:
        number: The signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class UsageError(OneCtlError):
    """The command line cannot be understood, or asks what nobody is there to answer. Nothing was recorded."""


class CommandError(OneCtlError):
    """An error with an exit code of its own.

    Attributes:
        code: The exit code.
    """

    def __init__(self, message: str, *, code: ExitCode, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


def exit_code(error: OneCtlError) -> ExitCode:
    """The code that a command ends with when this error ends it."""
    match error:
        case CommandError():
            return error.code
        case UsageError():
            return ExitCode.USAGE
        case RefusedError():
            return ExitCode.REFUSED
        case OutcomeUnknownError():
            return ExitCode.UNKNOWN
        case LedgerDamagedError():
            return ExitCode.DAMAGED
        case _:
            return ExitCode.FAILED
