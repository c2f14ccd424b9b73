"""Values that were redacted in the ledger while pods read them.

What stands in their place was never asked for. So pods keep what they have, and nothing of the app is applied, until the
value is set again and the pods are replaced.
"""

from __future__ import annotations

from effects.cluster import ClusterError
from ledger.app import App, Life
from ledger.text import Lines


class RedactedError(ClusterError):
    """Nobody knows any more what the app's pods are to read."""


def refuse_redacted(app: App, life: Life) -> None:
    """See that every value that the newest pods read is known.

    Raises:
        RedactedError: One was redacted.
    """
    blanked = life.roll.configuration.blanked
    if not blanked:
        return
    keys = ", ".join(blanked)
    anew = [key for key in life.configuration.blanked if key in blanked]
    raise RedactedError(
        f'{keys} was redacted in the ledger while pods of app "{app.id.name}" read it; they keep what they have',
        hint=Lines(
            *(f"Set it again: 1ctl env create --env {key}=VALUE" for key in anew[:1]),
            "Replace the pods by ones that read what is set now: 1ctl deploy restart",
        ),
    )
