"""An app's settings as flat names and texts, to compare two moments of it and to say who set what. Never a secret."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, NamedTuple

from ledger.app import App, Life, evolve
from ledger.spec import Spec

if TYPE_CHECKING:
    from ledger.envelope import Recorded
    from ledger.spec import Configuration


class Change(NamedTuple):
    """One setting that differs.

    Attributes:
        setting: Its name, e.g. ``image``, ``env.LOG_LEVEL`` or ``pods.secrets.JWT_SECRET``.
        before: The earlier value, as text; None where it was not set.
        after: The later one, likewise.
    """

    setting: str
    before: str | None
    after: str | None


class Blame(NamedTuple):
    """Who gave a setting its present value.

    Attributes:
        setting: Its name.
        value: Its present value.
        recorded: The event that made it so: its envelope says who, when, why.
    """

    setting: str
    value: str
    recorded: Recorded


def settings(life: Life | None) -> Mapping[str, str]:
    """What is set, by name; secrets as their versions. What pods read is named ``pods.`` where it differs."""
    if life is None:
        return {}
    found = _spec_settings(life.spec)
    if life.domain:
        found["domain"] = life.domain
    set_now = _configuration_settings(life.configuration)
    in_pods = _configuration_settings(life.roll.configuration)
    found |= set_now
    found |= {f"pods.{name}": value for name, value in in_pods.items() if set_now.get(name) != value}
    return found


def run_settings(spec: Spec, configuration: Configuration) -> Mapping[str, str]:
    """What pods run and read, by name."""
    return _spec_settings(spec) | _configuration_settings(configuration)


def difference(before: Life | None, after: Life | None) -> list[Change]:
    """The settings that differ between two moments of an app, by name; all of those of the one, where the other is None."""
    return compared(settings(before), settings(after))


def compared(old: Mapping[str, str], new: Mapping[str, str]) -> list[Change]:
    """The settings that differ, by name."""
    return [
        Change(name, old.get(name), new.get(name)) for name in sorted({*old, *new}) if old.get(name) != new.get(name)
    ]


def blame(app: App, asked: Iterable[Recorded]) -> list[Blame]:
    """For each present setting of the open life, the event that gave it its value; by name.

    Args:
        app: The app before these events.
        asked: What was asked for in the life, in rising position. What was observed sets nothing, so it may be left out.
    """
    set_by: dict[str, Blame] = {}
    seen: Life | None = None
    for recorded in asked:
        app = evolve(app, recorded)
        if _is_set_alike(app.life, seen):
            continue
        seen = app.life
        now = settings(seen)
        set_by = {
            name: set_by[name] if name in set_by and set_by[name].value == value else Blame(name, value, recorded)
            for name, value in now.items()
        }
    return [set_by[name] for name in sorted(set_by)]


def unset_by(app: App, asked: Iterable[Recorded], names: Collection[str]) -> Recorded | None:
    """The last event that took away what was set under any of these names; None if nothing was.

    Args:
        app: The app before these events.
        asked: What was asked for, in rising position.
        names: Of settings, none of which is set after these events.
    """
    found, was_set = None, False
    for recorded in asked:
        app = evolve(app, recorded)
        is_set = not settings(app.life).keys().isdisjoint(names)
        found = recorded if was_set and not is_set else found
        was_set = is_set
    return found


def _is_set_alike(one: Life | None, other: Life | None) -> bool:
    """Whether nothing that settings are made of was touched; a quick look before they are made and compared."""
    if one is None or other is None:
        return one is other
    return (
        one.deployment_id == other.deployment_id
        and one.spec is other.spec
        and one.env is other.env
        and one.secrets is other.secrets
        and one.domain is other.domain
        and one.roll.configuration is other.roll.configuration
    )


def _spec_settings(spec: Spec) -> dict[str, str]:
    """What a release runs, by name; what is not set is left out."""
    found = {entry.name: _text(getattr(spec, entry.name)) for entry in fields(Spec)}
    return {name: value for name, value in found.items() if value}


def _configuration_settings(configuration: Configuration) -> dict[str, str]:
    """Environment values and secret versions, by name."""
    env = {f"env.{key}": value for key, value in configuration.env.items()}
    return env | {f"secrets.{key}": f"version {secret.version}" for key, secret in configuration.secrets.items()}


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)
