"""A ledger and a cluster to reconcile, with what a test may see of both and how it may meddle."""

from __future__ import annotations

import json
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from effects.cluster import (
    API_VERSIONS,
    APP_LABEL,
    DIGEST_ANNOTATION,
    LEDGER_LABEL,
    LIFE_LABEL,
    Cluster,
    ClusterKind,
    ClusterUnreachableError,
    Manifest,
    Page,
    Ref,
    Rollout,
    Seen,
    Watch,
    ref_of,
)
from effects.desired import Surroundings, desired
from effects.reconcile import Reconciler
from effects.rollout import RolloutLook, RolloutWatch
from effects.sandbox import SandboxCluster
from ledger.app import App, Life
from ledger.commands import Command, Deploy, SetSecrets
from ledger.domains import mint_domain
from ledger.envelope import Source
from ledger.events import ResourcesApplied
from ledger.keys import KeyFiles
from ledger.ledger import Ledger, Outcome
from ledger.request import Request
from ledger.spec import AppId
from ledger.sqlite_store import SqliteStore
from tests.cli_support import Cli
from tests.kubernetes_support import Administrator, kubeconfig

GATEWAY = "gateway-system/satusky-gateway"
STARTUP_SECONDS = 0.02
T = TypeVar("T")


def eventually(check: Callable[[], T | None], *, within: float = 20.0) -> T:
    """The first truthy answer; fails after that many seconds."""
    deadline = time.monotonic() + within
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {within} s; last answer: {found!r}"
        time.sleep(0.02)


def request(request_id: str | None = None) -> Request:
    return Request(
        request_id=request_id or str(uuid4()), actor="ada", source=Source(program="1ctl test", host="laptop")
    )


def image(name: str = "nginx:alpine", **more: Any) -> Deploy:
    """A small release; its CPU is written as the API server writes it."""
    return Deploy(image=name, port=8081, cpu="250m", memory="128Mi", **more)


