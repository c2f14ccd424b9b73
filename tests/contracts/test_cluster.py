"""What every adapter of the `Cluster` protocol must do, run over all of them.

An image's name decides its fate: with ``does-not-exist`` in it, it cannot be pulled; one that starts with ``held``
never starts; one that starts with ``crash`` ends at once, again and again; any other soon runs.
"""

from __future__ import annotations

import base64
import gc
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from effects.cluster import (
    API_VERSIONS,
    LEDGER_LABEL,
    POSITION_ANNOTATION,
    Change,
    ChangedMeanwhileError,
    Cluster,
    ClusterError,
    ClusterRefusedError,
    FieldConflictError,
    FrozenError,
    LogsUnavailableError,
    Page,
    Ref,
    Rollout,
    Seen,
    Watch,
    ref_of,
)
from effects.desired import ROLL_ANNOTATION
from effects.drift import differences
from effects.managers import owner_of
from effects.replacing import parts_to_replace
from effects.sandbox import SandboxCluster
from tests.kubernetes_support import Administrator, everything_told, kubeconfig

LEDGER = "3f1c9a52-6f0e-4b41-9a0e-4c9d3c1f7b10"
OURS = "1ctl-test"
THEIRS = "someone-else"
PASSWORD = "correct horse battery staple"
REPLICAS = 2
WATCH_SECONDS = 30
"""How long a watch lasts: far longer than a busy machine takes for what is done meanwhile."""

Object = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Adapter:
    """An adapter under test.

    Attributes:
        cluster: The cluster.
        namespace: One to use.
        stored: An object's content as the cluster keeps it.
        edit: Changes an object by hand, past the adapter: a merge patch in the name of a field manager.
    """

    cluster: Cluster
    namespace: str
    stored: Callable[[Ref], Mapping[str, Any]]
    edit: Callable[[Ref, Mapping[str, Any], str], object]


@pytest.fixture(params=["sandbox", pytest.param("kubernetes", marks=pytest.mark.kubernetes)])
def adapter(request: pytest.FixtureRequest, tmp_path: Path, watch_seconds: int) -> Iterator[Adapter]:
    adapters = {
        "sandbox": lambda: a_sandbox(tmp_path, watch_seconds),
        "kubernetes": lambda: a_kubernetes(watch_seconds),
    }
    yield from adapters[request.param]()


@pytest.fixture
def watch_seconds() -> int:
    return WATCH_SECONDS


short_watches = pytest.mark.parametrize("watch_seconds", [1])
"""For what happens at the end of a watch."""


def a_sandbox(directory: Path, watch_seconds: int) -> Iterator[Adapter]:
    cluster = SandboxCluster.open(directory / "sandbox.sqlite", startup_seconds=0.1, watch_seconds=watch_seconds)

    def stored(ref: Ref) -> Mapping[str, Any]:
        objects = {ref_of(kept): kept for kept in cluster.objects(ref.namespace)}
        return objects[ref]

    def edit(ref: Ref, patch: Mapping[str, Any], manager: str) -> None:
        cluster.edit(ref, patch, manager=manager)

    yield Adapter(cluster, "default", stored, edit)
    cluster.close()


def a_kubernetes(watch_seconds: int = WATCH_SECONDS) -> Iterator[Adapter]:
    from effects.kubernetes_cluster import KubernetesCluster

    file = kubeconfig()
    administrator = Administrator(file)
    with (
        administrator.namespace() as namespace,
        KubernetesCluster.connect(
            kubeconfig=file, context=administrator.context, watch_seconds=watch_seconds
        ) as cluster,
    ):
        yield Adapter(cluster, namespace, administrator.read, administrator.edit)
    administrator.close()


@pytest.fixture
def cluster(adapter: Adapter) -> Cluster:
    return adapter.cluster


@pytest.fixture
def namespace(adapter: Adapter) -> str:
    return adapter.namespace


# Objects


def manifest(kind: str, namespace: str, *, name: str = "shop", position: str = "0.1", **content: Any) -> Object:
    metadata = {
        "namespace": namespace,
        "name": name,
        "labels": {LEDGER_LABEL: LEDGER, "app": name},
        "annotations": {POSITION_ANNOTATION: position},
    }
    return {"apiVersion": API_VERSIONS[kind], "kind": kind, "metadata": metadata, **content}


def config_map(namespace: str, **data: str) -> Object:
    return manifest("ConfigMap", namespace, data=data)


def secret(namespace: str, **values: str) -> Object:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return manifest("Secret", namespace, data=data)


def service(namespace: str) -> Object:
    ports = [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]
    return manifest("Service", namespace, spec={"selector": {"app": "shop"}, "ports": ports})


def route(namespace: str) -> Object:
    rules = [{"backendRefs": [{"name": "shop", "port": 80}]}]
    spec = {"parentRefs": [{"name": "gateway"}], "hostnames": ["shop.example.com"], "rules": rules}
    return manifest("HTTPRoute", namespace, spec=spec)


def named(wanted: Object, name: str) -> Object:
    """The same object under another name."""
    return {**wanted, "metadata": {**wanted["metadata"], "name": name}}


def deployment(namespace: str, *, image: str = "nginx:1", replicas: int = REPLICAS, roll: str = "1") -> Object:
    fates: Mapping[str, Mapping[str, str]] = {
        "held": {"fakelet/hold": "true"},
        "crash": {"fakelet/fail": "CrashLoopBackOff"},
    }
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "shop"}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {
            "metadata": {
                "labels": {"app": "shop"},
                "annotations": {ROLL_ANNOTATION: roll, **fates.get(image.partition(":")[0], {})},
            },
            "spec": {"containers": [{"name": "shop", "image": image}]},
        },
    }
    return manifest("Deployment", namespace, spec=spec)


OBJECTS: Mapping[str, Callable[[str], Object]] = {
    "ConfigMap": lambda namespace: config_map(namespace, colour="red"),
    "Secret": lambda namespace: secret(namespace, password=PASSWORD),
    "Service": service,
    "Deployment": deployment,
    "HTTPRoute": route,
}

NOT_SECRET = sorted(API_VERSIONS.keys() - {"Secret"})
each_kind = pytest.mark.parametrize("kind", sorted(API_VERSIONS))


# Doing and waiting


def look(cluster: Cluster, wanted: Object, *, ledger: str = LEDGER) -> Seen | None:
    return cluster.look(ref_of(wanted), ledger_id=ledger)


def seen(cluster: Cluster, wanted: Object) -> Seen:
    found = look(cluster, wanted)
    assert found is not None
    return found


def create(cluster: Cluster, wanted: Object, *, manager: str = OURS) -> Seen:
    return cluster.apply(wanted, manager=manager, expect=None)


def update(cluster: Cluster, wanted: Object, *, manager: str = OURS, force: bool = False) -> Seen:
    """Apply to what is there now, again if a controller was faster, as every caller does."""

    def once() -> Seen | None:
        try:
            return cluster.apply(wanted, manager=manager, expect=seen(cluster, wanted), force=force)
        except ChangedMeanwhileError:
            return None

    return eventually(once)


def eventually(check: Callable[[], T | None], *, within: float = 30.0) -> T:
    """The first truthy answer; fails after that many seconds."""
    deadline = time.monotonic() + within
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {within} s; last answer: {found!r}"
        time.sleep(0.02)


def rollouts(cluster: Cluster, wanted: Object, *, during: float) -> Iterator[Rollout]:
    """One rollout after the other for that many seconds."""
    deadline = time.monotonic() + during
    while time.monotonic() < deadline:
        yield rollout(cluster, wanted)
        time.sleep(0.02)


def rollout(cluster: Cluster, wanted: Object) -> Rollout:
    found = cluster.rollout(ref_of(wanted))
    assert found is not None
    return found


