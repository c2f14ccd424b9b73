"""What should be in the cluster, as data: golden manifests of a table of states, and what each change changes.

The golden files are written anew with ``ONECTL_TEST_GOLDEN=write`` in the environment; read their difference.
"""

from __future__ import annotations

import os
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest

from effects.cluster import DIGEST_ANNOTATION, LEDGER_LABEL, LIFE_LABEL, POSITION_ANNOTATION
from effects.desired import (
    ROLL_ANNOTATION,
    DesiredObject,
    Surroundings,
    desired,
    environment_copy_name,
    named_objects,
    owner,
    stamped,
)
from ledger.app import App, fold
from ledger.envelope import Envelope, Recorded, Source, Subject
from ledger.events import (
    Deployed,
    DomainAssigned,
    EnvSet,
    Event,
    Restarted,
    RolloutCompleted,
    RolloutFailed,
    Scaled,
    SecretSet,
    SecretUnset,
)
from ledger.spec import AppId, SecretVersion, Spec

GOLDEN = Path(__file__).parent.parent / "golden" / "objects"
SHOP = AppId("test", "market", "shop")
LIFE = "5192f813-2676-4664-a7e5-09247a9c8c9d"
AROUND = Surroundings(ledger_id="3f1c9a52-6f0e-4b41-9a0e-4c9d3c1f7b10", gateway="gateway-system/satusky-gateway")
SPEC = Spec(image="nginx:alpine", port=8081, cpu="0.25", memory="128Mi")

Request = Sequence[Event]

SPEC_FIELDS = tuple(entry.name for entry in fields(Spec))


def deployed(release: int = 1, **spec: Any) -> Deployed:
    changed = {name: spec.get(name, getattr(SPEC, name)) for name in SPEC_FIELDS}
    return Deployed(
        deployment_id=LIFE, release=release, spec=Spec(**changed), life_key="public" if release == 1 else None
    )


def first(**spec: Any) -> Request:
    return [deployed(**spec), DomainAssigned(domain="excitedowl-twzwpdg.satusky.com")]


def sealed(key: str, version: int = 1) -> SecretSet:
    return SecretSet(secrets={key: SecretVersion(version, f"{version:x}" * 64)})


def lived(*requests: Request) -> App:
    """The app after these requests; their events lie at positions 3, 4, 5, ..."""
    lines: list[Recorded] = []
    for number, request in enumerate(requests):
        for event in request:
            position = len(lines) + 3
            lines.append(Recorded(position, UUID(int=1), position - 2, position * 1000, envelope(number), event))
    return fold(App(id=SHOP), lines)


def envelope(number: int) -> Envelope:
    return Envelope(
        actor="ada",
        reason=None,
        request_id=f"request-{number}",
        source=Source(program="1ctl 0.1.0", host="laptop"),
        subject=Subject(cluster="test", namespace="market", app="shop", deployment_id=LIFE),
        correlation_id=f"request-{number}",
        causation=None,
        clock="2026-01-01T00:00:00.000000Z",
        salt="00" * 16,
    )


def objects(app: App) -> Sequence[DesiredObject]:
    assert app.life is not None
    return desired(app, app.life, AROUND)


COMPLETED_FIRST = [RolloutCompleted(release=1, roll=3, replicas=1)]

STATES: Mapping[str, Sequence[Request]] = {
    "first-deploy": [first()],
    "first-deploy-with-env": [[*first(), EnvSet(values={"GREETING": "hello", "LIMIT": "3"})]],
    "on-one-machine": [first(machines=("compute-main-01",))],
    "on-two-machines": [first(machines=("compute-main-01", "compute-main-02"), replicas=2)],
    "with-health-path": [first(health_path="/healthz")],
    "with-pull-secret": [first(image_pull_secret="registry-login")],
    "env-set-but-not-rolled": [first(), [EnvSet(values={"GREETING": "hello"})]],
    "env-rolled": [first(), [EnvSet(values={"GREETING": "hello"})], [Restarted()]],
    "secrets-rolled": [first(), [sealed("JWT_SECRET")], [sealed("DATABASE_URL")], [deployed(2)]],
    "failed-roll-keeps-copies-of-the-last-good-one": [
        [*first(), EnvSet(values={"GREETING": "hello"})],
        COMPLETED_FIRST,
        [sealed("JWT_SECRET")],
        [Restarted()],
        [RolloutCompleted(release=1, roll=8, replicas=1)],
        [EnvSet(values={"GREETING": "bye"})],
        [sealed("JWT_SECRET", 2)],
        [deployed(2, image="nginx:does-not-exist")],
        [RolloutFailed(release=2, roll=12, reason="ImagePullBackOff", message="no such image")],
    ],
    "completed-roll-keeps-its-own-copies-only": [
        [*first(), EnvSet(values={"GREETING": "hello"})],
        [EnvSet(values={"GREETING": "bye"})],
        [Restarted()],
        [RolloutCompleted(release=1, roll=7, replicas=1)],
    ],
    "scaled": [first(), [Scaled(replicas=3)]],
    "restarted": [first(), COMPLETED_FIRST, [Restarted()]],
    "keys-are-mangled": [
        [*first(), EnvSet(values={"USER_SERVICE_URL": "https://x", "lower": "a", "Dotted.Key": "b", "_": "c"})],
        [sealed("API_TOKEN_2")],
        [Restarted()],
    ],
}


