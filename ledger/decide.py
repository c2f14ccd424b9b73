"""When an event may happen: command and state in, events out, or a refusal with a hint. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, fields, replace
from typing import assert_never

from ledger import values
from ledger.app import App, Life, open_life
from ledger.commands import (
    AdoptObject,
    Command,
    Deploy,
    Destroy,
    MarkBad,
    PurgeSecret,
    Restart,
    Restore,
    RetryApply,
    Rollback,
    Scale,
    SetEnv,
    SetSecrets,
    Unmark,
    UnsetEnv,
    UnsetSecrets,
)
from ledger.credentials import looks_like_credential
from ledger.errors import AppNotFoundError, NoSuchReleaseError, RefusedError
from ledger.events import (
    AppEvent,
    ApplyRetried,
    Deployed,
    Destroyed,
    DomainAssigned,
    EnvSet,
    EnvUnset,
    ObjectAdopted,
    ReleaseMarkedBad,
    ReleaseUnmarked,
    Restarted,
    RolledBack,
    Scaled,
    SecretPurged,
    SecretSet,
    SecretUnset,
)
from ledger.rollback import PastRelease, default_target, why_no_target
from ledger.spec import BLANK, Configuration, SecretVersion, Spec
from ledger.text import Lines
from ledger.value import Value, value


@value
class Minted(Value):
    """What chance, cryptography and history supply, so that deciding stays pure. Used only where it is needed.

    Attributes:
        deployment_id: For a life that opens.
        domain: For a life that opens.
        life_key: For a life that opens: X25519 public key, base64.
        sealed: For commands that set secrets: what was stored for each key.
        releases: For `Rollback`: the life's releases that it can choose from, oldest first, the newest one included.
        ended: For `Restore`: the destroyed life, as it last was.
    """

    deployment_id: str | None = None
    domain: str | None = None
    life_key: str | None = None
    sealed: Mapping[str, SecretVersion] = field(default_factory=dict)
    releases: Sequence[PastRelease] = ()
    ended: Life | None = None


def decide(  # noqa: C901, PLR0911, PLR0912 - one arm per command, in one place
    command: Command, app: App, minted: Minted
) -> Sequence[AppEvent]:
    """The events that the command leads to, in order; none if there is nothing to change.

    Raises:
        AppNotFoundError: The command needs an open life and there is none.
        InvalidValueError: A value is not acceptable.
        RefusedError: Another rule says no.
    """
    if isinstance(command, Deploy):
        return _deploy(command, app, minted)
    if isinstance(command, Restore):
        return _restore(command, app, minted)
    if isinstance(command, AdoptObject):
        return _adopt(command, app)
    if isinstance(command, RetryApply):
        return _retry(app)
    life = open_life(app)
    match command:
        case SetEnv():
            _check_env(command.values, life, plain=command.plain)
            return () if command.values.items() <= life.env.items() else (EnvSet(values=dict(command.values)),)
        case UnsetEnv():
            _check_set("environment", command.keys, life.env, app)
            return (EnvUnset(keys=command.keys),)
        case SetSecrets():
            _check_secrets(command.keys, life.env, life.secrets)
            return _sealed(command.keys, minted)
        case UnsetSecrets():
            _check_set("secrets", command.keys, life.secrets, app)
            return (SecretUnset(keys=command.keys),)
        case PurgeSecret():
            return _purge(command, life, app)
        case Rollback():
            event = _roll_back(command, life, minted.releases)
            _check_known(event.env, app)
            return (event,)
        case MarkBad():
            _check_release(command.release, life)
            return () if command.release in life.bad else (ReleaseMarkedBad(release=command.release),)
        case Unmark():
            _check_release(command.release, life)
            return (ReleaseUnmarked(release=command.release),) if command.release in life.bad else ()
        case Scale():
            replicas = values.replicas(command.replicas)
            return () if replicas == life.spec.replicas else (Scaled(replicas=replicas),)
        case Restart():
            _check_known(life.env, app)
            return (Restarted(),)
        case Destroy():
            return (Destroyed(),)
        case _:
            assert_never(command)


def _deploy(command: Deploy, app: App, minted: Minted) -> Sequence[AppEvent]:
    values.app_name(app.id.name)
    spec = _merged(command, app)
    _check_env(command.env, app.life, plain=command.plain)
    configuration: list[AppEvent] = [EnvSet(values=dict(command.env))] if command.env else []
    known = app.life.configuration if app.life is not None else Configuration()
    if command.secret_keys:
        _check_secrets(command.secret_keys, {**known.env, **command.env}, known.secrets)
        configuration += _sealed(command.secret_keys, minted)
    if app.life is not None:
        life = app.life
        _check_known({**life.env, **command.env}, app)
        return (Deployed(deployment_id=life.deployment_id, release=life.release + 1, spec=spec), *configuration)
    return (*_opening(spec, minted), *configuration)


def _restore(command: Restore, app: App, minted: Minted) -> Sequence[AppEvent]:
    if app.life is not None:
        hint = "To go back to an earlier release: 1ctl deploy rollback"
        current = app.life.deployment_id
        if command.deployment_id not in (None, current):
            hint = Lines(
                f"To run what that one ran, deploy its image, see: 1ctl deploy releases -d {command.deployment_id}",
                f"Or destroy the one that runs now, and restore then: 1ctl deploy destroy -d {current}",
            )
        elif minted.ended is not None:
            former = minted.ended.deployment_id
            hint = Lines(
                hint,
                f"To have what ran before it was destroyed: 1ctl deploy destroy -d {current}",
                f"And then: 1ctl deploy restore -d {former}",
            )
        raise RefusedError(f'app "{app.id.name}" is deployed; only a destroyed one can be restored', hint=hint)
    ended = minted.ended
    if ended is None:
        raise AppNotFoundError(
            f'no destroyed deployment of app "{app.id.name}" in namespace {app.id.namespace}',
            hint="See all there ever were: 1ctl deploy list --all --wide",
        )
    missing = sorted(ended.secrets.keys() - set(command.secret_keys))
    if missing and not command.without_secrets:
        raise RefusedError(
            f"the secrets of {ended.deployment_id} were shredded when it was destroyed: {', '.join(missing)}",
            hint="Give them again: 1ctl deploy restore --kv-file FILE   (or leave them out: --without-secrets)",
        )
    _check_secrets(command.secret_keys, ended.env, ())
    if blanked := Configuration(ended.env).blanked:
        raise RefusedError(
            f"{', '.join(blanked)} of {ended.deployment_id} was redacted, so it cannot be set again",
            hint="Deploy the app again, with values that you know: 1ctl deploy --help",
        )
    deployed, assigned = _opening(ended.spec, minted)
    assert isinstance(deployed, Deployed)
    env = (EnvSet(values=dict(ended.env)),) if ended.env else ()
    secrets = _sealed(command.secret_keys, minted) if command.secret_keys else ()
    return (replace(deployed, restored_from=ended.deployment_id), assigned, *env, *secrets)


def _adopt(command: AdoptObject, app: App) -> Sequence[AppEvent]:
    if not command.uid:
        raise RefusedError(
            f"no uid is given for {command.kind.lower()}/{command.name}",
            hint="Say which object is meant: --uid UID   (kubectl get it with -o jsonpath={.metadata.uid})",
        )
    if app.adopted.get(f"{command.kind}/{command.name}") == command.uid:
        return ()
    return (ObjectAdopted(kind=command.kind, name=command.name, uid=command.uid),)


def retried(app: App) -> Life | None:
    """The life that `RetryApply` is about: one that the cluster refused, the leaving one first; None if neither was."""
    lives = (app.leaving, app.life)
    return next((life for life in lives if life is not None and life.parked is not None), None)


def _retry(app: App) -> Sequence[AppEvent]:
    if app.leaving is None:
        open_life(app)
    return (ApplyRetried(),) if retried(app) is not None else ()


def _opening(spec: Spec, minted: Minted) -> tuple[AppEvent, AppEvent]:
    """The first events of a life."""
    if minted.deployment_id is None or minted.domain is None or minted.life_key is None:
        msg = "a life cannot open without an id, a domain and a key"
        raise ValueError(msg)
    opened = Deployed(deployment_id=minted.deployment_id, release=1, spec=spec, life_key=minted.life_key)
    return opened, DomainAssigned(domain=minted.domain)


def _merged(command: Deploy, app: App) -> Spec:
    """The given value, else the life's current one, else the default; every one of them valid."""
    asked = {name: getattr(command, name) for name in _SPEC_FIELDS}
    given = {name: value for name, value in asked.items() if value is not None}
    if app.life is not None:
        return _checked(replace(app.life.spec, **given))
    if "image" not in given:
        ways = ["Pass --image, for instance: 1ctl deploy --image nginx:alpine"]
        if app.lives:
            ways.append("Or as it last was, before it was destroyed: 1ctl deploy restore")
        raise RefusedError("no image given", hint=Lines(*ways))
    machines = values.machines(given.get("machines", ()))
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