@dataclass
class World:
    """One ledger over one namespace of one cluster, and an app in it.

    Attributes:
        cluster: The real adapter.
        namespace: Where everything is.
        ledger: A ledger of its own.
        everything: All objects of our kinds in the namespace, with their content.
        app_id: The app that is spoken of where none is named.
        values: Secret values by key that were set last.
    """

    cluster: Cluster
    namespace: str
    ledger: Ledger
    everything: Callable[[], Sequence[Mapping[str, Any]]]
    app_id: AppId
    values: dict[str, bytes] = field(default_factory=dict)

    def another_app(self) -> None:
        """From now on another app is spoken of."""
        self.app_id = AppId("test", self.namespace, f"shop-{uuid4().hex[:8]}")

    @property
    def app(self) -> App:
        return self.ledger.app(self.app_id)

    @property
    def life(self) -> Life:
        life = self.app.life
        assert life is not None
        return life

    def ask(self, command: Command, *, request_id: str | None = None) -> Outcome:
        """Record only."""
        return self.ledger.execute(self.app_id, command, request(request_id))

    def ask_secrets(self, **values: str) -> None:
        self.values |= {key: value.encode() for key, value in values.items()}
        given = {key: value.encode() for key, value in values.items()}
        self.ledger.execute(self.app_id, SetSecrets(keys=tuple(sorted(values))), request(), secret_values=given)

    def reconcile(self, cluster: Cluster | None = None) -> App:
        return self.reconciler(cluster).reconcile(self.app_id)

    def reconciler(self, cluster: Cluster | None = None) -> Reconciler:
        return Reconciler(ledger=self.ledger, cluster=cluster or self.cluster, gateway=GATEWAY, request=request())

    def do(self, *commands: Command) -> App:
        """Record each and make it true."""
        for command in commands:
            self.ask(command)
        return self.reconcile()

    def watch(self) -> RolloutWatch:
        return RolloutWatch(ledger=self.ledger, cluster=self.cluster, request=request(), interval=0.02)

    def settle(self) -> RolloutLook:
        """Wait for the verdict on the newest roll, which is recorded."""
        *_, last = self.watch().wait(self.app_id, self.life, timeout=20)
        assert last.verdict != "waiting"
        return last

    def named(self, kind: str, suffix: str = "") -> Ref:
        return Ref(kind, self.namespace, self.app_id.name + suffix)

    def rollout(self) -> Rollout:
        found = self.cluster.rollout(self.named("Deployment"))
        assert found is not None
        return found

    def objects(self) -> Mapping[Ref, Mapping[str, Any]]:
        """Those of the app that are of this ledger."""
        return {
            ref_of(each): each
            for each in self.everything()
            if each["metadata"].get("labels", {}).get(APP_LABEL) == self.app_id.name
            and each["metadata"]["labels"].get(LEDGER_LABEL) == self.ledger.ledger_id()
        }

    def copies(self, kind: str) -> set[str]:
        """Names of the immutable copies of that kind."""
        return {ref.name for ref, each in self.objects().items() if ref.kind == kind and each.get("immutable")}

    def versions(self) -> Mapping[Ref, tuple[str, str]]:
        """By object: uid, and what a change to it changes; not what controllers write into its status meanwhile."""
        return {ref: (each["metadata"]["uid"], _version(each)) for ref, each in self.objects().items()}

    def generation(self) -> int:
        """How often the Deployment's spec was changed."""
        return int(self.objects()[self.named("Deployment")]["metadata"]["generation"])

    def applied(self) -> list[ResourcesApplied]:
        """What was recorded as applied, oldest first."""
        history = self.ledger.history(self.app_id)
        return [line.event for line in history if isinstance(line.event, ResourcesApplied)]

    def foreign(self, kind: str) -> Ref:
        """Someone else's object where one of ours would be."""
        ref = self.named(kind, {"ConfigMap": "-environments", "Secret": "-secrets"}.get(kind, ""))
        labels = {"app": "theirs"}
        contents: Mapping[str, Mapping[str, Any]] = {
            "ConfigMap": {"data": {"theirs": "x"}},
            "Secret": {"data": {"theirs": b64encode(b"x").decode()}},
            "Service": {"spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 80, "protocol": "TCP"}]}},
            "HTTPRoute": {"spec": {"hostnames": ["theirs.example.com"], "parentRefs": [{"name": "theirs"}]}},
            "Deployment": {
                "spec": {
                    "replicas": 0,
                    "selector": {"matchLabels": labels},
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {"containers": [{"name": "theirs", "image": "theirs:1"}]},
                    },
                }
            },
        }
        metadata = {"name": ref.name, "namespace": ref.namespace, "labels": labels}
        manifest = {"apiVersion": API_VERSIONS[kind], "kind": kind, "metadata": metadata, **contents[kind]}
        self.cluster.apply(manifest, manager="someone-else", expect=None)
        return ref

    def content(self, ref: Ref) -> Mapping[str, Any]:
        """What is in an object, less what the cluster itself writes."""
        found = next(each for each in self.everything() if ref_of(each) == ref)
        return {key: value for key, value in found.items() if key not in ("metadata", "status")} | {
            "labels": found["metadata"].get("labels")
        }

    def difference(self) -> str:
        """How cluster and ledger differ; empty if they do not."""
        app, found = self.app, self.objects()
        if app.life is None:
            return f"left over: {sorted(map(str, found))}" if found else ""
        around = Surroundings(ledger_id=self.ledger.ledger_id() or "", gateway=GATEWAY)
        wanted = {entry.ref: entry for entry in desired(app, app.life, around) if entry.ref in found or not entry.lost}
        if found.keys() != wanted.keys():
            return f"wanted {sorted(map(str, wanted))}, found {sorted(map(str, found))}"
        owner_uid = found[next(iter(wanted))]["metadata"]["uid"]
        for ref, entry in wanted.items():
            metadata = found[ref]["metadata"]
            owners = [each["uid"] for each in metadata.get("ownerReferences", [])]
            if metadata["annotations"][DIGEST_ANNOTATION] != entry.digest:
                return f"{ref} has another digest"
            if metadata["labels"][LIFE_LABEL] != app.life.deployment_id:
                return f"{ref} is of another life"
            if owners != ([] if metadata["uid"] == owner_uid else [owner_uid]):
                return f"{ref} has other owners: {owners}"
            if ref.kind == "Secret" and (data := found[ref].get("data", {})).keys() != entry.secrets.keys():
                return f"{ref} has keys {sorted(data)}"
            if unlike := _unlike(entry.manifest, found[ref]):
                return f"{ref} is not as desired: {unlike}"
        recorded = {(each.kind, each.name, each.uid) for each in app.life.objects}
        if recorded != {(ref.kind, ref.name, each["metadata"]["uid"]) for ref, each in found.items()}:
            return f"recorded {recorded}"
        return "" if not app.life.dirty else "not recorded as applied"

    def assert_equal(self) -> None:
        """The cluster is what the ledger asks for, as soon as its own controllers are done."""
        patience = time.monotonic() + (20.0 if self.cluster.kind == "kubernetes" else 0.0)
        while (difference := self.difference()) and time.monotonic() < patience:
            time.sleep(0.05)
        assert not difference, difference

    def secret_data(self, ref: Ref) -> Mapping[str, bytes]:
        """A Secret's values; of the sandbox, which keeps none, their digests."""
        data = self.objects()[ref]["data"]
        return {key: value.encode() if ":" in value else b64decode(value) for key, value in data.items()}


