"""Objects in the cluster that carry this ledger's label although no event asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from effects.cluster import LIFE_LABEL, Cluster, Ref
from effects.desired import Surroundings
from effects.listing import WATCHED
from effects.redacted import asked_for
from ledger.reader import LedgerReader


class Orphan(NamedTuple):
    """One such object.

    Attributes:
        ref: The object.
        uid: The cluster's uid for it.
        deployment_id: The life in its label, or empty.
        why: Why nothing explains it, as a clause.
    """

    ref: Ref
    uid: str
    deployment_id: str
    why: str


def orphans(reader: LedgerReader, cluster: Cluster, namespace: str, gateway: str) -> Iterator[Orphan]:
    """Those of one namespace, by kind and name. Secrets cannot be listed, so they are not among them.

    Raises:
        ClusterError: The cluster cannot be asked, or does not allow it.
        ExpiredError: The list took too long; begin again.
    """
    ledger_id = reader.ledger_id()
    if ledger_id is None:
        return
    around = Surroundings(ledger_id=ledger_id, gateway=gateway)
    for kind in WATCHED:
        for page in cluster.pages(kind, namespace, ledger_id=ledger_id):
            for each in page.objects:
                life = each.seen.labels.get(LIFE_LABEL, "")
                why = _why(reader, life, each.ref, around)
                if why is not None:
                    yield Orphan(each.ref, each.seen.uid, life, why)


def _why(reader: LedgerReader, deployment_id: str, ref: Ref, around: Surroundings) -> str | None:
    app_id = reader.find(deployment_id) if deployment_id else None
    if app_id is None:
        return "no event of this ledger names its deployment"
    app = reader.app(app_id)
    if app.leaving is not None and app.leaving.deployment_id == deployment_id:
        return None  # its removal is not finished
    if app.life is None or app.life.deployment_id != deployment_id:
        return "its deployment was destroyed"
    if app.life.dirty:
        return None
    wanted, kept = asked_for(app, app.life, around)
    if ref in {entry.ref for entry in wanted} or ref in {copy for copy, _ in kept}:
        return None
    return "the app does not ask for it any more"