def rolled_out(cluster: Cluster, wanted: Object, until: Callable[[Rollout], object]) -> Rollout:
    def once() -> Rollout | None:
        found = rollout(cluster, wanted)
        return found if until(found) else None

    return eventually(once)


def running(cluster: Cluster, namespace: str) -> Object:
    """A Deployment that was rolled out completely."""
    first = deployment(namespace)
    create(cluster, first)
    rolled_out(cluster, first, lambda found: found.complete)
    return first


# Looking


@each_kind
def test_what_does_not_exist_is_seen_as_none(cluster: Cluster, namespace: str, kind: str) -> None:
    assert look(cluster, OBJECTS[kind](namespace)) is None


@each_kind
def test_a_created_object_is_seen_with_its_labels_and_annotations(cluster: Cluster, namespace: str, kind: str) -> None:
    wanted = OBJECTS[kind](namespace)
    made = create(cluster, wanted)
    found = seen(cluster, wanted)
    assert found.uid == made.uid != ""
    assert found.resource_version != ""
    assert found.labels == made.labels == wanted["metadata"]["labels"]
    # A controller may have added its own by now.
    assert found.annotations.items() >= made.annotations.items() == wanted["metadata"]["annotations"].items()


def test_another_ledgers_object_shows_its_labels(cluster: Cluster, namespace: str) -> None:
    wanted = config_map(namespace, colour="red")
    create(cluster, wanted)
    found = look(cluster, wanted, ledger="another-ledger")
    assert found is not None
    assert found.labels[LEDGER_LABEL] == LEDGER


def test_another_ledgers_secret_shows_only_that_it_exists(cluster: Cluster, namespace: str) -> None:
    wanted = secret(namespace, password=PASSWORD)
    create(cluster, wanted)
    nothing = Seen(uid="", resource_version="", labels={}, annotations={})
    assert look(cluster, wanted, ledger="another-ledger") == nothing


def test_a_secret_without_any_label_shows_only_that_it_exists(cluster: Cluster, namespace: str) -> None:
    wanted = secret(namespace, password=PASSWORD)
    del wanted["metadata"]["labels"]
    create(cluster, wanted, manager=THEIRS)
    assert look(cluster, wanted) == Seen(uid="", resource_version="", labels={}, annotations={})


def test_looking_at_a_secret_changes_nothing(cluster: Cluster, namespace: str) -> None:
    wanted = secret(namespace, password=PASSWORD)
    made = create(cluster, wanted)
    assert seen(cluster, wanted) == seen(cluster, wanted) == made


def test_the_keys_of_a_secret_are_told_without_its_values(adapter: Adapter) -> None:
    cluster, wanted = adapter.cluster, secret(adapter.namespace, a="1", b="2", c="3")
    assert create(cluster, wanted).secret_keys == ("a", "b", "c")
    adapter.edit(ref_of(wanted), {"data": {"a": None, "b": base64.b64encode(b"theirs").decode()}}, THEIRS)
    assert seen(cluster, wanted).secret_keys == ("b", "c")
    assert seen(cluster, wanted).secret_keys == ("b", "c"), "looking changed it"


@pytest.mark.parametrize("kind", NOT_SECRET)
def test_only_a_secret_tells_keys(cluster: Cluster, namespace: str, kind: str) -> None:
    wanted = OBJECTS[kind](namespace)
    assert create(cluster, wanted).secret_keys is None
    assert seen(cluster, wanted).secret_keys is None


def test_a_namespace_that_was_never_made_does_not_exist(cluster: Cluster, namespace: str) -> None:
    assert cluster.namespace_exists(namespace)
    assert not cluster.namespace_exists("never-made")


# Applying


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret", "Service"])
def test_applying_the_same_again_changes_nothing(cluster: Cluster, namespace: str, kind: str) -> None:
    wanted = OBJECTS[kind](namespace)
    made = create(cluster, wanted)
    assert cluster.apply(wanted, manager=OURS, expect=made) == made


@each_kind
def test_what_was_created_belongs_to_its_manager_as_what_it_applies_does(adapter: Adapter, kind: str) -> None:
    wanted = OBJECTS[kind](adapter.namespace)
    first = create(adapter.cluster, wanted)
    owned = _owned(adapter, wanted)
    update(adapter.cluster, wanted)
    assert _owned(adapter, wanted) == owned
    assert seen(adapter.cluster, wanted).uid == first.uid


def _owned(adapter: Adapter, wanted: Object) -> list[Any]:
    """The fields of our manager, by how it got them."""
    entries = adapter.stored(ref_of(wanted))["metadata"].get("managedFields") or ()
    return [(each["operation"], each["fieldsV1"]) for each in entries if each["manager"] == OURS]


def test_applying_the_same_route_again_changes_at_most_its_version(cluster: Cluster, namespace: str) -> None:
    # Old API servers renew the time in a custom resource's managed fields although nothing changed.
    wanted = route(namespace)
    made = create(cluster, wanted)
    again = cluster.apply(wanted, manager=OURS, expect=made)
    assert replace(again, resource_version=made.resource_version) == made


def test_applying_the_same_deployment_again_replaces_no_pod(cluster: Cluster, namespace: str) -> None:
    first = running(cluster, namespace)
    before = rollout(cluster, first).pods
    update(cluster, first)
    assert rolled_out(cluster, first, lambda found: found.complete).pods == before


@each_kind
def test_an_object_that_exists_is_not_created(adapter: Adapter, kind: str) -> None:
    cluster, wanted = adapter.cluster, OBJECTS[kind](adapter.namespace)
    create(cluster, wanted, manager=THEIRS)
    mine = OBJECTS[kind](adapter.namespace)
    mine["metadata"]["annotations"] = {POSITION_ANNOTATION: "0.2", "mine": "yes"}
    with pytest.raises(ChangedMeanwhileError):
        create(cluster, mine)
    assert "mine" not in adapter.stored(ref_of(wanted))["metadata"]["annotations"]


@each_kind
def test_an_object_that_exists_is_not_merged_into_where_no_field_differs(
    cluster: Cluster, namespace: str, kind: str
) -> None:
    create(cluster, OBJECTS[kind](namespace), manager=THEIRS)
    with pytest.raises(ChangedMeanwhileError):
        create(cluster, OBJECTS[kind](namespace))


@each_kind
def test_an_object_that_changed_since_it_was_seen_is_not_updated(adapter: Adapter, kind: str) -> None:
    cluster, wanted = adapter.cluster, OBJECTS[kind](adapter.namespace)
    stale = create(cluster, wanted)
    wanted["metadata"]["annotations"] = {POSITION_ANNOTATION: "0.2"}
    update(cluster, wanted)
    wanted["metadata"]["annotations"] = {POSITION_ANNOTATION: "0.3"}
    with pytest.raises(ChangedMeanwhileError):
        cluster.apply(wanted, manager=OURS, expect=stale)
    assert adapter.stored(ref_of(wanted))["metadata"]["annotations"][POSITION_ANNOTATION] == "0.2"


@each_kind
def test_an_object_that_was_deleted_is_never_resurrected(cluster: Cluster, namespace: str, kind: str) -> None:
    wanted = OBJECTS[kind](namespace)
    made = create(cluster, wanted)
    cluster.delete(ref_of(wanted), uid=None)
    eventually(lambda: look(cluster, wanted) is None)
    with pytest.raises(ChangedMeanwhileError):
        cluster.apply(wanted, manager=OURS, expect=made)
    assert look(cluster, wanted) is None


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
def test_an_object_that_was_replaced_is_not_updated(cluster: Cluster, namespace: str, kind: str) -> None:
    wanted = OBJECTS[kind](namespace)
    made = create(cluster, wanted)
    cluster.delete(ref_of(wanted), uid=None)
    theirs = OBJECTS[kind](namespace)
    theirs["metadata"]["labels"] = {LEDGER_LABEL: "another-ledger"}
    create(cluster, theirs, manager=THEIRS)
    with pytest.raises(ChangedMeanwhileError):
        cluster.apply(wanted, manager=OURS, expect=made)