def _version(found: Mapping[str, Any]) -> str:
    """Another one when the object was changed by anyone but the controllers, which write when it suits them."""
    written_by_controllers = {"resourceVersion", "managedFields"}
    metadata = {name: value for name, value in found["metadata"].items() if name not in written_by_controllers}
    annotations = dict(metadata.get("annotations") or {})
    annotations.pop("deployment.kubernetes.io/revision", None)
    content = {**found, "metadata": {**metadata, "annotations": annotations}, "status": None}
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _in_order(entries: Sequence[Any]) -> Sequence[Any]:
    """By name, where entries have one: a server that merges by name leaves them in the order in which they came."""
    named = all(isinstance(entry, Mapping) and "name" in entry for entry in entries)
    return sorted(entries, key=lambda entry: str(entry["name"])) if named else entries


def _unlike(wanted: Any, found: Any) -> str:
    """What of the wanted is not in the found, which may have more."""
    if isinstance(wanted, Mapping):
        for key, value in wanted.items():
            if key not in found:
                # An empty map or list may be left out by the server.
                if value in ({}, []):
                    continue
                return f".{key} is missing"
            if unlike := _unlike(value, found[key]):
                return f".{key}{unlike}"
        return ""
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        if len(wanted) != len(found):
            return f" has {len(found)} entries"
        pairs = zip(_in_order(wanted), _in_order(found), strict=True)
        return next((f"[]{unlike}" for pair in pairs if (unlike := _unlike(*pair))), "")
    return "" if wanted == found else f" is {found!r}, not {wanted!r}"


def _ledger(directory: Path) -> Ledger:
    store = SqliteStore(directory / "ledger.db")
    return Ledger(store, KeyFiles(directory / "keys"), mint_domain=lambda: mint_domain("example.com"))


@contextmanager
def sandbox_world(directory: Path, *, watch_seconds: int = 30) -> Iterator[World]:
    """A world in the simulated cluster."""
    cluster = SandboxCluster.open(
        directory / "sandbox.db", startup_seconds=STARTUP_SECONDS, watch_seconds=watch_seconds
    )
    ledger = _ledger(directory)
    yield World(cluster, "default", ledger, lambda: cluster.objects("default"), AppId("test", "default", "shop"))
    ledger.store.close()
    cluster.close()


@contextmanager
def kubernetes_world(directory: Path, *, watch_seconds: int = 30) -> Iterator[World]:
    """A world in a namespace of its own of a real API server."""
    from effects.kubernetes_cluster import KubernetesCluster

    file = kubeconfig()
    administrator = Administrator(file)
    ledger = _ledger(directory)
    with (
        administrator.namespace() as namespace,
        KubernetesCluster.connect(
            kubeconfig=file, context=administrator.context, watch_seconds=watch_seconds
        ) as cluster,
    ):
        yield World(
            cluster, namespace, ledger, lambda: administrator.objects(namespace), AppId("test", namespace, "shop")
        )
    ledger.store.close()
    administrator.close()


