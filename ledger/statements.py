"""Every statement on the ledger's tables, written once, by name."""

from collections.abc import Mapping

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ClauseElement,
    ColumnElement,
    Text,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)

from ledger.lease_statements import lease_statements
from ledger.tables import (
    app_snapshots,
    is_landmark,
    ledger_head,
    ledger_instance,
    life_keys,
    lives,
    requests,
    sealed_values,
    stored_events,
    worker_leases,
)

_event = stored_events.c
_by_stream = stored_events.alias("by_stream").c
_sealed = sealed_values.c
_snapshot = app_snapshots.c
_app = (lives.c.cluster, lives.c.namespace, lives.c.app)
_position: BindParameter[int] = bindparam("position")
_instance: BindParameter[str] = bindparam("instance")
_writer: BindParameter[str] = bindparam("writer")
_note: BindParameter[str] = bindparam("note")
_head = select(ledger_head.c.position, ledger_head.c.recorded_us, ledger_head.c.chain)


def _between(stream: str) -> ColumnElement[bool]:
    """Lines of a stream by version, those above one and up to another."""
    return and_(
        _event.originator_id == bindparam(stream),
        _event.originator_version > bindparam(f"{stream}_after"),
        _event.originator_version <= bindparam(f"{stream}_upto"),
    )


# Places only, which the index holds: what is skipped or of another topic is not read.
_landmarks = (
    select(_event.notification_id)
    .where(
        _event.originator_id == bindparam("stream"),
        is_landmark,
        _event.topic == func.coalesce(bindparam("topic", type_=Text), _event.topic),
        _event.notification_id >= bindparam("start"),
        _event.notification_id <= bindparam("stop"),
    )
    .limit(bindparam("limit"))
    .offset(bindparam("skip"))
)

