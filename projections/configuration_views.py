"""What `env list` and `secret list` say: what is set, and whether the pods read it yet. Never a secret value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias
from uuid import UUID, uuid5

from ledger.clock import iso
from ledger.events import RolloutCompleted
from ledger.landmarks import roll_verdict, span

if TYPE_CHECKING:
    from ledger.app import Changed, Life, Roll
    from ledger.spec import AppId
    from ledger.store import Store

Reach: TypeAlias = Literal["yes", "not yet", "no", "after restart"]
"""Whether pods read what is set: all that may run, some of which are known to be ready; none that is known to be ready,
since the newest roll is not known to be, or failed; or not even the newest roll's."""


class EnvValue(NamedTuple):
    """An environment value that is set, and whether pods read it."""

    key: str
    value: str
    reach: Reach

    def to_json(self) -> dict[str, object]:
        """Keys and values for JSON."""
        return {"key": self.key, "value": self.value, "in_pods": self.reach == "yes"}


class SecretKey(NamedTuple):
    """A secret that is set, in its newest version, and whether pods read that one."""

    key: str
    version: int
    reach: Reach

    def to_json(self) -> dict[str, object]:
        """Keys and values for JSON."""
        return {"key": self.key, "version": self.version, "in_pods": self.reach == "yes"}


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
            "key_values": [value.to_json() for value in self.values],
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
            "versions": [entry.to_json() for entry in self.keys],
            "only_in_pods": list(self.only_in_pods),
            **_times(self.changed),
        }


def serving(store: Store, app: AppId, life: Life, *, upto: int | None = None) -> Sequence[Roll]:
    """The rolls of a life whose pods may run, oldest first, if those of the oldest are known to be ready; else none.

    Args:
        store: The ledger's storage.
        app: The app.
        life: Its open life, now or at some position.
        upto: That position; None means now.
    """
    if life.rollout == "completed":
        return (life.roll,)
    oldest = life.kept[0]
    where = span(store, app, life.deployment_id, upto=upto) if oldest.position != life.roll.position else None
    if where is None or not isinstance(roll_verdict(store, where, oldest.position), RolloutCompleted):
        return ()
    return life.kept


def environment(app: AppId, life: Life, serving: Sequence[Roll]) -> Environment | None:
    """The environment of a life of this app; None if nothing is set and its pods read nothing either.

    Args:
        app: The app.
        life: The life.
        serving: As `serving` finds them.
    """
    newest, all_read = life.roll.configuration.env, [roll.configuration.env for roll in serving]
    values = tuple(
        EnvValue(key, value, _reach(life, newest.get(key) == value, [read.get(key) == value for read in all_read]))
        for key, value in sorted(life.env.items())
    )
    only_in_pods = tuple(sorted(newest.keys() - life.env.keys()))
    if life.env_changed is None or not (values or only_in_pods):
        return None
    return Environment(app, life.deployment_id, values, only_in_pods, life.env_changed)


def secrets(app: AppId, life: Life, serving: Sequence[Roll]) -> Secrets | None:
    """The secrets of a life of this app, likewise."""
    newest, all_read = life.roll.configuration.secrets, [roll.configuration.secrets for roll in serving]
    keys = tuple(
        SecretKey(
            key, secret.version, _reach(life, newest.get(key) == secret, [read.get(key) == secret for read in all_read])
        )
        for key, secret in sorted(life.secrets.items())
    )
    only_in_pods = tuple(sorted(newest.keys() - life.secrets.keys()))
    if life.secrets_changed is None or not (keys or only_in_pods):
        return None
    return Secrets(app, life.deployment_id, keys, only_in_pods, life.secrets_changed)


def _reach(life: Life, newest_reads: bool, serving_read: Sequence[bool]) -> Reach:
    """Of one value, from whether the newest roll and each that may serve read it."""
    if not newest_reads:
        return "after restart"
    if serving_read and all(serving_read):
        return "yes"
    return "no" if life.rollout == "failed" else "not yet"


def _part_id(deployment_id: str, part: str) -> str:
    """The same for ever for one part of one life."""
    return str(uuid5(UUID(deployment_id), part))


def _place(app: AppId, deployment_id: str) -> dict[str, object]:
    return {"deployment_id": deployment_id, "namespace": app.namespace, "app_label": app.name}


def _times(changed: Changed) -> dict[str, object]:
    return {"created_at": iso(changed.first_us), "updated_at": iso(changed.last_us)}
