"""docs/reliability.json, what the harness counted; and the tables of docs/reliability.md, which are made from it."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

COUNTS = Path(__file__).parents[2] / "docs" / "reliability.json"
DOCUMENT = COUNTS.with_suffix(".md")

TITLES = {
    "F1": "killed at every write, sync and send",
    "F2": "killed between any two steps",
    "F3": "power cut",
    "F4": "the disk fails to sync",
    "F5": "disk full",
    "F6": "read-only, missing, locked by another",
    "F7": "edited, deleted, swapped, cut, put back",
    "F8": "PostgreSQL killed",
    "F9": "fail-over to a standby",
    "F10": "the API server says 500, 503, 429, 404, 409, 422, 410",
    "F11": "a connection breaks before or after, stalls, goes silent",
    "F12": "wake-ups lost, doubled, reordered",
    "F13": "two workers, one stopped past its lease or killed",
    "F14": "2 to 8 commands at once",
    "F15": "signals, and a reader that goes away",
    "F16": "clocks that jump",
    "F17": "objects edited, deleted, taken over by hand",
    "F18": "unknown events; rebuilding meanwhile",
    "F20": "the whole system in one process, step by step",
}

Counts = Mapping[str, Mapping[str, Any]]
"""By fault and where it was tried, ``F1 SQLite``: cases, violations and seconds."""


def added_up(told: Iterable[Mapping[str, Any]]) -> Counts:
    """The counts of all tests, those of one fault in one place together, in the order of the faults."""
    counts: dict[str, dict[str, Any]] = {}
    for each in told:
        entry = counts.setdefault(f"{each['fault']} {each['on']}".strip(), {"cases": 0, "violations": 0, "seconds": 0})
        for what in entry:
            entry[what] += each[what]
    return dict(
        sorted(((key, {**value, "seconds": round(value["seconds"])}) for key, value in counts.items()), key=_order)
    )


def lines(counts: Counts) -> Iterator[str]:
    """One line a fault and place, for people."""
    for key, entry in counts.items():
        title = TITLES.get(key.partition(" ")[0], "")
        yield f"{key:<24} {entry['cases']:>7,} cases {entry['violations']:>3} violations {entry['seconds']:>6} s  {title}"


def write_counts(counts: Counts, dose: str) -> None:
    """Put new counts in place of those of the same faults, and the tables into the document."""
    known = read()
    said = {"dose": dose, "at": time.strftime("%Y-%m-%d", time.gmtime()), "sqlite": sqlite3.sqlite_version}
    known["faults"] = dict(
        sorted({**known["faults"], **{key: {**entry, **said} for key, entry in counts.items()}}.items(), key=_order)
    )
    _write(known)


def write_peer(name: str, figures: Mapping[str, Any]) -> None:
    """Put what another program did on a fault in place of what it did before."""
    known = read()
    known["peers"] = {**known["peers"], name: dict(figures)}
    _write(known)


def write_soak(where: str, figures: Mapping[str, Any]) -> None:
    """Put what came of a soak in place of what came of the one before it."""
    known = read()
    said = {"at": time.strftime("%Y-%m-%d", time.gmtime()), "sqlite": sqlite3.sqlite_version}
    known["soak"] = {**known.get("soak", {}), where: {**figures, **said}}
    _write(known)


def read() -> dict[str, Any]:
    """What is written down."""
    if not COUNTS.exists():
        return {"faults": {}, "peers": {}}
    known: dict[str, Any] = json.loads(COUNTS.read_text())
    return known


def in_document(known: Mapping[str, Any], text: str) -> str:
    """The document's text with its tables made anew."""
    tables = {
        "faults": _faults(known["faults"]),
        "peers": _peers(known["peers"]),
    }
    if "soak" in known:
        tables["soak"] = _soaks(known["soak"])
    for name, made in tables.items():
        pattern = rf"(?s)(<!-- {name}: written by the harness -->\n).*?(<!-- end of {name} -->)"
        assert re.search(pattern, text), name
        text = re.sub(pattern, lambda found, made=made: found[1] + "\n".join(made) + "\n" + found[2], text)  # type: ignore[misc]
    return text


def _write(known: Mapping[str, Any]) -> None:
    COUNTS.write_text(json.dumps(known, indent=2) + "\n")
    if DOCUMENT.exists():
        DOCUMENT.write_text(in_document(known, DOCUMENT.read_text()))


def _faults(faults: Counts) -> Iterator[str]:
    yield "| fault | | where | dose | cases | violations |"
    yield "|---|---|---|---|---:|---:|"
    for key, entry in faults.items():
        fault, _, where = key.partition(" ")
        yield f"| {fault} | {TITLES[fault]} | {where} | {entry['dose']} | {entry['cases']:,} | {entry['violations']} |"


def _peers(peers: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield "| fault | program | what was done | what came of it |"
    yield "|---|---|---|---|"
    for name, figures in sorted(peers.items()):
        yield f"| {name.partition(' ')[0]} | {figures['program']} | {figures['done']} | {figures['led_to']} |"


def _soaks(soaks: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield "| where | seed | apps | commands | events | faults | parked meanwhile | MiB at start, ¼, ½, end | violations |"
    yield "|---|---:|---:|---:|---:|---:|---|---|---:|"
    for where, each in sorted(soaks.items()):
        parked = ", ".join(f"{count} {reason}" for reason, count in sorted(each["parked"].items())) or "none"
        memory = ", ".join(f"{mib:.1f}" for mib in each["memory_mib"])
        faults = sum(each["faults"].values())
        yield (
            f"| {where} | {each['seed']} | {each['apps']:,} | {each['commands']:,} | {each['events']:,} | {faults} "
            f"| {parked} | {memory} | {len(each['violations'])} |"
        )


def _order(entry: tuple[str, object]) -> tuple[int, str]:
    """F2 before F10."""
    fault, _, where = entry[0].partition(" ")
    return int(fault[1:]), where
