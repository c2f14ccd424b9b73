"""What `env list` and `secret list` say: what is set, and whether the pods read it yet. Never a secret value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID, uuid5

from ledger.clock import iso
from ledger.events import EnvSet, EnvUnset, RolledBack, SecretPurged, SecretSet, SecretUnset

if TYPE_CHECKING:
    from ledger.app import Life
    from ledger.envelope import Recorded
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


class Changed(NamedTuple):
    """When something was set for the first time in a life, and when it last changed; microseconds UTC."""

    first_us: int
    last_us: int


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


def environment(app: AppId, life: Life, history: Iterable[Recorded]) -> Environment | None:
    """The environment of a life; None if nothing is set and its pods read nothing either.

    Args:
        app: The app's lasting name.
        life: The life, folded from the same history.
        history: The app's events in rising position.
    """
    in_pods = life.roll.configuration.env
    values = tuple(EnvValue(key, value, in_pods.get(key) == value) for key, value in sorted(life.env.items()))
    only_in_pods = tuple(sorted(in_pods.keys() - life.env.keys()))
    if not values and not only_in_pods:
        return None
    return Environment(
        app, life.deployment_id, values, only_in_pods, _changed(life, history, EnvSet, (EnvUnset, RolledBack))
    )


def secrets(app: AppId, life: Life, history: Iterable[Recorded]) -> Secrets | None:
    """The secrets of a life; None if nothing is set and its pods read nothing either.

    Args:
        app: The app's lasting name.
        life: The life, folded from the same history.
        history: The app's events in rising position.
    """
    in_pods = life.roll.configuration.secrets
    keys = tuple(
        SecretKey(key, secret.version, in_pods.get(key) == secret) for key, secret in sorted(life.secrets.items())
    )
    only_in_pods = tuple(sorted(in_pods.keys() - life.secrets.keys()))
    if not keys and not only_in_pods:
        return None
    return Secrets(
        app,
        life.deployment_id,
        keys,
        only_in_pods,
        _changed(life, history, SecretSet, (SecretUnset, SecretPurged, RolledBack)),
    )


def _changed(life: Life, history: Iterable[Recorded], adds: type, others: tuple[type, ...]) -> Changed:
    told = [
        recorded
        for recorded in history
        if isinstance(recorded.event, (adds, *others))
        and recorded.envelope.subject is not None
        and recorded.envelope.subject.deployment_id == life.deployment_id
        and not _is_of_code_only(recorded)
    ]
    first = next(recorded for recorded in told if isinstance(recorded.event, adds))
    return Changed(first.recorded_us, told[-1].recorded_us)


def _is_of_code_only(recorded: Recorded) -> bool:
    return isinstance(recorded.event, RolledBack) and recorded.event.only == "code"


def _part_id(deployment_id: str, part: str) -> str:
    """The same for ever for one part of one life."""
    return str(uuid5(UUID(deployment_id), part))


def _place(app: AppId, deployment_id: str) -> dict[str, object]:
    return {"deployment_id": deployment_id, "namespace": app.namespace, "app_label": app.name}


def _times(changed: Changed) -> dict[str, object]:
    return {"created_at": iso(changed.first_us), "updated_at": iso(changed.last_us)}
