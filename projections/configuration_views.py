"""What `env list` and `secret list` say: what is set, and whether the pods read it yet. Never a secret value."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID, uuid5

from ledger.clock import iso

if TYPE_CHECKING:
    from ledger.app import Changed, Life
    from ledger.spec import AppId


class EnvValue(NamedTuple):
    """An environment value that is set; `in_pods` if the newest roll's pods read the same one."""

    key: str
    value: str
    in_pods: bool


class SecretKey(NamedTuple):
    """A secret that is set, in its newest version; `in_pods` if the newest roll's pods read the same one."""

    key: str
    version: int
    in_pods: bool


class Environment(NamedTuple):
    """An app's environment.

    Attributes:
        app: The app's lasting name.
        deployment_id: UUID text of the life.
        values: What is set, by key.
        only_in_pods: Keys that were unset but that the newest roll's pods still read, sorted.
        changed: When it changed.
    """

    app: AppId
    deployment_id: str
    values: tuple[EnvValue, ...]
    only_in_pods: tuple[str, ...]
    changed: Changed

    def to_json(self) -> dict[str, object]:
        """Keys and values for JSON, values by rising key; times RFC 3339 in UTC."""
        return {
            "environment_id": _part_id(self.deployment_id, "environment"),
            **_place(self.app, self.deployment_id),
            "key_values": [value._asdict() for value in self.values],
            "only_in_pods": list(self.only_in_pods),
            **_times(self.changed),
        }


class Secrets(NamedTuple):
    """An app's secrets: names and versions.

    Attributes:
        app: The app's lasting name.
        deployment_id: UUID text of the life.
        keys: What is set, by key.
        only_in_pods: Keys that were unset but that the newest roll's pods still read, sorted.
        changed: When they changed.
    """

    app: AppId
    deployment_id: str
    keys: tuple[SecretKey, ...]
    only_in_pods: tuple[str, ...]
    changed: Changed

    def to_json(self) -> dict[str, object]:
        """Keys and values for JSON, by rising key; times RFC 3339 in UTC."""
        return {
            "secret_id": _part_id(self.deployment_id, "secret"),
            **_place(self.app, self.deployment_id),
            "keys": [entry.key for entry in self.keys],
            "key_count": len(self.keys),
            "versions": [entry._asdict() for entry in self.keys],
            "only_in_pods": list(self.only_in_pods),
            **_times(self.changed),
        }


def environment(app: AppId, life: Life) -> Environment | None:
    """The environment of a life of this app; None if nothing is set and its pods read nothing either."""
    in_pods = life.roll.configuration.env
    values = tuple(EnvValue(key, value, in_pods.get(key) == value) for key, value in sorted(life.env.items()))
    only_in_pods = tuple(sorted(in_pods.keys() - life.env.keys()))
    if life.env_changed is None or not (values or only_in_pods):
        return None
    return Environment(app, life.deployment_id, values, only_in_pods, life.env_changed)


def secrets(app: AppId, life: Life) -> Secrets | None:
    """The secrets of a life of this app; None if nothing is set and its pods read nothing either."""
    in_pods = life.roll.configuration.secrets
    keys = tuple(
        SecretKey(key, secret.version, in_pods.get(key) == secret) for key, secret in sorted(life.secrets.items())
    )
    only_in_pods = tuple(sorted(in_pods.keys() - life.secrets.keys()))
    if life.secrets_changed is None or not (keys or only_in_pods):
        return None
    return Secrets(app, life.deployment_id, keys, only_in_pods, life.secrets_changed)


def _part_id(deployment_id: str, part: str) -> str:
    """The same for ever for one part of one life."""
    return str(uuid5(UUID(deployment_id), part))


def _place(app: AppId, deployment_id: str) -> dict[str, object]:
    return {"deployment_id": deployment_id, "namespace": app.namespace, "app_label": app.name}


def _times(changed: Changed) -> dict[str, object]:
    return {"created_at": iso(changed.first_us), "updated_at": iso(changed.last_us)}
