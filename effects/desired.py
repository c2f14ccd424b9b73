"""What should be in the cluster for one life of an app, as plain data. Pure: same state, same objects.

A Secret's values are not here: `DesiredObject.secrets` says which sealed value goes under which key, so that deciding
what to do needs no key, and golden files hold no secret. `stamped` completes an object just before it is sent.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field, replace
from hashlib import sha256
from typing import Any

import orjson

from effects.cluster import (
    API_VERSIONS,
    APP_LABEL,
    DIGEST_ANNOTATION,
    LEDGER_LABEL,
    LIFE_LABEL,
    POSITION_ANNOTATION,
    Manifest,
    Ref,
    ref_of,
)
from ledger.app import App, Life, Roll
from ledger.events import AppliedObject
from ledger.spec import Configuration, SecretVersion
from ledger.value import Value, short_value, value
from ledger.values import object_key

ROLL_ANNOTATION = "1ctl.dev/roll"
"""On the pod template: which event asked for these pods. A new value rolls them, and nothing else does."""

PROGRESS_DEADLINE_SECONDS = 600
HOSTNAME_LABEL = "kubernetes.io/hostname"


@short_value
class DesiredObject(Value):
    """One object as it should be.

    Attributes:
        manifest: The object, with our labels and its digest; a Secret's data is missing.
        secrets: For a Secret: by key in the object, the secret's original name and sealed version.
        lost: Whether a value was purged that only pods of earlier rolls read: it stays where it is, and is never made.
    """

    manifest: Manifest
    secrets: Mapping[str, tuple[str, SecretVersion]] = field(default_factory=dict)
    lost: bool = False

    @property
    def ref(self) -> Ref:
        """Kind, namespace and name."""
        return ref_of(self.manifest)

    @property
    def digest(self) -> str:
        """Stands for everything that is desired of the object, secret versions included."""
        return str(self.manifest["metadata"]["annotations"][DIGEST_ANNOTATION])


@value
class Surroundings(Value):
    """What is not the app's own but shapes its objects.

    Attributes:
        ledger_id: Put on every object as a label.
        gateway: Namespace and name of the Gateway that routes attach to, ``namespace/name``.
    """

    ledger_id: str
    gateway: str


def desired(app: App, life: Life, around: Surroundings) -> Sequence[DesiredObject]:
    """Every object of the life, in the order in which they are applied; the first one owns the others."""
    make = _Maker(app, life, around)
    return [
        make.environment(),
        *make.secrets(),
        *make.copies(),
        make.deployment(),
        make.service(),
        *make.route(),
    ]


def asked_for(
    app: App, life: Life, around: Surroundings
) -> tuple[Sequence[DesiredObject], Sequence[tuple[Ref, AppliedObject]]]:
    """Every object that the life is to have: those that can be made, and copies that can only be kept."""
    wanted = desired(app, life, around)
    return wanted, tuple(_unnamed_copies(app, life, {entry.ref for entry in wanted}))


def owner(app_name: str, namespace: str) -> Ref:
    """The object that is always made, and first: deleting it lets the cluster collect the rest."""
    return Ref("ConfigMap", namespace, f"{app_name}-environments")


def named_objects(app_name: str, namespace: str) -> Sequence[Ref]:
    """The objects whose names follow from the app's alone; what someone else may already have made."""
    return [
        owner(app_name, namespace),
        Ref("Secret", namespace, f"{app_name}-secrets"),
        Ref("Deployment", namespace, app_name),
        Ref("Service", namespace, app_name),
        Ref("HTTPRoute", namespace, app_name),
    ]


def stamped(wanted: DesiredObject, *, position: str, owner_uid: str | None, values: Mapping[str, bytes]) -> Manifest:
    """The object as it is sent: with the position it is sent at, its owner, and a Secret's values.

    Args:
        wanted: The object.
        position: ``epoch.position`` of the newest event it reflects.
        owner_uid: Uid of the app's first object, or None for that object itself.
        values: Secret values by their original names.
    """
    manifest = dict(wanted.manifest)
    metadata = dict(manifest["metadata"])
    metadata["annotations"] = {**metadata["annotations"], POSITION_ANNOTATION: position}
    if owner_uid is not None:
        name = owner(metadata["labels"][APP_LABEL], metadata["namespace"]).name
        metadata["ownerReferences"] = [{"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": owner_uid}]
    manifest["metadata"] = metadata
    if wanted.ref.kind == "Secret":
        manifest["data"] = {key: b64encode(values[name]).decode() for key, (name, _) in sorted(wanted.secrets.items())}
    return manifest


