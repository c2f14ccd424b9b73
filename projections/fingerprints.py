"""What is known about secret values without knowing them: "changed", "same as at release 3"."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ledger.codec import recorded
from ledger.events import SecretsFingerprinted
from ledger.streams import app_stream, observed_stream
from projections.lives import that_count

if TYPE_CHECKING:
    from ledger.envelope import Recorded
    from ledger.landmarks import LifeSpan
    from ledger.store import Row, Store

PAGE = 100
"""Lines read at a time; most apps have fewer."""


Fingerprints = Mapping[str, Mapping[str, str]]
"""By key and version (as text), the fingerprint of a secret's value."""


def current_fingerprints(store: Store, life: LifeSpan, wanted: Mapping[str, int]) -> Mapping[str, str]:
    """By key, the fingerprint of the version that is asked for, where it is known; read from the newest down.

    Args:
        store: The ledger's storage.
        life: The life, up to the moment that counts.
        wanted: A version by key.
    """
    found: dict[str, str] = {}
    for page in _newest_first(store, life):
        marks = fingerprints(map(recorded, reversed(page)), life.deployment_id)
        for key, version in wanted.items():
            if str(version) in marks.get(key, {}):
                found.setdefault(key, marks[key][str(version)])
        if len(found) == len(wanted):
            break
    return found


def life_fingerprints(store: Store, life: LifeSpan) -> Fingerprints:
    """All fingerprints of a life, up to the moment that counts; see `fingerprints`."""
    lines = [recorded(row) for page in _newest_first(store, life) for row in page]
    return fingerprints(reversed(lines), life.deployment_id)


def fingerprints(history: Iterable[Recorded], deployment_id: str) -> Fingerprints:
    """By key and version (as text), the fingerprints recorded in a life; equal ones stand for equal values.

    Args:
        history: The app's events in rising position; only those count that `projections.lives` says.
        deployment_id: The life; fingerprints of different lives cannot be compared.
    """
    found: dict[str, dict[str, str]] = {}
    for line in that_count(history):
        subject, event = line.subject, line.event
        if isinstance(event, SecretsFingerprinted) and subject and subject.deployment_id == deployment_id:
            for key, versions in event.fingerprints.items():
                found.setdefault(key, {}).update(versions)
    return found


def _newest_first(store: Store, life: LifeSpan) -> Iterator[Sequence[Row]]:
    """The lines with fingerprints of a life, a page at a time."""
    observed, stop = observed_stream(app_stream(life.app)).bytes, life.stop
    while page := store.landmarks(
        observed, topic=SecretsFingerprinted.__name__, start=life.start, stop=stop, descending=True, limit=PAGE
    ):
        yield page
        stop = page[-1].position - 1
