"""docs/bench.json: what was measured, row by row, each with the commit and the machine it was measured on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from tests.bench.figures import Aim, Line, Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A row as it was measured last.

    Attributes:
        title: What the row is about, a few words.
        about: How it was measured.
        commit: Of the code that was measured.
        at: When, ISO 8601 in UTC.
        took: Seconds that all of it took.
        load: The machine's load average when the row began: what others were doing.
        machine: Cores, memory, kernel and the like.
        versions: Of what was used.
        lines: The comparisons.
        missing: Sentences about what could not be measured here, and why.
    """

    title: str
    about: str
    commit: str
    at: str
    took: float
    load: float
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    lines: tuple[Line, ...]
    missing: tuple[str, ...]


def read(path: Path) -> dict[str, Measured]:
    """The rows by name; none if there is no file yet."""
    if not path.exists():
        return {}
    return {name: _measured(row) for name, row in orjson.loads(path.read_bytes())["rows"].items()}


def put(path: Path, name: str, row: Measured) -> dict[str, Measured]:
    """Write one row and leave the others as they are; all rows as they then are.

    A row that could not be measured here at all does not replace one that was measured elsewhere.
    """
    rows = read(path)
    if row.lines or name not in rows or not rows[name].lines:
        rows[name] = row
    rows = dict(sorted(rows.items(), key=lambda each: _order(each[0])))
    content = {"rows": {name: _document(each) for name, each in rows.items()}}
    draft = path.with_name(f".{path.name}")
    draft.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")
    draft.replace(path)
    return rows


def _order(name: str) -> tuple[str, int]:
    """B2 before B10."""
    return name[:1], int(name[1:]) if name[1:].isdecimal() else 0


def _document(row: Measured) -> dict[str, Any]:
    lines = [{**asdict(line), "met": line.met} for line in row.lines]
    return {**asdict(row), "lines": lines}


def _measured(row: dict[str, Any]) -> Measured:
    return Measured(**{**row, "lines": tuple(map(_line, row["lines"])), "missing": tuple(row["missing"])})


def _line(line: dict[str, Any]) -> Line:
    def spread(name: str) -> Spread | None:
        return Spread(**line[name]) if line[name] is not None else None

    ours = spread("ours")
    assert ours is not None
    return Line(
        what=line["what"],
        unit=line["unit"],
        ours=ours,
        other=line["other"],
        theirs=spread("theirs"),
        ratio=spread("ratio"),
        aim=Aim(**line["aim"]) if line["aim"] is not None else None,
    )
