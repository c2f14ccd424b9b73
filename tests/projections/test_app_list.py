from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ledger.app import App, fold
from ledger.events import ApplyRefused, ResourcesApplied
from ledger.spec import AppId, Spec
from ledger.sqlite_store import SqliteStore
from projections.app_list import AppListRow, app_list, app_list_page
from projections.app_views import deployment
from tests.projections.histories import APPS, Script, about, write
from tests.projections.stores import Ledgers, ReadOnlyStore

ORDERS, USERS, ELSEWHERE, STAGING = APPS


@pytest.fixture
def ledger() -> Script:
    return Script()


class Reader:
    """Lists what a script says, read with a store that writes what it reads into the table, or one that cannot."""

    def __init__(self, ledgers: Ledgers, *, outside: bool) -> None:
        self._writer = ledgers.open()
        self._reader = ledgers.outsider() if outside else ledgers.open()
        self._written = 0

    def __call__(self, ledger: Script, app: AppId = ORDERS, **asked: Any) -> list[AppListRow]:
        write(self._writer, ledger.lines[self._written :])
        self._written = len(ledger.lines)
        return app_list_page(self._reader, app.cluster, app.namespace, **asked).rows


@pytest.fixture(params=[False, True], ids=["from the table", "from memory"])
def listed(request: pytest.FixtureRequest, ledgers: Ledgers) -> Reader:
    return Reader(ledgers, outside=request.param)


@pytest.mark.parametrize("kind", [SqliteStore, ReadOnlyStore])
def test_a_ledger_that_does_not_exist_lists_nothing_and_is_not_made(tmp_path: Path, kind: type[SqliteStore]) -> None:
    assert app_list(kind(tmp_path / "none" / "ledger.db"), "prod", "shop") == []
    assert list(tmp_path.iterdir()) == []


def test_a_life_is_listed_once_deployed(ledger: Script, listed: Reader) -> None:
    assert listed(ledger) == []
    deployed = ledger.deploy(ORDERS, Spec(image="nginx:alpine", machines=("m1", "m2"), replicas=2))
    (row,) = listed(ledger)
    assert (row.app, row.image, row.replicas, row.release, row.status) == ("orders", "nginx:alpine", 2, 1, "pending")
    assert (row.opened, row.opened_us, row.updated_us) == (
        deployed.position,
        deployed.recorded_us,
        deployed.recorded_us,
    )
    assert row.deployment().hostnames == ("m1", "m2")


def test_json_is_that_of_a_deployment_without_domain(ledger: Script, listed: Reader) -> None:
    ledger.deploy(ORDERS, env={"A": "b"})
    ledger.applied(ORDERS)
    document = listed(ledger)[0].deployment().to_json()
    assert {"deployment_id", "app_label", "status", "replicas", "created_at"} <= document.keys()
    assert (document["status"], document["env_enabled"], document["secret_enabled"]) == ("completed", True, False)
    assert "domain" not in document


def test_a_redeploy_is_the_same_line_with_its_configuration(ledger: Script, listed: Reader) -> None:
    ledger.deploy(ORDERS, env={"A": "b"})
    ledger.secret_set(ORDERS, "S")
    ledger.deploy(ORDERS, Spec(image="new"))
    (row,) = listed(ledger)
    assert (row.release, row.image, row.env_names, row.secret_names) == (2, "new", ["A"], ["S"])


def test_configuration_keys_are_counted_once(ledger: Script, listed: Reader) -> None:
    ledger.deploy(ORDERS, env={"A": "1", "B": "1"})
    ledger.env_set(ORDERS, {"A": "2", "C": "2"})
    ledger.env_unset(ORDERS, "B")
    ledger.secret_set(ORDERS, "S", "T")
    ledger.secret_set(ORDERS, "S")
    ledger.secret_unset(ORDERS, "T")
    (row,) = listed(ledger)
    assert (row.env_names, row.secret_names) == (["A", "C"], ["S"])


