"""The sandbox beyond what every cluster must do: its clock, its file, and the failures that it can be asked for."""

from __future__ import annotations

import base64
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effects.cluster import (
    APP_LABEL,
    LEDGER_LABEL,
    ChangedMeanwhileError,
    Cluster,
    ClusterRefusedError,
    ClusterUnreachableError,
    FieldConflictError,
    LogsUnavailableError,
    Ref,
    Rollout,
    Seen,
)
from effects.sandbox import SandboxCluster
from tests.canary import CANARY, leaks
from tests.seeds import examples

LEDGER = "ledger-1"
MANAGER = "1ctl-ledger-1"
STARTUP = 1.0
ROOT = Path(__file__).parent.parent


@dataclass
class Clock:
    at: float = 1_750_000_000.0

    def __call__(self) -> float:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "sandbox.db"


@pytest.fixture
def cluster(path: Path, clock: Clock) -> Iterator[SandboxCluster]:
    opened = SandboxCluster.open(path, now=clock, startup_seconds=STARTUP)
    yield opened
    opened.close()


def metadata(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "namespace": "default", "labels": {LEDGER_LABEL: LEDGER, APP_LABEL: "shop"}} | more


def config_map(name: str = "shop", data: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(name)}
    return manifest | ({} if data is None else {"data": data}) | more


def secret(name: str = "shop", **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata(name)} | more


def deployment(
    image: str = "registry/shop:1", *, replicas: int = 1, name: str = "shop", **pod_spec: Any
) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(name),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {APP_LABEL: name}},
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": {APP_LABEL: name}},
                "spec": {"containers": [{"name": name, "image": image}]} | pod_spec,
            },
        },
    }


SHOP = Ref("Deployment", "default", "shop")


def put(cluster: Cluster, manifest: dict[str, Any], *, manager: str = MANAGER) -> Seen:
    """Applies over whatever is there."""
    ref = Ref(manifest["kind"], "default", manifest["metadata"]["name"])
    return cluster.apply(manifest, manager=manager, expect=cluster.look(ref, ledger_id=LEDGER))


def progress(cluster: Cluster) -> Rollout:
    rollout = cluster.rollout(SHOP)
    assert rollout is not None
    return rollout


def numbers(cluster: Cluster) -> tuple[int, int, int]:
    """Updated, ready and old pods."""
    rollout = progress(cluster)
    return rollout.updated, rollout.ready, rollout.old


def test_a_first_rollout_makes_all_pods_at_once_and_is_complete_when_they_are_ready(
    cluster: SandboxCluster, clock: Clock
) -> None:
    put(cluster, deployment(replicas=3))
    assert numbers(cluster) == (3, 0, 0)
    assert {(pod.phase, pod.ready, pod.reason) for pod in progress(cluster).pods} == {
        ("Pending", False, "ContainerCreating")
    }
    clock.advance(STARTUP - 0.01)
    assert not progress(cluster).complete
    clock.advance(0.01)
    assert progress(cluster).complete
    assert {(pod.phase, pod.ready, pod.reason) for pod in progress(cluster).pods} == {("Running", True, None)}


def test_an_update_replaces_one_ready_pod_after_the_other(cluster: SandboxCluster, clock: Clock) -> None:
    put(cluster, deployment(replicas=2))
    clock.advance(STARTUP)
    put(cluster, deployment("registry/shop:2", replicas=2))
    assert numbers(cluster) == (1, 0, 2)
    clock.advance(STARTUP)
    assert numbers(cluster) == (2, 1, 1)
    clock.advance(STARTUP)
    assert numbers(cluster) == (2, 2, 0)
    assert progress(cluster).complete


def test_the_surge_is_a_quarter_rounded_up_unless_the_manifest_says_otherwise(
    cluster: SandboxCluster, clock: Clock
) -> None:
    first = deployment(replicas=5)
    del first["spec"]["strategy"]
    put(cluster, first)
    clock.advance(STARTUP)
    second = deployment("registry/shop:2", replicas=5)
    del second["spec"]["strategy"]
    put(cluster, second)
    assert numbers(cluster) == (2, 0, 5)


