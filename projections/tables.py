"""The read models' tables, as SQLAlchemy Core owns them. Imported only where SQL is made, not where it is run."""

from collections.abc import Mapping, Sequence

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table, Text

metadata = MetaData()

projection_checkpoints = Table(
    "projection_checkpoints",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("position", BigInteger, nullable=False),
)

app_list = Table(
    "app_list",
    metadata,
    Column("deployment_id", Text, primary_key=True),
    Column("cluster", Text, nullable=False),
    Column("namespace", Text, nullable=False),
    Column("app", Text, nullable=False),
    Column("hostnames", Text, nullable=False),
    Column("image", Text, nullable=False),
    Column("replicas", Integer, nullable=False),
    Column("port", Integer, nullable=False),
    Column("cpu", Text, nullable=False),
    Column("memory", Text, nullable=False),
    Column("health_path", Text),
    Column("image_pull_secret", Text),
    Column("env_keys", Text, nullable=False),
    Column("secret_keys", Text, nullable=False),
    Column("release", Integer, nullable=False),
    Column("changed", BigInteger, nullable=False),
    Column("applied_through", BigInteger, nullable=False),
    Column("refused_through", BigInteger, nullable=False),
    Column("opened", BigInteger, nullable=False),
    Column("opened_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Column("destroyed_us", BigInteger),
    Column("valid_from", BigInteger, nullable=False),
    Column("destroyed", BigInteger),
    Index("app_list_all", "cluster", "namespace", "opened"),
)
_open = app_list.c.destroyed_us.is_(None)
Index(
    "app_list_open",
    app_list.c.cluster,
    app_list.c.namespace,
    app_list.c.opened,
    sqlite_where=_open,
    postgresql_where=_open,
)

app_list_past = Table(
    "app_list_past",
    metadata,
    Column("opened", BigInteger, primary_key=True, autoincrement=False),
    Column("valid_from", BigInteger, primary_key=True, autoincrement=False),
    Column("valid_to", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=False),
    sqlite_with_rowid=False,  # a row is only ever looked up by its key: one tree less to write
)

ADDED_TO_DATABASES: Mapping[int, Sequence[Table | Column[int]]] = {
    3: (app_list.c.valid_from, app_list_past),
    5: (app_list.c.destroyed,),
}
"""Tables and columns by the version of the ledger's tables that brought them. In a file, a read model and its table are
rebuilt together."""
