"""What somebody put in place of our parts of an object is set back, and keeps no deploy from being applied."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from effects.cluster import ChangedMeanwhileError, ClusterUnreachableError, Manifest, Ref, Seen, ref_of
from effects.kubernetes_cluster import KubernetesCluster
from effects.managers import manager_of
from effects.reconcile import ParkedError
from ledger.commands import AdoptObject, Deploy, Restart, SetEnv, UnsetEnv
from ledger.events import ApplyRefused, DriftDetected, DriftHealed
from tests.effects.worlds import Meddled, World, eventually, image
from tests.kubernetes_support import Administrator, kubeconfig
from tests.worker.crews import edit, settled, working
from tests.worker.test_worker import facts


def edit_container(world: World, **changes: Any) -> None:
    """Somebody changes the app's container."""
    (container,) = world.objects()[world.named("Deployment")]["spec"]["template"]["spec"]["containers"]
    containers = [{**container, **changes}]
    edit(world, world.named("Deployment"), {"spec": {"template": {"spec": {"containers": containers}}}}, "kubectl-set")


def edit_port(world: World, number: int) -> None:
    """Somebody gives the app's Service another port."""
    ports = [{"name": "http", "port": number, "protocol": "TCP", "targetPort": number}]
    edit(world, world.named("Service"), {"spec": {"ports": ports}})


CONTAINERS: Mapping[str, Mapping[str, Any]] = {
    "env": {"env": [{"name": "A", "value": "hand"}]},
    "source": {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
    "port": {"ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"}]},
    "probe": {"readinessProbe": {"tcpSocket": {"port": 80}}},
    "all of another map": {"envFrom": [{"configMapRef": {"name": "theirs", "optional": True}}]},
}
RELEASE: Mapping[str, Any] = {"env": {"A": "1"}, "health_path": "/healthz"}


def at_port(number: int) -> Deploy:
    """The next release, which listens somewhere else."""
    return replace(image("nginx:2", **RELEASE), port=number)


@pytest.mark.parametrize("what", [*CONTAINERS, "service"])
def test_what_stands_in_place_of_ours_is_recorded_and_replaced(world: World, what: str) -> None:
    with working(world):
        world.ask(image(**RELEASE))
        settled(world)
        if what == "service":
            edit_port(world, 80)
        else:
            edit_container(world, **CONTAINERS[what])
        eventually(lambda: facts(world, DriftHealed))
        settled(world)
        assert facts(world, ApplyRefused) == []
        world.ask(at_port(9090))
        settled(world)
    world.assert_equal()
    assert world.life.drift == {}


@pytest.mark.parametrize("what", [*CONTAINERS, "service"])
def test_without_a_worker_it_keeps_no_deploy_from_being_applied(world: World, what: str) -> None:
    world.do(image(**RELEASE))
    if what == "service":
        edit_port(world, 80)
    else:
        edit_container(world, **CONTAINERS[what])
    world.do(at_port(9090))
    world.assert_equal()
    world.do(UnsetEnv(keys=("A",)), SetEnv(values={"B": "1"}), Restart())
    world.assert_equal()
    assert facts(world, ApplyRefused) == []


@pytest.mark.parametrize("then", ["deleted", "put right"])
def test_what_is_no_more_in_the_way_when_it_is_looked_at_parks_nobody(world: World, then: str) -> None:
    world.do(image(**RELEASE))
    edit_container(world, **CONTAINERS["port"])
    reached: list[Ref] = []

    def meanwhile(method: str, ref: Ref) -> None:
        """Right after the cluster refused, and before it is seen why."""
        if (method, ref) != ("read", world.named("Deployment")) or reached:
            return
        reached.append(ref)
        if then == "deleted":
            world.cluster.delete(ref, uid=None)
        else:
            edit_container(world, ports=[{"name": "http", "containerPort": 9090, "protocol": "TCP"}])

    replace(world, cluster=Meddled(world.cluster, before=meanwhile)).do(at_port(9090))
    assert reached
    assert facts(world, ApplyRefused) == []
    world.assert_equal()


def test_a_probe_that_nobody_asks_for_any_more_goes_and_the_pods_are_rolled_once(world: World) -> None:
    world.do(image(**RELEASE))
    eventually(lambda: revision(world) == "1")
    world.do(image("nginx:2", health_path=""))
    eventually(lambda: revision(world) == "2")
    (container,) = world.objects()[world.named("Deployment")]["spec"]["template"]["spec"]["containers"]
    assert "readinessProbe" not in container
    world.assert_equal()
    world.do(image("nginx:3", health_path="/"))
    world.assert_equal()
    assert facts(world, ApplyRefused) == facts(world, DriftDetected) == []
    eventually(lambda: revision(world) == "3")


