"""Whether a value is what its annotation says, all the way down: for events that come from outside.

What this program wrote itself need not be asked. Reading an event only asks for its fields' names, so that it stays quick;
what was written by somebody else may hold anything under those names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

_LARGEST = 2**63 - 1
"""Of the numbers that every database can hold."""


def fits(value: object, kind: Any) -> bool:
    """Whether a value is of a kind: a plain type, None, a union, a tuple, a mapping, or a class of such fields."""
    origin = get_origin(kind)
    if origin is UnionType:
        return any(fits(value, each) for each in get_args(kind))
    if origin is tuple:
        (each, _) = get_args(kind)
        return type(value) is tuple and all(fits(part, each) for part in value)
    if origin is Mapping:
        key, each = get_args(kind)
        return type(value) is dict and all(fits(name, key) and fits(part, each) for name, part in value.items())
    if type(value) is not kind:  # not `isinstance`: a boolean is no number
        return False
    if is_dataclass(kind):
        return all(fits(getattr(value, name), each) for name, each in _fields(kind).items())
    return not isinstance(value, int) or -_LARGEST <= value <= _LARGEST


@cache
def _fields(kind: Any) -> Mapping[str, Any]:
    return get_type_hints(kind)
