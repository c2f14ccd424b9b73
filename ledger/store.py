"""Where the ledger is kept: rows, the batch that is appended in one transaction, and what every store can answer.

A store knows bytes, positions and hashes; it knows neither events nor apps. `ledger.sqlite_store` keeps a file,
`ledger.postgres_store` a database.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from ledger.clock import LATEST_US
from ledger.value import Value, value

if TYPE_CHECKING:
    from ledger.follow import Growth
    from ledger.instance import Instance
    from ledger.lease import Lease, LeaseRow


Indexed = Literal["streams", "landmarks"]
"""An index of the lines: by stream and version, or landmarks by stream and position."""


class Row(NamedTuple):
    """One stored line of the ledger, as it was written."""

    position: int
    stream: bytes
    version: int
    topic: str
    state: bytes
    recorded_us: int
    leaf: bytes
    chain: bytes


STREAM_SIZE = 16
TOPIC_LIMIT = 2**13
"""From how many characters on a topic is none."""

LARGEST = 2**63 - 1
"""The largest number that a store can hold."""


def is_well_formed(row: Row) -> bool:
    """Whether every column has its type and size; a database that was tampered with may answer otherwise."""
    position, stream, version, topic, state, recorded_us, leaf, chain = row
    return (
        type(position) is int
        and type(stream) is bytes
        and len(stream) == STREAM_SIZE
        and type(version) is int
        and 0 <= version <= LARGEST
        and type(topic) is str
        and len(topic) < TOPIC_LIMIT
        and type(state) is bytes
        and type(recorded_us) is int
        and 0 <= recorded_us <= LATEST_US
        and type(leaf) is type(chain) is bytes
    )


def event_values(row: Row) -> dict[str, object]:
    """The line by the names of its columns."""
    return {
        "notification_id": row.position,
        "originator_id": row.stream,
        "originator_version": row.version,
        "topic": row.topic,
        "state": row.state,
        "recorded_us": row.recorded_us,
        "leaf": row.leaf,
        "chain": row.chain,
    }


def two_streams_parameters(
    first: bytes, second: bytes, *, after: tuple[int, int], upto: int | None, limit: int | None
) -> dict[str, object]:
    """What the statement ``two_streams`` is given; for the arguments see `Store.two_streams`."""
    upto_first, upto_second = (LARGEST if limit is None else version + limit for version in after)
    return {
        "first": first,
        "first_after": after[0],
        "first_upto": upto_first,
        "second": second,
        "second_after": after[1],
        "second_upto": upto_second,
        "upto": LARGEST if upto is None else upto,
    }


class Head(NamedTuple):
    """The newest line: its position (0 when the ledger is empty), recorded time in microseconds, and chain."""

    position: int
    recorded_us: int
    chain: bytes


class NewRow(NamedTuple):
    """A line to be appended; position and time are given to it by the store."""

    stream: bytes
    version: int
    topic: str
    state: bytes


class RequestRow(NamedTuple):
    """A request that was recorded: its salted digest, and the positions that answer it."""

    request_id: str
    salt: bytes
    digest: bytes
    first_position: int
    last_position: int


class LifeRow(NamedTuple):
    """Which app a deployment id belongs to."""

    deployment_id: str
    cluster: str
    namespace: str
    app: str
    opened: int


class SnapshotRow(NamedTuple):
    """An app as it was folded at a position, to go on folding from; see `ledger.snapshots`.

    Attributes:
        stream: The app's own stream.
        position: Its newest line that is folded in.
        shape: Which program can read the state.
        state: The app, and what it is checked with.
    """

    stream: bytes
    position: int
    shape: int
    state: bytes


class LifeKeyRow(NamedTuple):
    """The private half of a life's key pair, wrapped for an effects identity (its public key, base64)."""

    deployment_id: str
    identity: str
    wrapped: bytes


class Rewrapped(NamedTuple):
    """A life's key, wrapped for one identity before and for another one now."""

    deployment_id: str
    before: str
    identity: str
    wrapped: bytes


class SealedRow(NamedTuple):
    """One sealed secret value."""

    deployment_id: str
    key: str
    version: int
    ciphertext: bytes


class Blanking(NamedTuple):
    """A recorded line that loses a text.

    Attributes:
        position: The line's position.
        before: Its state as it was decided on; if another one stands there by now, nothing is written.
        remaining: What replaces it.
    """

    position: int
    before: bytes
    remaining: bytes