@pytest.mark.parametrize("also", ["port", "hand-set", "gone", "secret", "machines"])
def test_what_changes_together_with_a_probe_that_goes_changes_with_the_same_pods(world: World, also: str) -> None:
    """What the patch that takes the probe out left standing would be refused beside the new, or go with other pods."""
    world.do(image(**{**RELEASE, "env": {"A": "1", "C": "1"}}, image_pull_secret="old", machines=("one",)))
    eventually(lambda: revision(world) == "1")
    then: dict[str, Any] = {"port": 8081, "image_pull_secret": "old", "machines": ("one",)}
    match also:
        case "port":
            then["port"] = 9090
        case "hand-set":
            edit_container(world, **CONTAINERS["env"])
            eventually(lambda: revision(world) == "2")
        case "gone":
            world.ask(UnsetEnv(keys=("A",)))
        case "secret":
            world.ask(UnsetEnv(keys=("A",)))
            world.ask_secrets(A="2")
        case _:
            then |= {"image_pull_secret": "new", "machines": ()}
    before = int(revision(world) or 0)
    world.do(replace(image("nginx:2", health_path=""), **then))
    world.assert_equal()
    assert facts(world, ApplyRefused) == []
    (container,) = world.objects()[world.named("Deployment")]["spec"]["template"]["spec"]["containers"]
    assert "readinessProbe" not in container
    eventually(lambda: int(revision(world) or 0) == before + 1)
    world.do(image("nginx:3", health_path="/"))
    world.assert_equal()


def revision(world: World) -> str | None:
    """How often the controller has made other pods."""
    annotations = world.objects()[world.named("Deployment")]["metadata"]["annotations"]
    found: str | None = annotations.get("deployment.kubernetes.io/revision")
    return found


def test_where_nothing_was_edited_nothing_more_is_asked_of_the_cluster(world: World) -> None:
    world.do(image(**RELEASE))
    meddled = Meddled(world.cluster)
    world.ask(image("nginx:2", **RELEASE))
    world.reconcile(meddled)
    assert {method for method, _ in meddled.calls} == {"look", "apply"}


