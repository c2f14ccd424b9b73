"""Whether the table of lives names those that the lines open, and no others; and whether its index finds them.

Where an app's life ends for those who ask about it, and which apps there are, is found by an index that no hash covers.
It is asked as they ask.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TypeAlias

from ledger.misled import Misled
from ledger.store import LifeRow, ModelStore
from ledger.table_pages import table_pages

Names: TypeAlias = tuple[str, str, str]
"""An app's cluster, namespace and name."""


class LivesCheck:
    """Takes the lives in the order in which they open; remembers one row for each app.

    Args:
        store: The ledger.
    """

    def __init__(self, store: ModelStore) -> None:
        self._store = store
        self._newest: dict[Names, LifeRow] = {}
        self._counts: Counter[Names] = Counter()

    def add(self, position: int, life: LifeRow, *, is_next: bool) -> Misled | None:
        """One more; what is wrong with its row, or with finding it.

        Args:
            position: Of the line that opens it.
            life: What the table has to say.
            is_next: Whether the app opened none since that of the last call.
        """
        if self._store.life(life.deployment_id) != life:
            detail = f"the table of lives does not say where the life that position {position} opens begins"
            return Misled(position, detail, "unfindable")
        names = (life.cluster, life.namespace, life.app)
        before = self._newest.get(names)
        if before is not None and is_next and self._store.next_life(before) != life.opened:
            return _lost(life)
        self._newest[names] = life
        self._counts[names] += 1
        return None

    def end(self, upto: int, is_unclear: Callable[[Sequence[object]], bool]) -> Misled | None:
        """Compare with all that the table and its index hold, which have to be of the moment after this position.

        Args:
            upto: The position.
            is_unclear: Tells apps by their names of which others may have opened lives.
        """
        pages = table_pages(self._store, "ledger.lives_page")
        there = sum(sum(1 for _, *names, _ in rows if not is_unclear(names)) for rows in pages)
        if there != sum(count for names, count in self._counts.items() if not is_unclear(names)):
            return Misled(upto, "the table of lives names lives that no event opened", "unfindable")
        for cluster, apps in groupby(sorted(self._newest), lambda names: names[0]):
            left = {(cluster, *app) for app in self._store.apps(cluster)}
            for names in apps:
                newest = self._newest[names]
                if names not in left:
                    return _lost(newest)
                left.remove(names)
                if not is_unclear(names) and self._store.next_life(newest) is not None:
                    detail = f"the index of lives is damaged: it finds a life after that of position {newest.opened}"
                    return Misled(newest.opened, detail, "unfindable")
            if not all(map(is_unclear, left)):
                return Misled(upto, "the index of lives is damaged: it finds an app that never lived", "unfindable")
        return None


def _lost(life: LifeRow) -> Misled:
    detail = f"the life that begins at position {life.opened} is not found by its app: the index of lives is damaged"
    return Misled(life.opened, detail, "unfindable")
