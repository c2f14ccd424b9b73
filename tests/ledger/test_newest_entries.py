"""The newest entries about an app are the last of all entries about it, however few lines are read for them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import audit_log
from ledger.audit_log import Filter, entries, newest
from ledger.sqlite_store import SqliteStore
from tests.projections.histories import APPS, Script, Step, script, steps, write
from tests.seeds import examples

APP = APPS[0]


def about_the_app(kinds: Collection[str] = ()) -> Filter:
    return Filter(cluster=APP.cluster, namespace=APP.namespace, app=APP.name, kinds=kinds)


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "WINDOW", 4)


@settings(
    deadline=None,
    max_examples=examples(20, short=60),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
@given(plan=steps(min_size=10, max_size=80), data=st.data())
def test_the_newest_entries_are_the_last_of_all(plan: list[Step], data: st.DataObject) -> None:
    lines = script(plan).lines
    count = data.draw(st.integers(0, 12), label="count")
    kinds = data.draw(
        st.sampled_from([(), ("EnvSet",), ("DomainClaimed", "DomainReleased"), ("Deployed",)]), label="kinds"
    )
    upto = data.draw(st.none() | st.integers(1, len(lines)), label="upto")
    wanted = about_the_app(kinds)
    with TemporaryDirectory() as directory:
        store = SqliteStore(Path(directory) / "ledger.db")
        write(store, lines)
        everything = list(entries(store, wanted, upto=upto))
        assert newest(store, wanted, count, upto=upto) == (everything[-count:] if count else [])
        store.close()


def test_a_claim_is_told_although_only_the_newest_lines_are_read(tmp_path: Path) -> None:
    ledger = Script()
    for _ in range(20):
        ledger.deploy(APP)
    ledger.destroy(APP)
    ledger.removed(APP)
    store = SqliteStore(tmp_path / "ledger.db")
    write(store, ledger.lines)
    found = newest(store, about_the_app(), 3)
    assert [entry.row.topic for entry in found] == ["Destroyed", "DomainReleased", "ResourcesRemoved"]
    store.close()