def test_nobody_looking_for_an_hour_ends_with_the_same_pods_as_looking_every_10_ms(tmp_path: Path) -> None:
    def play(directory: str, step: float) -> list[tuple[str, bool]]:
        clock = Clock()
        cluster = SandboxCluster.open(tmp_path / directory, now=clock, startup_seconds=STARTUP)
        put(cluster, deployment(replicas=4))
        for image in ("registry/shop:2", "registry/shop:3"):
            for _ in range(round(2.5 / step)):
                clock.advance(step)
                cluster.rollout(SHOP)
            put(cluster, deployment(image, replicas=4))
        clock.advance(3600)
        assert progress(cluster).complete
        seen = [(pod.name.rpartition("-")[0], pod.ready) for pod in cluster.pods("default")]
        cluster.close()
        return seen

    assert play("often", 0.01) == play("rarely", 2.5)


def test_scaling_adds_and_removes_pods_without_a_new_template(cluster: SandboxCluster, clock: Clock) -> None:
    put(cluster, deployment(replicas=2))
    clock.advance(STARTUP)
    before = {pod.uid for pod in cluster.pods("default")}
    put(cluster, deployment(replicas=4))
    assert numbers(cluster) == (4, 2, 0)
    assert before < {pod.uid for pod in cluster.pods("default")}
    put(cluster, deployment(replicas=2))
    assert {pod.uid for pod in cluster.pods("default")} == before, "pods that are not ready go first"
    assert progress(cluster).complete
    put(cluster, deployment(replicas=0))
    assert cluster.pods("default") == []
    assert progress(cluster).complete


def test_a_rollout_changed_midway_drops_the_failed_template_and_keeps_the_good_one_serving(
    cluster: SandboxCluster, clock: Clock
) -> None:
    put(cluster, deployment(replicas=2))
    clock.advance(STARTUP)
    good = {pod.uid for pod in cluster.pods("default")}
    put(cluster, deployment("registry/broken:2", replicas=2))
    clock.advance(60)
    assert numbers(cluster) == (1, 0, 2)
    put(cluster, deployment("registry/shop:3", replicas=2))
    pods = cluster.pods("default")
    assert {pod.uid for pod in pods if pod.ready} == good
    assert {pod.image for pod in pods} == {"registry/shop:1", "registry/shop:3"}
    clock.advance(2 * STARTUP)
    assert progress(cluster).complete


def test_pods_that_will_never_serve_are_given_up_at_once(cluster: SandboxCluster) -> None:
    put(cluster, deployment("registry/held:1", replicas=3))
    put(cluster, deployment("registry/shop:2", replicas=3))
    assert numbers(cluster) == (3, 0, 0)


def test_a_template_that_only_ever_had_zero_pods_is_not_a_good_one(cluster: SandboxCluster) -> None:
    put(cluster, deployment("registry/held:1", replicas=0))
    put(cluster, deployment("registry/held:1", replicas=3))
    put(cluster, deployment("registry/shop:2", replicas=3))
    assert numbers(cluster) == (3, 0, 0)


def test_pods_of_the_good_template_that_are_still_starting_are_kept(cluster: SandboxCluster, clock: Clock) -> None:
    put(cluster, deployment(replicas=1))
    clock.advance(STARTUP)
    put(cluster, deployment(replicas=3))
    put(cluster, deployment("registry/broken:2", replicas=3))
    clock.advance(STARTUP)
    assert (progress(cluster).updated, progress(cluster).old_ready) == (1, 3)


def test_what_came_after_the_good_template_makes_room_first(cluster: SandboxCluster, clock: Clock) -> None:
    put(cluster, deployment("shop:1", replicas=3))
    clock.advance(STARTUP)
    put(cluster, deployment("shop:2", replicas=3))
    clock.advance(STARTUP)
    put(cluster, deployment("shop:3", replicas=3))
    assert sorted(pod.image for pod in cluster.pods("default")) == ["shop:1", "shop:1", "shop:2", "shop:3"]
    clock.advance(STARTUP)
    assert sorted(pod.image for pod in cluster.pods("default")) == ["shop:1", "shop:1", "shop:3", "shop:3"]


def test_rolling_back_to_the_good_template_is_complete_at_once(cluster: SandboxCluster, clock: Clock) -> None:
    put(cluster, deployment(replicas=2))
    clock.advance(STARTUP)
    put(cluster, deployment("registry/crash:2", replicas=2))
    assert not progress(cluster).complete
    put(cluster, deployment(replicas=2))
    assert progress(cluster).complete


