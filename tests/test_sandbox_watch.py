"""The sandbox's watch beyond what every cluster must do: what it remembers, who writes, what it costs others."""

from __future__ import annotations

import sqlite3
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from effects.cluster import Change, ClusterRefusedError, ClusterUnreachableError, ExpiredError, Ref
from effects.sandbox import SandboxCluster
from effects.sandbox_store import SCHEMAS
from tests.test_sandbox import LEDGER, STARTUP, Clock, config_map, deployment, put


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sandbox.db"


@pytest.fixture
def cluster(path: Path, clock: Clock) -> Iterator[SandboxCluster]:
    opened = SandboxCluster.open(path, now=clock, startup_seconds=STARTUP, watch_seconds=0.0)
    yield opened
    opened.close()


def now(cluster: SandboxCluster) -> str:
    (page,) = cluster.pages("ConfigMap", "default", ledger_id=LEDGER)
    return page.version


def told(cluster: SandboxCluster, since: str, kind: str = "ConfigMap") -> list[Change]:
    """What a watch of no length tells, less the bookmark that it ends with."""
    with cluster.watch(kind, "default", ledger_id=LEDGER, since=since) as watch:
        *changes, last = watch
    assert last.kind == "bookmark"
    return changes


def names(changes: list[Change]) -> list[tuple[str, str]]:
    return [(change.kind, change.ref.name) for change in changes if change.ref is not None]


def test_of_quick_changes_to_one_object_the_last_is_told(cluster: SandboxCluster) -> None:
    since = now(cluster)
    put(cluster, config_map(data={"A": "1"}))
    last = put(cluster, config_map(data={"A": "2"}))
    assert [change.seen for change in told(cluster, since)] == [last]


def test_an_object_that_was_made_and_deleted_meanwhile_is_only_gone(cluster: SandboxCluster) -> None:
    since = now(cluster)
    put(cluster, config_map())
    cluster.delete(Ref("ConfigMap", "default", "shop"), uid=None)
    assert names(told(cluster, since)) == [("gone", "shop")]


def test_an_object_that_was_deleted_and_made_again_is_gone_and_then_present(cluster: SandboxCluster) -> None:
    first = put(cluster, config_map())
    since = now(cluster)
    cluster.delete(Ref("ConfigMap", "default", "shop"), uid=None)
    second = put(cluster, config_map())
    gone, present = told(cluster, since)
    assert (gone.kind, present.kind) == ("gone", "present")
    assert gone.seen is not None
    assert (gone.seen.uid, present.seen) == (first.uid, second)


def test_what_is_collected_as_garbage_is_gone(cluster: SandboxCluster) -> None:
    owner = put(cluster, config_map("owner"))
    owned = config_map("owned")
    owned["metadata"]["ownerReferences"] = [{"kind": "ConfigMap", "name": "owner", "uid": owner.uid}]
    put(cluster, owned)
    since = now(cluster)
    cluster.delete(Ref("ConfigMap", "default", "owner"), uid=None)
    assert names(told(cluster, since)) == [("gone", "owner"), ("gone", "owned")]


def test_an_object_that_hangs_on_two_that_go_is_gone_once(cluster: SandboxCluster) -> None:
    def owned_by(*owners: str) -> list[dict[str, str]]:
        return [{"kind": "ConfigMap", "name": name, "uid": uids[name]} for name in owners]

    uids = {"root": put(cluster, config_map("root")).uid}
    for name, owners in (("left", ["root"]), ("right", ["root"]), ("leaf", ["left", "right"])):
        wanted = config_map(name)
        wanted["metadata"]["ownerReferences"] = owned_by(*owners)
        uids[name] = put(cluster, wanted).uid
    since = now(cluster)
    cluster.delete(Ref("ConfigMap", "default", "root"), uid=None)
    gone = names(told(cluster, since))
    assert sorted(gone) == [("gone", name) for name in ("leaf", "left", "right", "root")]


def test_what_another_process_does_is_told(cluster: SandboxCluster, path: Path) -> None:
    since = now(cluster)
    with closing(SandboxCluster.open(path)) as other:
        put(other, config_map())
    assert names(told(cluster, since)) == [("present", "shop")]


def test_pods_that_become_ready_by_themselves_are_told_once(cluster: SandboxCluster, clock: Clock) -> None:
    put(cluster, deployment())
    since = now(cluster)
    assert told(cluster, since, "Deployment") == []
    clock.advance(STARTUP)
    (change,) = told(cluster, since, "Deployment")
    assert told(cluster, change.version, "Deployment") == []


