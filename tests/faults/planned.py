"""A cluster in this process of which requests go wrong as a plan says.

What comes of each fault is what the adapter of a real API server makes of it, as `tests.faults.test_cluster_faults` finds
out through the proxy. Lists and watches are right: a reconcile makes none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from effects.cluster import (
    ChangedMeanwhileError,
    Cluster,
    ClusterRefusedError,
    ClusterUnreachableError,
    Manifest,
    Ref,
    Rollout,
    Seen,
    ref_of,
)
from tests.effects.worlds import Meddled
from tests.faults.plan import RETRY_AFTER, Asked, Fault, Plan, Verb

T = TypeVar("T")

_BEFORE = {Fault.INTERNAL_ERROR, Fault.UNAVAILABLE, Fault.RESET_BEFORE, Fault.STALL_BEFORE}
_AFTER = {Fault.RESET_AFTER, Fault.STALL_AFTER, Fault.HALF_A_BODY}


class Planned(Meddled):
    """The cluster.

    Attributes:
        plan: What happens; may be exchanged at any time.
    """

    def __init__(self, real: Cluster, plan: Plan) -> None:
        super().__init__(real)
        self.plan = plan

    def look(self, ref: Ref, *, ledger_id: str) -> Seen | None:
        verb: Verb = "patch" if ref.kind == "Secret" else "get"  # a Secret is looked at by a patch that changes nothing
        return self._asked(verb, ref, lambda: super(Planned, self).look(ref, ledger_id=ledger_id), missing=None)

    def read(self, ref: Ref) -> Manifest | None:
        return self._asked("get", ref, lambda: super(Planned, self).read(ref), missing=None)

    def apply(self, manifest: Manifest, *, manager: str, expect: Seen | None, force: bool = False) -> Seen:
        def do() -> Seen:
            return super(Planned, self).apply(manifest, manager=manager, expect=expect, force=force)

        return self._asked("patch", ref_of(manifest), do)

    def replace_parts(self, ref: Ref, patch: Manifest, *, manager: str, expect: Seen) -> Seen:
        def do() -> Seen:
            return super(Planned, self).replace_parts(ref, patch, manager=manager, expect=expect)

        return self._asked("patch", ref, do)

    def delete(self, ref: Ref, *, uid: str | None) -> None:
        self._asked("delete", ref, lambda: super(Planned, self).delete(ref, uid=uid))

    def rollout(self, ref: Ref) -> Rollout | None:
        return self._asked("get", ref, lambda: super(Planned, self).rollout(ref), missing=None)

    def _asked(self, verb: Verb, ref: Ref, do: Callable[[], T], **answers: T) -> T:
        fault = self.plan.decide(Asked(verb, f"{ref.kind.lower()}s", ref.name)).fault
        match fault:
            case None:
                return do()
            case Fault.NOT_FOUND if verb == "get":
                return answers["missing"]
            case Fault.NOT_FOUND:
                raise ClusterRefusedError("the plan lets it fail", status=404, reason="NotFound")
            case Fault.UNPROCESSABLE:
                raise ClusterRefusedError("the plan lets it fail", status=422, reason="Invalid")
            case Fault.CONFLICT:
                raise ChangedMeanwhileError("the plan lets it fail")
            case Fault.TOO_MANY_REQUESTS:
                raise ClusterUnreachableError("the plan lets it fail", retry_after=RETRY_AFTER)
            case _ if fault in _BEFORE:
                raise ClusterUnreachableError("the plan lets it fail")
            case _:
                assert fault in _AFTER, fault
                do()
                raise ClusterUnreachableError("the plan loses the answer")