@dataclass(frozen=True)
class Move:
    """Waits, then changes image, replicas or nothing (just looks)."""

    wait: float
    image: str | None
    replicas: int | None


MOVES = st.lists(
    st.builds(
        Move,
        wait=st.sampled_from([0.0, 0.01, 0.5, 1.0, 1.5, 7.0]),
        image=st.none() | st.sampled_from(["shop:1", "shop:2", "shop:3", "broken:4", "held:5", "crash:6"]),
        replicas=st.none() | st.integers(0, 5),
    ),
    max_size=12,
)


@settings(max_examples=examples(25, short=80), deadline=None)
@given(first=st.integers(1, 5), moves=MOVES, surge=st.sampled_from([1, 2, "25%", "100%"]))
def test_ready_pods_never_fall_below_what_was_asked_for_all_along(
    first: int, moves: list[Move], surge: int | str
) -> None:
    clock = Clock()
    with tempfile.TemporaryDirectory() as directory:
        cluster = SandboxCluster.open(Path(directory) / "sandbox.db", now=clock, startup_seconds=STARTUP)

        def send(image: str, replicas: int) -> None:
            manifest = deployment(image, replicas=replicas)
            manifest["spec"]["strategy"]["rollingUpdate"]["maxSurge"] = surge
            put(cluster, manifest)

        def check(floor: int) -> int:
            """Returns the floor from now on: it rises only when a rollout is complete."""
            rollout = progress(cluster)
            assert rollout.ready + rollout.old_ready >= floor
            return rollout.desired if rollout.complete else floor

        image, replicas = "shop:1", first
        send(image, replicas)
        clock.advance(STARTUP)
        floor = check(first)
        for move in moves:
            for _ in range(5):
                clock.advance(move.wait / 5)
                floor = check(floor)
            image, replicas = move.image or image, replicas if move.replicas is None else move.replicas
            floor = min(floor, replicas)
            send(image, replicas)
            floor = check(floor)

        send("shop:last", replicas)
        for _ in range(60):
            clock.advance(STARTUP / 4)
            floor = check(floor)
        assert progress(cluster).complete
        pods = cluster.pods("default")
        assert [(pod.image, pod.ready) for pod in pods] == [("shop:last", True)] * replicas
        assert len({pod.uid for pod in pods}) == replicas
        cluster.close()


@pytest.mark.parametrize(
    ("image", "phase", "reason", "fatal"),
    [
        ("registry/broken-shop:1", "Pending", "ImagePullBackOff", True),
        ("registry.does-not-exist/shop:1", "Pending", "ImagePullBackOff", True),
        ("broken", "Pending", "ImagePullBackOff", True),
        ("registry/held:1", "Pending", "Unschedulable", False),
        ("registry/crash@sha256:00", "Running", "CrashLoopBackOff", True),
    ],
)
def test_an_image_can_ask_to_fail(
    cluster: SandboxCluster, clock: Clock, image: str, phase: str, reason: str, fatal: bool
) -> None:
    put(cluster, deployment(image))
    clock.advance(30)
    rollout = progress(cluster)
    [pod] = rollout.pods
    assert (pod.phase, pod.ready, pod.reason, pod.image) == (phase, False, reason, image)
    assert rollout.failed == ((reason, pod.message) if fatal else None)
    assert not rollout.complete


@pytest.mark.parametrize("image", ["broken.registry/shop:1", "crash/shop", "registry/unbroken:1", "held/shop"])
def test_only_the_last_component_of_an_image_asks_to_fail(cluster: SandboxCluster, clock: Clock, image: str) -> None:
    put(cluster, deployment(image))
    clock.advance(STARTUP)
    assert progress(cluster).complete


def test_the_pull_message_names_the_image(cluster: SandboxCluster) -> None:
    put(cluster, deployment("registry/broken:1"))
    assert progress(cluster).failed == ("ImagePullBackOff", 'Back-off pulling image "registry/broken:1"')


def test_a_rollout_without_progress_fails_at_its_deadline(cluster: SandboxCluster, clock: Clock) -> None:
    manifest = deployment("registry/held:1")
    manifest["spec"]["progressDeadlineSeconds"] = 120
    put(cluster, manifest)
    clock.advance(120)
    assert progress(cluster).failed is None
    clock.advance(1)
    failed = progress(cluster).failed
    assert failed is not None
    assert failed[0] == "ProgressDeadlineExceeded"


