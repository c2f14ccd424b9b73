"""Whether JSON is what a class of ours is stored as. Asked of every line that is read, so it has to be quick.

What this program wrote need not be asked, but a line may come from somebody else, who may have written anything under
the names of our fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from ledger import events
from ledger.envelope import Envelope, Source, Subject
from ledger.events import AppliedObject, FieldDrift
from ledger.spec import SecretVersion, Spec
from ledger.store import LARGEST

_JSON_TYPES = {
    "str": str,
    "int": int,
    "None": type(None),
    "tuple": list,
    "Mapping": dict,
    "Spec": dict,
}
_TEXT_OR_NONE = frozenset({str, type(None)})
_BOOL_OR_NONE = frozenset({bool, type(None)})
_ENVELOPE, _SOURCE, _SPEC, _OBJECT = (fields(each) for each in (Envelope, Source, Spec, AppliedObject))
_SUBJECT = {field.name for field in fields(Subject)}

_Inside = Callable[[dict[str, Any]], None]

_FITTING: dict[tuple[object, ...], Any] = {}
"""Names and JSON types that fit, with what else is looked at: few shapes, and looked up faster than compared."""

_MOST_SHAPES = 10_000
"""How many are kept: what this program writes has a few hundred, what somebody else wrote could have millions."""


def require_fields(kind: type[Any], data: dict[str, Any]) -> None:
    """Refuse an object that is not how a class of fields is stored.

    Args:
        kind: An event, or what an event holds.
        data: The object.

    Raises:
        TypeError, ValueError, AttributeError, KeyError: A field is missing, is none of the class, or has another type, or
            what it holds has; or there is no object.
    """
    shape = (kind, *data, *map(type, data.values()))
    inside = _FITTING.get(shape, _compare)  # looked up once: a tuple is hashed anew each time
    if inside is _compare:
        _compare(kind, data)
        inside = _INSIDE.get(kind)
        if len(_FITTING) < _MOST_SHAPES:
            _FITTING[shape] = inside
    if inside is not None:
        inside(data)


def require_numbers(data: dict[str, Any]) -> None:
    """Refuse an object with a number that is larger than stores can hold.

    Raises:
        ValueError: It has one.
    """
    for found in data.values():
        if type(found) is int and found > LARGEST:
            raise ValueError


def require_envelope(meta: dict[str, Any]) -> None:
    """Refuse an object that is not how an envelope is stored.

    Raises:
        TypeError, AttributeError, KeyError: It is not.
    """
    source, subject = meta["source"], meta["subject"]
    if not (
        len(meta) == len(_ENVELOPE)
        and len(source) == len(_SOURCE)
        and type(meta["actor"]) is type(meta["correlation_id"]) is type(meta["clock"]) is type(meta["salt"]) is str
        and type(meta["reason"]) in _TEXT_OR_NONE
        and type(meta["request_id"]) in _TEXT_OR_NONE
        and (meta["causation"] is None or (type(meta["causation"]) is int and meta["causation"] <= LARGEST))
        and type(source["program"]) is type(source["host"]) is str
        and type(source["commit"]) in _TEXT_OR_NONE
        and type(source["ci"]) in _TEXT_OR_NONE
        and type(source["dirty"]) in _BOOL_OR_NONE
        and (subject is None or subject.keys() == _SUBJECT)
    ):
        raise TypeError
    if subject is not None:
        _require_texts(subject.values())


def require_objects(objects: Sequence[dict[str, Any]]) -> None:
    """Refuse a list that is not how objects are stored that a cluster acknowledged.

    Every third line has one, so only verification and import look at them: nothing that is folded depends on them.

    Raises:
        TypeError, AttributeError, KeyError: It is not.
    """
    for each in objects:
        if not (
            len(each) == len(_OBJECT)
            and type(each["kind"]) is type(each["name"]) is type(each["uid"]) is type(each["digest"]) is str
            and type(each["state"]) in _TEXT_OR_NONE
        ):
            raise TypeError


def _require_texts(values: Iterable[Any]) -> None:
    "".join(values)  # the quickest way to ask


def _compare(kind: type[Any], data: dict[str, Any]) -> None:
    types = kind.__annotations__
    for name, found in data.items():
        parts = types.get(name, "").split(" | ")
        if type(found) not in [_JSON_TYPES.get(part.partition("[")[0]) for part in parts]:
            raise TypeError
    if not data.keys() >= {field.name for field in fields(kind) if field.default is MISSING}:
        raise TypeError


def _spec(spec: dict[str, Any]) -> None:
    port, replicas = spec["port"], spec["replicas"]
    if not (
        len(spec) == len(_SPEC)
        and type(spec["image"]) is type(spec["cpu"]) is type(spec["memory"]) is str
        and type(port) is type(replicas) is int
        and port <= LARGEST
        and replicas <= LARGEST
        and type(spec["health_path"]) in _TEXT_OR_NONE
        and type(spec["image_pull_secret"]) in _TEXT_OR_NONE
        and type(spec["machines"]) is list
    ):
        raise TypeError
    _require_texts(spec["machines"])


def _env(values: dict[str, Any]) -> None:
    _require_texts(values.values())


def _secrets(data: dict[str, Any]) -> None:
    for each in data["secrets"].values():
        require_fields(SecretVersion, each)


def _rolled_back(data: dict[str, Any]) -> None:
    _spec(data["spec"])
    _env(data["env"])
    _secrets(data)


def _drift(data: dict[str, Any]) -> None:
    for each in data["fields"]:
        require_fields(FieldDrift, each)


def _fingerprints(data: dict[str, Any]) -> None:
    for versions in data["fingerprints"].values():
        _require_texts(versions.values())


_INSIDE: Mapping[type[Any], _Inside] = {
    events.Deployed: lambda data: _spec(data["spec"]),
    events.RolledBack: _rolled_back,
    events.EnvSet: lambda data: _env(data["values"]),
    events.EnvUnset: lambda data: _require_texts(data["keys"]),
    events.SecretSet: _secrets,
    events.SecretUnset: lambda data: _require_texts(data["keys"]),
    events.DriftDetected: _drift,
    events.DriftHealed: lambda data: _require_texts(data["fields"]),
    events.Scaled: require_numbers,
    events.SecretsFingerprinted: _fingerprints,
}
"""For classes whose fields hold more than one value: what is looked at in them."""
