"""The statements on leases, for a clock: the database's own, or a parameter where the database has none."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ClauseElement,
    ColumnElement,
    and_,
    bindparam,
    insert,
    or_,
    select,
    update,
)

from ledger.tables import worker_leases

_lease = worker_leases.c
_holder: BindParameter[str] = bindparam("by_holder")
_locked: BindParameter[int] = bindparam("with_lock")
_note: BindParameter[str] = bindparam("with_note")
_position: BindParameter[int] = bindparam("at_position")
_cluster = _lease.cluster == bindparam("of_cluster")
_ours = and_(_cluster, _lease.holder == _holder, _lease.epoch == bindparam("of_epoch"))


def lease_statements(now_us: ColumnElement[int]) -> Mapping[str, ClauseElement]:
    """The statements by name.

    Args:
        now_us: What tells the time, in microseconds since 1970-01-01 UTC.
    """
    until = now_us + bindparam("span_us", type_=BigInteger)
    took = {"holder": _holder, "locked": _locked, "expires_us": until, "renewed_us": now_us, "note": _note}
    free = or_(
        _lease.expires_us <= now_us,
        _lease.holder == _holder,
        and_(_lease.locked == 1, _locked == 1),
    )
    return {
        "lease": select(
            _lease.holder,
            _lease.epoch,
            (_lease.expires_us > now_us).label("valid"),
            (now_us - _lease.renewed_us).label("age_us"),
            _lease.position,
            _lease.note,
        ).where(_cluster),
        "lease_is_free": select(free).where(_cluster),
        "insert_lease": insert(worker_leases).values(cluster=bindparam("of_cluster"), epoch=1, position=0, **took),
        "take_lease": update(worker_leases).where(_cluster, free).values(epoch=_lease.epoch + 1, **took),
        "renew_lease": update(worker_leases)
        .where(_ours)
        .values(expires_us=until, renewed_us=now_us, locked=_locked, position=_position, note=_note),
        "expire_lease": update(worker_leases).where(_ours).values(expires_us=now_us),
    }
