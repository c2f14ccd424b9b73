"""What `deploy get` and `deploy list` say about a life; docs/json.md has the keys.

Scripts that were written before there was a ledger expect some keys that say nothing here: they are constant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ledger.clock import iso
from projections.lifecycle import Status, lifecycle

if TYPE_CHECKING:
    from ledger.app import Life, RolloutState
    from ledger.spec import AppId


class Deployment(NamedTuple):
    """A life as the commands show it.

    Attributes:
        deployment_id: UUID text.
        hostnames: Machines the pods may run on, in the order given; empty means any.
        cluster: Cluster name.
        namespace: Kubernetes namespace.
        app_label: App name.
        status: How far the cluster has got; says nothing about the pods.
        release: Newest release number.
        image: Image reference, as given.
        replicas: Number of pods asked for.
        port: Container and service port.
        cpu: Kubernetes quantity, request and limit alike.
        memory: Kubernetes quantity, request and limit alike.
        health_path: Path of the readiness probe, or None.
        image_pull_secret: Name of a Secret in the namespace, or None.
        env_enabled: Whether any environment value is set.
        secret_enabled: Whether any secret is set.
        created_us: When the life opened, microseconds since 1970-01-01 UTC.
        updated_us: When something was last asked for, likewise.
        destroyed_us: When the life ended, likewise, or None.
        domain: Host name; None where it is unknown or not shown.
        rollout: What is known about its newest pods; None where nobody asked, and once it is destroyed.
    """

    deployment_id: str
    hostnames: tuple[str, ...]
    cluster: str
    namespace: str
    app_label: str
    status: Status
    release: int
    image: str
    replicas: int
    port: int
    cpu: str
    memory: str
    health_path: str | None
    image_pull_secret: str | None
    env_enabled: bool
    secret_enabled: bool
    created_us: int
    updated_us: int
    destroyed_us: int | None = None
    domain: str | None = None
    rollout: RolloutState | None = None

    @property
    def url(self) -> str | None:
        """Where the app is reached, ``https://`` included, or None without a domain."""
        return f"https://{self.domain}" if self.domain else None

    def to_json(self) -> dict[str, object]:
        """Keys and values for JSON; times RFC 3339 in UTC; what is None is left out."""
        document: dict[str, object] = {
            "deployment_id": self.deployment_id,
            "app_label": self.app_label,
            "cluster": self.cluster,
            "namespace": self.namespace,
            "environment": "production",
            "type": "production",
            "hostnames": list(self.hostnames),
            "status": self.status,
            "rollout": self.rollout,
            "release": self.release,
            "image": self.image,
            "replicas": self.replicas,
            "port": self.port,
            "cpu_request": self.cpu,
            "cpu_limit": self.cpu,
            "memory_request": self.memory,
            "memory_limit": self.memory,
            "health_path": self.health_path,
            "image_pull_secret": self.image_pull_secret,
            "env_enabled": self.env_enabled,
            "secret_enabled": self.secret_enabled,
            "volume_enabled": False,
            "domain": self.url,
            "created_at": iso(self.created_us),
            "updated_at": iso(self.updated_us),
            "destroyed_at": None if self.destroyed_us is None else iso(self.destroyed_us),
        }
        return {key: value for key, value in document.items() if value is not None}


def deployment(app_id: AppId, life: Life) -> Deployment:
    """A life of this app, open or leaving, with its domain."""
    spec = life.spec
    return Deployment(
        deployment_id=life.deployment_id,
        hostnames=spec.machines,
        cluster=app_id.cluster,
        namespace=app_id.namespace,
        app_label=app_id.name,
        status=_status(life),
        release=life.release,
        image=spec.image,
        replicas=spec.replicas,
        port=spec.port,
        cpu=spec.cpu,
        memory=spec.memory,
        health_path=spec.health_path,
        image_pull_secret=spec.image_pull_secret,
        env_enabled=bool(life.env),
        secret_enabled=bool(life.secrets),
        created_us=life.opened_us,
        updated_us=life.updated_us,
        destroyed_us=None if life.destroyed is None else life.updated_us,
        domain=life.domain,
        rollout=None if life.destroyed is not None else life.rollout,
    )


def _status(life: Life) -> Status:
    return lifecycle(
        changed=life.changed,
        applied_through=life.applied_through,
        refused_through=life.parked.through if life.parked else 0,
        ended=life.destroyed is not None,
    )