@contextmanager
def world_of(cli: Cli, app: str) -> Iterator[World]:
    """What a user of the command line has on this machine: their ledger and their sandbox."""
    cluster = cli.cluster()
    ledger = Ledger(SqliteStore(cli.ledger), KeyFiles(cli.home / "keys"), mint_domain=lambda: "never.example.com")
    yield World(cluster, "default", ledger, lambda: cluster.objects("default"), AppId("sandbox", "default", app))
    ledger.store.close()
    cluster.close()


class Killed(BaseException):
    """Stands for the end of the process: nothing of ours handles it."""


Hook = Callable[[str, Ref], None]


def _nothing(_: str, __: Ref) -> None:
    pass


class Meddled:
    """A cluster of which each call can be preceded and followed by something else.

    Attributes:
        calls: Every call so far: method and object.
    """

    def __init__(self, real: Cluster, *, before: Hook = _nothing, after: Hook = _nothing) -> None:
        self.kind: ClusterKind = real.kind
        self.name = real.name
        self.calls: list[tuple[str, Ref]] = []
        self._real = real
        self._before = before
        self._after = after

    def namespace_exists(self, namespace: str) -> bool:
        return self._real.namespace_exists(namespace)

    def look(self, ref: Ref, *, ledger_id: str) -> Seen | None:
        return self._call("look", ref, lambda: self._real.look(ref, ledger_id=ledger_id))

    def read(self, ref: Ref) -> Manifest | None:
        return self._call("read", ref, lambda: self._real.read(ref))

    def pages(self, kind: str, namespace: str, *, ledger_id: str, limit: int = 500) -> Iterator[Page]:
        return self._real.pages(kind, namespace, ledger_id=ledger_id, limit=limit)

    def watch(self, kind: str, namespace: str, *, ledger_id: str, since: str) -> Watch:
        return self._real.watch(kind, namespace, ledger_id=ledger_id, since=since)

    def apply(self, manifest: Manifest, *, manager: str, expect: Seen | None, force: bool = False) -> Seen:
        def do() -> Seen:
            return self._real.apply(manifest, manager=manager, expect=expect, force=force)

        return self._call("apply", ref_of(manifest), do)

    def replace_parts(self, ref: Ref, patch: Manifest, *, manager: str, expect: Seen) -> Seen:
        def do() -> Seen:
            return self._real.replace_parts(ref, patch, manager=manager, expect=expect)

        return self._call("replace parts", ref, do)

    def delete(self, ref: Ref, *, uid: str | None) -> None:
        self._call("delete", ref, lambda: self._real.delete(ref, uid=uid))

    def rollout(self, ref: Ref) -> Rollout | None:
        return self._call("rollout", ref, lambda: self._real.rollout(ref))

    def close(self) -> None:
        self._real.close()

    def logs(self, namespace: str, pod: str, *, lines: int) -> Sequence[str]:
        return self._real.logs(namespace, pod, lines=lines)

    def _call(self, method: str, ref: Ref, do: Callable[[], T]) -> T:
        self.calls.append((method, ref))
        self._before(method, ref)
        answer = do()
        self._after(method, ref)
        return answer


class Counter:
    """Does something at the n-th call, once.

    Attributes:
        reached: Whether there was an n-th call.
    """

    def __init__(self, n: int, then: Callable[[], object]) -> None:
        self.reached = False
        self._left = n
        self._then = then

    def __call__(self, _: str, __: Ref) -> None:
        self._left -= 1
        if self._left == 0:
            self.reached = True
            self._then()


def unreachable() -> None:
    raise ClusterUnreachableError("the cable was cut by a test")


def killed() -> None:
    raise Killed


def writes(calls: Sequence[tuple[str, Ref]]) -> list[tuple[str, Ref]]:
    """The calls that change the cluster."""
    return [call for call in calls if call[0] in ("apply", "replace parts", "delete")]
