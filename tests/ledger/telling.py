"""Lines that say what is written beside them: a database takes nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256

from ledger.codec import encode
from ledger.envelope import Subject
from ledger.events import Deployed, Destroyed, Event, LedgerMoved, SecretPurged, SecretSet
from ledger.spec import SecretVersion, Spec
from ledger.store import Beside, LifeRow, NewRow
from tests.ledger.examples import ENVELOPE

SPEC = Spec(image="nginx:1")


def telling(beside: Beside, stream: bytes, version: int = 1) -> list[NewRow]:
    """The lines, as versions of a stream from that one on."""
    lines = []
    for number, (event, deployment_id) in enumerate(_events(beside), start=version):
        place = beside.life or LifeRow(deployment_id, "prod", "shop", "orders", 0)
        subject = Subject(cluster=place.cluster, namespace=place.namespace, app=place.app, deployment_id=deployment_id)
        request_id = beside.request.request_id if beside.request is not None else ENVELOPE.request_id
        state = encode(event, replace(ENVELOPE, subject=subject, request_id=request_id))
        lines.append(NewRow(stream, number, type(event).__name__, state))
    return lines


def _events(beside: Beside) -> Iterator[tuple[Event, str]]:
    opened = beside.life or beside.life_key
    if opened is not None:
        life_key = "key" if beside.life_key is not None else None
        yield (
            Deployed(deployment_id=opened.deployment_id, release=1, spec=SPEC, life_key=life_key),
            opened.deployment_id,
        )
    for row in beside.sealed:
        version = SecretVersion(row.version, sha256(row.ciphertext).hexdigest())
        yield SecretSet(secrets={row.key: version}), row.deployment_id
    if beside.purge is not None:
        yield SecretPurged(key=beside.purge[1]), beside.purge[0]
    if beside.shred is not None:
        yield Destroyed(), beside.shred
    if beside.moved is not None:
        yield LedgerMoved(target=beside.moved[0]), ""