STATEMENTS: Mapping[str, ClauseElement] = {
    "head": _head,
    # None if the line that it names is not the newest that it says, or not there.
    "fitting_head": _head.select_from(
        ledger_head.outerjoin(stored_events, _event.notification_id == ledger_head.c.position)
    ).where(
        ledger_head.c.recorded_us == func.coalesce(_event.recorded_us, literal_column("0")),
        or_(ledger_head.c.chain == _event.chain, ledger_head.c.position == literal_column("0")),
    ),
    "lock_head": _head.with_for_update(),
    "move_head": update(ledger_head).values(
        position=_position, recorded_us=bindparam("recorded_us"), chain=bindparam("chain")
    ),
    "insert_head": insert(ledger_head).values(
        one=1, position=_position, recorded_us=bindparam("recorded_us"), chain=bindparam("chain")
    ),
    "instance": select(ledger_instance.c.instance, ledger_instance.c.writer, ledger_instance.c.note),
    "insert_instance": insert(ledger_instance).values(one=1, instance=_instance, writer=_writer, note=_note),
    "set_writer": update(ledger_instance).values(writer=_writer, note=_note),
    "renew_instance": update(ledger_instance).values(instance=_instance, writer=_writer, note=_note),
    "insert_event": insert(stored_events),
    "redact_event": update(stored_events)
    .where(_event.notification_id == bindparam("redacted_position"), _event.state == bindparam("before"))
    .values(state=bindparam("remaining")),
    # What was blanked could be guessed from the digest of what was asked for; without it, a repetition is refused.
    "forget_request": update(requests)
    .where(
        requests.c.first_position <= bindparam("redacted_position"),
        requests.c.last_position >= bindparam("redacted_position"),
    )
    .values(salt=bindparam("nothing"), digest=bindparam("nothing")),
    "stream_range": select(stored_events)
    .where(
        _event.originator_id == bindparam("stream"),
        _event.originator_version > bindparam("after"),
        _event.originator_version <= bindparam("upto"),
    )
    .order_by(_event.originator_version)
    .limit(bindparam("limit")),
    "stream_range_descending": select(stored_events)
    .where(
        _event.originator_id == bindparam("stream"),
        _event.originator_version > bindparam("after"),
        _event.originator_version <= bindparam("upto"),
    )
    .order_by(_event.originator_version.desc())
    .limit(bindparam("limit")),
    "two_streams": select(stored_events)
    .where(or_(_between("first"), _between("second")), _event.notification_id <= bindparam("upto"))
    .order_by(_event.notification_id),
    "landmarks": select(stored_events)
    .where(_event.notification_id.in_(_landmarks.order_by(_event.notification_id)))
    .order_by(_event.notification_id),
    "landmarks_descending": select(stored_events)
    .where(_event.notification_id.in_(_landmarks.order_by(_event.notification_id.desc())))
    .order_by(_event.notification_id.desc()),
    "stream_version": select(func.max(_event.originator_version)).where(_event.originator_id == bindparam("stream")),
    "positions": select(stored_events)
    .where(_event.notification_id >= bindparam("start"), _event.notification_id <= bindparam("stop"))
    .order_by(_event.notification_id)
    .limit(bindparam("limit")),
    "positions_from": select(stored_events)
    .where(_event.notification_id >= bindparam("start"))
    .order_by(_event.notification_id)
    .limit(bindparam("limit")),
    "unfindable": select(_event.notification_id)
    .where(
        _event.notification_id >= bindparam("start"),
        _event.notification_id <= bindparam("stop"),
        ~select(literal_column("1"))
        .where(
            _by_stream.originator_id == _event.originator_id,
            _by_stream.originator_version == _event.originator_version,
            # Computed, so that the line is looked up by its stream, and not by its position.
            _by_stream.notification_id + literal_column("0") == _event.notification_id,
        )
        .exists(),
    )
    .order_by(_event.notification_id),
    # Added to nothing, so that lines are found by an index, and not by their position.
    "stream_places": select(_event.notification_id, _event.originator_id, _event.originator_version)
    .where(
        tuple_(_event.originator_id, _event.originator_version) > tuple_(bindparam("stream"), bindparam("number")),
        _event.notification_id + literal_column("0") <= bindparam("upto"),
    )
    .order_by(_event.originator_id, _event.originator_version)
    .limit(bindparam("limit")),
    "landmark_places": select(_event.notification_id, _event.originator_id, _event.topic)
    .where(
        is_landmark,
        tuple_(_event.originator_id, _event.notification_id) > tuple_(bindparam("stream"), bindparam("number")),
        _event.notification_id + literal_column("0") <= bindparam("upto"),
    )
    .order_by(_event.originator_id, _event.notification_id)
    .limit(bindparam("limit")),
    "request": select(requests).where(requests.c.request_id == bindparam("request_id")),
    "request_places": select(requests.c.request_id, requests.c.first_position, requests.c.last_position)
    .where(requests.c.request_id > bindparam("after"))
    .order_by(requests.c.request_id)
    .limit(bindparam("limit")),
    "insert_request": insert(requests),
    "life": select(lives).where(lives.c.deployment_id == bindparam("deployment_id")),
    "apps": select(lives.c.namespace, lives.c.app)
    .where(lives.c.cluster == bindparam("cluster"))
    .distinct()
    .order_by(lives.c.namespace, lives.c.app),
    "insert_life": insert(lives),
    "next_life": select(func.min(lives.c.opened)).where(
        lives.c.cluster == bindparam("cluster"),
        lives.c.namespace == bindparam("namespace"),
        lives.c.app == bindparam("app"),
        lives.c.opened > bindparam("opened"),
    ),
    "snapshot": select(app_snapshots)
    .where(
        _snapshot.stream == bindparam("stream"),
        _snapshot.shape == bindparam("shape"),
        _snapshot.position <= bindparam("upto"),
    )
    .order_by(_snapshot.position.desc())
    .limit(1),
    "snapshots_page": select(app_snapshots)
    .where(tuple_(_snapshot.stream, _snapshot.position) > tuple_(bindparam("stream"), bindparam("position")))
    .order_by(_snapshot.stream, _snapshot.position)
    .limit(bindparam("limit")),
    "count_snapshots": select(func.count()).where(_snapshot.shape == bindparam("shape")),
    "insert_snapshot": insert(app_snapshots),
    "delete_snapshot": delete(app_snapshots).where(
        _snapshot.stream == bindparam("of_stream"), _snapshot.position == bindparam("at_position")
    ),
    "apps_page": select(*_app)
    .where(tuple_(*_app) > tuple_(bindparam("after_cluster"), bindparam("after_namespace"), bindparam("after_app")))
    .distinct()
    .order_by(*_app)
    .limit(bindparam("limit")),
    "count_apps": select(func.count()).select_from(select(*_app).distinct().subquery()),
    "life_key": select(life_keys).where(life_keys.c.deployment_id == bindparam("deployment_id")),
    "insert_life_key": insert(life_keys),
    "life_key_identities": select(life_keys.c.identity, func.count()).group_by(life_keys.c.identity),
    "life_keys_except": select(life_keys)
    .where(life_keys.c.identity != bindparam("identity"), life_keys.c.deployment_id > bindparam("after"))
    .order_by(life_keys.c.deployment_id)
    .limit(bindparam("limit")),
    "rewrap_life_key": update(life_keys)
    .where(life_keys.c.deployment_id == bindparam("life"), life_keys.c.identity == bindparam("before"))
    .values(identity=bindparam("after"), wrapped=bindparam("rewrapped")),
    "delete_life_key": delete(life_keys).where(life_keys.c.deployment_id == bindparam("deployment_id")),
    "sealed": select(_sealed.key, _sealed.version, _sealed.ciphertext).where(
        _sealed.deployment_id == bindparam("deployment_id")
    ),
    "sealed_sizes": select(_sealed.key, _sealed.version, func.length(_sealed.ciphertext)).where(
        _sealed.deployment_id == bindparam("deployment_id")
    ),
    "insert_sealed": insert(sealed_values),
    "purge_sealed": delete(sealed_values).where(
        _sealed.deployment_id == bindparam("deployment_id"), _sealed.key == bindparam("key")
    ),
    "delete_sealed": delete(sealed_values).where(_sealed.deployment_id == bindparam("deployment_id")),
    # Tables beside the log as a whole: to copy them.
    "requests_page": select(requests)
    .where(requests.c.request_id > bindparam("after"))
    .order_by(requests.c.request_id)
    .limit(bindparam("limit")),
    "lives_page": select(lives)
    .where(lives.c.deployment_id > bindparam("after"))
    .order_by(lives.c.deployment_id)
    .limit(bindparam("limit")),
    "life_keys_page": select(life_keys)
    .where(life_keys.c.deployment_id > bindparam("after"))
    .order_by(life_keys.c.deployment_id)
    .limit(bindparam("limit")),
    "sealed_lives": select(_sealed.deployment_id)
    .where(_sealed.deployment_id > bindparam("after"))
    .distinct()
    .order_by(_sealed.deployment_id)
    .limit(bindparam("limit")),
    "delete_requests": delete(requests),
    "delete_lives": delete(lives),
    "delete_life_keys": delete(life_keys),
    "delete_sealed_values": delete(sealed_values),
    "delete_worker_leases": delete(worker_leases),
    "delete_app_snapshots": delete(app_snapshots),
    **lease_statements(bindparam("now_us", type_=BigInteger)),
}