def _roll_back(command: Rollback, life: Life, releases: Sequence[PastRelease]) -> RolledBack:
    if command.only not in ("all", "code", "config"):
        raise RefusedError(f'"{command.only}" cannot be rolled back', hint="Choose: --only code, or --only config")
    past = _target(command, releases)
    code, config = command.only != "config", command.only != "code"
    spec = replace(past.spec, replicas=life.spec.replicas) if code else life.spec
    configuration = past.configuration if config else life.configuration
    return RolledBack(
        release=life.release + 1,
        target=past.release,
        only=command.only,
        spec=spec,
        env=dict(configuration.env),
        secrets=dict(configuration.secrets),
    )


def _target(command: Rollback, releases: Sequence[PastRelease]) -> PastRelease:
    if command.version is None:
        past = default_target(releases, command.only)
        if past is None:
            raise RefusedError(
                f"no previous release to roll back to: {why_no_target(releases, command.only)}",
                hint="Name one: 1ctl deploy rollback --version N   (1ctl deploy releases --wide shows which can be)",
            )
        return past
    named = next((past for past in releases if past.release == command.version), None)
    if named is None:
        raise NoSuchReleaseError(command.version, releases[-1].release)
    obstacle = named.obstacle_to(command.only)
    if obstacle is not None:
        code = named.obstacle_to("code") is None
        raise RefusedError(
            f"release {command.version} cannot be rolled back to: {obstacle}",
            hint=f"Its code can: 1ctl deploy rollback --version {command.version} --only code"
            if code
            else "See which can be: 1ctl deploy releases --wide",
        )
    return named