def test_a_missed_deadline_is_told(cluster: SandboxCluster, clock: Clock) -> None:
    stuck = deployment("held:1")
    stuck["spec"]["progressDeadlineSeconds"] = 5
    put(cluster, stuck)
    since = now(cluster)
    clock.advance(5)
    assert told(cluster, since, "Deployment") == []
    clock.advance(0.01)
    assert names(told(cluster, since, "Deployment")) == [("present", "shop")]


def test_what_is_gone_is_remembered_up_to_a_number_and_then_expired(
    cluster: SandboxCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("effects.sandbox_store.TOMBSTONES", 3)
    marks = []
    for number in range(5):
        put(cluster, config_map(f"map-{number}"))
        marks.append(now(cluster))
        cluster.delete(Ref("ConfigMap", "default", f"map-{number}"), uid=None)
    assert names(told(cluster, marks[2])) == [("gone", f"map-{number}") for number in (2, 3, 4)]
    with pytest.raises(ExpiredError, match=marks[1]):
        told(cluster, marks[1])


def test_a_version_of_another_file_has_expired(cluster: SandboxCluster) -> None:
    with pytest.raises(ExpiredError):
        told(cluster, str(int(now(cluster)) + 1))


def test_what_is_no_version_is_refused(cluster: SandboxCluster) -> None:
    with pytest.raises(ClusterRefusedError, match="resource version"):
        cluster.watch("ConfigMap", "default", ledger_id=LEDGER, since="yesterday")


def test_a_watch_keeps_nobody_from_writing(cluster: SandboxCluster, path: Path) -> None:
    with closing(SandboxCluster.open(path, watch_seconds=30.0)) as reading:
        watch = reading.watch("ConfigMap", "default", ledger_id=LEDGER, since=now(cluster))
        for number in range(50):
            put(cluster, config_map(f"map-{number}"))
        assert len({next(watch).ref for _ in range(50)}) == 50
        watch.close()


def test_a_file_that_is_no_sandbox_any_more_breaks_the_watch(cluster: SandboxCluster, path: Path) -> None:
    watch = cluster.watch("ConfigMap", "default", ledger_id=LEDGER, since=now(cluster))
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE gone")
    put(cluster, config_map())
    with pytest.raises(ClusterUnreachableError):
        list(watch)


def test_a_file_of_the_first_version_is_brought_up_to_date(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        for statement in SCHEMAS[0].split(";"):
            db.execute(statement)
        db.executemany(
            "INSERT INTO meta VALUES (?, ?)", [("key", b"k" * 32), ("resource_version", 7), ("addresses", 0)]
        )
        owners = '{"1ctl-ledger-1": [["data", "A"]]}'
        manifest = (
            '{"apiVersion": "v1", "kind": "ConfigMap", "data": {"A": "1"},'
            ' "metadata": {"name": "shop", "namespace": "default", "labels": {"1ctl.dev/ledger": "ledger-1"}}}'
        )
        row = ("u1", "ConfigMap", "default", "shop", 7, 1, 0.0, owners, manifest)
        db.execute("INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        db.execute("PRAGMA user_version = 1")
        db.commit()
    with closing(SandboxCluster.open(path, watch_seconds=0.0)) as cluster:
        (page,) = cluster.pages("ConfigMap", "default", ledger_id=LEDGER)
        assert [(each.ref.name, each.seen.uid) for each in page.objects] == [("shop", "u1")]
        cluster.edit(Ref("ConfigMap", "default", "shop"), {"data": {"A": "2"}})
        assert names(told(cluster, page.version)) == [("present", "shop")]
    with closing(SandboxCluster.open(path)) as again:
        assert len(again.objects("default")) == 1


def test_a_list_that_is_read_page_by_page_holds_little_of_each_object(cluster: SandboxCluster) -> None:
    for number in range(200):
        put(cluster, config_map(f"shop-{number:03}", data={"A": "x" * 2_000}))
    next(cluster.pages("ConfigMap", "default", ledger_id=LEDGER, limit=1))  # what is made once
    tracemalloc.start()
    try:
        pages = cluster.pages("ConfigMap", "default", ledger_id=LEDGER, limit=1)
        first = next(pages)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [each.ref.name for each in first.objects] == ["shop-000"]
    assert len(list(pages)) == 199
    assert kept / 200 < 1_000, "bytes an object"