def test_a_pod_that_becomes_ready_is_progress(tmp_path: Path, clock: Clock) -> None:
    cluster = SandboxCluster.open(tmp_path / "slow.db", now=clock, startup_seconds=10)
    for replicas in (1, 2):
        manifest = deployment(replicas=replicas)
        manifest["spec"]["progressDeadlineSeconds"] = 8
        put(cluster, manifest)
        clock.advance(9)
    assert numbers(cluster) == (2, 1, 0)
    assert progress(cluster).failed is None
    cluster.close()


def test_a_crashing_container_is_restarted_ever_more_slowly(cluster: SandboxCluster, clock: Clock) -> None:
    put(cluster, deployment("registry/crash:1"))
    counts = []
    for _ in range(4):
        counts.append(cluster.pods("default")[0].restarts)
        clock.advance(300)
    assert counts == sorted(set(counts))
    clock.advance(3600)
    assert cluster.pods("default")[0].restarts < 30


def test_the_log_of_a_crash_ends_with_the_error_and_says_it_is_simulated(cluster: SandboxCluster) -> None:
    put(cluster, deployment("registry/crash:1"))
    [pod] = cluster.pods("default")
    lines = cluster.logs("default", pod.name, lines=20)
    assert len(lines) == 20
    assert "error" in lines[-1]
    assert all("simulated" in line for line in lines)
    assert cluster.logs("default", pod.name, lines=1000)[-20:] == lines
    assert cluster.logs("default", pod.name, lines=0) == []


def test_logs_exist_once_the_container_has_started(cluster: SandboxCluster, clock: Clock) -> None:
    put(cluster, deployment())
    [pod] = cluster.pods("default")
    with pytest.raises(LogsUnavailableError):
        cluster.logs("default", pod.name, lines=10)
    clock.advance(STARTUP)
    assert cluster.logs("default", pod.name, lines=10)
    with pytest.raises(LogsUnavailableError):
        cluster.logs("default", "shop-none", lines=10)


def test_one_image_reference_has_one_digest(cluster: SandboxCluster, clock: Clock) -> None:
    put(cluster, deployment("registry/shop:1", replicas=2))
    put(cluster, deployment("registry/shop:2", name="other"))
    clock.advance(STARTUP)
    digests = {(pod.image, pod.image_digest) for pod in cluster.pods("default")}
    assert len(digests) == 2
    assert all(digest is not None and digest.startswith("sha256:") for _, digest in digests)


def test_pods_run_on_the_nodes_that_the_template_names(cluster: SandboxCluster) -> None:
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-a", "node-b"]}
    required = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    put(cluster, deployment(replicas=2, affinity=affinity))
    put(cluster, deployment(name="picky", nodeSelector={"kubernetes.io/hostname": "node-c"}))
    put(cluster, deployment(name="easy"))
    assert {pod.node for pod in cluster.pods("default", "shop")} == {"node-a", "node-b"}
    assert [pod.node for pod in cluster.pods("default", "picky")] == ["node-c"]
    assert [pod.node for pod in cluster.pods("default", "easy")] == ["sandbox-node"]


def test_pods_are_named_after_deployment_and_template(cluster: SandboxCluster) -> None:
    put(cluster, deployment(replicas=3))
    pods = cluster.pods("default", "shop")
    assert len({pod.name.rsplit("-", 1)[0] for pod in pods}) == 1
    for pod in pods:
        name, template, suffix = pod.name.split("-")
        assert (name, len(template), len(suffix)) == ("shop", 10, 5)


def test_a_clock_that_goes_back_changes_nothing(cluster: SandboxCluster, clock: Clock) -> None:
    put(cluster, deployment(replicas=2))
    clock.advance(STARTUP)
    before = progress(cluster)
    assert before.complete
    clock.advance(-3600)
    assert progress(cluster) == before


def test_a_status_that_changed_is_a_new_resource_version(cluster: SandboxCluster, clock: Clock) -> None:
    seen = put(cluster, deployment())
    clock.advance(STARTUP)
    with pytest.raises(ChangedMeanwhileError):
        cluster.apply(deployment(replicas=2), manager=MANAGER, expect=seen)


