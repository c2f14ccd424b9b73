"""Values that were redacted in the ledger while pods read them.

What stands in their place was never asked for. So pods keep what they have, and nothing of the app is applied, until the
value is set again and the pods are replaced.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from effects.cluster import ClusterError, Ref
from effects.desired import DesiredObject, Surroundings, desired, owner
from ledger.app import App, Life
from ledger.events import AppliedObject
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


def asked_for(
    app: App, life: Life, around: Surroundings
) -> tuple[Sequence[DesiredObject], Sequence[tuple[Ref, AppliedObject]]]:
    """Every object that the life is to have: those that can be made, and copies that can only be kept."""
    wanted = desired(app, life, around)
    return wanted, tuple(_unnamed_copies(app, life, {entry.ref for entry in wanted}))


def _unnamed_copies(app: App, life: Life, wanted: Collection[Ref]) -> Iterable[tuple[Ref, AppliedObject]]:
    """Copies that pods of earlier rolls may read, and whose names nobody can tell since a value in them was redacted."""
    if not any(roll.configuration.blanked for roll in life.kept):
        return
    copies = owner(app.id.name, app.id.namespace).name + "-"
    for each in life.objects:
        ref = Ref(each.kind, app.id.namespace, each.name)
        if each.kind == "ConfigMap" and each.name.startswith(copies) and ref not in wanted:
            yield ref, each
