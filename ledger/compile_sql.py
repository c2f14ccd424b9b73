"""Writes tables and statements as SQLite text, so that a command on SQLite runs without importing SQLAlchemy.

``python -m ledger.compile_sql`` rewrites `ledger/sql_sqlite.py` and `projections/sql_sqlite.py`; a test fails when they
are not what this would write.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from sqlalchemy import ClauseElement, Dialect, Index, MetaData, Table
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

_HEADER = '''"""Compiled from `{package}.tables` and `{package}.statements` for SQLite by `make sql`. Do not edit."""
'''


def schema_text(metadata: MetaData) -> Sequence[str]:
    """The statements that create all tables and indexes, in order."""
    return _created(metadata.sorted_tables)


def _created(parts: Iterable[Table | Index]) -> list[str]:
    texts = []
    for part in parts:
        if isinstance(part, Index):
            texts.append(str(CreateIndex(part).compile(dialect=_dialect())))
            continue
        texts.append(str(CreateTable(part).compile(dialect=_dialect())))
        texts += _created(sorted(part.indexes, key=lambda index: str(index.name)))
    return [" ".join(text.split()) for text in texts]


def statement_text(statement: ClauseElement) -> str:
    """One statement with ``:name`` parameters."""
    compiled = statement.compile(dialect=_dialect())
    text = " ".join(str(compiled).split())
    for name, value in compiled.params.items():
        if value is not None:  # a constant of the statement, which nobody binds later
            text = re.sub(rf":{name}\b", repr(value), text)
    return text


def module_text(package: str) -> str:
    """The text of a package's compiled module."""
    tables, statements = import_module(f"{package}.tables"), import_module(f"{package}.statements")
    schema = [*schema_text(tables.metadata), *getattr(tables, "APPEND_ONLY", {}).get("sqlite", [])]
    lines = [_HEADER.format(package=package), "SCHEMA: tuple[str, ...] = ("]
    lines += [f"    {text!r}," for text in schema]
    lines += [")", '"""Creates every table, index and trigger, in this order."""', ""]
    added: Mapping[int, Iterable[Table | Index]] = getattr(tables, "ADDED", {})
    if added:
        lines.append("ADDED: dict[int, tuple[str, ...]] = {")
        for version, brought in added.items():
            lines += [f"    {version}: (", *(f"        {text!r}," for text in _created(brought)), "    ),"]
        lines += ["}", '"""Creates what each version added to the one before."""', ""]
    named: Mapping[str, ClauseElement] = statements.STATEMENTS
    for name, statement in named.items():
        lines.append(f"{name.upper()} = {statement_text(statement)!r}")
    return "\n".join(lines) + "\n"


def _dialect() -> Dialect:
    dialect: Dialect = sqlite.dialect(paramstyle="named")
    return dialect


def main() -> None:
    """Rewrite the compiled modules in place."""
    root = Path(__file__).parent.parent
    for package in ("ledger", "projections"):
        if (root / package / "tables.py").exists():
            (root / package / "sql_sqlite.py").write_text(module_text(package))


if __name__ == "__main__":
    main()
