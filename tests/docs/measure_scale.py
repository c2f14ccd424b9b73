"""What a question costs in a small and in a large ledger: ``python tests/docs/measure_scale.py [EVENTS [APPS [RELEASES]]]``.

The large ledger has 100,000 events of 1,000 apps by default, of which the first has 5,000 releases; the small one has 120
events of 3 apps. Each question is asked of the first app: as a command of its own, and as a call within a process, in turns
with the same question to the small ledger. It prints medians of processor time, which other work on the machine changes
least, and what the parts of a rebuild take. The figures of docs/adr/0020-snapshots.md come from it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from ledger.app import App, fold
from ledger.codec import recorded, told
from ledger.keys import KeyFiles
from ledger.landmarks import LifeSpan, release_lines, span
from ledger.reader import LedgerReader
from ledger.snapshots import STEP
from ledger.sqlite_store import SqliteStore
from projections.app_list import APP_LIST, app_list_page
from projections.release_page import release_page
from projections.runner import rebuild
from tests.bench.make_ledger import app_id, make

COMMANDS = (
    "deploy get",
    "deploy get --at-release 1",
    "deploy releases",
    "deploy events",
    "deploy list",
    "deploy list --at-position {middle}",
    "env list",
    "deploy rollback --dry-run",
    "deploy scale --replicas 7 --dry-run",
)
APP = app_id(0)
TURNS = 9


def main(events: int = 100_000, apps: int = 1_000, releases: int = 5_000) -> None:
    """Make both ledgers, measure and print."""
    program = str(Path(sys.executable).with_name("1ctl"))
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        (base / "satusky.toml").write_text(f'[app]\nname = "{APP.name}"\n')
        sizes = {"small": (120, 3, 10), "large": (events, apps, releases)}
        for size, (lines, of, first) in sizes.items():
            path, keys = base / size / "ledgers" / "sandbox.db", KeyFiles(base / size / "keys")
            make(path, events=lines, apps=of, releases_of_first_app=first, keys=keys)
        with closing(_store(base, "small")) as small, closing(_store(base, "large")) as large:
            _without_snapshots(large)
            for store in (small, large):
                rebuild(store, APP_LIST)
                LedgerReader(store).app(APP)
            print(f"{f'processor time, {events:,} events':44} {'small':>9} {'large':>9}  ratio")
            _calls({"small": small, "large": large})
            for command in COMMANDS:
                _command(program, base, command, {size: lines for size, (lines, *_) in sizes.items()})
            _rebuild(large)


def _store(base: Path, size: str) -> SqliteStore:
    return SqliteStore(base / size / "ledgers" / "sandbox.db")


def _without_snapshots(store: SqliteStore) -> None:
    """The app, folded from its first event on, as it was done before there were snapshots."""
    history = LedgerReader(store).history(APP)
    took = min(_seconds(lambda: fold(App(id=APP), LedgerReader(store).history(APP))) for _ in range(3))
    print(f"the first app has {len(history):,} events; folding all of them takes {took * 1000:,.0f} ms")
    print(f"from the nearest snapshot it folds {STEP} at most")


def _calls(stores: Mapping[str, SqliteStore]) -> None:
    def asked(question: Callable[[SqliteStore], object], name: str) -> None:
        seconds = {size: [_seconds(partial(question, store)) for _ in range(50)] for size, store in stores.items()}
        _row(f"call: {name}", {size: statistics.median(each) for size, each in seconds.items()})

    asked(lambda store: LedgerReader(store).app(APP), "the app now")
    asked(lambda store: LedgerReader(store).app(APP, upto=store.head().position // 2), "the app half-way")
    asked(lambda store: release_lines(store, _life(store), 1), "where release 1 ended")
    asked(lambda store: release_page(LedgerReader(store), _life(store), 10), "its 10 newest releases")
    asked(lambda store: app_list_page(store, APP.cluster, APP.namespace, limit=3), "3 apps now")
    asked(
        lambda store: app_list_page(store, APP.cluster, APP.namespace, limit=3, position=store.head().position // 2),
        "3 apps half-way",
    )


def _life(store: SqliteStore) -> LifeSpan:
    found = span(store, APP, None)
    assert found is not None
    return found


def _command(program: str, base: Path, command: str, events: Mapping[str, int]) -> None:
    taken: dict[str, list[float]] = {size: [] for size in events}
    for _ in range(TURNS):
        for size, lines in events.items():
            words = command.format(middle=lines // 2).split()
            environ = {**os.environ, "ONECTL_HOME": str(base / size)}
            environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as installed: compiled once, not at every start
            with subprocess.Popen(
                [program, *words], cwd=base, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ) as child:
                _, status, usage = os.wait4(child.pid, 0)
                child.returncode = os.waitstatus_to_exitcode(status)
            assert child.returncode == 0, (size, command)
            taken[size].append(usage.ru_utime + usage.ru_stime)
    _row(f"1ctl {command}", {size: statistics.median(each) for size, each in taken.items()})


def _rebuild(store: SqliteStore) -> None:
    """What the parts of a rebuild take, for each event."""
    events = store.head().position
    rows = store.positions(1, limit=20_000)
    parts: Mapping[str, tuple[Callable[[], object], int]] = {
        "rebuild of every read model": (lambda: rebuild(store, APP_LIST), events),
        "reading a line": (lambda: store.positions(1, limit=len(rows)), len(rows)),
        "decoding what a read model needs of it": (lambda: [told(row) for row in rows], len(rows)),
        "decoding all of it": (lambda: [recorded(row) for row in rows], len(rows)),
    }
    for name, (work, count) in parts.items():
        took = min(_seconds(work) for _ in range(3))
        print(f"{name:44} {took / count * 1e6:9.1f} us an event, {count / took:,.0f} a second")


def _seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def _row(name: str, seconds: Mapping[str, float]) -> None:
    small, large = seconds["small"], seconds["large"]
    print(f"{name:44} {small * 1000:6.1f} ms {large * 1000:6.1f} ms  x{large / small:.2f}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