@pytest.mark.parametrize("field", ["data", "stringData"])
def test_no_encoding_of_a_secrets_value_reaches_the_disk(cluster: SandboxCluster, path: Path, field: str) -> None:
    raw = CANARY.encode()
    encoded = base64.b64encode(raw).decode()
    manifest = secret() | {field: {"password": CANARY if field == "stringData" else encoded}}
    seen = cluster.apply(manifest, manager=MANAGER, expect=None)
    other = secret() | {field: {"password": "another" if field == "stringData" else "YW5vdGhlcg=="}}
    with pytest.raises(FieldConflictError) as conflict:
        cluster.apply(other, manager="kubectl", expect=seen)
    [kept] = cluster.objects("default")
    assert list(kept["data"]) == ["password"]
    on_disk = b"".join(file.read_bytes() for file in path.parent.iterdir())
    shown = (str(kept) + str(conflict.value)).encode()
    for form in (CANARY, encoded, base64.urlsafe_b64encode(raw).decode()):
        assert leaks(form, on_disk + shown) == []


def test_the_same_value_has_another_digest_in_another_file(cluster: SandboxCluster, tmp_path: Path) -> None:
    other = SandboxCluster.open(tmp_path / "other.db")
    kept = []
    for each in (cluster, other):
        put(each, secret(stringData={"password": CANARY}))
        kept.append(each.objects("default")[0]["data"]["password"])
    other.close()
    assert kept[0] != kept[1]


def test_a_value_that_is_not_base64_is_refused_without_showing_it(cluster: SandboxCluster) -> None:
    with pytest.raises(ClusterRefusedError) as refused:
        put(cluster, secret(data={"password": CANARY}))
    assert refused.value.status == 422
    assert CANARY not in str(refused.value)
    assert refused.value.__cause__ is None


def test_the_same_secret_value_is_no_change_in_either_spelling(cluster: SandboxCluster) -> None:
    seen = put(cluster, secret(stringData={"password": CANARY}))
    again = put(cluster, secret(data={"password": base64.b64encode(CANARY.encode()).decode()}))
    assert again == seen


@pytest.mark.parametrize("make", [config_map, secret])
def test_an_immutable_objects_data_cannot_change(cluster: SandboxCluster, make: Any) -> None:
    put(cluster, make(data={"KEY": "b25l"}, immutable=True))
    for attempt in (
        make(data={"KEY": "dHdv"}, immutable=True),
        make(data={"KEY": "b25l", "OTHER": "b25l"}, immutable=True),
        make(immutable=True),
        make(data={"KEY": "b25l"}),
    ):
        with pytest.raises(ClusterRefusedError) as refused:
            put(cluster, attempt)
        assert (refused.value.status, refused.value.reason) == (422, "Invalid")
    labelled = make(data={"KEY": "b25l"}, immutable=True)
    labelled["metadata"]["labels"]["more"] = "yes"
    assert put(cluster, labelled).labels["more"] == "yes"


def test_what_one_manager_no_longer_sets_goes_and_what_others_set_stays(cluster: SandboxCluster) -> None:
    put(cluster, config_map(data={"A": "1", "SHARED": "x"}))
    foreign = config_map(data={"B": "2", "SHARED": "x"})
    put(cluster, foreign, manager="kubectl")
    put(cluster, config_map(data={"C": "3"}))
    assert cluster.objects("default")[0]["data"] == {"B": "2", "SHARED": "x", "C": "3"}
    put(cluster, config_map(), manager="kubectl")
    assert cluster.objects("default")[0]["data"] == {"C": "3"}
    put(cluster, config_map())
    assert "data" not in cluster.objects("default")[0]


def test_a_conflict_names_manager_and_field_and_changes_nothing(cluster: SandboxCluster) -> None:
    put(cluster, config_map(data={"A": "1"}))
    before = cluster.objects("default")
    with pytest.raises(FieldConflictError) as conflict:
        put(cluster, config_map(data={"A": "secret-looking", "B": "2"}), manager="kubectl")
    assert MANAGER in str(conflict.value)
    assert "data.A" in str(conflict.value)
    assert "secret-looking" not in str(conflict.value)
    assert cluster.objects("default") == before