def golden(name: str) -> bytes:
    return (GOLDEN / f"{name}.json").read_bytes()


def told(app: App) -> bytes:
    """Everything that is desired: manifests, and which sealed version goes under which key."""
    content = [
        {
            "manifest": entry.manifest,
            "secrets": {key: [name, version.version] for key, (name, version) in entry.secrets.items()},
        }
        for entry in objects(app)
    ]
    return orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n"


@pytest.mark.parametrize("name", STATES)
def test_the_objects_of_a_state_are_those_of_its_golden_file(name: str) -> None:
    found = told(lived(*STATES[name]))
    if os.environ.get("ONECTL_TEST_GOLDEN") == "write":
        (GOLDEN / f"{name}.json").write_bytes(found)
    assert found.decode() == golden(name).decode()


def test_every_golden_file_has_its_state() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(STATES)


@pytest.mark.parametrize("name", STATES)
def test_no_secret_value_is_in_a_golden_file(name: str) -> None:
    manifests = [entry["manifest"] for entry in orjson.loads(golden(name))]
    secrets = [manifest for manifest in manifests if manifest["kind"] == "Secret"]
    assert [manifest.keys() & {"data", "stringData"} for manifest in secrets] == [set()] * len(secrets)


# Same state, same bytes


def test_the_order_in_which_keys_were_set_makes_no_difference() -> None:
    one = lived(first(), [EnvSet(values={"A": "1", "B": "2"})], [Restarted()])
    other = lived(first(), [EnvSet(values={"B": "2", "A": "1"})], [Restarted()])
    assert told(one) == told(other)


def test_what_was_observed_without_consequence_changes_no_byte() -> None:
    assert told(lived(first(), COMPLETED_FIRST)) == told(lived(first()))


def test_pods_read_copies_named_by_their_content() -> None:
    names = {environment_copy_name("shop", env) for env in ({"A": "1"}, {"A": "2"}, {"B": "1"}, {"A": "1", "B": "1"})}
    assert len(names) == 4
    assert environment_copy_name("shop", {"A": "1", "B": "2"}) == environment_copy_name("shop", {"B": "2", "A": "1"})


# What each change changes

BASE: Sequence[Request] = [
    [*first(), EnvSet(values={"GREETING": "hello"})],
    [sealed("JWT_SECRET")],
    [Restarted()],
    [RolloutCompleted(release=1, roll=7, replicas=1)],
]
DEPLOYMENT = "deployment/shop"

CHANGES: Mapping[str, tuple[Sequence[Request], set[str]]] = {
    "scale": ([[Scaled(replicas=3)]], {DEPLOYMENT}),
    "image": ([[deployed(2, image="nginx:2")]], {DEPLOYMENT}),
    "machines": ([[deployed(2, machines=("m1",))]], {DEPLOYMENT}),
    "cpu": ([[deployed(2, cpu="1")]], {DEPLOYMENT}),
    "health path": ([[deployed(2, health_path="/up")]], {DEPLOYMENT}),
    "port": ([[deployed(2, port=9000)]], {DEPLOYMENT, "service/shop", "httproute/shop"}),
    "environment": ([[EnvSet(values={"GREETING": "bye"})]], {"configmap/shop-environments"}),
    "secret": ([[sealed("JWT_SECRET", 2)]], {"secret/shop-secrets"}),
    "unset secret": ([[SecretUnset(keys=("JWT_SECRET",))]], {"secret/shop-secrets"}),
    "restart with nothing set": ([[Restarted()]], {DEPLOYMENT}),
    "domain": ([[DomainAssigned(domain="other.example.com")]], {"httproute/shop"}),
}


def changed(before: App, after: App) -> set[str]:
    old = {(str(entry.ref), entry.digest) for entry in objects(before)}
    new = {(str(entry.ref), entry.digest) for entry in objects(after)}
    return {ref for ref, _ in old ^ new}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_changes_only_the_objects_that_it_should(change: str) -> None:
    requests, expected = CHANGES[change]
    assert changed(lived(*BASE), lived(*BASE, *requests)) == expected


