"""An app's folded state as bytes and back, without naming any of its fields.

What is written follows from the fields and their types, so a field that is added or changed is written, too, and changes
the `shape`: bytes of another shape are never read. The fields do not show what the fold makes of events: whoever
changes that raises `FOLD` (tests/ledger/test_app_state.py fails until it is done).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from hashlib import sha256
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import orjson

from ledger.app import App

FOLD = 5
"""Raised when the same events lead to another state, or another `head` of one."""

_Restore = Callable[[Any], Any]


def to_bytes(app: App) -> bytes:
    """The state; equal states give equal bytes."""
    return orjson.dumps(app, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)


def from_bytes(state: bytes) -> App:
    """What `to_bytes` was given by a program of the same `shape`.

    Raises:
        ValueError, KeyError, TypeError: It was given nothing like it.
    """
    app: App = _restorer(App)(orjson.loads(state))
    return app


@cache
def shape() -> int:
    """Tells apart the states that this program can read from others; fits into 31 bits."""
    told: dict[str, str] = {}
    _describe(App, told)
    text = f"{FOLD} {sorted(told.items())}"
    return int.from_bytes(sha256(text.encode()).digest()[:4], "big") >> 1


def _describe(kind: type, told: dict[str, str]) -> None:
    """Tells the fields of a class, and what their types are made of. As text: every command that reads needs it."""
    told[kind.__name__] = str(kind.__annotations__)
    names = vars(sys.modules[kind.__module__])
    for word in re.findall(r"\w+", told[kind.__name__]):
        part = names.get(word)
        if word in told or part is None:
            continue
        if is_dataclass(part):
            assert isinstance(part, type)
            _describe(part, told)
        elif get_args(part):
            told[word] = str(part)


@cache
def _restorer(kind: Any) -> _Restore:
    """Turns parsed JSON back into a value of a type; the types that states are made of, and no others."""
    if kind in (str, int, NoneType) or get_origin(kind) is Literal:
        return _as_it_is
    if is_dataclass(kind):
        return _restorer_of_class(kind)
    origin, parts = get_origin(kind), get_args(kind)
    if origin is UnionType and NoneType in parts and len(parts) == 2:
        (inner,) = (_restorer(part) for part in parts if part is not NoneType)
        return lambda data: None if data is None else inner(data)
    if origin is Mapping:
        key, inner = _restorer_of_key(parts[0]), _restorer(parts[1])
        return lambda data: {key(name): inner(entry) for name, entry in data.items()}
    if origin is tuple and parts[1:] == (...,):
        inner = _restorer(parts[0])
        return lambda data: tuple(map(inner, data))
    if origin is tuple:
        inners = tuple(map(_restorer, parts))
        return lambda data: tuple(inner(entry) for inner, entry in zip(inners, data, strict=True))
    raise TypeError(f"a state cannot hold a {kind}")


def _restorer_of_class(kind: Any) -> _Restore:
    hints = get_type_hints(kind)
    restorers = {field.name: _restorer(hints[field.name]) for field in fields(kind)}
    inners = {name: inner for name, inner in restorers.items() if inner is not _as_it_is}

    def restore(data: dict[str, Any]) -> Any:
        for name, inner in inners.items():
            data[name] = inner(data[name])
        return kind(**data)

    return restore


def _restorer_of_key(kind: Any) -> _Restore:
    """JSON has only texts as keys."""
    if kind not in (str, int):
        raise TypeError(f"a state cannot hold a mapping from {kind}")
    return int if kind is int else _as_it_is


def _as_it_is(data: Any) -> Any:
    return data