def test_someone_elses_secret_is_not_written_to(adapter: Adapter) -> None:
    cluster, theirs = adapter.cluster, secret(adapter.namespace, theirs="x")
    del theirs["metadata"]["labels"]
    create(cluster, theirs, manager=THEIRS)
    mine = secret(adapter.namespace, mine="y")
    with pytest.raises(ClusterError):
        cluster.apply(mine, manager=OURS, expect=seen(cluster, mine))
    assert adapter.stored(ref_of(mine))["data"].keys() == {"theirs"}


@pytest.mark.parametrize("make", [config_map, secret])
def test_a_key_that_is_not_applied_any_more_is_removed(adapter: Adapter, make: Callable[..., Object]) -> None:
    cluster, wanted = adapter.cluster, make(adapter.namespace, colour="red", size="small")
    made = create(cluster, wanted)
    cluster.apply(make(adapter.namespace, size="large"), manager=OURS, expect=made)
    assert adapter.stored(ref_of(wanted))["data"].keys() == {"size"}


@pytest.mark.parametrize("make", [config_map, secret])
def test_a_changed_value_is_written(adapter: Adapter, make: Callable[..., Object]) -> None:
    cluster, wanted = adapter.cluster, make(adapter.namespace, colour="red")
    made = create(cluster, wanted)
    before = adapter.stored(ref_of(wanted))["data"]
    changed = make(adapter.namespace, colour="blue")
    changed["metadata"]["annotations"] = {POSITION_ANNOTATION: "0.2"}
    found = cluster.apply(changed, manager=OURS, expect=made)
    assert found.annotations == {POSITION_ANNOTATION: "0.2"}
    assert adapter.stored(ref_of(wanted))["data"] != before


@pytest.mark.parametrize("make", [config_map, secret])
def test_a_field_of_another_manager_is_left_alone_and_both_are_named(
    adapter: Adapter, make: Callable[..., Object]
) -> None:
    cluster, theirs = adapter.cluster, make(adapter.namespace, colour="turquoise")
    ours = make(adapter.namespace, colour="magenta")
    create(cluster, theirs, manager=THEIRS)
    before = adapter.stored(ref_of(theirs))["data"]
    with pytest.raises(FieldConflictError) as caught:
        update(cluster, ours)
    assert THEIRS in caught.value.message
    assert "data.colour" in caught.value.message
    assert caught.value.owners == {THEIRS: ["data.colour"]}
    assert_tells_none_of(caught.value, "turquoise", "magenta")
    assert adapter.stored(ref_of(theirs))["data"] == before


def test_fields_that_two_managers_agree_on_are_shared(adapter: Adapter) -> None:
    cluster, theirs = adapter.cluster, config_map(adapter.namespace, colour="red", theirs="x")
    create(cluster, theirs, manager=THEIRS)
    update(cluster, config_map(adapter.namespace, colour="red", ours="y"))
    assert adapter.stored(ref_of(theirs))["data"] == {"colour": "red", "theirs": "x", "ours": "y"}


def test_a_namespace_that_does_not_exist_refuses_objects(cluster: Cluster) -> None:
    with pytest.raises(ClusterRefusedError) as caught:
        create(cluster, config_map("never-made", colour="red"))
    assert caught.value.status == 404


def test_a_manifest_that_breaks_a_rule_is_refused_with_the_field(cluster: Cluster, namespace: str) -> None:
    wanted = deployment(namespace)
    wanted["spec"]["selector"]["matchLabels"] = {"app": "another"}
    with pytest.raises(ClusterRefusedError, match="template") as caught:
        create(cluster, wanted)
    assert caught.value.status == 422
    assert look(cluster, wanted) is None


# Secrets stay secret


def encoded(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


def assert_tells_none_of(error: BaseException, *values: str) -> None:
    told = everything_told(error)
    assert not [value for value in values if value in told or encoded(value) in told]


def test_a_secrets_values_are_in_nothing_that_is_returned(cluster: Cluster, namespace: str) -> None:
    wanted = secret(namespace, password=PASSWORD)
    told = f"{create(cluster, wanted)!r} {seen(cluster, wanted)!r} {update(cluster, wanted)!r} {cluster!r}"
    assert PASSWORD not in told
    assert encoded(PASSWORD) not in told


def test_a_secrets_values_are_in_no_error_about_it(cluster: Cluster, namespace: str) -> None:
    wanted = secret(namespace)
    wanted["data"] = {"password": "not-base64-but-secret"}
    with pytest.raises(ClusterError) as caught:
        create(cluster, wanted)
    assert_tells_none_of(caught.value, "not-base64")


def test_a_conflict_with_a_stale_view_of_a_secret_tells_no_value(cluster: Cluster, namespace: str) -> None:
    values = ("first password", PASSWORD, "third password")
    first, second, third = (secret(namespace, password=value) for value in values)
    stale = create(cluster, first)
    update(cluster, second)
    with pytest.raises(ChangedMeanwhileError) as caught:
        cluster.apply(third, manager=OURS, expect=stale)
    assert_tells_none_of(caught.value, *values)


# Deleting


@each_kind
def test_a_deleted_object_is_gone_and_may_be_deleted_again(cluster: Cluster, namespace: str, kind: str) -> None:
    wanted = OBJECTS[kind](namespace)
    made = create(cluster, wanted)
    cluster.delete(ref_of(wanted), uid=made.uid)
    eventually(lambda: look(cluster, wanted) is None)
    cluster.delete(ref_of(wanted), uid=made.uid)
    cluster.delete(ref_of(wanted), uid=None)


@each_kind
def test_an_object_with_another_uid_is_not_deleted(cluster: Cluster, namespace: str, kind: str) -> None:
    wanted = OBJECTS[kind](namespace)
    made = create(cluster, wanted)
    cluster.delete(ref_of(wanted), uid="11111111-2222-3333-4444-555555555555")
    assert seen(cluster, wanted).uid == made.uid


@each_kind
def test_an_object_with_a_finalizer_lingers_until_that_is_removed(adapter: Adapter, kind: str) -> None:
    wanted = OBJECTS[kind](adapter.namespace)
    made = create(adapter.cluster, wanted)
    adapter.edit(ref_of(wanted), {"metadata": {"finalizers": ["1ctl.dev/test"]}}, "holder")
    assert not seen(adapter.cluster, wanted).terminating
    adapter.cluster.delete(ref_of(wanted), uid=made.uid)
    adapter.cluster.delete(ref_of(wanted), uid=made.uid)
    going = seen(adapter.cluster, wanted)
    assert (going.uid, going.terminating) == (made.uid, True)
    if kind != "Secret":
        (page,) = adapter.cluster.pages(kind, adapter.namespace, ledger_id=LEDGER)
        assert [each.seen.terminating for each in page.objects] == [True]
    adapter.edit(ref_of(wanted), {"metadata": {"finalizers": None}}, "holder")
    eventually(lambda: look(adapter.cluster, wanted) is None)


def test_what_an_object_owns_goes_with_it(cluster: Cluster, namespace: str) -> None:
    owner = config_map(namespace, colour="red")
    owned = service(namespace)
    owned["metadata"]["ownerReferences"] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "shop", "uid": create(cluster, owner).uid}
    ]
    create(cluster, owned)
    cluster.delete(ref_of(owner), uid=None)
    eventually(lambda: look(cluster, owned) is None)


