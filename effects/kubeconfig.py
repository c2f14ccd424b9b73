"""A kubeconfig file (`v1` `Config`): the contexts in it, and the cluster and user that one of them names.

Invariants:

* Nothing of a user's entry reaches an error or a repr.

Not done here: using any of it.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 16 << 20
"""More than any kubeconfig has; what is larger, such as ``/dev/zero``, is not read to its end."""

MAX_DEPTH = 100
"""Lists and mappings within each other; a kubeconfig has some ten."""


class KubeconfigError(Exception):
    """The file cannot be used; the text says why, and quotes nothing of it but names."""


# The loader of libyaml is ten times as quick; a wheel without it is rare.
class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # either of them is a safe one
    """Gives up what is nested too deep: libyaml's loader recurses in C, where nothing stops it but the end of the stack.

    Both loaders call these methods around each value, for a feature that nobody uses here.
    """

    depth = 0

    def descend_resolver(self, _parent: object, _index: object) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise KubeconfigError(f"it is nested more than {MAX_DEPTH} deep")

    def ascend_resolver(self) -> None:
        self.depth -= 1


@dataclass(frozen=True, slots=True)
class Section:
    """A cluster or a user of a kubeconfig.

    Attributes:
        values: As they stand in the file. What is null or empty is left out.
        directory: Where its relative paths begin.
    """

    values: Mapping[str, Any] = field(repr=False)
    directory: Path

    def text(self, key: str) -> str | None:
        """A value, or None if it is not there.

        Raises:
            KubeconfigError: It is there, but is not text.
        """
        value = self.values.get(key)
        if value is None or isinstance(value, str):
            return value
        raise KubeconfigError(f"{key} is not a text")

    def path(self, key: str) -> Path | None:
        """A file that it names, or None.

        Raises:
            KubeconfigError: The value is not text.
        """
        name = self.text(key)
        return None if name is None else self.directory / name

    def content(self, key: str) -> bytes | None:
        """What stands under `key`-data, or else in the file that `key` names; None if neither is there.

        Raises:
            KubeconfigError: It is not base64, or the file cannot be read.
        """
        data, path = self.text(f"{key}-data"), self.path(key)
        try:
            if data is not None:
                return b64decode("".join(data.split()), validate=True)
            return None if path is None else path.read_bytes()
        except ValueError:
            problem = f"{key}-data is not base64"
        except OSError as error:
            problem = f"the file of {key} cannot be read: {error.strerror}"
        raise KubeconfigError(problem)


@dataclass(frozen=True, slots=True)
class Context:
    """What a context names."""

    cluster: Section
    user: Section

    def files(self) -> Sequence[Path]:
        """The certificates and keys that it names as files, each of which somebody may replace."""
        named = [self.cluster.path("certificate-authority")]
        named += [self.user.path(key) for key in ("client-certificate", "client-key")]
        return [path for path in named if path is not None]


class Kubeconfig:
    """A kubeconfig that was read.

    Attributes:
        contexts: Their names, sorted.
    """

    def __init__(self, document: Any, directory: Path) -> None:
        self._document = document if isinstance(document, dict) else {}
        self._directory = directory
        self.contexts: Sequence[str] = sorted(self._named("contexts"))

    @classmethod
    def read(cls, file: Path) -> Kubeconfig:
        """Read a file.

        Raises:
            KubeconfigError: It cannot be read, it is absurdly large or deep, or it is not YAML.
        """
        try:
            document = yaml.load(_content(file), Loader=_Loader)  # noqa: S506 - it is a safe one
        except KubeconfigError:
            raise
        except OSError as error:
            problem = f"it cannot be read: {error.strerror}"
        except Exception as error:  # noqa: BLE001 - YAML lets any error through if a tag does not fit its value
            # Its own words quote the line.
            mark = getattr(error, "problem_mark", None)
            problem = "it is not YAML" + (f" (line {mark.line + 1})" if mark is not None else "")
        else:
            return cls(document, file.absolute().parent)
        raise KubeconfigError(problem)

    def context(self, name: str) -> Context:
        """What a context of `contexts` names; a user that is not there is nobody.

        Raises:
            KubeconfigError: It names no cluster of this file.
        """
        names = self._named("contexts")[name]
        cluster = self._named("clusters").get(str(names.get("cluster")))
        if cluster is None:
            raise KubeconfigError("it names a cluster that is not in the file")
        user = self._named("users").get(names["user"], {}) if isinstance(names.get("user"), str) else {}
        return Context(self._section(cluster), self._section(user))

    def _section(self, values: Mapping[str, Any]) -> Section:
        return Section(
            {str(key): value for key, value in values.items() if value not in (None, "", [], {})}, self._directory
        )

    def _named(self, plural: str) -> Mapping[str, Mapping[str, Any]]:
        """The entries of one list by name; two of one name are refused, as kubectl does it."""
        found: dict[str, Mapping[str, Any]] = {}
        entries = self._document.get(plural) or []
        if not isinstance(entries, list):
            raise KubeconfigError(f"its {plural} are not a list")
        for entry in entries:
            if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
                raise KubeconfigError(f"an entry of {plural} has no name")
            if entry["name"] in found:
                raise KubeconfigError(f"two of its {plural} are called {entry['name']!r}")
            values = entry.get(plural.removesuffix("s"))
            found[entry["name"]] = values if isinstance(values, dict) else {}
        return found


def _content(file: Path) -> bytes:
    with file.open("rb") as opened:
        content = opened.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise KubeconfigError(f"it is larger than {MAX_BYTES >> 20} MiB")
    return content
