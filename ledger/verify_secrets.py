"""Whether sealed values and lives' keys are those that the lines tell of: none is missing, none is left, none another.

What a wrapped key opens cannot be seen without the identity that it is wrapped for. In a database, who may read neither
values nor keys compares what may be seen: a writer which values there are, everybody how many keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple, TypeAlias, TypeVar

from ledger.errors import LedgerDeniedError
from ledger.misled import Misled
from ledger.store import ModelStore
from ledger.table_pages import table_pages

TOPICS = frozenset({"Deployed", "SecretSet", "SecretPurged", "Destroyed"})
"""Events that make or delete a sealed value or the key of a life."""


_Unclear: TypeAlias = Callable[[str], bool]
_Of = TypeVar("_Of")


class _Said(NamedTuple):
    position: int
    digest: bytes


class SecretCheck:
    """Takes the lines in their order, and keeps what has to be stored beside them; as large as lives that are open.

    Args:
        store: The ledger.
    """

    def __init__(self, store: ModelStore) -> None:
        self._store = store
        self._keys: dict[str, int] = {}
        self._values: dict[str, dict[tuple[str, int], _Said]] = {}
        self._sees_keys = self._sees_values = self._sees_sizes = True

    def find_rights(self) -> None:
        """See what may be asked here; not within a moment, since a database ends that with what it refuses."""
        page = {"after": "", "limit": 1}
        self._sees_keys = _may(lambda: self._store.ask("ledger.life_keys_page", page))
        self._sees_values = _may(lambda: self._store.ask("ledger.sealed_lives", page))
        self._sees_sizes = _may(lambda: self._store.sealed_sizes(""))

    def add(self, position: int, topic: str, document: Mapping[str, Any]) -> None:
        """One more line of one of `TOPICS`.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: It is not what such a line holds.
        """
        data, life = document["data"], document["meta"]["subject"]["deployment_id"]
        match topic:
            case "Deployed" if data.get("life_key") is not None:
                self._keys[data["deployment_id"]] = position
            case "SecretSet":
                values = self._values.setdefault(life, {})
                for key, each in data["secrets"].items():
                    values[key, each["version"]] = _Said(position, bytes.fromhex(each["digest"]))
            case "SecretPurged":
                values = self._values.get(life, {})
                self._values[life] = {name: said for name, said in values.items() if name[0] != data["key"]}
            case "Destroyed":
                self._keys.pop(life, None)
                self._values.pop(life, None)
            case _:
                pass

    def end(self, upto: int, unclear: _Unclear | None = None) -> Misled | None:
        """Compare with what is stored, which has to be of the moment after this position; what is wrong.

        Args:
            upto: The position.
            unclear: Tells the lives, by id, of which nobody here knows what is stored; None if there is none.
        """
        return self._wrong_keys(upto, unclear) or self._wrong_values(upto, unclear)

    def _wrong_keys(self, upto: int, unclear: _Unclear | None) -> Misled | None:
        if not self._sees_keys:
            if unclear is not None:
                return None
            count = sum(self._store.life_key_identities().values())
            if count == len(self._keys):
                return None
            return Misled(upto, f"there are {count} keys of lives, and {len(self._keys)} lives that have one")
        left = _clear(self._keys, unclear)
        for rows in table_pages(self._store, "ledger.life_keys_page"):
            for life, *_ in rows:
                if left.pop(life, None) is None and not (unclear and unclear(life)):
                    return Misled(upto, f"there is a key of a life that is not open: {life}")
        for life, position in left.items():
            return Misled(position, f"the key of the life that position {position} opens is gone: {life}")
        return None

    def _wrong_values(self, upto: int, unclear: _Unclear | None) -> Misled | None:
        left = {life: values for life, values in _clear(self._values, unclear).items() if values}
        if not self._sees_values:
            return self._wrong_names(left, upto) if self._sees_sizes else None
        for rows in table_pages(self._store, "ledger.sealed_lives"):
            for (life,) in rows:
                if unclear and unclear(life):
                    continue
                stored = {name: _digest(sealed) for name, sealed in self._store.sealed(life).items()}
                if wrong := _first_difference(left.pop(life, {}), stored, life, upto):
                    return wrong
        for life, values in left.items():
            return _first_difference(values, {}, life, upto)
        return None

    def _wrong_names(self, left: Mapping[str, Mapping[tuple[str, int], _Said]], upto: int) -> Misled | None:
        """As far as those see it who may only ask for sizes."""
        for life, values in left.items():
            sizes = self._store.sealed_sizes(life)
            stored = {name: values[name].digest if name in values else b"" for name in sizes}
            if wrong := _first_difference(values, stored, life, upto):
                return wrong
        return None


def _clear(of_lives: Mapping[str, _Of], unclear: _Unclear | None) -> dict[str, _Of]:
    return {life: each for life, each in of_lives.items() if not (unclear and unclear(life))}


def _may(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except LedgerDeniedError:
        return False
    return True


def _digest(sealed: object) -> bytes:
    """Of what a file holds, which may be anything if somebody changed it."""
    return sha256(sealed).digest() if isinstance(sealed, bytes) else b""


def _first_difference(
    said: Mapping[tuple[str, int], _Said], stored: Mapping[tuple[str, int], bytes], life: str, upto: int
) -> Misled | None:
    for (key, version), each in said.items():
        if (key, version) not in stored:
            return Misled(each.position, f"the value of secret {key!r} that position {each.position} sets is gone")
        if stored[key, version] != each.digest:
            detail = f"the value of secret {key!r} that position {each.position} sets is not what was sealed"
            return Misled(each.position, detail)
    for key, version in stored.keys() - said.keys():
        return Misled(upto, f"there is a value of secret {key!r}, version {version}, that no event set: life {life}")
    return None