# Taking fields by force


@pytest.mark.parametrize("make", [config_map, secret])
def test_force_takes_what_differs_and_leaves_the_rest_to_its_manager(
    adapter: Adapter, make: Callable[..., Object]
) -> None:
    cluster, theirs = adapter.cluster, make(adapter.namespace, colour="turquoise", theirs="x")
    create(cluster, theirs, manager=THEIRS)
    ours = make(adapter.namespace, colour="magenta")
    cluster.apply(ours, manager=OURS, expect=seen(cluster, ours), force=True)
    assert adapter.stored(ref_of(ours))["data"].keys() == {"colour", "theirs"}
    # It is ours now, and theirs still theirs.
    cluster.apply(make(adapter.namespace, colour="cyan"), manager=OURS, expect=seen(cluster, ours))
    with pytest.raises(FieldConflictError):
        update(cluster, make(adapter.namespace, colour="cyan", theirs="y"))


def test_force_heals_what_was_edited_by_hand(adapter: Adapter) -> None:
    cluster, wanted = adapter.cluster, deployment(adapter.namespace, image="nginx:1", replicas=0)
    create(cluster, wanted)
    containers = [{"name": "shop", "image": "nginx:evil"}]
    adapter.edit(ref_of(wanted), {"spec": {"template": {"spec": {"containers": containers}}}}, "kubectl-edit")
    with pytest.raises(FieldConflictError):
        update(cluster, wanted)
    live = cluster.read(ref_of(wanted))
    assert live is not None
    field = "spec.template.spec.containers.shop.image"
    assert owner_of(live, field) == "kubectl-edit (Update)"

    update(cluster, wanted, force=True)
    live = cluster.read(ref_of(wanted))
    assert live is not None
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:1"
    assert owner_of(live, field) == f"{OURS} (Apply)"


def with_variable(adapter: Adapter, wanted: Object, name: str) -> None:
    """Somebody adds a variable to the container, as ``kubectl set env`` does."""
    live = adapter.cluster.read(ref_of(wanted))
    assert live is not None
    (container,) = live["spec"]["template"]["spec"]["containers"]
    more = {**container, "env": [*container.get("env", ()), {"name": name, "value": "x"}]}
    adapter.edit(ref_of(wanted), {"spec": {"template": {"spec": {"containers": [more]}}}}, "kubectl-set")


def variables(adapter: Adapter, wanted: Object) -> list[str]:
    (container,) = adapter.stored(ref_of(wanted))["spec"]["template"]["spec"]["containers"]
    return [each["name"] for each in container.get("env", ())]


def a_container_with(namespace: str, *names: str) -> Object:
    wanted = deployment(namespace, replicas=0)
    (container,) = wanted["spec"]["template"]["spec"]["containers"]
    container["env"] = [{"name": name, "value": "1"} for name in names]
    return wanted


def patch_of(container: Object) -> Object:
    """A patch of the Deployment's container."""
    return {"spec": {"template": {"spec": {"containers": [{"name": "shop", **container}]}}}}


def without_variables(*names: str) -> Object:
    """A patch that removes these variables."""
    return patch_of({"env": [{"name": name, "$patch": "delete"} for name in names]})


@pytest.mark.parametrize("names", [("OURS", "ALSO_OURS"), ()])
def test_no_apply_removes_a_variable_that_somebody_added_to_our_container(
    adapter: Adapter, names: tuple[str, ...]
) -> None:
    cluster, wanted = adapter.cluster, a_container_with(adapter.namespace, *names)
    create(cluster, wanted)
    with_variable(adapter, wanted, "EXTRA")
    update(cluster, wanted)
    update(cluster, wanted, force=True)
    assert variables(adapter, wanted) == [*names, "EXTRA"]
    live = cluster.read(ref_of(wanted))
    assert live is not None
    assert owner_of(live, "spec.template.spec.containers.shop.env.EXTRA") == "kubectl-set (Update)"
    update(cluster, a_container_with(adapter.namespace))
    assert variables(adapter, wanted) == ["EXTRA"]


def test_a_variable_is_removed_whoever_set_it_and_ours_stay_ours(adapter: Adapter) -> None:
    cluster, wanted = adapter.cluster, a_container_with(adapter.namespace, "OURS")
    create(cluster, wanted)
    with_variable(adapter, wanted, "EXTRA")

    def removed() -> Seen | None:
        try:
            return cluster.replace_parts(
                ref_of(wanted),
                without_variables("EXTRA", "NEVER_THERE"),
                manager=OURS,
                expect=seen(cluster, wanted),
            )
        except ChangedMeanwhileError:
            return None

    assert eventually(removed).uid == seen(cluster, wanted).uid
    assert variables(adapter, wanted) == ["OURS"]
    live = cluster.read(ref_of(wanted))
    assert live is not None
    assert owner_of(live, "spec.template.spec.containers.shop.env.OURS") == f"{OURS} (Apply)"
    update(cluster, a_container_with(adapter.namespace))
    assert variables(adapter, wanted) == []


def edit_container(adapter: Adapter, wanted: Object, **changes: Any) -> None:
    """Somebody changes fields of the container."""
    live = adapter.cluster.read(ref_of(wanted))
    assert live is not None
    (container,) = live["spec"]["template"]["spec"]["containers"]
    edited = {"spec": {"template": {"spec": {"containers": [{**container, **changes}]}}}}
    adapter.edit(ref_of(wanted), edited, "kubectl-set")


FROM_SETTINGS = {"configMapKeyRef": {"name": "settings", "key": "a"}}
FROM_POD = {"fieldRef": {"fieldPath": "metadata.name"}}
EIGHTY = {"containerPort": 80, "name": "http", "protocol": "TCP"}


@pytest.mark.parametrize(
    ("edited", "field"),
    [
        ({"env": [{"name": "A", "value": "hand"}]}, "env.A"),
        ({"env": [{"name": "A", "valueFrom": FROM_POD}]}, "env.A"),
        ({"ports": [EIGHTY]}, "ports"),
        ({"readinessProbe": {"tcpSocket": {"port": 80}}}, "readinessProbe"),
    ],
)
def test_what_somebody_put_in_place_of_ours_is_refused_beside_it_and_replaced(
    adapter: Adapter, edited: Object, field: str
) -> None:
    cluster, wanted = adapter.cluster, deployment(adapter.namespace, replicas=0)
    (container,) = wanted["spec"]["template"]["spec"]["containers"]
    container["env"] = [{"name": "A", "valueFrom": FROM_SETTINGS}]
    container["ports"] = [{"containerPort": 8080, "name": "http", "protocol": "TCP"}]
    container["readinessProbe"] = {"httpGet": {"path": "/", "port": 8080}}
    create(cluster, wanted)
    edit_container(adapter, wanted, **edited)

    def refused() -> ClusterRefusedError | None:
        try:
            cluster.apply(wanted, manager=OURS, expect=seen(cluster, wanted), force=True)
        except ClusterRefusedError as error:
            return error
        except ChangedMeanwhileError:
            return None
        raise AssertionError("it was not refused")

    assert eventually(refused).status == 422

    def replaced() -> Seen | None:
        live = cluster.read(ref_of(wanted))
        assert live is not None
        parts = parts_to_replace(wanted, live, additions=True)
        assert parts is not None
        assert parts.fields == [f"spec.template.spec.containers.shop.{field}"]
        try:
            return cluster.replace_parts(ref_of(wanted), parts.patch, manager=OURS, expect=seen(cluster, wanted))
        except ChangedMeanwhileError:
            return None

    eventually(replaced)
    live = cluster.read(ref_of(wanted))
    assert live is not None
    assert differences(wanted, live) == []
    assert parts_to_replace(wanted, live, additions=True) is None
    assert owner_of(live, f"spec.template.spec.containers.shop.{field}") == f"{OURS} (Apply)"
    for key in ("env", "ports"):
        del container[key]
    update(cluster, wanted)
    stored = adapter.stored(ref_of(wanted))["spec"]["template"]["spec"]["containers"][0]
    assert not {key for key in ("env", "ports") if stored.get(key)}


