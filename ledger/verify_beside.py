"""Whether what lies beside the log is what the log says, and whether each line can be read at all.

Answers are found by the table of lives, the index of landmarks and the table of requests, which no hash covers; nor does
one cover sealed values and lives' keys, or the row that says who may append. All of them follow from the lines, so they
are compared with them as the chain is walked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ledger.errors import UnreadableEventError
from ledger.events import SCHEMA_VERSIONS, Deployed, Destroyed, SecretPurged, SecretSet
from ledger.instance import REPLICA, Instance
from ledger.landmarks import LANDMARKS
from ledger.misled import Misled
from ledger.readable import document_of
from ledger.store import LifeRow, ModelStore, Row
from ledger.verify_requests import PARTS, Appends, RequestCheck, said_by, said_in
from ledger.verify_secrets import TOPICS, SecretCheck

PAGE = 2000

_LANDMARKS = frozenset(LANDMARKS)
_OPENS = b'"life_key":"'
"""In the bytes of the ``Deployed`` that opens a life, and of no other one: within a text a quote is escaped."""

_LONGEST = 64
"""Lines that are asked for at once where one of them is looked for."""

_SCHEMAS = {kind.__name__: SCHEMA_VERSIONS[kind] for kind in (Deployed, SecretSet, SecretPurged, Destroyed)}


class BesideCheck:
    """Takes the lines in their order, each page of them once, and compares.

    Args:
        store: The ledger.
        reading: Whether a line that cannot be read is a mistake. If not, nothing is expected beside it.
        deep: Whether to decode every line, which doubles what verification costs. Otherwise lines are looked at that are
            plainly nothing a program writes, and those that something lies beside.
    """

    def __init__(self, store: ModelStore, *, reading: bool = True, deep: bool = False) -> None:
        self._store = store
        self._reading = reading
        self._deep = deep
        self._lives = 0
        self._landmarks: tuple[int, int] = (0, 0)
        self._appends = Appends()
        self._requests = RequestCheck(store)
        self._secrets = SecretCheck(store)
        self._is_newer = False

    def page(self, rows: Sequence[Row]) -> Misled | None:
        """Compare what these lines say, which follow those of the last call; the first mistake."""
        appends = self._appends
        for row in rows:
            topic, state = row.topic, row.state
            if topic in _LANDMARKS:
                count, total = self._landmarks
                self._landmarks = (count + 1, total + row.position)
            beside = topic in TOPICS and (topic != "Deployed" or _OPENS in state)
            quick = not (self._deep or beside) and topic in PARTS
            said = said_in(row) if quick and state.startswith(b'{"data":{') and state.endswith(b"}") else None
            if said is None:
                try:
                    document = document_of(row)
                except UnreadableEventError as error:
                    if self._reading:
                        detail = f"position {row.position} cannot be read: {error.message}"
                        return Misled(row.position, detail, "unreadable")
                    continue
                said = said_by(document)
                self._is_newer = self._is_newer or "schema" in document["meta"]
            else:
                document = {}
            if appended := appends.add(row, said):
                self._requests.add(appended)
            if beside and (wrong := self._of_a_life(row, document)):
                return wrong
        return None

    def end(self, upto: int) -> Misled | None:
        """Compare how many there are, after the last page, which ended at this position; the first mistake.

        What is deleted with later lines is gone at once, so these are taken into account, too.
        """
        self._secrets.find_rights()
        with self._store.moment():
            head = self._store.head().position
            while upto < head and (rows := self._store.positions(upto + 1, head, limit=PAGE)):
                if wrong := self.page(rows):
                    return wrong
                upto = rows[-1].position
            wrong = self._end(upto) if upto else None
        return wrong or self._wrong_totals(upto)

    def _end(self, upto: int) -> Misled | None:
        here = self._store.ask("ledger.instance", {})
        if len(here) != 1:
            return Misled(upto, f"of the rows that say who may append there are {len(here)}, and not one")
        instance = Instance(*here[0])
        if appended := self._appends.end():
            self._requests.add(appended)
        if self._is_newer or instance.writer == REPLICA or instance.is_incoming:
            return None  # neither of the latter has anything beside its lines but the table of lives
        return self._requests.end(upto) or self._secrets.end(upto)

    def _wrong_totals(self, upto: int) -> Misled | None:
        if not self._is_newer and self._store.life_count(upto) != self._lives:
            return Misled(upto, "the table of lives names lives that no event opened", "unfindable")
        if self._store.landmark_totals(upto) != self._landmarks:
            position = self._first_lost(upto)
            return Misled(
                position, f"the release at position {position} is not found: the index is damaged", "unfindable"
            )
        return None

    def _of_a_life(self, row: Row, document: Mapping[str, Any]) -> Misled | None:
        if document["schema"] > _SCHEMAS[row.topic]:
            self._is_newer = True
            return None
        try:
            self._secrets.add(row.position, row.topic, document)
            if row.topic != "Deployed" or document["data"].get("life_key") is None:
                return None
            subject, deployment_id = document["meta"]["subject"], document["data"]["deployment_id"]
            names = (subject["cluster"], subject["namespace"], subject["app"])
        except (ValueError, KeyError, TypeError, AttributeError):  # readable, and yet about no life
            detail = f"position {row.position} does not say which life it is about"
            return Misled(row.position, detail, "unreadable") if self._reading else None
        if self._store.life(deployment_id) != LifeRow(deployment_id, *names, self._appends.began):
            detail = f"the table of lives does not say where the life that position {row.position} opens begins"
            return Misled(row.position, detail, "unfindable")
        self._lives += 1
        return None

    def _first_lost(self, upto: int) -> int:
        """The first landmark that is not found by its stream; asked for one by one, and only if there is one."""
        position = 1
        while rows := self._store.positions(position, upto, limit=_LONGEST):
            for row in rows:
                place = row.position
                if row.topic in LANDMARKS and not self._store.landmarks(row.stream, start=place, stop=place, limit=1):
                    return place
            position = rows[-1].position + 1
        return upto