def environment_copy_name(app_name: str, env: Mapping[str, str]) -> str:
    """Name of the immutable copy that pods with this environment read."""
    pairs = [(key, sha256(value.encode()).hexdigest()) for key, value in sorted(env.items())]
    return f"{app_name}-environments-{_digest(pairs)[:10]}"


def secrets_copy_name(app_name: str, secrets: Mapping[str, SecretVersion]) -> str:
    """Name of the immutable copy that pods with these secrets read."""
    pairs = [(key, secret.digest) for key, secret in sorted(secrets.items())]
    return f"{app_name}-secrets-{_digest(pairs)[:10]}"


def _unnamed_copies(app: App, life: Life, wanted: Collection[Ref]) -> Iterable[tuple[Ref, AppliedObject]]:
    """Copies that pods of earlier rolls may read, and whose names nobody can tell since a value in them was redacted."""
    if not any(roll.configuration.blanked for roll in life.kept):
        return
    copies = owner(app.id.name, app.id.namespace).name + "-"
    for each in life.objects:
        ref = Ref(each.kind, app.id.namespace, each.name)
        if each.kind == "ConfigMap" and each.name.startswith(copies) and ref not in wanted:
            yield ref, each


class _Maker:
    """The objects of one life."""

    def __init__(self, app: App, life: Life, around: Surroundings) -> None:
        self._name = app.id.name
        self._namespace = app.id.namespace
        self._life = life
        self._around = around

    def environment(self) -> DesiredObject:
        """The environment as set; pods read copies."""
        return self._config_map(f"{self._name}-environments", self._life.env)

    def secrets(self) -> Iterable[DesiredObject]:
        """The secrets as set; pods read copies."""
        if self._life.secrets:
            yield self._secret(f"{self._name}-secrets", self._life.secrets)

    def copies(self) -> Iterable[DesiredObject]:
        """Immutable configuration for every generation of pods that may still run, oldest first."""
        made = set()
        newest = secrets_copy_name(self._name, self._life.roll.configuration.secrets)
        for roll in self._life.kept:
            configuration = roll.configuration
            env_name = environment_copy_name(self._name, configuration.env)
            if configuration.env and not configuration.blanked and env_name not in made:
                made.add(env_name)
                yield self._config_map(env_name, configuration.env, immutable=True)
            secrets_name = secrets_copy_name(self._name, configuration.secrets)
            if configuration.secrets and secrets_name not in made:
                made.add(secrets_name)
                copy = self._secret(secrets_name, configuration.secrets, immutable=True)
                yield replace(copy, lost=secrets_name != newest and self._life.lacks(configuration))

    def deployment(self) -> DesiredObject:
        """The pods. A failed rollout leaves the old ones serving (``maxUnavailable: 0``)."""
        spec = self._life.spec
        labels = {APP_LABEL: self._name}
        pods: dict[str, Any] = {
            "automountServiceAccountToken": False,
            "containers": [self._container()],
            "enableServiceLinks": False,
        }
        if spec.machines:
            pods["affinity"] = _on_machines(spec.machines)
        if spec.image_pull_secret:
            pods["imagePullSecrets"] = [{"name": spec.image_pull_secret}]
        template = {
            "metadata": {
                "annotations": {ROLL_ANNOTATION: roll_name(self._life.roll)},
                "labels": {**labels, LIFE_LABEL: self._life.deployment_id},
            },
            "spec": pods,
        }
        return self._object(
            "Deployment",
            self._name,
            {
                "spec": {
                    "progressDeadlineSeconds": PROGRESS_DEADLINE_SECONDS,
                    "replicas": spec.replicas,
                    "revisionHistoryLimit": 2,
                    "selector": {"matchLabels": labels},
                    "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}, "type": "RollingUpdate"},
                    "template": template,
                }
            },
        )

    def service(self) -> DesiredObject:
        """A cluster-internal address. ``protocol`` is given, since older servers do not default it when applied."""
        port = self._life.spec.port
        ports = [{"name": "http", "port": port, "protocol": "TCP", "targetPort": port}]
        spec = {"ports": ports, "selector": {APP_LABEL: self._name}, "type": "ClusterIP"}
        return self._object("Service", self._name, {"spec": spec})

    def route(self) -> Iterable[DesiredObject]:
        """The public route of the app's domain."""
        if self._life.domain is None:
            return
        namespace, _, name = self._around.gateway.partition("/")
        rule = {
            "backendRefs": [{"name": self._name, "port": self._life.spec.port}],
            "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        }
        spec = {
            "hostnames": [self._life.domain],
            "parentRefs": [{"name": name, "namespace": namespace}],
            "rules": [rule],
        }
        yield self._object("HTTPRoute", self._name, {"spec": spec})

    def _container(self) -> dict[str, Any]:
        spec = self._life.spec
        resources = {"cpu": spec.cpu, "memory": spec.memory}
        container: dict[str, Any] = {
            "env": self._env(self._life.roll.configuration),
            "image": spec.image,
            "name": self._name,
            "ports": [{"containerPort": spec.port, "name": "http", "protocol": "TCP"}],
            "resources": {"limits": resources, "requests": resources},
        }
        if spec.health_path:
            container["readinessProbe"] = {"httpGet": {"path": spec.health_path, "port": spec.port}}
        return container

    def _env(self, configuration: Configuration) -> list[dict[str, Any]]:
        """Every key under its original name, read from the copies: a container never sees half a change."""
        env_copy = environment_copy_name(self._name, configuration.env)
        secrets_copy = secrets_copy_name(self._name, configuration.secrets)
        entries = {key: _from("configMapKeyRef", env_copy, key) for key in configuration.env}
        entries |= {key: _from("secretKeyRef", secrets_copy, key) for key in configuration.secrets}
        return [entries[key] for key in sorted(entries)]

    def _config_map(self, name: str, env: Mapping[str, str], *, immutable: bool = False) -> DesiredObject:
        data = {object_key(key): env[key] for key in sorted(env)}
        return self._object("ConfigMap", name, _frozen({"data": data}, immutable=immutable))

    def _secret(self, name: str, secrets: Mapping[str, SecretVersion], *, immutable: bool = False) -> DesiredObject:
        sources = {object_key(key): (key, secrets[key]) for key in sorted(secrets)}
        return self._object("Secret", name, _frozen({"type": "Opaque"}, immutable=immutable), sources)

    def _object(
        self,
        kind: str,
        name: str,
        content: Mapping[str, Any],
        secrets: Mapping[str, tuple[str, SecretVersion]] | None = None,
    ) -> DesiredObject:
        versions = {key: (original, secret.digest) for key, (original, secret) in (secrets or {}).items()}
        manifest = {
            "apiVersion": API_VERSIONS[kind],
            "kind": kind,
            "metadata": {
                "annotations": {DIGEST_ANNOTATION: _digest([kind, name, content, versions])[:16]},
                "labels": {
                    APP_LABEL: self._name,
                    LEDGER_LABEL: self._around.ledger_id,
                    LIFE_LABEL: self._life.deployment_id,
                },
                "name": name,
                "namespace": self._namespace,
            },
            **content,
        }
        return DesiredObject(manifest, secrets or {})


def roll_name(roll: Roll) -> str:
    """Names a roll for ever: a restored ledger may give the same position to another event, in another epoch."""
    return f"{roll.position}-{sha256(roll.request.encode()).hexdigest()[:8]}"


def _on_machines(machines: Sequence[str]) -> dict[str, Any]:
    expression = {"key": HOSTNAME_LABEL, "operator": "In", "values": list(machines)}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


def _from(kind: str, copy: str, key: str) -> dict[str, Any]:
    return {"name": key, "valueFrom": {kind: {"key": object_key(key), "name": copy}}}


def _frozen(content: dict[str, Any], *, immutable: bool) -> dict[str, Any]:
    return {**content, "immutable": True} if immutable else content


def _digest(content: object) -> str:
    return sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
