"""What is known about secret values without knowing them: "changed", "same as at release 3"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ledger.events import SecretsFingerprinted

if TYPE_CHECKING:
    from ledger.envelope import Recorded


Fingerprints = Mapping[str, Mapping[str, str]]
"""By key and version (as text), the fingerprint of a secret's value."""


def fingerprints(history: Iterable[Recorded], deployment_id: str) -> Fingerprints:
    """By key and version (as text), the fingerprints recorded in a life; equal ones stand for equal values.

    Args:
        history: The app's events in rising position.
        deployment_id: The life; fingerprints of different lives cannot be compared.
    """
    found: dict[str, dict[str, str]] = {}
    for recorded in history:
        subject, event = recorded.envelope.subject, recorded.event
        if isinstance(event, SecretsFingerprinted) and subject and subject.deployment_id == deployment_id:
            for key, versions in event.fingerprints.items():
                found.setdefault(key, {}).update(versions)
    return found
