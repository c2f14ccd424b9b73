"""One word for how far the cluster has got with a life."""

from __future__ import annotations

from typing import Literal

Status = Literal["pending", "completed", "failed", "destroyed"]


def lifecycle(*, changed: int, applied_through: int, refused_through: int, ended: bool) -> Status:
    """How far the cluster has got.

    Args:
        changed: Position of the newest event asked for.
        applied_through: Position up to which the cluster acknowledged everything.
        refused_through: Position up to which the cluster refused since then; 0 for never.
        ended: Whether the life is destroyed; ``destroyed`` is said once its objects are known to be gone.
    """
    if refused_through >= changed:
        return "failed"
    if applied_through < changed:
        return "pending"
    return "destroyed" if ended else "completed"