def test_an_app_of_somebody_else_with_variables_and_another_port_is_adopted(world: World) -> None:
    labels = {"app": world.app_id.name}
    container = {"name": world.app_id.name, "image": "theirs:1", "env": [{"name": "A", "value": "x"}]}
    pods = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    theirs = {
        "Deployment": {"replicas": 0, "selector": {"matchLabels": labels}, "template": pods},
        "Service": {"selector": labels, "ports": [{"port": 80, "targetPort": 80, "protocol": "TCP"}]},
    }
    for kind, spec in theirs.items():
        ref = world.named(kind)
        metadata = {"name": ref.name, "namespace": ref.namespace}
        version = "v1" if kind == "Service" else "apps/v1"
        manifest = {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
        uid = world.cluster.apply(manifest, manager="someone-else", expect=None).uid
        world.ask(AdoptObject(kind=kind, name=ref.name, uid=uid))
    world.do(image(env={"A": "1"}))
    world.assert_equal()


class Policy(Meddled):
    """A cluster that adds a variable to the app's container with each write of its Deployment, as a webhook does.

    Attributes:
        written: How often that was.
    """

    def __init__(self, world: World) -> None:
        super().__init__(world.cluster)
        self.written = 0
        self._world = world

    def apply(self, manifest: Manifest, *, manager: str, expect: Seen | None, force: bool = False) -> Seen:
        return self._with_proxy(super().apply(manifest, manager=manager, expect=expect, force=force), ref_of(manifest))

    def replace_parts(self, ref: Ref, patch: Manifest, *, manager: str, expect: Seen) -> Seen:
        return self._with_proxy(super().replace_parts(ref, patch, manager=manager, expect=expect), ref)

    def _with_proxy(self, written: Seen, ref: Ref) -> Seen:
        if ref.kind != "Deployment":
            return written
        self.written += 1
        (container,) = self._world.objects()[ref]["spec"]["template"]["spec"]["containers"]
        if "PROXY" not in [each["name"] for each in container["env"]]:
            edit_container(self._world, env=[*container["env"], {"name": "PROXY", "value": "x"}])
        seen = self._real.look(ref, ledger_id=self._world.ledger.ledger_id() or "")
        assert seen is not None
        return seen


def test_what_somebody_edits_beside_what_a_webhook_adds_is_set_back(world: World) -> None:
    policy, ref = Policy(world), world.named("Deployment")

    def differs_only_in_what_is_added() -> bool:
        fields = [each.field for drift in world.life.drift.values() for each in drift]
        return not world.app.dirty and [field.rpartition(".")[2] for field in fields] == ["PROXY"]

    with working(world, policy):
        world.ask(image(env={"A": "1"}))
        eventually(lambda: not world.app.dirty)
        edit(world, ref, {"spec": {"replicas": 5}})
        eventually(lambda: world.objects()[ref]["spec"]["replicas"] == 1)
        eventually(differs_only_in_what_is_added)
    assert "spec.replicas" in [field for each in facts(world, DriftHealed) for field in getattr(each, "fields", ())]
    assert policy.written <= 8
    assert facts(world, ApplyRefused) == []


def test_a_key_more_in_a_selector_is_recorded_and_removed(world: World) -> None:
    with working(world):
        world.ask(image())
        settled(world)
        edit(world, world.named("Service"), {"spec": {"selector": {"version": "2"}}})
        eventually(lambda: facts(world, DriftHealed))
        settled(world)
    assert world.objects()[world.named("Service")]["spec"]["selector"] == {"app": world.app_id.name}
    (found,) = facts(world, DriftDetected)
    assert isinstance(found, DriftDetected)
    assert [(each.field, each.found) for each in found.fields] == [("spec.selector.version", '"2"')]
    assert world.life.drift == {}


def test_where_else_a_route_leads_is_recorded_and_set_back(world: World) -> None:
    ref = world.named("HTTPRoute")
    with working(world):
        world.ask(image())
        settled(world)
        rules = world.objects()[ref]["spec"]["rules"]
        other = {"name": "other", "port": 80, "weight": 99}
        edit(world, ref, {"spec": {"rules": [{**rules[0], "backendRefs": [*rules[0]["backendRefs"], other]}]}})
        eventually(lambda: facts(world, DriftHealed))
        settled(world)
        assert world.objects()[ref]["spec"]["rules"] == rules
    (found,) = facts(world, DriftDetected)
    assert isinstance(found, DriftDetected)
    assert [each.field for each in found.fields] == ["spec.rules"]


@pytest.mark.parametrize("credential", ["Bearer ghp_0123456789abcdefghijABCDEFGHIJ012345", "Basic YW5hOnRpZ2VyMQ=="])
def test_what_somebody_puts_into_the_rules_of_a_route_is_not_in_the_ledger(world: World, credential: str) -> None:
    ref = world.named("HTTPRoute")
    with working(world):
        world.ask(image())
        settled(world)
        header = {"name": "Authorization", "value": credential}
        theirs = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [header]}}
        rules = world.objects()[ref]["spec"]["rules"]
        edit(world, ref, {"spec": {"rules": [{**rules[0], "filters": [theirs]}]}})
        eventually(lambda: facts(world, DriftHealed))
        settled(world)
    (found,) = facts(world, DriftDetected)
    assert isinstance(found, DriftDetected)
    ((field, wanted, there),) = [(each.field, each.wanted, each.found) for each in found.fields]
    assert (field, there) == ("spec.rules", '"present"')
    assert wanted is not None
    assert "backendRefs" in wanted
    assert credential.split()[1] not in str([line.event for line in world.ledger.history(world.app_id)])


def make_again(world: World, ref: Ref, data: Mapping[str, str]) -> None:
    """Somebody makes an object again with other content, as ``kubectl replace --force`` does."""
    old = world.objects()[ref]
    kept = {key: old["metadata"][key] for key in ("name", "namespace", "labels", "annotations", "ownerReferences")}
    manifest = {"apiVersion": "v1", "kind": ref.kind, "metadata": kept, "data": data, "immutable": True}
    world.cluster.delete(ref, uid=None)

    def made() -> bool:
        with suppress(ChangedMeanwhileError):
            if world.cluster.kind == "sandbox":
                world.cluster.apply(manifest, manager="kubectl-replace", expect=None)
                return True
            administrator = Administrator(kubeconfig())
            path = f"/api/v1/namespaces/{ref.namespace}/{ref.kind.lower()}s?fieldManager=kubectl-replace"
            administrator._ask("POST", path, manifest)
            administrator.close()
            return True
        return False

    eventually(made)


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
@pytest.mark.parametrize("key", ["a", "token", "other"])
def test_an_immutable_copy_that_was_made_again_with_other_content_is_made_again(
    world: World, kind: str, key: str
) -> None:
    with working(world):
        world.ask(image(env={"A": "1"}))
        world.ask_secrets(TOKEN="secret")
        world.ask(Restart())
        settled(world)
    name = world.copies(kind).pop()
    ref = Ref(kind, world.namespace, name)
    before = world.objects()[ref]["data"]
    make_again(world, ref, {key: b64encode(b"999").decode()})
    with working(world):
        eventually(lambda: facts(world, DriftHealed))
        settled(world)
    assert world.objects()[ref]["data"] == before
    assert facts(world, ApplyRefused) == []
    assert world.life.drift == {}
    world.assert_equal()