def test_what_was_patched_in_our_name_is_as_if_we_had_applied_it_once_we_apply(adapter: Adapter) -> None:
    """A process may have ended between its patch and the claim to what that set."""
    cluster, wanted = adapter.cluster, a_container_with(adapter.namespace, "OURS")
    create(cluster, wanted)
    patched = a_container_with(adapter.namespace, "OURS", "PATCHED")["spec"]
    adapter.edit(ref_of(wanted), {"spec": {**patched, "replicas": 1}}, OURS)
    wanted["metadata"]["annotations"] = {POSITION_ANNOTATION: "0.2"}
    update(cluster, wanted)
    assert variables(adapter, wanted) == ["OURS"]
    assert adapter.stored(ref_of(wanted))["spec"]["replicas"] == 0
    live = cluster.read(ref_of(wanted))
    assert live is not None
    assert owner_of(live, "spec.replicas") == f"{OURS} (Apply)"


def test_a_patch_merges_ports_by_their_numbers_and_only_a_directive_replaces_them(adapter: Adapter) -> None:
    cluster, wanted = adapter.cluster, deployment(adapter.namespace, replicas=0)
    (container,) = wanted["spec"]["template"]["spec"]["containers"]
    container["ports"] = [{"containerPort": 8080, "name": "http", "protocol": "TCP"}]
    create(cluster, wanted)

    def patched(*ports: Object) -> Seen | None:
        patch = patch_of({"name": "shop", "ports": list(ports)})
        try:
            return cluster.replace_parts(ref_of(wanted), patch, manager=OURS, expect=seen(cluster, wanted))
        except ChangedMeanwhileError:
            return None

    def numbers() -> list[int]:
        (stored,) = adapter.stored(ref_of(wanted))["spec"]["template"]["spec"]["containers"]
        return sorted(each["containerPort"] for each in stored["ports"])

    eventually(lambda: patched({**EIGHTY, "name": "more"}))
    assert numbers() == [80, 8080]
    with pytest.raises(ClusterRefusedError, match="Duplicate value"):
        eventually(lambda: patched({**EIGHTY, "name": "http"}))
    eventually(lambda: patched({"$patch": "replace"}, EIGHTY))
    assert numbers() == [80]


@pytest.mark.parametrize("theirs", [{"port": 80, "name": "http"}, {"port": 80}])
def test_a_port_of_a_service_that_has_the_place_of_ours_is_refused_beside_it_and_replaced(
    adapter: Adapter, theirs: Object
) -> None:
    cluster, wanted = adapter.cluster, service(adapter.namespace)
    wanted["spec"]["ports"] = [{"name": "http", "port": 8080, "protocol": "TCP", "targetPort": 8080}]
    create(cluster, wanted)
    others = [{**theirs, "protocol": "TCP", "targetPort": 80}]
    selector = {**wanted["spec"]["selector"], "version": "2"}
    adapter.edit(ref_of(wanted), {"spec": {"ports": others, "selector": selector}}, "kubectl-edit")
    with pytest.raises(ClusterRefusedError) as caught:
        cluster.apply(wanted, manager=OURS, expect=seen(cluster, wanted), force=True)
    assert caught.value.status == 422
    live = cluster.read(ref_of(wanted))
    assert live is not None
    parts = parts_to_replace(wanted, live, additions=True)
    assert parts is not None
    cluster.replace_parts(ref_of(wanted), parts.patch, manager=OURS, expect=seen(cluster, wanted))
    live = cluster.read(ref_of(wanted))
    assert live is not None
    assert differences(wanted, live) == []
    assert live["spec"]["selector"] == wanted["spec"]["selector"]
    wanted["spec"]["ports"] = [{"name": "http", "port": 9090, "protocol": "TCP", "targetPort": 9090}]
    update(cluster, wanted)
    assert [each["port"] for each in adapter.stored(ref_of(wanted))["spec"]["ports"]] == [9090]


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
def test_what_an_immutable_object_holds_cannot_be_changed_by_force(adapter: Adapter, kind: str) -> None:
    cluster, theirs = adapter.cluster, {**OBJECTS[kind](adapter.namespace), "immutable": True}
    create(cluster, theirs)
    ours = {**theirs, "data": {"other": base64.b64encode(b"x").decode()}}
    with pytest.raises(FrozenError):
        cluster.apply(ours, manager=OURS, expect=seen(cluster, ours), force=True)
    other = {**theirs, "metadata": {**theirs["metadata"], "labels": {LEDGER_LABEL: "not a label"}}}
    with pytest.raises(ClusterRefusedError) as caught:
        cluster.apply(other, manager=OURS, expect=seen(cluster, theirs), force=True)
    assert not isinstance(caught.value, FrozenError)


@pytest.mark.parametrize("how", ["changed", "replaced", "gone"])
def test_no_variable_is_removed_from_what_is_not_as_it_was_seen(adapter: Adapter, how: str) -> None:
    cluster, wanted = adapter.cluster, a_container_with(adapter.namespace, "OURS")
    stale = create(cluster, wanted)
    if how != "changed":
        cluster.delete(ref_of(wanted), uid=None)
        eventually(lambda: look(cluster, wanted) is None)
    if how == "replaced":
        create(cluster, wanted)
        stale = replace(stale, resource_version=seen(cluster, wanted).resource_version)
    if how == "changed":
        wanted["metadata"]["annotations"] = {POSITION_ANNOTATION: "0.2"}
        update(cluster, wanted)
    with pytest.raises(ChangedMeanwhileError):
        cluster.replace_parts(ref_of(wanted), without_variables("OURS"), manager=OURS, expect=stale)
    assert how == "gone" or variables(adapter, wanted) == ["OURS"]


def test_force_adopts_an_object_that_nobody_labelled(cluster: Cluster, namespace: str) -> None:
    theirs = config_map(namespace, colour="red")
    del theirs["metadata"]["labels"]
    create(cluster, theirs, manager=THEIRS)
    ours = config_map(namespace, colour="blue")
    found = cluster.apply(ours, manager=OURS, expect=seen(cluster, ours), force=True)
    assert found.labels == ours["metadata"]["labels"]


@each_kind
def test_force_overrules_no_precondition(adapter: Adapter, kind: str) -> None:
    cluster, wanted = adapter.cluster, OBJECTS[kind](adapter.namespace)
    stale = create(cluster, wanted)
    wanted["metadata"]["annotations"] = {POSITION_ANNOTATION: "0.2"}
    update(cluster, wanted)
    wanted["metadata"]["annotations"] = {POSITION_ANNOTATION: "0.3"}
    with pytest.raises(ChangedMeanwhileError):
        cluster.apply(wanted, manager=OURS, expect=stale, force=True)
    with pytest.raises(ChangedMeanwhileError):
        cluster.apply(wanted, manager=OURS, expect=None, force=True)
    assert adapter.stored(ref_of(wanted))["metadata"]["annotations"][POSITION_ANNOTATION] == "0.2"


def test_force_takes_no_secret_that_is_someone_elses(adapter: Adapter) -> None:
    cluster, theirs = adapter.cluster, secret(adapter.namespace, theirs="x")
    del theirs["metadata"]["labels"]
    create(cluster, theirs, manager=THEIRS)
    mine = secret(adapter.namespace, mine="y")
    with pytest.raises(ClusterError):
        cluster.apply(mine, manager=OURS, expect=seen(cluster, mine), force=True)
    assert adapter.stored(ref_of(mine))["data"].keys() == {"theirs"}


