"""Whether what lies beside the log is what the log says, and whether each line can be read at all.

Answers are found by the table of lives and the table of requests, which no hash covers; nor does one cover sealed values
and lives' keys, or the row that says who may append. All of them follow from the lines, so they are compared with them as
the chain is walked. Indexes of lines are compared by `ledger.verify_indexes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ledger.errors import LedgerDamagedError, UnknownEventError, UnreadableEventError
from ledger.events import SCHEMA_VERSIONS
from ledger.founding import founding
from ledger.instance import REPLICA, instance_row
from ledger.misled import Misled
from ledger.places import is_at_home
from ledger.readable import document_of, has_newer_envelope, is_newer
from ledger.spec import AppId
from ledger.store import LifeRow, ModelStore, Row, Store
from ledger.streams import app_stream
from ledger.verify_lives import LivesCheck
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
        ends: What those end with that this program may know; nothing if it has no such events.
    """

    has_beside: bool
    is_alone: bool
    ends: tuple[bytes, ...]


_KINDS = {
    kind.__name__: _Kind(
        kind.__name__ in TOPICS,
        PARTS[kind.__name__] == "alone",
        tuple(b',"schema":%d}' % schema for schema in range(1, newest + 1)),
    )
    for kind, newest in SCHEMA_VERSIONS.items()
}
_UNKNOWN = _Kind(False, False, ())


class BesideCheck:
    """Takes the lines in their order, each page of them once, and compares.

    Args:
        store: The ledger.
        reading: Whether a line that cannot be read is a mistake. If not, nothing is expected beside it.
        deep: Whether to decode every line, which doubles what verification costs. Otherwise lines are looked at that are
            plainly nothing a program writes, and those that something lies beside.

    Attributes:
        newer: Position of the first line that a newer program wrote; None if there is none. What such lines say is not
            known here. So the secrets and lives of the apps in whose streams they lie are not compared, nor is it
            compared which of them answer a request whose envelope is of a newer shape.
    """

    def __init__(self, store: ModelStore, *, reading: bool = True, deep: bool = False) -> None:
        self._store = store
        self._reading = reading
        self._deep = deep
        self._lives = LivesCheck(store)
        self._appends = Appends()
        self._requests = RequestCheck(store)
        self._secrets = SecretCheck(store)
        self._versions: dict[bytes, int] = {}
        self._unclear: set[bytes] = set()
        self.newer: int | None = None

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
            plain = not (deep or beside) and state[:9] == b'{"data":{' and state.endswith(kind.ends)
            if plain and kind.is_alone:
                if appended := appends.alone(position):
                    self._requests.add(appended)
                continue
            document, newer, said = {}, False, said_in(state) if plain else None
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
                said, newer = said_by(document), is_newer(topic, document)
                if newer:
                    self._pass_over(row, document)
            if appended := appends.add(row, said, newer=newer):
                self._requests.add(appended)
            if beside and not newer and (wrong := self._of_a_life(row, document)):
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
            return self._end(upto) if upto else None

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
        if wrong := self._lives.end(upto, self._is_of_unclear):
            return wrong
        if instance.writer == REPLICA or instance.is_incoming:
            return None  # neither has anything beside its lines but the table of lives
        return self._requests.end(upto) or self._secrets.end(upto, self._is_unclear if self._unclear else None)

    def _pass_over(self, row: Row, document: Mapping[str, Any]) -> None:
        """A line that a newer program wrote."""
        self.newer = self.newer or row.position
        self._unclear.add(row.stream)
        if has_newer_envelope(document):
            self._requests.pass_over(row.position)

    def _is_unclear(self, deployment_id: str) -> bool:
        """Whether nobody here knows what is sealed in a life."""
        life = self._store.life(deployment_id)
        return life is not None and self._is_of_unclear((life.cluster, life.namespace, life.app))

    def _is_of_unclear(self, names: Sequence[object]) -> bool:
        """Whether a newer program wrote in the stream of the app of that cluster, namespace and name."""
        if not self._unclear:
            return False
        cluster, namespace, app = map(str, names)
        return app_stream(AppId(cluster, namespace, app)).bytes in self._unclear

    def _of_a_life(self, row: Row, document: Mapping[str, Any]) -> Misled | None:
        try:
            self._secrets.add(row.position, row.topic, document)
            if row.topic != "Deployed" or document["data"].get("life_key") is None:
                return None
            subject, deployment_id = document["meta"]["subject"], document["data"]["deployment_id"]
            names = (subject["cluster"], subject["namespace"], subject["app"])
        except (ValueError, KeyError, TypeError, AttributeError):  # readable, and yet about no life
            detail = f"position {row.position} does not say which life it is about"
            return Misled(row.position, detail, "unreadable") if self._reading else None
        life = LifeRow(deployment_id, *names, self._appends.began)
        return self._lives.add(row.position, life, is_next=row.stream not in self._unclear)


def _misnamed(store: Store) -> Misled | None:
    """Whether the first line says of a ledger that it is two."""
    try:
        founding(store)
    except UnknownEventError:
        return None
    except LedgerDamagedError as error:
        return Misled(1, error.message, "unreadable")
    return None
