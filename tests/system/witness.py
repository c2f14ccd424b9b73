"""What must hold after every step of the whole system, and what once nothing goes wrong any more.

Stated by searching through the ledger's lines and by reading the cluster; what is judged has no part in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from effects.cluster import DIGEST_ANNOTATION, LEDGER_LABEL, LIFE_LABEL, POSITION_ANNOTATION, Ref, ref_of
from effects.desired import ROLL_ANNOTATION
from effects.sandbox import SandboxCluster
from ledger.codec import recorded
from ledger.envelope import Recorded
from ledger.events import Deployed, Destroyed, Restarted, RolledBack
from ledger.store import ModelStore
from projections.app_list import app_list
from projections.releases import releases
from tests.faults import ledger_invariants as invariants
from tests.faults.ledger_invariants import Violation, hold
from tests.projections import oracle
from tests.projections.shown import shown

NAMESPACE = "default"


class Witness:
    """Sees every write to the cluster and every line of the ledger.

    Attributes:
        sent: Requests that somebody made.
        acknowledged: Those that were answered.
    """

    def __init__(self, store: ModelStore, cluster: SandboxCluster) -> None:
        self.sent: set[str] = set()
        self.acknowledged: set[str] = set()
        self._store = store
        self._cluster = cluster
        self._lines: list[Recorded] = []
        self._templates: dict[str, Mapping[str, Any]] = {}
        self._made: dict[str, int] = {}
        self._gone_by_hand = 0
        self._seen: Violation | None = None

    # -- After every step ------------------------------------------------------------------------------------------

    def look(self) -> None:
        """1 and 2, if the ledger has grown; and what was seen of writes since."""
        if self._seen is not None:
            raise self._seen
        if self._store.head().position == len(self._lines):
            return
        rows = invariants.positions_have_no_gap(self._store)
        self._lines += [recorded(row) for row in rows[len(self._lines) :]]
        invariants.releases_are_consecutive(self._lines)
        invariants.domains_belong_to_one_app(self._lines)

    def by_hand(self, ref: Ref) -> None:
        """Somebody deletes that object: it has to be made again."""
        if ref.kind in ("Deployment", "ConfigMap"):  # the second may own the first
            self._gone_by_hand += 1

    def wrote(self, verb: str, ref: Ref) -> Callable[[], None]:
        """4, of one write by a worker: called before it, and what it returns after it."""
        before = self._object(ref)

        def after() -> None:
            try:
                judge()
            except Violation as violation:
                self._seen = self._seen or violation  # for `look`: whoever is at work here would try it again

        def judge() -> None:
            self.look()
            if verb == "apply":
                self._applied(ref, before, self._object(ref))
            elif ref.kind == "Deployment" and before is not None and self._object(ref) is None:
                life = before["metadata"]["labels"].get(LIFE_LABEL, "")
                hold(life not in self._open_lives(), f"4: {ref} was deleted, and its life {life} is open")

        return after

    def _applied(self, ref: Ref, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> None:
        assert after is not None
        position = _position(after)
        hold(position <= len(self._lines), f"4: {ref} reflects {position}, and the ledger ends at {len(self._lines)}")
        if before is not None and before["metadata"]["uid"] == after["metadata"]["uid"]:
            hold(position >= _position(before), f"4: {ref} went back from {_position(before)} to {position}")
        if ref.kind == "Deployment":
            self._rolled(ref, before, after)

    def _rolled(self, ref: Ref, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> None:
        """A template is written for a roll that the ledger has; anew only for a later one, or to undo an edit."""
        uid, life = after["metadata"]["uid"], after["metadata"]["labels"][LIFE_LABEL]
        template = after["spec"]["template"]
        roll = _roll(template)
        hold(roll in self._rolls(life), f"4: {ref} was rolled for position {roll}, where nobody asked for it")
        if before is None or before["metadata"]["uid"] != uid:
            self._made[life] = self._made.get(life, 0) + 1
            hold(self._made[life] <= 1 + self._gone_by_hand, f"4: {ref} was made {self._made[life]} times")
        elif before["spec"]["template"] == self._templates.get(uid) and template != self._templates[uid]:
            earlier = _roll(self._templates[uid])
            hold(roll > earlier, f"4: {ref} was rolled for position {roll}, and ran pods of {earlier}")
        self._templates[uid] = template

    def _rolls(self, life: str) -> set[int]:
        kinds = Deployed | RolledBack | Restarted
        return {line.position for line in self._lines if isinstance(line.event, kinds) and _life(line) == life}

    def _open_lives(self) -> set[str]:
        opened = {_life(line) for line in self._lines if isinstance(line.event, Deployed)}
        return opened - {_life(line) for line in self._lines if isinstance(line.event, Destroyed)}

    def _object(self, ref: Ref) -> Mapping[str, Any] | None:
        return next((each for each in self._cluster.objects(NAMESPACE) if ref_of(each) == ref), None)

    # -- In the end ------------------------------------------------------------------------------------------------

    def judge(self, ledger_id: str, wanted: set[Ref]) -> None:
        """1, 3 and 5; and 4: nothing is left over. That each app is as asked for is for the worlds to say."""
        self.look()
        invariants.requests_are_recorded_once(self._store, sent=self.sent, acknowledged=self.acknowledged)
        invariants.chain_verifies(self._store)
        invariants.read_models_equal_a_fresh_fold(self._store)
        rows = app_list(self._store, "test", NAMESPACE, ended=True)
        listed = [shown(row) for row in sorted(rows, key=lambda row: row.opened)]
        hold(listed == oracle.listed(self._lines), f"3: listed {listed}")
        told = [
            [{key: value for key, value in each._asdict().items() if key != "outcome"} for each in life.releases]
            for life in releases(self._lines)
        ]
        hold(told == oracle.released(self._lines), f"3: releases {told}")
        ours = {
            ref_of(each)
            for each in self._cluster.objects(NAMESPACE)
            if each["metadata"].get("labels", {}).get(LEDGER_LABEL) == ledger_id
        }
        hold(ours <= wanted, f"4: left over: {sorted(map(str, ours - wanted))}")


def _life(line: Recorded) -> str:
    return line.envelope.subject.deployment_id if line.envelope.subject else ""


def _position(manifest: Mapping[str, Any]) -> int:
    annotations = manifest["metadata"].get("annotations", {})
    return int(annotations.get(POSITION_ANNOTATION, "0.0").partition(".")[2]) if DIGEST_ANNOTATION in annotations else 0


def _roll(template: Mapping[str, Any]) -> int:
    return int(template["metadata"]["annotations"][ROLL_ANNOTATION].partition("-")[0])
