"""Errors that a person will read: what happened, and in `hint` what to do next.

"Refused" means that a rule said no and nothing was recorded. "Failed" means that something broke.
The exit code of each is part of the command line's contract (see `cli/exit_codes.py`).
"""


class OneCtlError(Exception):
    """The base of all errors of this project.

    Attributes:
        message: One line saying what happened and why; never holds a secret. What others said stays in their words.
        hint: The next step for the reader, or None; of several lines only as `ledger.text.Lines`.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class RefusedError(OneCtlError):
    """A rule said no. Nothing was recorded; asking again gives the same answer."""


class AppNotFoundError(RefusedError):
    """No life of this app is open: it was never deployed, or it was destroyed."""


class NoSuchReleaseError(RefusedError):
    """A life has no release of this number."""

    def __init__(self, release: int, newest: int) -> None:
        super().__init__(
            f"there is no release {release}; the newest is {newest}", hint="See them: 1ctl deploy releases"
        )


class InvalidValueError(RefusedError):
    """A value given by the user is not acceptable.

    Attributes:
        field: The key, flag or part of the app that holds the value, for instance ``cpu``.
        value: The value as given.
        reason: Why it is not acceptable, as a clause ("is not a quantity").
        example: A value that would be accepted.
    """

    def __init__(self, field: str, value: object, reason: str, *, example: str) -> None:
        super().__init__(f"{field} {value!r} {reason}" if value is not None else f"{field} {reason}")
        self.field = field
        self.value = value
        self.reason = reason
        self.example = example
        self.hint = f"Example: {field} = {example}"


class RequestReusedError(RefusedError):
    """The request id was used before, for a request that asked for something else."""


class LedgerEndedError(RefusedError):
    """Nothing is appended here: the ledger goes on elsewhere, or this is a replica, a backup or an incomplete copy."""


class ConflictError(OneCtlError):
    """Another writer was first. Load again and decide again; the ledger does so by itself."""


class LedgerBusyError(OneCtlError):
    """The ledger could not be locked in time. Nothing was recorded; the request may be repeated."""


class LedgerUnavailableError(OneCtlError):
    """The ledger cannot be opened, read or written. Nothing was recorded."""


class NotALedgerError(LedgerUnavailableError):
    """The file that is named is a database of something else; it is left alone."""


class LedgerDeniedError(LedgerUnavailableError):
    """The database does not allow its user, who lacks a role, to do this. Nothing was recorded."""


class LedgerFullError(LedgerUnavailableError):
    """There is no space left where the ledger is kept. Nothing was recorded."""


class OutcomeUnknownError(OneCtlError):
    """The connection or the disk failed while committing: the request may or may not be recorded.

    Attributes:
        failed: What failed, as a sentence of its own.
    """

    def __init__(self, failed: str, *, hint: str | None = None) -> None:
        super().__init__(f"{failed}: the request may or may not be recorded", hint=hint)
        self.failed = failed


class LedgerDamagedError(OneCtlError):
    """What is stored contradicts itself: a broken chain, a gap, an unreadable event."""


class LedgerIncompleteError(LedgerDamagedError):
    """A table, a column of one, or the head row, is not where this program keeps it."""


class UnreadableEventError(LedgerDamagedError):
    """One line holds what no program writes. If it was recorded so, that concerns only the app whose stream it is in.

    Attributes:
        position: Of the line, where that is known.
    """

    def __init__(self, message: str, *, hint: str | None = None, position: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.position = position


class LedgerReplacedError(OneCtlError):
    """Other lines stand where some were read before, as after a restore. Whoever follows begins again."""


class UnknownEventError(LedgerDamagedError):
    """An event's topic or schema version is newer than this program understands."""


class SealedError(OneCtlError):
    """A secret cannot be opened here: this machine does not hold the effects identity."""


def may_pass(error: OneCtlError) -> bool:
    """Whether the ledger may only be away for a moment, so that whoever has time asks again."""
    away = isinstance(error, (LedgerBusyError, LedgerUnavailableError, OutcomeUnknownError))
    return away and not isinstance(error, (LedgerDeniedError, LedgerFullError))