def test_a_rollback_shows_what_it_brings_back(ledger: Script, listed: Reader) -> None:
    ledger.deploy(ORDERS, env={"A": "1"})
    ledger.deploy(ORDERS, Spec(image="new"))
    ledger.env_set(ORDERS, {"B": "1"})
    ledger.secret_set(ORDERS, "S")
    ledger.applied(ORDERS)
    ledger.roll_back(ORDERS, 1, env={"A": "1"})
    (row,) = listed(ledger)
    assert (row.release, row.image, row.env_names, row.secret_names) == (3, "orders:1", ["A"], [])
    assert row.status == "pending"


def test_a_purged_secret_is_not_listed(ledger: Script, listed: Reader) -> None:
    ledger.deploy(ORDERS)
    ledger.secret_set(ORDERS, "S", "T")
    ledger.purge(ORDERS, "S")
    assert listed(ledger)[0].secret_names == ["T"]


def test_status_follows_what_the_cluster_said(ledger: Script, listed: Reader) -> None:
    ledger.deploy(ORDERS)
    ledger.applied(ORDERS)
    assert listed(ledger)[0].status == "completed"
    ledger.scale(ORDERS, 3)
    assert (listed(ledger)[0].status, listed(ledger)[0].replicas) == ("pending", 3)
    ledger.refused(ORDERS)
    assert listed(ledger)[0].status == "failed"
    ledger.applied(ORDERS)
    assert listed(ledger)[0].status == "completed"
    ledger.restart(ORDERS)
    assert listed(ledger)[0].status == "pending"


def test_what_was_applied_of_a_line_that_the_ledger_lost_completes_nothing(ledger: Script, listed: Reader) -> None:
    ledger.deploy(ORDERS)
    ledger.applied(ORDERS, through=99)
    (row,) = listed(ledger)
    assert row.status == "pending"
    ledger.applied(ORDERS)
    (row,) = listed(ledger)
    assert row.status == "completed"


def test_the_status_of_an_ended_life_follows_what_becomes_of_its_objects(ledger: Script, listed: Reader) -> None:
    def statuses() -> list[str]:
        (row,) = listed(ledger, ended=True)
        leaving = fold(App(id=ORDERS), about(ledger.lines, ORDERS)).leaving
        return [row.status, deployment(ORDERS, leaving).status if leaving else "destroyed"]

    ledger.deploy(ORDERS)
    ended = ledger.destroy(ORDERS)
    assert statuses() == ["pending"] * 2
    refused = ApplyRefused(release=1, through=ended.position, reason="Forbidden", message="no")
    ledger.late(ORDERS, refused)
    assert statuses() == ["failed"] * 2
    retried = ledger.retry_removal(ORDERS)
    assert statuses() == ["pending"] * 2
    ledger.late(ORDERS, refused)
    assert statuses() == ["pending"] * 2, "that is news about the time before"
    ledger.late(ORDERS, replace(refused, through=retried.position))
    assert statuses() == ["failed"] * 2
    (row,) = listed(ledger, ended=True)
    assert row.updated_us == row.destroyed_us == ended.recorded_us
    ledger.removed(ORDERS)
    ledger.late(ORDERS, refused)
    assert statuses() == ["destroyed"] * 2


def test_only_the_namespace_asked_for_oldest_first(ledger: Script, listed: Reader) -> None:
    for app in (USERS, ELSEWHERE, STAGING, ORDERS):
        ledger.deploy(app)
    ledger.deploy(USERS)
    assert [row.app for row in listed(ledger)] == ["users", "orders"]
    assert [row.namespace for row in listed(ledger, ELSEWHERE)] == ["blog"]
    assert [row.cluster for row in listed(ledger, STAGING)] == ["staging"]


def test_destroyed_lives_are_listed_only_if_wanted(ledger: Script, listed: Reader) -> None:
    ledger.deploy(ORDERS)
    ledger.applied(ORDERS)
    destroyed = ledger.destroy(ORDERS)
    assert listed(ledger) == []
    (row,) = listed(ledger, ended=True)
    assert (row.status, row.destroyed_us) == ("pending", destroyed.recorded_us)
    ledger.removed(ORDERS)
    assert listed(ledger, ended=True)[0].status == "destroyed"
    ledger.deploy(ORDERS)
    assert [row.status for row in listed(ledger, ended=True)] == ["destroyed", "pending"]
    assert [row.release for row in listed(ledger)] == [1]


