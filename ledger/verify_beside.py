"""Whether what lies beside the log is what the log says, and whether each line can be read at all.

Answers are found by the table of lives and the table of requests, which no hash covers; nor does one cover sealed values
and lives' keys, or the row that says who may append. All of them follow from the lines, so they are compared with them as
the chain is walked. Indexes are compared by `ledger.verify_indexes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ledger.errors import LedgerDamagedError, UnknownEventError, UnreadableEventError
from ledger.events import SCHEMA_VERSIONS, Deployed, Destroyed, SecretPurged, SecretSet
from ledger.founding import founding
from ledger.instance import REPLICA, instance_row
from ledger.misled import Misled
from ledger.places import is_at_home
from ledger.readable import document_of
from ledger.store import LifeRow, ModelStore, Row, Store
from ledger.verify_requests import PARTS, Appends, RequestCheck, said_by, said_in
from ledger.verify_secrets import TOPICS, SecretCheck

PAGE = 2000

_OPENS = b'"life_key":"'
"""In the bytes of the ``Deployed`` that opens a life, and of no other one: within a text a quote is escaped."""


class _Kind(NamedTuple):
    """What has to be looked at in lines of a topic; by topic, since one look-up a line is quicker than several.

    Attributes:
        has_beside: Whether a sealed value or the key of a life follows from some of them.
        is_alone: Whether they are never appended for a request; see `ledger.verify_requests.PARTS`.
        is_known: Whether this program has such events.
    """

    has_beside: bool
    is_alone: bool
    is_known: bool


_KINDS = {topic: _Kind(topic in TOPICS, part == "alone", True) for topic, part in PARTS.items()}
_UNKNOWN = _Kind(False, False, False)

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
        self._appends = Appends()
        self._requests = RequestCheck(store)
        self._secrets = SecretCheck(store)
        self._versions: dict[bytes, int] = {}
        self._is_newer = False

    def page(self, rows: Sequence[Row]) -> Misled | None:  # noqa: C901 - one pass, since calls would cost more than they do
        """Compare what these lines say, which follow those of the last call; the first mistake."""
        appends, deep, versions = self._appends, self._deep, self._versions
        for row in rows:
            position, stream, version, topic, state, _, _, _ = row
            if version != versions.get(stream, 0) + 1 and self._reading:
                detail = f"position {position} is not the next of its stream: its version is {version}"
                return Misled(position, detail, "unreadable")
            versions[stream] = version
            kind = _KINDS.get(topic, _UNKNOWN)
            beside = kind.has_beside and (topic != "Deployed" or _OPENS in state)
            plain = kind.is_known and not (deep or beside) and state[:9] == b'{"data":{' and state[-1:] == b"}"
            if plain and kind.is_alone:
                if appended := appends.alone(position):
                    self._requests.add(appended)
                continue
            document, said = {}, said_in(state) if plain else None
            if said is None:
                try:
                    document = document_of(row)
                except UnreadableEventError as error:
                    if self._reading:
                        return Misled(position, error.message, "unreadable")
                    continue
                if self._reading and not is_at_home(row, document):
                    detail = f"position {position} lies in another stream than what it is about"
                    return Misled(position, detail, "unreadable")
                said = said_by(document)
                self._is_newer = self._is_newer or "schema" in document["meta"]
            if appended := appends.add(row, said):
                self._requests.add(appended)
            if beside and (wrong := self._of_a_life(row, document)):
                return wrong
        return None

    def end(self, upto: int) -> Misled | None:
        """Compare how many there are, after the last page, which ended at this position; the first mistake.

        What is deleted with later lines is gone at once, so these are taken into account, too. All of it is looked at in
        one `moment`, during which whoever writes to a file may have to wait: seconds in a million events.
        """
        self._secrets.find_rights()
        with self._store.moment():
            head = self._store.head().position
            while upto < head and (rows := self._store.positions(upto + 1, head, limit=PAGE)):
                if wrong := self.page(rows):
                    return wrong
                upto = rows[-1].position
            wrong = self._end(upto) if upto else None
        if wrong is None and not self._is_newer and self._store.life_count(upto) != self._lives:
            return Misled(upto, "the table of lives names lives that no event opened", "unfindable")
        return wrong

    def _end(self, upto: int) -> Misled | None:
        here = self._store.ask("ledger.instance", {})
        if len(here) != 1:
            return Misled(upto, f"of the rows that say who may append there are {len(here)}, and not one")
        try:
            instance = instance_row(here)
        except LedgerDamagedError as error:
            return Misled(upto, error.message)
        if self._reading and (wrong := _misnamed(self._store)):
            return wrong
        if appended := self._appends.end():
            self._requests.add(appended)
        if self._is_newer or instance.writer == REPLICA or instance.is_incoming:
            return None  # neither of the latter has anything beside its lines but the table of lives
        return self._requests.end(upto) or self._secrets.end(upto)

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


def _misnamed(store: Store) -> Misled | None:
    """Whether the first line says of a ledger that it is two."""
    try:
        founding(store)
    except UnknownEventError:
        return None
    except LedgerDamagedError as error:
        return Misled(1, error.message, "unreadable")
    return None
