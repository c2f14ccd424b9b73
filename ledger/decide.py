"""When an event may happen: command and state in, events out, or a refusal with a hint. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import assert_never

from ledger import values
from ledger.app import App, Life
from ledger.commands import Command, Deploy, Destroy, Restart, Scale, SetEnv, SetSecrets, UnsetEnv, UnsetSecrets
from ledger.errors import AppNotFoundError, RefusedError
from ledger.events import (
    AppEvent,
    Deployed,
    Destroyed,
    DomainAssigned,
    EnvSet,
    EnvUnset,
    Restarted,
    Scaled,
    SecretSet,
    SecretUnset,
)
from ledger.spec import SecretVersion, Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Minted:
    """What chance and cryptography make, so that deciding stays pure. Used only where it is needed.

    Attributes:
        deployment_id: For a life that opens.
        domain: For a life that opens.
        life_key: For a life that opens: X25519 public key, base64.
        sealed: For `SetSecrets`: what was stored for each key.
    """

    deployment_id: str | None = None
    domain: str | None = None
    life_key: str | None = None
    sealed: Mapping[str, SecretVersion] = field(default_factory=dict)


def decide(command: Command, app: App, minted: Minted) -> Sequence[AppEvent]:
    """The events that the command leads to, in order; none if there is nothing to change.

    Raises:
        AppNotFoundError: The command needs an open life and there is none.
        InvalidValueError: A value is not acceptable.
        RefusedError: Another rule says no.
    """
    if isinstance(command, Deploy):
        return _deploy(command, app, minted)
    life = open_life(app)
    match command:
        case SetEnv():
            _check_env(command.values, life)
            return (EnvSet(values=dict(command.values)),)
        case UnsetEnv():
            _check_set("environment", command.keys, life.env, app)
            return (EnvUnset(keys=command.keys),)
        case SetSecrets():
            _check_secrets(command.keys, life)
            return (SecretSet(secrets={key: minted.sealed[key] for key in command.keys}),)
        case UnsetSecrets():
            _check_set("secrets", command.keys, life.secrets, app)
            return (SecretUnset(keys=command.keys),)
        case Scale():
            replicas = values.replicas(command.replicas)
            return () if replicas == life.spec.replicas else (Scaled(replicas=replicas),)
        case Restart():
            return (Restarted(),)
        case Destroy():
            return (Destroyed(),)
        case _:
            assert_never(command)


def open_life(app: App) -> Life:
    """The app's open life.

    Raises:
        AppNotFoundError: There is none.
    """
    if app.life is None:
        raise AppNotFoundError(
            f'app "{app.id.name}" not found in namespace {app.id.namespace}',
            hint="Run '1ctl deploy' first or pass --deployment-id",
        )
    return app.life


def _deploy(command: Deploy, app: App, minted: Minted) -> Sequence[AppEvent]:
    values.app_name(app.id.name)
    spec = _merged(command, app.life)
    env = (EnvSet(values=dict(command.env)),) if command.env else ()
    if app.life is not None:
        _check_env(command.env, app.life)
        life = app.life
        return (Deployed(deployment_id=life.deployment_id, release=life.release + 1, spec=spec), *env)
    _check_env(command.env, None)
    if minted.deployment_id is None or minted.domain is None or minted.life_key is None:
        msg = "a life cannot open without an id, a domain and a key"
        raise ValueError(msg)
    opened = Deployed(deployment_id=minted.deployment_id, release=1, spec=spec, life_key=minted.life_key)
    return (opened, DomainAssigned(domain=minted.domain), *env)


def _merged(command: Deploy, life: Life | None) -> Spec:
    """Given value, else the life's current one, else the default; every one of them valid."""
    asked = {name: getattr(command, name) for name in _SPEC_FIELDS}
    given = {name: value for name, value in asked.items() if value is not None}
    if life is not None:
        return _checked(replace(life.spec, **given))
    if "image" not in given:
        raise RefusedError("no image given", hint="Pass --image, for instance: 1ctl deploy --image nginx:alpine")
    machines = given.get("machines", ())
    return _checked(replace(Spec(image=given["image"], replicas=max(1, len(machines))), **given))


_SPEC_FIELDS = tuple(entry.name for entry in fields(Spec))


def _checked(spec: Spec) -> Spec:
    return Spec(
        image=values.image(spec.image),
        machines=values.machines(spec.machines),
        port=values.port(spec.port),
        cpu=values.cpu(spec.cpu),
        memory=values.memory(spec.memory),
        replicas=values.replicas(spec.replicas),
        health_path=values.health_path(spec.health_path) if spec.health_path else None,
        image_pull_secret=values.image_pull_secret(spec.image_pull_secret) if spec.image_pull_secret else None,
    )


def _check_env(new: Mapping[str, str], life: Life | None) -> None:
    """Names and values are valid, no two keys collide in the cluster, and all of it fits into a ConfigMap."""
    for name, value in new.items():
        values.env_name(name)
        values.env_value(value, field=name)
    env = {**(life.env if life else {}), **new}
    values.check_keys("environment", env)
    values.check_size("environment", env)
    _check_apart(new, life.secrets if life else {}, "a secret", "1ctl secret unset --key")


def _check_secrets(keys: Iterable[str], life: Life) -> None:
    for key in keys:
        values.env_name(key)
    values.check_keys("secrets", {*life.secrets, *keys})
    _check_apart(keys, life.env, "an environment value", "1ctl env unset --key")


def _check_apart(keys: Iterable[str], others: Mapping[str, object], what: str, unset: str) -> None:
    """A container has one variable of a name, so a key is either a secret or an environment value."""
    for key in keys:
        if key in others:
            raise RefusedError(f"{key} is {what} of this app already", hint=f"Remove it first: {unset} {key}")


def _check_set(what: str, keys: Sequence[str], present: Mapping[str, object], app: App) -> None:
    for key in keys:
        if key not in present:
            known = ", ".join(sorted(present)) or "none"
            raise RefusedError(
                f'{key} is not set in the {what} of app "{app.id.name}"', hint=f"Keys that are set: {known}"
            )
