"""The SQLite text that commands run is what the tables and statements say."""

from __future__ import annotations

import ast
import sqlite3
from pathlib import Path

import pytest

from ledger import compile_sql

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("package", ["ledger", "projections"])
def test_the_compiled_module_is_what_would_be_compiled_now(package: str) -> None:
    compiled = (ROOT / package / "sql_sqlite.py").read_text()
    assert compiled == compile_sql.module_text(package), "run: make sql"


def test_every_compiled_statement_is_one_that_sqlite_can_prepare() -> None:
    with sqlite3.connect(":memory:") as connection:
        for package in ("ledger", "projections"):
            names: dict[str, object] = {}
            exec(compile(ast.parse((ROOT / package / "sql_sqlite.py").read_text()), package, "exec"), names)
            schema = names["SCHEMA"]
            assert isinstance(schema, tuple)
            for text in schema:
                connection.execute(text)
            for name, text in names.items():
                if name.isupper() and isinstance(text, str):
                    connection.execute(f"EXPLAIN {text}", _Anything())
    connection.close()


class _Anything(dict[str, object]):
    """A value for every parameter."""

    def __missing__(self, key: str) -> object:
        return None