@value
class Beside(Value):
    """What is written in the same transaction as the lines, outside the log.

    Attributes:
        request: Salt and digest of the request; its positions are filled in.
        life: A life that opens with these lines; its position is filled in.
        life_key: Its wrapped key.
        unchanged: A stream that the decision was taken by, besides those that are appended to, and the version it had
            then. If it has grown, nothing is appended: the ledger's own may name another identity, or a redaction.
        sealed: Secret values sealed to it.
        redact: An earlier line whose state is replaced.
        forget: Whether the request of that line is recognised no more, since what it asked for is what is blanked; in a
            database that follows from the line that says what is blanked.
        purge: Deployment id and key whose sealed values are deleted.
        shred: Deployment id of a life whose key and sealed values are deleted.
        moved: Instance id of the only store that may append from here on, and where it is, for people.
    """

    request: RequestRow | None = None
    life: LifeRow | None = None
    life_key: LifeKeyRow | None = None
    unchanged: tuple[bytes, int] | None = None
    sealed: Sequence[SealedRow] = ()
    redact: Blanking | None = None
    forget: bool = False
    purge: tuple[str, str] | None = None
    shred: str | None = None
    moved: tuple[str, str] | None = None


NOTHING_BESIDE = Beside()


class Store(Protocol):
    """A ledger's storage. Reads see every append that was acknowledged before them.

    Every method may raise `LedgerUnavailableError` (cannot be opened or read) and `LedgerBusyError`.
    """

    def head(self) -> Head:
        """The newest line; position 0 and 32 zero bytes for a ledger that is empty or does not exist yet."""

    def two_streams(
        self,
        first: bytes,
        second: bytes,
        *,
        after: tuple[int, int] = (-1, -1),
        upto: int | None = None,
        limit: int | None = None,
    ) -> Sequence[Row]:
        """Lines of both streams, in rising position, as they were at one moment.

        Args:
            first: A stream.
            second: Another.
            after: Only lines above these versions, the first stream's and the second's.
            upto: Only lines up to this position.
            limit: At most so many of each, those next above `after`; some of them may lie beyond `upto`.
        """

    def stream(
        self,
        stream: bytes,
        *,
        after: int = -1,
        upto: int | None = None,
        descending: bool = False,
        limit: int | None = None,
    ) -> Sequence[Row]:
        """Lines of one stream by version, those above `after`."""

    def positions(self, start: int, stop: int | None = None, *, limit: int) -> Sequence[Row]:
        """Lines from one position to another, both included, at most `limit`, in rising position."""

    def landmarks(
        self,
        stream: bytes,
        *,
        topic: str | None = None,
        start: int = 0,
        stop: int | None = None,
        descending: bool = False,
        skip: int = 0,
        limit: int | None = None,
    ) -> Sequence[Row]:
        """Lines of a stream at which releases begin or end, or that tell how they went; found by an index.

        Args:
            stream: An app's own stream, or its second one.
            topic: Only lines of this topic; None for those of any.
            start: From this position on.
            stop: Up to this position.
            descending: From the newest down.
            skip: Leave out so many.
            limit: At most so many.
        """

    def stream_version(self, stream: bytes) -> int:
        """The newest version in a stream; 0 if it is empty."""

    def unfindable(self, start: int, stop: int) -> Sequence[int]:
        """Positions from `start` to `stop` whose lines are not found by their stream and version, as `stream` looks for them.

        None, unless the index that leads from one to the other is damaged.
        """

    def indexed(
        self, index: Indexed, *, after: tuple[bytes, int], upto: int, limit: int
    ) -> Sequence[tuple[int, bytes, int | str]]:
        """What an index says: of each line its position, its stream, and its version or (of a landmark) its topic.

        Entries come in the order of the index: by stream, and within one by version or position. In a file that somebody
        changed they may be of any type and in any order.

        Args:
            index: Which: the one that `stream` looks in, or the one that `landmarks` looks in.
            after: Stream, and version or position, of the last entry of the page before; ``(b"", 0)`` for the first.
            upto: Only entries up to this position.
            limit: At most so many.
        """

    def request(self, request_id: str) -> RequestRow | None:
        """What is known about a request id."""

    def life(self, deployment_id: str) -> LifeRow | None:
        """Whose deployment id this is, destroyed lives included."""

    def apps(self, cluster: str) -> Sequence[tuple[str, str]]:
        """Namespace and name of every app of a cluster that ever lived, in that order."""

    def next_life(self, life: LifeRow) -> int | None:
        """The position at which the app's life after this one opened; None if this is its newest."""

    def snapshot(self, stream: bytes, *, shape: int, upto: int | None = None) -> SnapshotRow | None:
        """The newest snapshot of an app up to a position; None if there is none of that shape."""

    def life_key(self, deployment_id: str) -> LifeKeyRow | None:
        """The wrapped key of a life; None when it never was or is shredded."""

    def life_key_identities(self) -> Mapping[str, int]:
        """The identities that lives' keys are wrapped for, each with how many; for those who may not read them, too."""

    def life_keys_except(self, identity: str, *, after: str, limit: int) -> Sequence[LifeKeyRow]:
        """Keys that are wrapped for another identity, by rising deployment id above `after`, at most `limit`."""

    def rewrap(self, rows: Sequence[Rewrapped]) -> int:
        """Replace lives' wrapped keys, durably and all at once; how many.

        Those that are not wrapped for the identity `before` any more, or shredded, are left as they are.

        Raises:
            LedgerEndedError: Nothing is changed here any more, or ever.
            OutcomeUnknownError: The commit failed in a way that leaves open whether it happened. May be repeated.
        """

    def sealed(self, deployment_id: str) -> Mapping[tuple[str, int], bytes]:
        """The life's ciphertexts by key and version."""

    def sealed_sizes(self, deployment_id: str) -> Mapping[tuple[str, int], int]:
        """Sizes of the life's ciphertexts by key and version, in bytes; for those who may not read the values, too."""

    def append(self, rows: Sequence[NewRow], *, clock_us: int, beside: Beside = NOTHING_BESIDE) -> Sequence[Row]:
        """Append all or nothing, durably: once this returns, even a power failure loses nothing.

        Args:
            rows: The lines, in order; each has to be the next of its stream.
            clock_us: The writer's clock; lines are recorded at it, or at their predecessor's time if that is later.
            beside: What else belongs in the same transaction; in a database only what the lines say.

        Raises:
            ConflictError: A line is not the next of its stream, the request id is taken, or what was decided on is not as it
                was; nothing was written.
            LedgerDamagedError: The head does not fit its line, or a stream lacks a version; nothing was written.
            LedgerEndedError: Nothing is appended here any more, or ever; nothing was written.
            LedgerUnavailableError: The clock is past the year 9999 or, where the store has one of its own, a day ahead of that.
            OutcomeUnknownError: The commit failed in a way that leaves open whether it happened.
        """

    def instance(self) -> Instance | None:
        """This store's own id, and who may append; None if the ledger does not exist yet."""

    def lease(self, cluster: str, *, holder: str, note: str, seconds: float) -> Lease:
        """A candidate for the leadership of a cluster; nothing is taken yet.

        Args:
            cluster: Whose leader, by the cluster's name in the ledger.
            holder: This candidate; a name that no other has or ever had.
            note: Where it runs, for people: host and process id.
            seconds: How long leadership lasts without being renewed; the same for every candidate.
        """

    def lease_row(self, cluster: str) -> LeaseRow | None:
        """Who leads a cluster, or did; None if nobody ever has."""

    def require_worker_rights(self) -> None:
        """Refuse whoever may not take a lease or open what is sealed, before that is tried.

        Raises:
            LedgerDeniedError: The database does not allow its user to do it.
        """

    def data_version(self) -> object:
        """A value that differs from an earlier one if the ledger may have grown meanwhile. Cheap; for polling."""

    def growth(self) -> Growth:
        """Notices when the ledger may have grown; `ledger.follow.Follower` waits with it."""

    def close(self) -> None:
        """Give up connections. The store must not be used afterwards."""