# Listing


def listed(cluster: Cluster, namespace: str, kind: str = "ConfigMap", *, limit: int = 500) -> dict[Ref, Seen]:
    """Everything of this ledger by reference."""
    pages = cluster.pages(kind, namespace, ledger_id=LEDGER, limit=limit)
    return {each.ref: each.seen for page in pages for each in page.objects}


def version(cluster: Cluster, namespace: str, kind: str = "ConfigMap") -> str:
    """Where a watch begins that shall see what happens from now on."""
    return list(cluster.pages(kind, namespace, ledger_id=LEDGER))[-1].version


@each_kind
def test_whoever_owns_an_object_is_told_by_every_look_at_it(cluster: Cluster, namespace: str, kind: str) -> None:
    owner = create(cluster, named(config_map(namespace, colour="red"), "owner"))
    wanted = OBJECTS[kind](namespace)
    wanted["metadata"]["ownerReferences"] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid}
    ]
    assert owner.owners == ()
    assert create(cluster, wanted).owners == seen(cluster, wanted).owners == (owner.uid,)
    if kind != "Secret":
        assert listed(cluster, namespace, kind)[ref_of(wanted)].owners == (owner.uid,)


@pytest.mark.parametrize("kind", NOT_SECRET)
def test_a_list_shows_every_object_of_the_ledger_as_looking_does(cluster: Cluster, namespace: str, kind: str) -> None:
    wanted = OBJECTS[kind](namespace)
    create(cluster, wanted)

    def same() -> bool:
        # A Deployment's controllers may be at work in between.
        return listed(cluster, namespace, kind) == {ref_of(wanted): look(cluster, wanted)}

    assert eventually(same)


def test_a_list_leaves_out_what_is_not_of_this_ledger(cluster: Cluster, namespace: str) -> None:
    for name, label in (("another", {LEDGER_LABEL: "another-ledger"}), ("unlabelled", {"app": "shop"})):
        theirs = named(config_map(namespace, colour="red"), name)
        theirs["metadata"]["labels"] = label
        create(cluster, theirs, manager=THEIRS)
    assert listed(cluster, namespace) == {}


def test_a_list_comes_in_pages_of_one_version_that_together_miss_and_repeat_nothing(
    cluster: Cluster, namespace: str
) -> None:
    names = [f"shop-{number}" for number in range(7)]
    for name in names:
        create(cluster, named(config_map(namespace, colour="red"), name))
    pages = cluster.pages("ConfigMap", namespace, ledger_id=LEDGER, limit=3)
    first = next(pages)
    create(cluster, named(config_map(namespace, colour="red"), "shop-later"))
    rest = list(pages)
    assert [len(page.objects) for page in (first, *rest)] == [3, 3, 1]
    assert {page.version for page in rest} == {first.version}
    assert [each.ref.name for page in (first, *rest) for each in page.objects] == names


def test_a_list_of_nothing_is_one_empty_page_to_watch_from(cluster: Cluster, namespace: str) -> None:
    (page,) = cluster.pages("ConfigMap", namespace, ledger_id=LEDGER)
    assert page.objects == []
    assert page.version


def test_a_page_that_was_used_is_garbage(cluster: Cluster, namespace: str) -> None:
    for number in range(4):
        create(cluster, named(config_map(namespace, colour="red"), f"shop-{number}"))
    gc.collect()  # of the tests before
    alive = []
    for page in cluster.pages("ConfigMap", namespace, ledger_id=LEDGER, limit=2):
        assert page.objects
        del page
        alive.append(sum(isinstance(each, Page) for each in gc.get_objects()))
    assert alive == [0, 0]