def _check_release(number: int, life: Life) -> None:
    if not 1 <= number <= life.release:
        raise NoSuchReleaseError(number, life.release)


def _purge(command: PurgeSecret, life: Life, app: App) -> Sequence[AppEvent]:
    if command.key not in life.secret_versions:
        known = ", ".join(sorted(life.secret_versions)) or "none"
        raise RefusedError(
            f'{_named(command.key)} was never a secret of app "{app.id.name}"', hint=f"Keys that were ever set: {known}"
        )
    return (SecretPurged(key=command.key),)


def _check_env(new: Mapping[str, str], life: Life | None, *, plain: bool) -> None:
    """Names and values are valid, no two keys collide in the cluster, and all of it fits into a ConfigMap."""
    for name, text in new.items():
        values.env_name(name)
        values.env_value(text, field=name)
        if text == BLANK:
            raise RefusedError(
                f'{name} cannot be "{BLANK}", which stands for a value that was redacted', hint="Choose another text."
            )
        why = None if plain else looks_like_credential(name, text)
        if why is not None:
            seal = "1ctl secret create" if life else "1ctl deploy"  # before its first release an app has no secrets
            raise RefusedError(
                f"{name} {why}; environment values are kept in the ledger in plain text, for ever",
                hint=f"Seal it instead: {seal} --key {name}   (If it is not a secret: --plain)",
            )
    env = {**(life.env if life else {}), **new}
    values.check_keys("environment", env)
    values.check_size("environment", env)
    _check_apart(new, life.secrets if life else {}, "a secret", "1ctl secret unset --key")


def _check_known(env: Mapping[str, str], app: App) -> None:
    """Pods are about to be replaced: none may read what stands in place of a redacted value."""
    if blanked := Configuration(env).blanked:
        raise RefusedError(
            f'{", ".join(blanked)} of app "{app.id.name}" was redacted; new pods would read "{BLANK}"',
            hint=f"Set it again first: 1ctl env create --env {blanked[0]}=VALUE   (or 1ctl env unset --key {blanked[0]})",
        )


def _check_secrets(new: Sequence[str], env: Mapping[str, str], secrets: Iterable[str]) -> None:
    """Names are valid, no two keys collide in the cluster, and none is an environment value."""
    for key in new:
        values.secret_name(key)
    values.check_keys("secrets", {*secrets, *new})
    _check_apart(new, env, "an environment value", "1ctl env unset --key")


def _sealed(keys: Iterable[str], minted: Minted) -> tuple[SecretSet]:
    return (SecretSet(secrets={key: minted.sealed[key] for key in keys}),)


def _check_apart(keys: Iterable[str], others: Mapping[str, object], what: str, unset: str) -> None:
    """A container has one variable per name, so a key is either a secret or an environment value."""
    for key in keys:
        if key in others:
            raise RefusedError(f"{key} is {what} of this app already", hint=f"Remove it first: {unset} {key}")


def _check_set(what: str, keys: Sequence[str], present: Mapping[str, object], app: App) -> None:
    for key in keys:
        if key not in present:
            known = ", ".join(sorted(present)) or "none"
            raise RefusedError(
                f'{_named(key)} is not set in the {what} of app "{app.id.name}"', hint=f"Keys that are set: {known}"
            )


def _named(key: str) -> str:
    """A key that does not exist, for a message: KEY=VALUE in its place may hold a secret."""
    return "what was given" if "=" in key else key