class Asking(Protocol):
    """Questions about tables beside the log. Tables and statements are called ``package.name``, as the package says."""

    def ask(self, name: str, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        """The rows that a statement selects."""

    def knows(self, table: str) -> bool:
        """Whether a table is there to be asked."""


class Tables(Asking, Protocol):
    """Tables beside the log, in one transaction that changes them."""

    def each(self, name: str) -> Iterator[tuple[Any, ...]]:
        """The rows that a statement without parameters selects, one after the other."""

    def execute(self, name: str, parameters: Mapping[str, object]) -> int:
        """Run a statement; the number of rows that it changed."""

    def execute_all(self, name: str, parameters: Iterable[Mapping[str, object]]) -> None:
        """Run a statement once for each mapping."""

    def put(self, table: str, rows: Iterable[Sequence[object]]) -> None:
        """Add rows with all of a table's columns, in their order; the quickest way to add many."""

    def renew(self, table: str) -> None:
        """Empty a table, with the columns that this program knows."""


class ModelStore(Store, Asking, Protocol):
    """A store that also keeps read models: tables beside the log that can be made from it again."""

    def tables_version(self) -> int:
        """The version of the tables; 0 if there are none."""

    def prepare(self) -> None:
        """Create the tables if there are none; what is recorded stays.

        Raises:
            LedgerBusyError, LedgerUnavailableError: They cannot be created here.
        """

    def change(self, *, wait: bool = True) -> AbstractContextManager[Tables]:
        """One durable transaction, behind all others that change read models; rolled back if the block raises.

        Args:
            wait: Whether to wait for a turn; if not, it is now or not at all.

        Raises:
            LedgerBusyError: It was not its turn in time.
            LedgerUnavailableError: Read models cannot be written here; nothing was changed.
            OutcomeUnknownError: The commit itself failed.
        """

    def moment(self) -> AbstractContextManager[None]:
        """A block in which this thread sees the ledger and its read models as they are when it first asks.

        In a file without a write-ahead log, others read meanwhile, and whoever writes waits until it ends: keep it short.
        """