def test_a_life_had_ended_although_its_removal_was_tried_again_later(ledger: Script, listed: Reader) -> None:
    ledger.deploy(ORDERS)
    destroyed = ledger.destroy(ORDERS).position
    ledger.retry_removal(ORDERS)
    listed(ledger)
    assert [len(listed(ledger, position=position)) for position in (destroyed - 1, destroyed, destroyed + 1)] == [
        1,
        0,
        0,
    ]
    assert len(listed(ledger, position=destroyed, ended=True)) == 1


def test_what_is_told_late_about_an_ended_life_changes_nothing(ledger: Script, listed: Reader) -> None:
    ledger.deploy(ORDERS)
    destroyed = ledger.destroy(ORDERS)
    before = listed(ledger, ended=True)
    ledger.late(ORDERS, ResourcesApplied(release=1, through=destroyed.position, objects=()))
    assert listed(ledger, ended=True) == before
    ledger.removed(ORDERS)
    gone = listed(ledger, ended=True)
    ledger.late(ORDERS, ApplyRefused(release=1, through=destroyed.position, reason="NotFound", message="gone"))
    assert listed(ledger, ended=True) == gone


def test_pages_join_to_the_whole_list(ledger: Script, listed: Reader) -> None:
    apps = [AppId("prod", "shop", f"app-{number}") for number in range(7)]
    for app in apps:
        ledger.deploy(app)
    listed(ledger)
    for app in apps[::2]:
        ledger.destroy(app)
    ledger.deploy(apps[1])
    ledger.deploy(apps[0])
    for ended, count in ((False, 4), (True, 8)):
        whole = listed(ledger, ended=ended)
        assert len(whole) == count
        paged: list[AppListRow] = []
        while page := listed(ledger, ended=ended, after=paged[-1].opened if paged else 0, limit=3):
            assert len(page) <= 3
            paged += page
        assert paged == whole


def test_a_read_only_reader_adds_the_tail_to_the_stored_rows(ledger: Script, ledgers: Ledgers) -> None:
    writer, outsider = ledgers.open(), ledgers.outsider()
    ledger.deploy(ORDERS)
    ledger.deploy(USERS)
    write(writer, ledger.lines)
    app_list(writer, "prod", "shop")
    written = len(ledger.lines)
    ledger.destroy(ORDERS)
    ledger.scale(USERS, 9)
    ledger.deploy(ORDERS)
    write(writer, ledger.lines[written:])
    answer = app_list(outsider, "prod", "shop")
    assert [(row.app, row.replicas) for row in answer] == [("users", 9), ("orders", 1)]
    assert answer == app_list(writer, "prod", "shop")


def test_a_page_is_full_although_its_stored_rows_have_ended_since(ledger: Script, ledgers: Ledgers) -> None:
    writer = ledgers.open()
    apps = [AppId("prod", "shop", f"app-{number}") for number in range(6)]
    for app in apps:
        ledger.deploy(app)
    write(writer, ledger.lines)
    app_list(writer, "prod", "shop")
    written = len(ledger.lines)
    for app in apps[:3]:
        ledger.destroy(app)
    write(writer, ledger.lines[written:])
    page = app_list_page(ledgers.outsider(), "prod", "shop", limit=2)
    assert [row.app for row in page.rows] == ["app-3", "app-4"]
    assert page.more == 1


def test_listing_imports_nothing_heavy() -> None:
    program = (
        "import sys, projections.app_list, projections.releases, projections.app_views, "
        "projections.configuration_views\n"
        "print({'sqlalchemy', 'eventsourcing', 'kubernetes', 'typer', 'cryptography'} & sys.modules.keys())"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_row_has_the_columns_of_its_table() -> None:
    from projections.tables import app_list as table

    assert AppListRow._fields == tuple(column.name for column in table.columns)
