"""docs/performance.md, made of the figures in docs/bench.json and of the notes beside this file. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tests.bench.elsewhere import elsewhere
from tests.bench.figures import LEAST_TURNS, Line
from tests.bench.record import Measured
from tests.bench.shown import aim_text, ratio_text, spread_text, table

_INTRODUCTION = f"""\
# Performance

Written by `make bench` from [bench.json](bench.json) and the notes in `tests/bench/notes`; edits by hand are lost.
`make bench ROW=B4` measures one row again, `make bench ROW="B1 B2"` two.

Absolute times depend on the machine, so every figure stands beside another one of the same run: a *peer*, which is a
program that people use for the same purpose, or a *floor*, which is the same work in the fewest lines. Both are measured in turns (A B A B
…), at least {LEAST_TURNS} times unless said otherwise. A figure is the median, with the quartiles in brackets; a ratio is
the median of the ratios of neighbours. Aims were set before anything was measured, and a figure that misses its aim stays here.
"""


def page(rows: Mapping[str, Measured], notes: Mapping[str, str], there: Mapping[str, Measured] | None = None) -> str:
    """The whole page.

    Args:
        rows: What was measured, by row.
        notes: What stands in the way of an aim, what was tried and what more would cost, by row.
        there: What was measured on another machine, by row.
    """
    parts = [_INTRODUCTION, _summary(rows)]
    parts += [_section(name, row, notes.get(name)) for name, row in rows.items()]
    if there:
        parts.append(elsewhere(rows, there))
    return "\n".join(parts)


def sentence(line: Line) -> str:
    """A line for a terminal."""
    said = [f"{line.what}: {spread_text(line.ours, line.unit)}"]
    if line.other is not None and line.theirs is not None:
        said.append(f"{line.other} {spread_text(line.theirs, line.unit)}")
    if line.ratio is not None:
        said.append(f"ratio {ratio_text(line.ratio)}")
    if line.aim is not None:
        said.append(f"aim {aim_text(line.aim, line.unit)}: {_met(line)}")
    return ", ".join(said)


def _summary(rows: Mapping[str, Measured]) -> str:
    summary = table(
        ["row", "what", "aims met", "commit"],
        (
            [f"[{name}](#{_anchor(name, row)})", row.title, _aims_met(row.lines), f"`{row.commit}`"]
            for name, row in rows.items()
        ),
    )
    return f"{summary}\n"


def _aims_met(lines: Iterable[Line]) -> str:
    judged = [line.met for line in lines if line.met is not None]
    return f"{sum(judged)} of {len(judged)}" if judged else "not measured here"


def _section(name: str, row: Measured, note: str | None) -> str:
    parts = [f"## {_heading(name, row)}", row.about]
    if row.lines:
        parts.append(table(["what", "1ctl", "beside", "its figure", "ratio", "aim", "met"], map(_cells, row.lines)))
    if row.missing:
        parts.append("\n".join(f"* Not measured: {why}." for why in row.missing))
    if note is not None:
        parts.append(note)
    parts.append(_circumstances(row))
    return "\n\n".join(parts) + "\n"


def _cells(line: Line) -> list[str]:
    return [
        line.what,
        spread_text(line.ours, line.unit),
        line.other or "-",
        spread_text(line.theirs, line.unit) if line.theirs else "-",
        ratio_text(line.ratio) if line.ratio else "-",
        aim_text(line.aim, line.unit) if line.aim else "-",
        _met(line),
    ]


def _circumstances(row: Measured) -> str:
    turns = sorted({line.ours.turns for line in row.lines})
    measured = f" ({', '.join(map(str, turns))} turns)" if turns else ""
    facts = "; ".join(f"{name} {value}" for name, value in row.machine.items())
    versions = ", ".join(f"{name} {value}" for name, value in row.versions.items())
    return f"Commit `{row.commit}`, {row.at}, {row.took:.0f} s{measured}. {facts}; load {row.load:.1f}. {versions}."


def _heading(name: str, row: Measured) -> str:
    return f"{name}: {row.title}"


def _anchor(name: str, row: Measured) -> str:
    return re.sub(r"[^a-z0-9 _-]", "", _heading(name, row).lower()).replace(" ", "-")


def _met(line: Line) -> str:
    return "-" if line.met is None else "yes" if line.met else "no"