def test_a_restart_after_a_change_of_configuration_makes_new_copies_and_new_pods_only() -> None:
    set_only = [*BASE, [EnvSet(values={"GREETING": "bye"})], [sealed("JWT_SECRET", 2)]]
    found = changed(lived(*set_only), lived(*set_only, [Restarted()]))
    assert len(found) == 3
    assert {ref.rpartition("-")[0] or ref for ref in found} == {
        DEPLOYMENT,
        "configmap/shop-environments",
        "secret/shop-secrets",
    }


@pytest.mark.parametrize(
    ("request_", "rolls"),
    [
        ([Scaled(replicas=3)], False),
        ([EnvSet(values={"GREETING": "bye"})], False),
        ([sealed("JWT_SECRET", 2)], False),
        ([Restarted()], True),
        ([deployed(2)], True),
    ],
)
def test_only_a_deploy_or_a_restart_changes_the_pod_template(request_: Request, rolls: bool) -> None:
    def template(app: App) -> Any:
        return next(entry for entry in objects(app) if entry.ref.kind == "Deployment").manifest["spec"]["template"]

    before, after = template(lived(*BASE)), template(lived(*BASE, request_))
    assert (before != after) is rolls
    assert (
        before["metadata"]["annotations"][ROLL_ANNOTATION] != after["metadata"]["annotations"][ROLL_ANNOTATION]
    ) is (rolls)


# Order, ownership, names


@pytest.mark.parametrize("name", STATES)
def test_configuration_comes_before_the_pods_that_read_it_and_the_owner_first(name: str) -> None:
    kinds = [entry.ref.kind for entry in objects(lived(*STATES[name]))]
    assert kinds[0] == "ConfigMap"
    assert kinds[-3:] == ["Deployment", "Service", "HTTPRoute"]
    assert set(kinds[:-3]) <= {"ConfigMap", "Secret"}
    assert objects(lived(*STATES[name]))[0].ref == owner("shop", "market")


@pytest.mark.parametrize("name", STATES)
def test_every_object_is_labelled_and_every_key_that_pods_read_is_in_a_copy_that_is_there(name: str) -> None:
    entries = objects(lived(*STATES[name]))
    for entry in entries:
        labels = entry.manifest["metadata"]["labels"]
        assert labels == {"app": "shop", LEDGER_LABEL: AROUND.ledger_id, LIFE_LABEL: LIFE}
    keys = {
        (entry.ref.kind, entry.ref.name, key)
        for entry in entries
        for key in [*entry.manifest.get("data", {}), *entry.secrets]
        if entry.manifest.get("immutable")
    }
    pods = next(entry for entry in entries if entry.ref.kind == "Deployment").manifest["spec"]["template"]["spec"]
    for variable in pods["containers"][0]["env"]:
        assert variable.keys() == {"name", "valueFrom"}
        ((kind, source),) = variable["valueFrom"].items()
        assert ({"configMapKeyRef": "ConfigMap", "secretKeyRef": "Secret"}[kind], source["name"], source["key"]) in keys


def test_the_names_that_someone_else_may_have_taken_are_those_of_the_objects_that_are_no_copies() -> None:
    entries = objects(lived(*BASE))
    plain = {entry.ref for entry in entries if not entry.manifest.get("immutable")}
    assert plain == set(named_objects("shop", "market"))


# Stamping


def by_kind(app: App) -> Callable[[str], DesiredObject]:
    return lambda kind: next(entry for entry in objects(app) if entry.ref.kind == kind)


def test_a_stamped_object_says_its_position_and_its_owner() -> None:
    entry = by_kind(lived(*BASE))("Service")
    metadata = stamped(entry, position="0.9", owner_uid="u-1", values={})["metadata"]
    assert metadata["annotations"] == {DIGEST_ANNOTATION: entry.digest, POSITION_ANNOTATION: "0.9"}
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "shop-environments", "uid": "u-1"}
    assert metadata["ownerReferences"] == [reference]


def test_stamping_leaves_the_desired_object_as_it_was() -> None:
    entry = by_kind(lived(*BASE))("Secret")
    before = orjson.dumps(entry.manifest)
    stamped(entry, position="0.9", owner_uid="u-1", values={"JWT_SECRET": b"x"})
    assert orjson.dumps(entry.manifest) == before


def test_the_owner_owns_itself_not() -> None:
    entry = by_kind(lived(*BASE))("ConfigMap")
    assert "ownerReferences" not in stamped(entry, position="0.9", owner_uid=None, values={})["metadata"]


def test_a_stamped_secret_has_its_values_under_the_keys_of_the_cluster_and_no_others() -> None:
    entry = by_kind(lived(*BASE))("Secret")
    manifest = stamped(entry, position="0.9", owner_uid="u-1", values={"JWT_SECRET": b"\x00 any", "OTHER": b"x"})
    assert {key: b64decode(value) for key, value in manifest["data"].items()} == {"jwt-secret": b"\x00 any"}
