"""Sending one object in a ledger's name, and which of its positions an object in the cluster says that it reflects."""

from __future__ import annotations

from effects.cluster import POSITION_ANNOTATION, Cluster, Seen
from effects.desired import DesiredObject, stamped
from effects.managers import manager_of
from effects.secret_values import LazyValues


def send(
    cluster: Cluster,
    entry: DesiredObject,
    *,
    ledger_id: str,
    position: str,
    owner_uid: str | None,
    values: LazyValues,
    expect: Seen | None,
    force: bool = False,
) -> Seen:
    """Make or change an object; the cluster's answer.

    Args:
        cluster: Where.
        entry: The object.
        ledger_id: Id of the ledger that asks for it.
        position: What it then says that it reflects, as of `position_text`.
        owner_uid: Uid of the object that owns it; None for that one itself.
        values: The secret values of its life; opened for a Secret only.
        expect: What was seen of it, or None if it was not there.
        force: Whether to take fields from other managers.

    Raises:
        SealedError: Its values cannot be opened here.
        ClusterError: As for `Cluster.apply`.
    """
    manifest = stamped(entry, position=position, owner_uid=owner_uid, values=values.of(entry))
    return cluster.apply(manifest, manager=manager_of(ledger_id), expect=expect, force=force)


def position_text(epoch: int, position: int) -> str:
    """An epoch of the ledger and a position in it, as an object says them."""
    return f"{epoch}.{position}"


def reflected(seen: Seen) -> tuple[int, int]:
    """Epoch and position that an object reflects; zeros where it does not say."""
    epoch, _, position = seen.annotations.get(POSITION_ANNOTATION, "0.0").partition(".")
    return (int(epoch), int(position)) if epoch.isdecimal() and position.isdecimal() else (0, 0)
