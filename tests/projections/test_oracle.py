"""Caught up bit by bit == rebuilt == folded in memory == what an oracle says that was written a second way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.app import App, fold
from ledger.envelope import Recorded
from ledger.sqlite_store import SqliteStore
from projections.app_list import APP_LIST, AppListRow, PastRow, app_list, app_list_page
from projections.app_views import deployment
from projections.releases import releases
from projections.runner import rebuild
from tests.projections import oracle
from tests.projections.histories import APPS, Step, about, script, steps, write
from tests.projections.shown import shown
from tests.projections.stores import ReadOnlyStore, catch_up
from tests.seeds import examples

calm = settings(
    deadline=None,
    max_examples=examples(20, short=60),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@calm
@given(plan=steps(min_size=10, max_size=40), data=st.data())
def test_the_list_is_the_same_however_it_came_about(plan: list[Step], data: st.DataObject) -> None:
    lines = script(plan).lines
    cuts = sorted(data.draw(st.lists(st.integers(0, len(lines)), max_size=4), label="catch-up points"))
    with TemporaryDirectory() as directory:
        path = Path(directory) / "ledger.db"
        readers = [SqliteStore(path), SqliteStore(path)]
        outsider = ReadOnlyStore(path)
        for turn, (start, stop) in enumerate(zip([0, *cuts], [*cuts, len(lines)], strict=True)):
            write(readers[0], lines[start:stop])
            so_far = oracle.listed(lines[:stop])
            if turn % 2:
                assert _everything(outsider) == so_far
            catch_up(readers[turn % 2], [APP_LIST])
            assert _everything(readers[0]) == so_far
            assert _everything(readers[1]) == so_far
        rebuild(readers[1], APP_LIST)
        assert _everything(readers[0]) == oracle.listed(lines)
        for store in (*readers, outsider):
            store.close()


@settings(calm, max_examples=examples(5, short=15))
@given(plan=steps(min_size=10, max_size=25), data=st.data())
def test_the_list_of_any_moment_is_what_it_was_then(plan: list[Step], data: st.DataObject) -> None:
    lines = script(plan).lines
    cuts = sorted(data.draw(st.lists(st.integers(1, len(lines)), max_size=4), label="catch-up points"))
    with TemporaryDirectory() as directory:
        path = Path(directory) / "ledger.db"
        store, outsider = SqliteStore(path), ReadOnlyStore(path)
        for start, stop in zip([0, *cuts], [*cuts, len(lines)], strict=True):
            catch_up(store, [APP_LIST])
            write(store, lines[start:stop])
        for reader in (outsider, store):  # from memory above the checkpoint, then from the table
            for position in range(1, len(lines) + 1):
                assert _everything(reader, position) == oracle.listed(lines[:position]), position
        caught_up = store.ask("projections.app_list_past_rows", {})
        rebuild(store, APP_LIST)
        assert store.ask("projections.app_list_past_rows", {}) == caught_up
        for reader in (outsider, store):
            reader.close()


@calm
@given(plan=steps(min_size=10, max_size=40))
def test_what_rows_were_before_leaves_no_gap_and_no_overlap(plan: list[Step]) -> None:
    with TemporaryDirectory() as directory:
        store = SqliteStore(Path(directory) / "ledger.db")
        write(store, script(plan).lines)
        catch_up(store, [APP_LIST])
        reached: dict[int, int] = {}
        for row in map(PastRow._make, store.ask("projections.app_list_past_rows", {})):
            assert row.valid_from == reached.get(row.opened, row.opened) < row.valid_to
            reached[row.opened] = row.valid_to
        for now in map(AppListRow._make, store.ask("projections.app_list_rows", {})):
            assert now.valid_from == reached.get(now.opened, now.opened)
        store.close()


@calm
@given(plan=steps(min_size=25, max_size=80))
def test_the_fold_is_what_the_oracle_says(plan: list[Step]) -> None:
    lines = script(plan).lines
    rows: dict[str, AppListRow] = {}
    for line in lines:
        APP_LIST.apply(rows, line)
    assert [shown(row) for row in rows.values()] == oracle.listed(lines)


@calm
@given(plan=steps(min_size=25, max_size=80))
def test_the_list_and_the_view_of_a_life_on_its_way_out_agree(plan: list[Step]) -> None:
    lines = script(plan).lines
    rows: dict[str, AppListRow] = {}
    for line in lines:
        APP_LIST.apply(rows, line)
    for app_id in APPS:
        leaving = fold(App(id=app_id), about(lines, app_id)).leaving
        if leaving is not None:
            view, listed = deployment(app_id, leaving), rows[leaving.deployment_id].deployment()
            assert (view.status, view.updated_us) == (listed.status, listed.updated_us)


@calm
@given(plan=steps(min_size=25, max_size=80))
def test_releases_are_what_the_oracle_says(plan: list[Step]) -> None:
    lines = script(plan).lines
    assert _releases(lines) == oracle.released(lines)
    for app in APPS:
        assert _releases(about(lines, app)) == oracle.released(about(lines, app))


def _releases(lines: Sequence[Recorded]) -> list[list[dict[str, object]]]:
    return [
        [{key: value for key, value in release._asdict().items() if key != "outcome"} for release in life.releases]
        for life in releases(lines)
    ]


def _everything(store: SqliteStore, position: int | None = None) -> list[dict[str, object]]:
    places = sorted({(app.cluster, app.namespace) for app in APPS})
    rows = []
    for cluster, namespace in places:
        everyone = app_list(store, cluster, namespace, ended=True, position=position)
        still_open = [row for row in everyone if row.destroyed_us is None]
        assert app_list(store, cluster, namespace, position=position) == still_open
        page = app_list_page(store, cluster, namespace, ended=True, limit=1, position=position)
        assert (page.rows, page.more) == (everyone[:1], max(0, len(everyone) - 1))
        rows += everyone
    return [shown(row) for row in sorted(rows, key=lambda row: row.opened)]
