"""The ledger's tables, as SQLAlchemy Core owns them. Imported only where SQL is made, not where it is run.

`ledger.sql_sqlite` holds the same, compiled ahead for SQLite, so that a command need not import SQLAlchemy;
`make sql` writes it and a test compares. The columns of `stored_events` are named as in the `eventsourcing` library.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
)

from ledger.landmarks import LANDMARKS

metadata = MetaData()
# "INTEGER PRIMARY KEY" is SQLite's own row number, under a name that a VACUUM leaves alone.
_Position = BigInteger().with_variant(Integer(), "sqlite")

stored_events = Table(
    "stored_events",
    metadata,
    Column("notification_id", _Position, primary_key=True, autoincrement=False),
    Column("originator_id", LargeBinary(16), nullable=False),
    Column("originator_version", BigInteger, nullable=False),
    Column("topic", Text, nullable=False),
    Column("state", LargeBinary, nullable=False),
    Column("recorded_us", BigInteger, nullable=False),
    Column("leaf", LargeBinary(32), nullable=False),
    Column("chain", LargeBinary(32), nullable=False),
    UniqueConstraint("originator_id", "originator_version", name="stored_events_stream"),
)

is_landmark = stored_events.c.topic.in_([literal_column(f"'{topic}'") for topic in LANDMARKS])
"""Written out as it is in the index: only then does a database know that the index answers."""

stored_events_landmarks = Index(
    "stored_events_landmarks",
    stored_events.c.originator_id,
    stored_events.c.notification_id,
    stored_events.c.topic,  # so that other lines than those asked for are passed over without being read
    sqlite_where=is_landmark,
    postgresql_where=is_landmark,
)

ledger_head = Table(
    "ledger_head",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
    Column("recorded_us", BigInteger, nullable=False),
    Column("chain", LargeBinary(32), nullable=False),
)

ledger_instance = Table(
    "ledger_instance",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("instance", Text, nullable=False),
    Column("writer", Text),
    Column("note", Text),
)

requests = Table(
    "requests",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("salt", LargeBinary(16), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("first_position", BigInteger, nullable=False),
    Column("last_position", BigInteger, nullable=False),
)

lives = Table(
    "lives",
    metadata,
    Column("deployment_id", Text, primary_key=True),
    Column("cluster", Text, nullable=False),
    Column("namespace", Text, nullable=False),
    Column("app", Text, nullable=False),
    Column("opened", BigInteger, nullable=False),
    Index("lives_app", "cluster", "namespace", "app"),
)

life_keys = Table(
    "life_keys",
    metadata,
    Column("deployment_id", Text, primary_key=True),
    Column("identity", Text, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
)

sealed_values = Table(
    "sealed_values",
    metadata,
    Column("deployment_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("ciphertext", LargeBinary, nullable=False),
)

# Neither is history: a lease says who leads now, a snapshot can be folded again. No copy or backup carries them.

worker_leases = Table(
    "worker_leases",
    metadata,
    Column("cluster", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("locked", Integer, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
    Column("renewed_us", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
)

app_snapshots = Table(
    "app_snapshots",
    metadata,
    Column("stream", LargeBinary(16), primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("shape", Integer, nullable=False),
    Column("state", LargeBinary, nullable=False),
)

ADDED: Mapping[int, Sequence[Table | Index]] = {
    2: (worker_leases, app_snapshots),
    3: (stored_events_landmarks,),
    4: (),  # in a database, a function that checks what it appends
    5: (),  # and that it can be read, says no more than is written with it, and continues the newest line
    6: (),  # and that it may be appended where it is, by whoever does; and a table to lock
    7: (),  # and that it is the next of its stream, whoever appends it
}
"""Tables and indexes by the version that brought them; all others have been there from the first."""

APPEND_ONLY = {
    "sqlite": [
        f"CREATE TRIGGER stored_events_no_{verb} BEFORE {verb.upper()} ON stored_events "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
        for verb in ("update", "delete")
    ],
}
"""Statements that make the database itself refuse to change what is recorded. A guard, not a proof."""
