"""Benchmarks: ``python -m tests.bench [ROW ...]``, or ``make bench ROW="B1 B2"``.

Writes docs/bench.json and docs/performance.md after each row, so an interrupted run keeps what it has finished.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.figures import LEAST_TURNS
from tests.bench.page import page
from tests.bench.places import ELSEWHERE, ROOT, notes
from tests.bench.record import put, read
from tests.bench.rows import ROWS
from tests.bench.run import Row, measure


def main(arguments: Sequence[str] | None = None, *, rows: Mapping[str, Row] = ROWS) -> int:
    """Measure rows; 0 if all were, 1 if one failed, 130 if it was interrupted."""
    asked = _asked(arguments, rows)
    failed = 0
    for row in asked.rows:
        try:
            measured = measure(row, turns=asked.turns, directory=asked.scratch)
        except KeyboardInterrupt:
            sys.stderr.write(f"\nInterrupted in {row.name}; the rows before it are written.\n")
            return 130
        except Exception:  # noqa: BLE001 - the other rows can still be measured
            traceback.print_exc()
            sys.stderr.write(f"{row.name} failed; it stays as it was.\n")
            failed = 1
            continue
        known = put(asked.directory / "bench.json", row.name, measured)
        (asked.directory / "performance.md").write_text(page(known, notes(), read(asked.directory / ELSEWHERE)))
    return failed


def _asked(arguments: Sequence[str] | None, rows: Mapping[str, Row]) -> argparse.Namespace:
    def row(name: str) -> Row:
        if name not in rows:
            raise argparse.ArgumentTypeError(f"there is no row {name}; there are {', '.join(rows)}")
        return rows[name]

    parser = argparse.ArgumentParser(
        prog="make bench", description="Measure rows of the table, all of them by default."
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", type=row, help=f"any of {', '.join(rows)}")
    parser.add_argument("--turns", type=int, help=f"measurements of each; fewer than {LEAST_TURNS} only for a look")
    parser.add_argument("--directory", type=Path, default=ROOT / "docs", help="where to write [docs]")
    parser.add_argument(
        "--scratch", type=Path, default=Path(tempfile.gettempdir()), help="a directory on the disk of interest"
    )
    asked = parser.parse_args(arguments)
    if asked.turns is not None and asked.turns < LEAST_TURNS and asked.directory.resolve() == ROOT / "docs":
        parser.error(f"fewer than {LEAST_TURNS} turns are not kept in docs; pass --directory as well")
    asked.rows = asked.rows or list(rows.values())
    return asked


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))  # through every `finally`
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by what a script starts in the background
    sys.exit(main())