def test_an_immutable_copy_is_left_as_it_is_where_drift_is_only_reported(world: World) -> None:
    with working(world):
        world.ask(image(env={"A": "1"}))
        settled(world)
    (name,) = world.copies("ConfigMap")
    make_again(world, Ref("ConfigMap", world.namespace, name), {"a": "999"})
    uid = world.objects()[Ref("ConfigMap", world.namespace, name)]["metadata"]["uid"]
    with working(world, heals=False):
        eventually(lambda: facts(world, DriftDetected))
    assert world.objects()[Ref("ConfigMap", world.namespace, name)]["metadata"]["uid"] == uid


def test_an_object_of_ours_that_somebody_made_immutable_is_never_deleted_for_it(world: World) -> None:
    """What the app's objects hang on would take them with it."""
    world.do(image(env={"A": "1"}))
    edit(world, world.named("ConfigMap", "-environments"), {"immutable": True})
    before = world.versions().keys()
    with pytest.raises(ParkedError) as caught:
        world.do(SetEnv(values={"A": "2"}))
    assert caught.value.reason == "Invalid"
    assert world.versions().keys() >= before


def test_what_we_patched_ourselves_conflicts_with_nothing(world: World) -> None:
    """As it is left if a process ends between a patch and the claim to it."""
    world.do(image(env={"A": "1"}))
    ours = manager_of(world.ledger.ledger_id() or "")
    edit(world, world.named("Deployment"), {"spec": {"replicas": 3}}, ours)
    world.do(image("nginx:3", replicas=2))
    world.assert_equal()


def test_what_we_patched_and_never_claimed_goes_when_nobody_asks_for_it_any_more(world: World) -> None:
    """As it is left if a process ends between a patch and the claim to it; and the pods are rolled once."""
    world.do(image(**RELEASE))
    (container,) = world.objects()[world.named("Deployment")]["spec"]["template"]["spec"]["containers"]
    edit_container(world, env=CONTAINERS["env"]["env"], readinessProbe={"tcpSocket": {"port": 80}})
    ours = {"spec": {"template": {"spec": {"containers": [container]}}}}
    edit(world, world.named("Deployment"), ours, manager_of(world.ledger.ledger_id() or ""))
    eventually(lambda: revision(world) == "3")  # of which the first is taken up again by its number
    world.do(UnsetEnv(keys=("A",)), image("nginx:2", health_path=""))
    eventually(lambda: revision(world) == "4")
    (container,) = world.objects()[world.named("Deployment")]["spec"]["template"]["spec"]["containers"]
    assert container.get("env", []) == []
    assert "readinessProbe" not in container
    world.assert_equal()
    assert facts(world, ApplyRefused) == []


def test_a_patch_of_which_the_claim_failed_is_made_up_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[Ref] = []

    def fails_once(self: Any, ref: Ref, patch: Manifest, *rest: Any) -> Any:
        if "managedFields" in patch.get("metadata", {}) and not failed:
            failed.append(ref)
            raise ClusterUnreachableError("the cable was cut by a test")
        return real(self, ref, patch, *rest)

    real = KubernetesCluster._patch
    monkeypatch.setattr(KubernetesCluster, "_patch", fails_once)
    with working(world):
        world.ask(image(**RELEASE))
        settled(world)
        edit_container(world, **CONTAINERS["probe"])
        eventually(lambda: facts(world, DriftDetected))
        eventually(lambda: not world.life.drift)
        assert len(failed) == (world.cluster.kind == "kubernetes")
        world.ask(image("nginx:2", health_path=""))
        settled(world)
        (container,) = world.objects()[world.named("Deployment")]["spec"]["template"]["spec"]["containers"]
        assert "readinessProbe" not in container
        world.assert_equal()
