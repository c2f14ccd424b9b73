"""The ledger in a PostgreSQL database, as text: tables, the function that appends, triggers and roles.

Everything lives in a schema of its own. Only its owner can write to the log's tables; everyone else calls functions
that run with the owner's rights, under a fixed search path. The columns are those of `ledger.tables`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    Table,
    Text,
    bindparam,
    column,
    delete,
    func,
    select,
    table,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable

from ledger.errors import InvalidValueError
from ledger.postgres_append import append_function_text
from ledger.postgres_names import ENDED, READ_MODEL_LOCK, SCHEMA

SCHEMA_VERSION = 7
"""Version of what `schema_text` creates, in the table ``schema_version``."""

_REWRAP_FUNCTION = """
CREATE OR REPLACE FUNCTION rewrap_life_keys(
    lives text[], old_identities text[], new_identities text[], wrappings bytea[], lock_timeout_ms integer
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    place record;
    changed bigint;
BEGIN
    IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    PERFORM set_config('lock_timeout', lock_timeout_ms::text, true);
    PERFORM FROM ledger_head FOR UPDATE;  -- or a move could copy the keys while they change
    SELECT * INTO STRICT place FROM ledger_instance;
    IF place.writer <> place.instance THEN
        RAISE EXCEPTION USING ERRCODE = '{ended}', MESSAGE = place.writer, DETAIL = coalesce(place.note, '');
    END IF;
    UPDATE life_keys SET identity = given.new_identity, wrapped = given.wrapping
    FROM unnest(lives, old_identities, new_identities, wrappings) AS given (life, old_identity, new_identity, wrapping)
    WHERE deployment_id = given.life AND identity = given.old_identity;
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END $$
"""

_LIFE_KEY_IDENTITIES = """
CREATE OR REPLACE VIEW life_key_identities AS SELECT identity, count(*) AS lives FROM life_keys GROUP BY identity
"""

_SEALED_SIZES = """
CREATE VIEW sealed_sizes AS SELECT deployment_id, key, version, length(ciphertext) AS size FROM sealed_values
"""

_LOCK_TABLE = f"CREATE TABLE IF NOT EXISTS {READ_MODEL_LOCK} ()"

_APPEND_ONLY = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND current_setting('onectl.redacting', true) = OLD.notification_id::text THEN
        OLD.state := NEW.state;  -- and nothing else
        IF OLD IS NOT DISTINCT FROM NEW THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE insufficient_privilege USING MESSAGE = 'the ledger is append-only';
END $$;
CREATE TRIGGER stored_events_no_update BEFORE UPDATE ON stored_events
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER stored_events_no_delete BEFORE DELETE OR TRUNCATE ON stored_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE stored_events ENABLE ALWAYS TRIGGER stored_events_no_update;
ALTER TABLE stored_events ENABLE ALWAYS TRIGGER stored_events_no_delete;
ALTER TABLE stored_events ADD CONSTRAINT stored_events_sizes CHECK (
    length(originator_id) = 16 AND originator_version >= 0 AND octet_length(topic) < 65536
    AND length(leaf) = 32 AND length(chain) = 32);
CREATE UNIQUE INDEX ledger_head_is_one ON ledger_head ((true));
CREATE UNIQUE INDEX ledger_instance_is_one ON ledger_instance ((true));
"""

_FIRST_ROWS = """
INSERT INTO ledger_head VALUES (1, 0, 0, decode(repeat('00', 32), 'hex'));
INSERT INTO ledger_instance VALUES (1, gen_random_uuid()::text, NULL, NULL);
CREATE TABLE schema_version (version integer NOT NULL);
INSERT INTO schema_version VALUES ({version});
"""

_SET_VERSION = "UPDATE schema_version SET version = {version}"

_ROLES = """\
-- Roles of a ledger on PostgreSQL. Run it as the owner of the ledger's tables, who may create roles; it may be repeated.
-- Grant them to login roles:  GRANT {prefix}_writer TO alice;
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['{prefix}_reader', '{prefix}_writer', '{prefix}_worker'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
    END LOOP;
END $$;
REVOKE ALL ON SCHEMA {schema} FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC, {prefix}_reader, {prefix}_writer, {prefix}_worker;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {schema} FROM PUBLIC, {prefix}_reader, {prefix}_writer, {prefix}_worker;
-- A reader sees what was recorded, and no secret, sealed or not; of lives' keys, how many there are for which identity.
GRANT USAGE ON SCHEMA {schema} TO {prefix}_reader;
GRANT SELECT ON {readable} TO {prefix}_reader;
-- A writer may append, and keep read models up to date. It seals values and cannot read them back.
GRANT {prefix}_reader TO {prefix}_writer;
GRANT SELECT ON {schema}.sealed_sizes TO {prefix}_writer;
GRANT EXECUTE ON FUNCTION {schema}.append_events TO {prefix}_writer;
GRANT UPDATE ON {schema}.{lock} TO {prefix}_writer;
{read_models}\
-- The worker holds the identity that opens what is sealed, and leads by a lease. It keeps snapshots, which others go on from
-- without asking who folded them: a writer with that right could have things applied that are in no event.
-- Only someone who can open a life's key can wrap it for another identity, so only the worker may replace one, and only
-- through a function that compares what it replaces. A writer with that right could make secrets unreadable for good.
GRANT {prefix}_writer TO {prefix}_worker;
GRANT INSERT, DELETE ON {schema}.app_snapshots TO {prefix}_worker;
GRANT INSERT, UPDATE ON {schema}.worker_leases TO {prefix}_worker;
GRANT SELECT ON {schema}.life_keys, {schema}.sealed_values TO {prefix}_worker;
GRANT EXECUTE ON FUNCTION {schema}.rewrap_life_keys TO {prefix}_worker;
"""

_READABLE = (
    "schema_version",
    "stored_events",
    "ledger_head",
    "ledger_instance",
    "requests",
    "lives",
    "worker_leases",
    "app_snapshots",
    "life_key_identities",
)
_PREFIX = re.compile(r"[a-z_][a-z0-9_]{0,39}")


def schema_text() -> Sequence[str]:
    """The statements that create everything, in order, to be run in one transaction with our schema as search path."""
    return tuple(_schema_statements())


def upgrade_text(version: int) -> Sequence[str]:
    """The statements that bring a schema of an older version up to date, to be run like those of `schema_text`.

    Args:
        version: What it is now, from 1.
    """
    return tuple(_upgrade_statements(version))


def read_models() -> MetaData | None:
    """The tables of the read models, which belong to a package above this one; None if that is not installed."""
    if find_spec("projections") is None:
        return None
    metadata: MetaData = import_module("projections.tables").metadata
    return metadata


def role_script(prefix: str = "onectl") -> str:
    """SQL text that creates the roles ``<prefix>_reader``, ``_writer`` and ``_worker``, none of which can log in.

    Args:
        prefix: Begins the roles' names; a plain SQL name.

    Raises:
        InvalidValueError: The prefix is not a plain SQL name.
    """
    if not _PREFIX.fullmatch(prefix):
        raise InvalidValueError("prefix", prefix, "is not a plain SQL name", example="onectl")
    models = read_models()
    tables = [f"{SCHEMA}.{model.name}" for model in models.sorted_tables] if models is not None else []
    written = ", ".join(tables)
    return _ROLES.format(
        schema=SCHEMA,
        prefix=prefix,
        lock=READ_MODEL_LOCK,
        readable=", ".join([f"{SCHEMA}.{name}" for name in _READABLE] + tables),
        read_models=f"GRANT INSERT, UPDATE, DELETE ON {written} TO {prefix}_writer;\n" if tables else "",
    )


def rewrap_statement() -> Select[tuple[int]]:
    """The call that rewraps lives' keys, with a parameter for each argument of the function."""
    texts = ARRAY(Text)
    arguments = (
        bindparam("lives", type_=texts),
        bindparam("old_identities", type_=texts),
        bindparam("new_identities", type_=texts),
        bindparam("wrappings", type_=ARRAY(LargeBinary)),
        bindparam("lock_timeout_ms", type_=Integer),
    )
    return select(getattr(func, SCHEMA).rewrap_life_keys(*arguments, type_=BigInteger))


def life_key_identities_statement() -> Select[tuple[str, int]]:
    """How many lives' keys are wrapped for each identity, for those who may not read the keys."""
    counts = table("life_key_identities", column("identity", Text), column("lives", BigInteger), schema=SCHEMA)
    return select(counts.c.identity, counts.c.lives)


def sealed_sizes_statement() -> Select[tuple[str, int, int]]:
    """Sizes of sealed values through a view, for those who may not read the values themselves."""
    sizes = table(
        "sealed_sizes",
        column("deployment_id", Text),
        column("key", Text),
        column("version", Integer),
        column("size", Integer),
        schema=SCHEMA,
    )
    return select(sizes.c.key, sizes.c.version, sizes.c.size).where(sizes.c.deployment_id == bindparam("deployment_id"))


def _schema_statements() -> Iterator[str]:
    yield f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"
    yield f"SET LOCAL search_path = {SCHEMA}, pg_temp"
    yield from _tables(import_module("ledger.tables").metadata.sorted_tables)
    models = read_models()
    if models is not None:
        yield from _tables(models.sorted_tables)
    yield _SEALED_SIZES
    yield from _rotation()
    yield _LOCK_TABLE
    yield from append_function_text()
    yield _APPEND_ONLY
    yield f"REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {SCHEMA} FROM PUBLIC"
    yield _FIRST_ROWS.format(version=SCHEMA_VERSION)


def _upgrade_statements(version: int) -> Iterator[str]:
    added: Mapping[int, Iterable[Table | Index]] = import_module("ledger.tables").ADDED
    yield f"SET LOCAL search_path = {SCHEMA}, pg_temp"
    models: Mapping[int, Iterable[Table | Column[int]]] = {}
    if read_models() is not None:
        models = import_module("projections.tables").ADDED_TO_DATABASES
    for later in range(version + 1, SCHEMA_VERSION + 1):
        yield from _tables(added[later])
        yield from _added_to_models(models.get(later, ()))
    yield from _rotation()
    yield _LOCK_TABLE
    yield from append_function_text()
    yield "REVOKE ALL ON FUNCTION rewrap_life_keys, as_json, said, is_home_of FROM PUBLIC"
    yield _SET_VERSION.format(version=SCHEMA_VERSION)


def _rotation() -> Iterator[str]:
    yield _LIFE_KEY_IDENTITIES
    yield _REWRAP_FUNCTION.format(schema=SCHEMA, ended=ENDED)


def _added_to_models(parts: Iterable[Table | Column[int]]) -> Iterator[str]:
    """New tables and columns of read models, whose rows will be rebuilt."""
    dialect: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for part in parts:
        if isinstance(part, Column):
            yield str(delete(part.table).compile(dialect=dialect))
            yield f"ALTER TABLE {part.table.name} ADD COLUMN {CreateColumn(part).compile(dialect=dialect)}"
        else:
            yield from _tables([part])


def _tables(parts: Iterable[Table | Index]) -> Iterator[str]:
    dialect: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for part in parts:
        if isinstance(part, Index):
            yield str(CreateIndex(part).compile(dialect=dialect))
            continue
        yield str(CreateTable(part).compile(dialect=dialect))
        yield from _tables(sorted(part.indexes, key=lambda index: str(index.name)))
