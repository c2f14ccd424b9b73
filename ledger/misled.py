"""What lies beside the log and is not what the lines say, as the parts of verification tell it."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Misled(NamedTuple):
    """Something beside the log is not what a line says, or a line itself cannot be read.

    Attributes:
        position: Of the line.
        detail: One sentence for a person.
        fault: As in `ledger.verify.Damage`.
    """

    position: int
    detail: str
    fault: Literal["unfindable", "unreadable", "beside"] = "beside"
