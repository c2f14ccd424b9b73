"""Objects in the cluster that carry this ledger's label although no event asks for them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from effects.cluster import LIFE_LABEL, Cluster, Ref
from effects.desired import Surroundings, asked_for
from effects.listing import WATCHED
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
    explained: dict[str, _Explained] = {}
    for kind in WATCHED:
        for page in cluster.pages(kind, namespace, ledger_id=ledger_id):
            for each in page.objects:
                life = each.seen.labels.get(LIFE_LABEL, "")
                if life in explained and explained[life].covers(each.ref):
                    continue
                # Of a life that is known, too: what was recorded since may ask for this object.
                explained[life] = _explained(reader, life, around)
                if not explained[life].covers(each.ref):
                    yield Orphan(each.ref, each.seen.uid, life, explained[life].why_not)


class _Explained(NamedTuple):
    """The objects of one life that events explain; None for all of them. And why they explain no other, as a clause."""

    refs: Collection[Ref] | None
    why_not: str = ""

    def covers(self, ref: Ref) -> bool:
        return self.refs is None or ref in self.refs


def _explained(reader: LedgerReader, deployment_id: str, around: Surroundings) -> _Explained:
    app_id = reader.find(deployment_id) if deployment_id else None
    if app_id is None:
        return _Explained((), "no event of this ledger names its deployment")
    app = reader.app(app_id)
    if app.is_leaving(deployment_id):
        return _Explained(None)  # its removal is not finished
    if app.life is None or app.life.deployment_id != deployment_id:
        return _Explained((), "its deployment was destroyed")
    if app.life.dirty:
        return _Explained(None)
    wanted, kept = asked_for(app, app.life, around)
    refs = {entry.ref for entry in wanted} | {copy for copy, _ in kept}
    return _Explained(refs, "the app does not ask for it any more")
