"""Which lines of a history count for the life that they are about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ledger.events import Deployed, RolledBack

if TYPE_CHECKING:
    from ledger.envelope import Recorded


def that_count(history: Iterable[Recorded]) -> Iterator[Recorded]:
    """The lines that are about apps, but nothing of a life any more once the app's next one is open.

    An observer that was held up may still record what it saw of the earlier one. That lies outside of the part of the
    ledger that is read for a life (`ledger.landmarks.span`), so the whole history must not tell it either.

    Args:
        history: Lines in rising position, of one app or of several, from any on.
    """
    newest: dict[tuple[str, str, str], str] = {}
    for line in history:
        if (subject := line.subject) is None:
            continue
        app = (subject.cluster, subject.namespace, subject.app)
        if isinstance(line.event, Deployed | RolledBack):
            newest[app] = subject.deployment_id
        if newest.get(app, subject.deployment_id) == subject.deployment_id:
            yield line