def test_secrets_are_neither_listed_nor_watched(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(ValueError, match="never listed"):
        cluster.pages("Secret", namespace, ledger_id=LEDGER)
    with pytest.raises(ValueError, match="never listed"):
        cluster.watch("Secret", namespace, ledger_id=LEDGER, since="1")


def test_a_generation_counts_changes_of_the_spec(cluster: Cluster, namespace: str) -> None:
    wanted = route(namespace)
    assert create(cluster, wanted).generation == 1
    wanted["metadata"]["labels"] = {**wanted["metadata"]["labels"], "tier": "web"}
    assert update(cluster, wanted).generation == 1
    wanted["spec"]["hostnames"] = ["other.example.com"]
    assert update(cluster, wanted).generation == 2


def test_the_generation_of_a_deployment_counts_its_annotations_too(cluster: Cluster, namespace: str) -> None:
    wanted = deployment(namespace, replicas=0)
    create(cluster, wanted)
    # A controller adds an annotation of its own.
    rolled_out(cluster, wanted, lambda found: found.complete)
    before = seen(cluster, wanted).generation
    assert before is not None
    assert update(cluster, wanted).generation == before
    wanted["metadata"]["annotations"] = {POSITION_ANNOTATION: "0.2"}
    assert update(cluster, wanted).generation == before + 1


def test_how_often_a_pod_template_became_another_one_is_read_with_the_deployment(
    cluster: Cluster, namespace: str
) -> None:
    def revision() -> str | None:
        live = cluster.read(Ref("Deployment", namespace, "shop"))
        assert live is not None
        found: str | None = live["metadata"].get("annotations", {}).get("deployment.kubernetes.io/revision")
        return found

    first = running(cluster, namespace)
    update(cluster, deployment(namespace, replicas=1))
    assert eventually(revision) == "1"
    update(cluster, deployment(namespace, image="nginx:2"))
    assert eventually(lambda: revision() == "2")
    update(cluster, first)
    assert eventually(lambda: revision() == "3")


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret", "Service"])
def test_other_kinds_have_no_generation(cluster: Cluster, namespace: str, kind: str) -> None:
    wanted = OBJECTS[kind](namespace)
    assert create(cluster, wanted).generation is None
    assert seen(cluster, wanted).generation is None


# Watching


def changes(watch: Watch, count: int) -> list[Change]:
    """The next changes that are no bookmarks; the watch must not end before."""
    found: list[Change] = []
    while len(found) < count:
        change = next(watch)
        if change.kind != "bookmark":
            found.append(change)
    return found


def watch_configuration(cluster: Cluster, namespace: str, since: str) -> Watch:
    return cluster.watch("ConfigMap", namespace, ledger_id=LEDGER, since=since)


def test_a_watch_tells_what_is_made_changed_and_deleted_after_the_list(cluster: Cluster, namespace: str) -> None:
    create(cluster, named(config_map(namespace, colour="red"), "before"))
    wanted = config_map(namespace, colour="red")
    with watch_configuration(cluster, namespace, version(cluster, namespace)) as watch:
        made = create(cluster, wanted)
        assert changes(watch, 1) == [Change("present", ref_of(wanted), made, made.resource_version)]
        changed = cluster.apply(config_map(namespace, colour="blue"), manager=OURS, expect=made)
        assert changes(watch, 1) == [Change("present", ref_of(wanted), changed, changed.resource_version)]
        cluster.delete(ref_of(wanted), uid=None)
        (gone,) = changes(watch, 1)
    assert (gone.kind, gone.ref) == ("gone", ref_of(wanted))
    assert gone.seen is not None
    assert gone.seen.uid == made.uid
    assert gone.version not in {made.resource_version, changed.resource_version}


def test_what_happened_between_list_and_watch_is_told(cluster: Cluster, namespace: str) -> None:
    first, second = (named(config_map(namespace, colour="red"), name) for name in ("first", "second"))
    create(cluster, first)
    since = version(cluster, namespace)
    create(cluster, second)
    cluster.delete(ref_of(first), uid=None)
    with watch_configuration(cluster, namespace, since) as watch:
        told = [(change.kind, change.ref) for change in changes(watch, 2)]
    assert told == [("present", ref_of(second)), ("gone", ref_of(first))]


def test_an_object_that_loses_our_label_is_gone_and_one_that_gets_it_is_present(adapter: Adapter) -> None:
    cluster, wanted = adapter.cluster, config_map(adapter.namespace, colour="red")
    create(cluster, wanted)
    with watch_configuration(cluster, adapter.namespace, version(cluster, adapter.namespace)) as watch:
        for label, kind in ((None, "gone"), ("another-ledger", None), (LEDGER, "present"), ("another-ledger", "gone")):
            adapter.edit(ref_of(wanted), {"metadata": {"labels": {LEDGER_LABEL: label}}}, "kubectl-label")
            if kind is not None:
                (change,) = changes(watch, 1)
                assert (change.kind, change.ref) == (kind, ref_of(wanted))
                assert change.seen is not None
                assert change.seen.labels[LEDGER_LABEL] == LEDGER


def test_a_watch_tells_nothing_of_another_ledger_or_kind(cluster: Cluster, namespace: str) -> None:
    theirs = named(config_map(namespace, colour="red"), "theirs")
    theirs["metadata"]["labels"] = {LEDGER_LABEL: "another-ledger"}
    since = version(cluster, namespace)
    create(cluster, theirs, manager=THEIRS)
    create(cluster, service(namespace))
    last = create(cluster, config_map(namespace, colour="red"))
    with watch_configuration(cluster, namespace, since) as watch:
        assert [change.seen for change in changes(watch, 1)] == [last]


@short_watches
def test_a_watch_tells_nothing_of_another_namespace(cluster: Cluster, namespace: str) -> None:
    since = version(cluster, namespace)
    create(cluster, config_map(namespace, colour="red"))
    with watch_configuration(cluster, "never-made", since) as watch:
        assert [change for change in watch if change.kind != "bookmark"] == []


@short_watches
def test_a_watch_ends_by_itself_and_the_next_one_goes_on_where_it_ended(cluster: Cluster, namespace: str) -> None:
    since, told = version(cluster, namespace), []
    names = [f"shop-{number}" for number in range(3)]
    for name in names:
        create(cluster, named(config_map(namespace, colour="red"), name))
        began = time.monotonic()
        with watch_configuration(cluster, namespace, since) as watch:
            for change in watch:
                since = change.version
                told += [change.ref.name] if change.ref is not None else []
        assert time.monotonic() - began < WATCH_SECONDS / 2
    assert told == names


@short_watches
def test_a_watch_that_was_read_to_its_end_has_ended(cluster: Cluster, namespace: str) -> None:
    with watch_configuration(cluster, namespace, version(cluster, namespace)) as watch:
        assert {change.kind for change in watch} <= {"bookmark"}
        assert list(watch) == []


@pytest.mark.parametrize("reading", [True, False])
def test_closing_a_watch_ends_it_at_once(cluster: Cluster, namespace: str, reading: bool) -> None:
    wanted = config_map(namespace, colour="red")
    watch = watch_configuration(cluster, namespace, version(cluster, namespace))
    create(cluster, wanted)
    changes(watch, 1)
    told: list[list[Change]] = []
    reader = threading.Thread(target=lambda: told.append(list(watch)), daemon=True)
    if reading:
        reader.start()
        # Long enough to wait for the next change, far less than the watch would last.
        time.sleep(0.3)
    watch.close()
    watch.close()
    if not reading:
        reader.start()
    reader.join(WATCH_SECONDS / 3)
    assert told == [[]]


def test_a_watch_that_was_closed_before_it_began_tells_nothing(cluster: Cluster, namespace: str) -> None:
    since = version(cluster, namespace)
    create(cluster, config_map(namespace, colour="red"))
    watch = watch_configuration(cluster, namespace, since)
    watch.close()
    assert list(watch) == []


@short_watches
def test_a_watch_of_deployments_tells_when_their_pods_are_ready(cluster: Cluster, namespace: str) -> None:
    wanted = deployment(namespace)
    since = version(cluster, namespace, "Deployment")
    create(cluster, wanted)

    def told() -> bool:
        # As a worker does: looks at the rollout when it is told of a change, and at no other time.
        nonlocal since
        with cluster.watch("Deployment", namespace, ledger_id=LEDGER, since=since) as watch:
            for change in watch:
                since = change.version
                if change.kind == "present" and rollout(cluster, wanted).complete:
                    return True
        return False

    assert eventually(told)


# Rolling out


def test_a_deployment_that_does_not_exist_has_no_rollout(cluster: Cluster, namespace: str) -> None:
    assert cluster.rollout(Ref("Deployment", namespace, "shop")) is None


@pytest.mark.kubernetes
def test_a_deployment_of_somebody_else_that_selects_by_expressions_has_a_rollout_too() -> None:
    for adapter in a_kubernetes():  # the sandbox knows no expressions
        theirs = deployment(adapter.namespace, roll="1")
        theirs["spec"]["selector"] = {"matchExpressions": [{"key": "app", "operator": "In", "values": ["shop"]}]}
        create(adapter.cluster, theirs, manager="somebody")
        found = rolled_out(adapter.cluster, theirs, lambda found: found.complete)
        assert len(found.pods) == REPLICAS


@pytest.mark.kubernetes
def test_why_no_replica_set_can_be_made_is_told() -> None:
    administrator = Administrator(kubeconfig())

    def is_in_force(quota: str) -> bool:
        return "hard" in administrator.get(quota).get("status", {})

    for adapter in a_kubernetes():  # the sandbox has no quotas
        quota = {"metadata": {"name": "none"}, "spec": {"hard": {"count/replicasets.apps": "0"}}}
        administrator.make(adapter.namespace, "resourcequotas", quota)
        eventually(partial(is_in_force, f"/api/v1/namespaces/{adapter.namespace}/resourcequotas/none"))
        wanted = deployment(adapter.namespace)
        create(adapter.cluster, wanted)
        found = rolled_out(adapter.cluster, wanted, lambda found: found.trouble)
        assert found.trouble is not None
        assert found.trouble[0] == "ReplicaSetCreateError"
        assert "exceeded quota: none" in found.trouble[1]
        assert (found.observed, found.complete, found.failed) == (False, False, None)
    administrator.close()


def test_a_rollout_completes_when_all_pods_are_ready(cluster: Cluster, namespace: str) -> None:
    found = rollout(cluster, running(cluster, namespace))
    assert (found.desired, found.updated, found.ready, found.old_ready) == (REPLICAS, REPLICAS, REPLICAS, 0)
    assert found.observed
    assert found.failed is None
    assert [pod.name for pod in found.pods] == sorted({pod.name for pod in found.pods})
    for pod in found.pods:
        assert (pod.phase, pod.ready, pod.terminating, pod.restarts) == ("Running", True, False, 0)
        assert (pod.image, pod.reason) == ("nginx:1", None)
        assert pod.image_digest is not None
        assert pod.image_digest.startswith("sha256:")
        assert pod.uid
        assert pod.node


def test_a_deployment_of_no_pods_completes(cluster: Cluster, namespace: str) -> None:
    wanted = deployment(namespace, replicas=0)
    create(cluster, wanted)
    assert not rolled_out(cluster, wanted, lambda found: found.complete).pods


def test_a_rolling_replacement_keeps_enough_pods_ready(cluster: Cluster, namespace: str) -> None:
    before = rollout(cluster, running(cluster, namespace))
    wanted = deployment(namespace, image="nginx:2")
    update(cluster, wanted)

    def done(found: Rollout) -> bool:
        assert found.ready + found.old_ready >= REPLICAS
        assert found.failed is None
        return found.complete

    after = rolled_out(cluster, wanted, done)
    assert {pod.image for pod in after.pods} == {"nginx:2"}
    assert not {pod.uid for pod in after.pods} & {pod.uid for pod in before.pods}


def test_scaling_down_completes_with_fewer_pods(cluster: Cluster, namespace: str) -> None:
    before = rollout(cluster, running(cluster, namespace))
    wanted = deployment(namespace, replicas=1)
    update(cluster, wanted)
    after = rolled_out(cluster, wanted, lambda found: found.complete and len(found.pods) == 1)
    assert {pod.uid for pod in after.pods} < {pod.uid for pod in before.pods}


def test_an_image_that_does_not_exist_fails_while_the_old_pods_serve(cluster: Cluster, namespace: str) -> None:
    running(cluster, namespace)
    wanted = deployment(namespace, image="nginx:does-not-exist")
    update(cluster, wanted)
    found = rolled_out(cluster, wanted, lambda found: found.failed)
    assert found.failed is not None
    reason, message = found.failed
    assert reason == "ImagePullBackOff"
    assert "nginx:does-not-exist" in message
    assert not found.complete
    assert (found.ready, found.old_ready) == (0, REPLICAS)
    assert "ImagePullBackOff" in {pod.reason for pod in found.pods}


def test_a_container_that_crashes_fails_the_rollout_and_counts_its_restarts(cluster: Cluster, namespace: str) -> None:
    wanted = deployment(namespace, image="crash:1")
    create(cluster, wanted)
    found = rolled_out(cluster, wanted, lambda found: found.failed)
    assert found.failed is not None
    assert found.failed[0] == "CrashLoopBackOff"
    assert found.failed[1]
    assert max(pod.restarts for pod in found.pods) >= 1
    assert not found.complete


def test_a_failed_rollout_is_over_when_the_old_template_comes_back(cluster: Cluster, namespace: str) -> None:
    first = running(cluster, namespace)
    before = rollout(cluster, first)
    broken = deployment(namespace, image="nginx:does-not-exist")
    update(cluster, broken)
    rolled_out(cluster, broken, lambda found: found.failed)
    update(cluster, first)
    after = rolled_out(cluster, first, lambda found: found.complete)
    assert after.failed is None
    assert {pod.uid for pod in after.pods} == {pod.uid for pod in before.pods}


def test_a_pod_that_waits_neither_fails_nor_completes(cluster: Cluster, namespace: str) -> None:
    running(cluster, namespace)
    wanted = deployment(namespace, image="held:1")
    update(cluster, wanted)
    rolled_out(cluster, wanted, lambda found: found.pods)
    for found in rollouts(cluster, wanted, during=0.5):
        assert not found.complete
        assert found.failed is None
        assert (found.ready, found.old_ready) == (0, REPLICAS)
        assert {pod.phase for pod in found.pods} == {"Pending"}


def pause(adapter: Adapter, wanted: Object, paused: bool) -> None:
    adapter.edit(ref_of(wanted), {"spec": {"paused": paused}}, "kubectl-rollout")


@pytest.mark.parametrize("image", ["nginx:1", "nginx:does-not-exist"])
def test_while_it_is_paused_older_pods_are_not_taken_for_those_of_a_newer_roll(adapter: Adapter, image: str) -> None:
    cluster, first = adapter.cluster, deployment(adapter.namespace, image=image)
    create(cluster, first)
    rolled_out(cluster, first, lambda found: found.complete or found.failed)
    pause(adapter, first, True)
    wanted = deployment(adapter.namespace, image="nginx:2", roll="2")
    update(cluster, wanted)
    for found in rollouts(cluster, wanted, during=1.0):
        assert (found.observed, found.complete, found.failed, found.pods) == (False, False, None, [])
        assert found.trouble is not None
        assert found.trouble[0] == "DeploymentPaused"
        assert f"kubectl -n {adapter.namespace} rollout resume deployment/shop" in found.trouble[1]
    pause(adapter, wanted, False)
    assert {pod.image for pod in rolled_out(cluster, wanted, lambda found: found.complete).pods} == {"nginx:2"}


def test_what_is_paused_once_its_pods_are_ready_stays_complete(adapter: Adapter) -> None:
    wanted = running(adapter.cluster, adapter.namespace)
    pause(adapter, wanted, True)
    assert rolled_out(adapter.cluster, wanted, lambda found: found.complete).trouble is None


def test_a_rollout_says_which_roll_it_judged_and_which_image_whoever_wrote_the_template(adapter: Adapter) -> None:
    cluster, first = adapter.cluster, running(adapter.cluster, adapter.namespace)
    update(cluster, deployment(adapter.namespace, image="held:2", roll="2"))
    held = rolled_out(cluster, first, lambda found: found.observed)
    assert (held.roll, held.image, held.complete) == ("2", "held:2", False)
    back = {"metadata": {"annotations": {ROLL_ANNOTATION: "1", "fakelet/hold": None}}}
    containers = first["spec"]["template"]["spec"]["containers"]
    adapter.edit(ref_of(first), {"spec": {"template": {**back, "spec": {"containers": containers}}}}, "kubectl-rollout")
    undone = rolled_out(cluster, first, lambda found: found.complete)
    assert (undone.roll, undone.image) == ("1", "nginx:1")
    edit_container(adapter, first, image="nginx:9")
    edited = rolled_out(cluster, first, lambda found: found.complete)
    assert (edited.roll, edited.image) == ("1", "nginx:9")
    sidecar = {"name": "proxy", "image": "proxy:1"}
    template = {
        "metadata": {"annotations": None},
        "spec": {"containers": [sidecar, {"name": "shop", "image": "nginx:9"}]},
    }
    adapter.edit(ref_of(first), {"spec": {"template": template}}, "kubectl-edit")
    assert (rollout(cluster, first).roll, rollout(cluster, first).image) == (None, "nginx:9")


def test_what_is_being_deleted_neither_completes_nor_fails(adapter: Adapter) -> None:
    cluster, wanted = adapter.cluster, running(adapter.cluster, adapter.namespace)
    adapter.edit(ref_of(wanted), {"metadata": {"finalizers": ["1ctl.dev/test"]}}, "holder")
    cluster.delete(ref_of(wanted), uid=None)
    for found in rollouts(cluster, wanted, during=0.5):
        assert (found.complete, found.failed) == (False, None)
        assert found.trouble == ("DeploymentTerminating", "it is being deleted")
    adapter.edit(ref_of(wanted), {"metadata": {"finalizers": None}}, "holder")
    eventually(lambda: cluster.rollout(ref_of(wanted)) is None)


# Logs


def test_logs_are_lines_or_said_to_be_unavailable(cluster: Cluster, namespace: str) -> None:
    pod = rollout(cluster, running(cluster, namespace)).pods[0]
    try:
        told = cluster.logs(namespace, pod.name, lines=2)
    except LogsUnavailableError as unavailable:
        told = [unavailable.message.partition(pod.name)[1]]
    assert 0 < len(told) <= 2
    assert all(told)


def test_a_pod_that_does_not_exist_has_no_logs(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(LogsUnavailableError, match="no-such-pod"):
        cluster.logs(namespace, "no-such-pod", lines=5)


def test_a_whole_object_can_be_read_back(cluster: Cluster, namespace: str) -> None:
    wanted = config_map(namespace, colour="red")
    assert cluster.read(ref_of(wanted)) is None
    create(cluster, wanted)
    found = cluster.read(ref_of(wanted))
    assert found is not None
    assert found["data"] == {"colour": "red"}
    assert found["kind"] == "ConfigMap"


def test_a_secret_is_never_read(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(ValueError, match="never read"):
        cluster.read(Ref("Secret", namespace, "any"))
