"""Deleting objects that were found, and waiting until the cluster has let go of them."""

from __future__ import annotations

import time
from collections.abc import Mapping

from effects.cluster import Cluster, ClusterError, Ref

STILL_THERE = "StillThere"
"""Reason of a refusal: an object was deleted, and the cluster still holds it."""

FIRST_LOOK_SECONDS = 0.05
LONGEST_LOOK_SECONDS = 1.0
"""How soon an object that lingers is looked at again: soon at first, then less and less often."""


class StillThereError(ClusterError):
    """An object was deleted but the cluster still holds it, for instance because of a finalizer."""


def delete(cluster: Cluster, objects: Mapping[Ref, str]) -> None:
    """Delete objects by their uids; without error if one is gone already. Does not wait."""
    for ref, uid in objects.items():
        cluster.delete(ref, uid=uid)


def wait_until_gone(cluster: Cluster, objects: Mapping[Ref, str], *, ledger_id: str, seconds: float) -> None:
    """Wait until none of these very objects is there any more.

    Raises:
        StillThereError: One is, after so many seconds.
    """
    deadline = time.monotonic() + seconds
    for ref, uid in objects.items():
        pause = FIRST_LOOK_SECONDS
        while (seen := cluster.look(ref, ledger_id=ledger_id)) is not None and seen.uid == uid:
            left = deadline - time.monotonic()
            if left < 0:
                raise StillThereError(
                    f"{ref} is being deleted, but the cluster still holds it",
                    hint="See what holds it: kubectl get it with -o yaml and look at its finalizers.",
                )
            time.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_LOOK_SECONDS)