def test_an_empty_map_takes_nothing_from_others(cluster: SandboxCluster) -> None:
    for manager, data in (("a", {}), ("b", {}), ("c", {"KEY": "x"}), ("a", {})):
        put(cluster, config_map(data=data), manager=manager)
    assert cluster.objects("default")[0]["data"] == {"KEY": "x"}


@pytest.mark.parametrize(("theirs", "ours"), [({"a": 1}, "x"), ("x", {"a": 1}), ([1], [2]), ({}, "x")])
def test_a_field_of_another_shape_is_a_conflict_too(cluster: SandboxCluster, theirs: Any, ours: Any) -> None:
    route = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": metadata("shop")}
    put(cluster, route | {"spec": {"field": theirs}}, manager="kubectl")
    with pytest.raises(FieldConflictError, match=r"kubectl owns spec\.field"):
        put(cluster, route | {"spec": {"field": ours}})


def owned_by(seen: Seen, *more: str) -> dict[str, Any]:
    uids = (seen.uid, *more)
    return {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "shop", "uid": uid} for uid in uids]}


def test_deleting_an_owner_collects_its_dependents_and_theirs(cluster: SandboxCluster, path: Path) -> None:
    owner = put(cluster, config_map())
    middle = put(cluster, deployment() | {"metadata": metadata("shop", **owned_by(owner))})
    put(cluster, config_map("leaf") | {"metadata": metadata("leaf", **owned_by(middle))})
    put(cluster, config_map("stranger"))
    cluster.delete(Ref("ConfigMap", "default", "shop"), uid=owner.uid)
    assert [kept["metadata"]["name"] for kept in cluster.objects("default")] == ["stranger"]
    assert cluster.pods("default") == []
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT count(*) FROM pods").fetchone() == (0,)


def test_what_a_stale_worker_makes_for_an_owner_that_is_gone_is_collected(cluster: SandboxCluster) -> None:
    owner = put(cluster, config_map())
    cluster.delete(Ref("ConfigMap", "default", "shop"), uid=None)
    put(cluster, config_map("late") | {"metadata": metadata("late", **owned_by(owner))})
    assert cluster.objects("default") == []


def test_an_object_stays_while_one_of_its_owners_does(cluster: SandboxCluster) -> None:
    owner = put(cluster, config_map())
    put(cluster, config_map("kept") | {"metadata": metadata("kept", **owned_by(owner, "gone"))})
    assert len(cluster.objects("default")) == 2


def test_a_service_keeps_the_address_it_is_given(cluster: SandboxCluster) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata("shop"), "spec": {"type": "ClusterIP"}}
    put(cluster, service)
    address = cluster.objects("default")[0]["spec"]["clusterIP"]
    assert address.startswith("10.96.")
    put(cluster, service | {"spec": {"ports": [{"port": 80, "protocol": "TCP"}]}})
    assert cluster.objects("default")[0]["spec"]["clusterIP"] == address
    put(cluster, service | {"metadata": metadata("other")})
    assert len({kept["spec"]["clusterIP"] for kept in cluster.objects("default")}) == 2


@pytest.mark.parametrize(
    "manifest",
    [
        config_map("Not_A_Name"),
        config_map(data={"not a key": ""}),
        deployment(replicas=-1),
        deployment(containers=[]),
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata("1shop")},
    ],
)
def test_a_manifest_that_breaks_a_rule_is_refused(cluster: SandboxCluster, manifest: dict[str, Any]) -> None:
    with pytest.raises(ClusterRefusedError) as refused:
        put(cluster, manifest)
    assert refused.value.status == 422
    assert cluster.objects("default") == []


def test_another_namespace_or_kind_is_not_found(cluster: SandboxCluster) -> None:
    elsewhere = config_map()
    elsewhere["metadata"]["namespace"] = "elsewhere"
    for manifest in (elsewhere, config_map() | {"kind": "Pod"}):
        with pytest.raises(ClusterRefusedError) as refused:
            cluster.apply(manifest, manager=MANAGER, expect=None)
        assert refused.value.status == 404
    assert cluster.namespace_exists("default")
    assert not cluster.namespace_exists("elsewhere")


