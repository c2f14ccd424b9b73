"""What somebody put in place of our parts of an object, and the patch that puts ours back. Pure.

An apply, forced or not, only sets what we ask for. Where an object may have one of several parts, and somebody put
another one there, both would be left standing, which the API server refuses: a variable's ``value`` beside our
``valueFrom``, another kind of probe, a port that has the name of ours. Only a patch that names them removes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

from effects.cluster import Manifest
from effects.managers import is_ours_alone

REPLACEABLE = frozenset({"Deployment", "Service"})
"""Kinds of objects that have such parts."""

PROBES = frozenset({"exec", "grpc", "httpGet", "tcpSocket"})
"""Kinds of probes, of which a probe has one."""

Patch = dict[str, Any]


class Replacement(NamedTuple):
    """Parts to be replaced.

    Attributes:
        patch: A strategic merge patch, without metadata, that removes what is there and sets what we ask for instead.
        fields: Which fields are as asked for afterwards, with all that is below them, as `effects.drift` names them.
    """

    patch: Patch
    fields: Sequence[str]

    def settles(self, field: str) -> bool:
        """Whether a field is as asked for afterwards."""
        return any(field == each or field.startswith(f"{each}.") for each in self.fields)


def parts_to_replace(wanted: Manifest, live: Manifest, *, additions: bool) -> Replacement | None:
    """What no apply would put right, or None if there is nothing of the kind.

    Args:
        wanted: The object as desired.
        live: The object as the cluster has it.
        additions: Whether variables of our containers, one by one or by ``envFrom``, and keys of a Service's selector that
            nobody asked for go, too.
    """
    parts = dict(_parts(wanted, live, additions=additions))
    if not parts:
        return None
    patch: Patch = {}
    for path, part in parts.items():
        _put(patch, path, part)
    return Replacement(patch, [".".join(path) for path in parts])


def probes_left(wanted: Manifest, live: Manifest, ledger_id: str) -> Patch | None:
    """A strategic merge patch that takes out probes of ours that nobody asks for any more; None if there are none.

    An apply without such a probe would leave the parts of it that the cluster had added, and older servers refuse it for
    them. With all that is asked of the pods, and without all of ours that is not, so that they are rolled once; and with
    what `parts_to_replace` says, as the server would refuse the patch for it, too.

    Args:
        wanted: The object as desired.
        live: The object as the cluster has it.
        ledger_id: Whose objects are ours.
    """
    if wanted["kind"] != "Deployment":
        return None
    left = dict(_left_over(wanted["spec"]["template"]["spec"], live, ledger_id))
    if not any(path[-1] == "readinessProbe" and part is None for path, part in left.items()):
        return None
    patch: Patch = {"spec": {"template": deepcopy(wanted["spec"]["template"])}}
    for path, part in (left | dict(_parts(wanted, live, additions=False))).items():
        _put(patch, path, part)
    return patch


Part = tuple[tuple[str, ...], Any]
"""Where, by keys and names of entries, and what a patch says there."""

_PODS = ("spec", "template", "spec")
_CONTAINERS = (*_PODS, "containers")


def _parts(wanted: Manifest, live: Manifest, *, additions: bool) -> Iterator[Part]:
    if wanted["kind"] == "Service":
        yield from _ports(("spec", "ports"), wanted["spec"], live["spec"], ("port", "protocol"), must_be_named=True)
        if additions:
            yield from _selector(wanted["spec"]["selector"], live["spec"].get("selector") or {})
    if wanted["kind"] == "Deployment":
        there = _by_name(live["spec"]["template"]["spec"]["containers"])
        for name, container in _by_name(wanted["spec"]["template"]["spec"]["containers"]).items():
            yield from _container((*_CONTAINERS, name), container, there.get(name, {}), additions=additions)


def _left_over(pods: Manifest, live: Manifest, ledger_id: str) -> Iterator[Part]:
    """What we alone set of the pods, and nobody asks for any more; not ports, which have the name of those asked for."""
    for path, part in _not_asked_for(pods, live["spec"]["template"]["spec"]):
        if is_ours_alone(live, ".".join(path), ledger_id):
            yield path, part


def _not_asked_for(pods: Manifest, found: Manifest) -> Iterator[Part]:
    for key in sorted(found.keys() - pods.keys()):
        yield (*_PODS, key), None
    yield from _names_not_asked_for(_PODS, "imagePullSecrets", pods, found)
    there = _by_name(found["containers"])
    for name, container in _by_name(pods["containers"]).items():
        path, other = (*_CONTAINERS, name), there.get(name, {})
        if "readinessProbe" in other and "readinessProbe" not in container:
            yield (*path, "readinessProbe"), None
        yield from _names_not_asked_for(path, "env", container, other)


def _names_not_asked_for(path: tuple[str, ...], key: str, want: Manifest, found: Manifest) -> Iterator[Part]:
    """Entries of a list; of one that is asked for, since a patch that removes the whole of another names no entries."""
    if key in want:
        for name in sorted(_by_name(found.get(key) or ()).keys() - _by_name(want[key]).keys()):
            yield (*path, key, name), {"$patch": "delete"}


def _container(path: tuple[str, ...], want: Manifest, found: Manifest, *, additions: bool) -> Iterator[Part]:
    asked_for, there = _by_name(want.get("env") or ()), _by_name(found.get("env") or ())
    for name, variable in there.items():
        if name not in asked_for:
            if additions:
                yield (*path, "env", name), {"$patch": "delete"}
        elif part := _variable(asked_for[name], variable):
            yield (*path, "env", name), part
    if additions and found.get("envFrom"):
        yield (*path, "envFrom"), None
    yield from _ports((*path, "ports"), want, found, ("containerPort", "protocol"), must_be_named=False)
    probe = want.get("readinessProbe") or {}
    if probe and (part := _instead(probe, found.get("readinessProbe") or {}, PROBES)):
        yield (*path, "readinessProbe"), part


def _variable(want: Manifest, found: Manifest) -> Patch | None:
    """A variable has a value or is read from somewhere, and from one place only."""
    if part := _instead(want, found, frozenset({"value", "valueFrom"})):
        return part
    sources, there = want.get("valueFrom") or {}, found.get("valueFrom") or {}
    part = _instead(sources, there, frozenset(there))
    return {**want, "valueFrom": part} if part else None


def _instead(want: Manifest, found: Manifest, alternatives: frozenset[str]) -> Patch | None:
    """What is wanted, without those of the alternatives that are there in its place."""
    others: Patch = {key: None for key in sorted(alternatives) if key in found and key not in want}
    return {**want, **others} if others else None


def _ports(
    path: tuple[str, ...], want: Manifest, found: Manifest, merged_by: Sequence[str], *, must_be_named: bool
) -> Iterator[Part]:
    """Ports are merged by their numbers and told apart by their names, which must differ."""
    ours = {tuple(each[key] for key in merged_by): each for each in want.get("ports") or ()}
    names = {each["name"] for each in ours.values()} | ({None} if must_be_named else set())
    others = {tuple(each.get(key) for key in merged_by): each for each in found.get("ports") or ()}
    kept = [each for key, each in others.items() if key not in ours and each.get("name") not in names]
    if len(kept) < len(others.keys() - ours.keys()):
        yield path, [{"$patch": "replace"}, *({**others.get(key, {}), **each} for key, each in ours.items()), *kept]


def _selector(want: Manifest, found: Manifest) -> Iterator[Part]:
    """A selector means only the whole of it: each key more selects fewer pods."""
    for key in found:
        if key not in want:
            yield ("spec", "selector", key), None


def _by_name(entries: Sequence[Manifest]) -> dict[str, Manifest]:
    return {str(each["name"]): each for each in entries}


_MERGED_BY_NAME = frozenset({"containers", "env", "imagePullSecrets"})


def _put(patch: Patch, path: tuple[str, ...], part: Any) -> None:
    """Put a part into a patch: maps by key, entries of lists by name."""
    node: Any = patch
    for key in path[:-1]:
        if isinstance(node, list):
            node = _entry(node, key)
        else:
            node = node.setdefault(key, [] if key in _MERGED_BY_NAME else {})
    if isinstance(node, list):
        _entry(node, path[-1]).update(part)
    else:
        node[path[-1]] = part


def _entry(entries: list[Patch], name: str) -> Patch:
    """The entry of that name, made if it is not there."""
    found = next((each for each in entries if each["name"] == name), None)
    if found is None:
        entries.append(found := {"name": name})
    return found
