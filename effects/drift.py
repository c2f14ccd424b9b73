"""Where a live object differs from what the ledger asks for: field by field, of the fields we set. Pure.

What others add beside our fields (defaults, status, labels, a sidecar) is not a difference. A key of a ConfigMap that
we put there ourselves, and that is not asked for any more, is one: the next apply removes it. So is what would change
whom our fields reach: a variable that somebody added to our container, or a whole ConfigMap or Secret of them, a key more
in a Service's selector, and anything in the rules of a route. No apply removes the first three; see `effects.replacing`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from effects.cluster import DIGEST_ANNOTATION, LEDGER_LABEL, Manifest, Ref, ref_of
from effects.managers import is_ours_alone

_SUFFIXES: Mapping[str, Decimal] = {
    **{
        suffix: Decimal(1000) ** (power - 3)
        for power, suffix in enumerate(("n", "u", "m", "", "k", "M", "G", "T", "P", "E"))
    },
    **{suffix: Decimal(1024) ** (power + 1) for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"))},
}
"""Kubernetes quantities: by suffix, what a number is multiplied with."""

RULE_DEFAULTS: Mapping[str, object] = {"group": "", "kind": "Service", "weight": 1}
"""What an API server adds to the rules of a route."""

ABSENT = None
"""Stands for a field, or a whole object, that is not there."""


class Difference(NamedTuple):
    """One field of one object that is not as the ledger asks.

    Attributes:
        ref: The object.
        field: Path of the field, dot-separated, list entries by their name; empty for the whole object.
        wanted: What the ledger asks for.
        found: What the cluster has; `ABSENT` where it has nothing.
    """

    ref: Ref
    field: str
    wanted: object
    found: object


def differences(wanted: Manifest, live: Manifest | None) -> list[Difference]:
    """The fields of an object that are not as asked for, in the order of the manifest.

    Args:
        wanted: The object as desired.
        live: The object as the cluster has it, or None.
    """
    ref = ref_of(wanted)
    if live is None:
        return [Difference(ref, "", "present", ABSENT)]
    more = (*_left_over(wanted, live), *_selects_less(wanted, live), *_reads_more(wanted, live))
    found = [*_compare((), _comparable(wanted), live), *more]
    return [Difference(ref, ".".join(path), want, there) for path, want, there in found]


def _left_over(wanted: Manifest, live: Manifest) -> Iterator[tuple[tuple[str, ...], object, object]]:
    """Keys of a ConfigMap that are ours and that nobody asks for, for instance from positions that the ledger lost."""
    if wanted["kind"] != "ConfigMap":
        return
    ledger_id = wanted["metadata"]["labels"][LEDGER_LABEL]
    for key, value in (live.get("data") or {}).items():
        if key not in wanted.get("data", {}) and is_ours_alone(live, f"data.{key}", ledger_id):
            yield ("data", key), ABSENT, value


def _selects_less(wanted: Manifest, live: Manifest) -> Iterator[tuple[tuple[str, ...], object, object]]:
    """Keys that somebody added to a Service's selector: it then selects fewer pods, or none."""
    if wanted["kind"] != "Service":
        return
    for key, value in (live.get("spec", {}).get("selector") or {}).items():
        if key not in wanted["spec"]["selector"]:
            yield ("spec", "selector", key), ABSENT, value


def _reads_more(wanted: Manifest, live: Manifest) -> Iterator[tuple[tuple[str, ...], object, object]]:
    """Whole ConfigMaps and Secrets that somebody lets our containers read; nothing of ours is read so."""
    if wanted["kind"] != "Deployment":
        return
    pods = ("spec", "template", "spec")
    names = {each["name"] for each in wanted["spec"]["template"]["spec"]["containers"]}
    for each in live.get("spec", {}).get("template", {}).get("spec", {}).get("containers") or ():
        if each["name"] in names and each.get("envFrom"):
            yield (*pods, "containers", str(each["name"]), "envFrom"), ABSENT, "present"


def _comparable(wanted: Manifest) -> Manifest:
    """Without the digest, which says when we sent the object and not what it is."""
    metadata = wanted["metadata"]
    annotations = {key: value for key, value in metadata["annotations"].items() if key != DIGEST_ANNOTATION}
    return {**wanted, "metadata": {**metadata, "annotations": annotations}}


def _compare(path: tuple[str, ...], want: Any, found: Any) -> Iterator[tuple[tuple[str, ...], object, object]]:
    if path == _RULES:
        if not _is_whole(want, found):
            yield path, want, found
    elif isinstance(want, Mapping):
        for key, value in want.items():
            inner = found.get(key) if isinstance(found, Mapping) else ABSENT
            yield from _compare((*path, str(key)), value, inner)
    elif isinstance(want, Sequence) and not isinstance(want, str) and (_is_named(want) or _is_environment(path)):
        entries = {entry.get("name"): entry for entry in found or () if isinstance(entry, Mapping)}
        for entry in want:
            yield from _compare((*path, str(entry["name"])), entry, entries.get(entry["name"]))
        if _is_environment(path):
            asked_for = {entry["name"] for entry in want}
            for name in (name for name in entries if name not in asked_for):
                yield (*path, str(name)), ABSENT, "present"  # its value may be a secret
    elif not _equal(path, want, found) and not (want in ({}, [], "") and found is ABSENT):
        yield path, want, found


_RULES = ("spec", "rules")
"""Of a route: one value, which belongs to whoever wrote it last."""


def _is_whole(want: Any, found: Any) -> bool:
    """Whether nothing is there but what is wanted and what an API server adds."""
    if isinstance(want, Mapping) and isinstance(found, Mapping):
        added = found.keys() - want.keys()
        return all(_is_whole(value, found.get(key)) for key, value in want.items()) and all(
            found[key] is None or found[key] == RULE_DEFAULTS.get(key) for key in added
        )
    if isinstance(want, Sequence) and not isinstance(want, str) and isinstance(found, Sequence):
        return len(want) == len(found) and all(map(_is_whole, want, found))
    return bool(want == found)


def _is_environment(path: tuple[str, ...]) -> bool:
    return path[-1:] == ("env",)


def _is_named(entries: Sequence[Any]) -> bool:
    return bool(entries) and all(isinstance(entry, Mapping) and "name" in entry for entry in entries)


def _equal(path: tuple[str, ...], want: object, found: object) -> bool:
    if want == found:
        return True
    if isinstance(want, list) and isinstance(found, list):
        return len(want) == len(found) and not any(
            next(_compare(path, one, other), None) for one, other in zip(want, found, strict=True)
        )
    if "resources" not in path:
        return False  # elsewhere, 1.10 and 1.1 are two values, for instance of a variable
    wanted, there = _quantity(want), _quantity(found)
    return wanted is not None and wanted == there


def _quantity(value: object) -> Decimal | None:
    """A Kubernetes quantity as a number: an API server stores ``0.25`` as ``250m``."""
    text = str(value)
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if text.endswith(suffix) and text[: len(text) - len(suffix)].replace(".", "", 1).isdecimal():
            try:
                return Decimal(text.removesuffix(suffix)) * _SUFFIXES[suffix]
            except InvalidOperation:
                return None
    return None