def test_everything_survives_reopening(cluster: SandboxCluster, path: Path, clock: Clock) -> None:
    put(cluster, deployment(replicas=2))
    put(cluster, secret(stringData={"password": CANARY}))
    clock.advance(STARTUP)
    before = (cluster.objects("default"), cluster.pods("default"))
    reopened = SandboxCluster.open(path, now=clock, startup_seconds=STARTUP)
    assert (reopened.objects("default"), reopened.pods("default")) == before
    assert put(reopened, secret(stringData={"password": CANARY})) == put(
        cluster, secret(stringData={"password": CANARY})
    )
    reopened.close()


def test_only_the_owner_can_read_the_file(cluster: SandboxCluster, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("content", [b"this is no database" * 100, None])
def test_a_file_that_is_no_sandbox_is_not_touched(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other.db"
    if content is None:
        with closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE ledger (id)")
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(ClusterUnreachableError) as unreachable:
        SandboxCluster.open(path)
    assert unreachable.value.hint is not None
    assert path.read_bytes() == before


COUNTING = """
import sys, time
from pathlib import Path
from effects.cluster import ChangedMeanwhileError, FieldConflictError, Ref
from effects.sandbox import SandboxCluster

cluster = SandboxCluster.open(Path(sys.argv[1]))
ref = Ref("ConfigMap", "default", "count")
for _ in range(int(sys.argv[2])):
    while True:
        seen = cluster.look(ref, ledger_id="")
        count = int(seen.annotations["count"]) + 1 if seen else 1
        # Two fields of one transaction, told apart by a reader if ever one is written without the other.
        manifest = {
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"count": str(count)},
            "metadata": {"name": "count", "namespace": "default", "annotations": {"count": str(count)}},
        }
        try:
            cluster.apply(manifest, manager="m", expect=seen)
            break
        except ChangedMeanwhileError:
            pass
    print(count, flush=True)
"""


def counting(path: Path, times: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", COUNTING, str(path), str(times)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)


def counted(path: Path) -> int:
    cluster = SandboxCluster.open(path)
    [kept] = cluster.objects("default")
    cluster.close()
    assert kept["data"]["count"] == kept["metadata"]["annotations"]["count"]
    return int(kept["data"]["count"])


def test_processes_at_once_lose_no_update(path: Path) -> None:
    processes = [counting(path, 100) for _ in range(3)]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert counted(path) == 300


@pytest.mark.crash
def test_a_killed_process_leaves_whole_transactions_and_no_lock(path: Path) -> None:
    last = 0
    for attempt in range(8):
        process = counting(path, 1_000_000)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.02 + attempt * 0.007)
        os.kill(process.pid, signal.SIGKILL)
        rest, _ = process.communicate(timeout=60)
        acknowledged = int((rest.rpartition(b"\n")[0].split() or [b"0"])[-1])
        now = counted(path)
        assert now >= max(acknowledged, last)
        last = now
    assert last > 8


def test_threads_may_share_it(cluster: SandboxCluster) -> None:
    def work(name: str) -> None:
        for count in range(20):
            put(cluster, config_map(name, {"count": str(count)}))

    threads = [threading.Thread(target=work, args=(f"map-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [kept["data"] for kept in cluster.objects("default")] == [{"count": "19"}] * 4


def test_closing_waits_for_the_thread_that_is_using_it_and_whoever_comes_later_is_told(path: Path) -> None:
    is_inside, may_go_on = threading.Event(), threading.Event()

    def now() -> float:
        is_inside.set()
        assert may_go_on.wait(20)
        return 0.0

    may_go_on.set()
    cluster = SandboxCluster.open(path, now=now)
    is_inside.clear()
    may_go_on.clear()
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(cluster.objects, "default")
        assert is_inside.wait(20)
        closed = threads.submit(cluster.close)
        wait([closed], timeout=0.2)  # long enough for one that does not wait
        may_go_on.set()
        assert answer.result(20) == []
        closed.result(20)
    with pytest.raises(ClusterUnreachableError):
        cluster.objects("default")


def test_a_home_that_cannot_be_used_is_named_instead_of_a_file_to_remove(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("in the way")
    with pytest.raises(ClusterUnreachableError) as caught:
        SandboxCluster.open(tmp_path / "home" / "sandbox.db", startup_seconds=1)
    assert caught.value.hint is not None
    assert "ONECTL_HOME names the directory" in caught.value.hint
    assert "remove" not in caught.value.hint
