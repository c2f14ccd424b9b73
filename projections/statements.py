"""Every statement on the read models' tables, written once, by name."""

from collections.abc import Mapping

from sqlalchemy import BindParameter, ClauseElement, bindparam, delete, func, insert, or_, select, tuple_, update

from projections.tables import app_list, app_list_past, projection_checkpoints

_checkpoint = projection_checkpoints.c
_app = app_list.c
_place = (
    _app.cluster == bindparam("cluster"),
    _app.namespace == bindparam("namespace"),
    _app.opened > bindparam("after"),
)

_past = app_list_past.c
_position: BindParameter[int] = bindparam("position")
_is_open = _app.destroyed_us.is_(None)
_was_opened = _app.opened <= _position
_was_open = or_(_is_open, _app.destroyed > _position)
_then = (
    select(_past.content)
    .where(_past.opened == _app.opened, _past.valid_from <= _position)
    .order_by(_past.valid_from.desc())
    .limit(1)
    .scalar_subquery()
)
_lives_then = select(app_list, _then).where(*_place, _was_opened).order_by(_app.opened).limit(bindparam("limit"))

STATEMENTS: Mapping[str, ClauseElement] = {
    "checkpoint": select(_checkpoint.version, _checkpoint.position).where(_checkpoint.name == bindparam("name")),
    "move_checkpoint": update(projection_checkpoints)
    .values(position=bindparam("position"))
    .where(
        _checkpoint.name == bindparam("of"),
        _checkpoint.version == bindparam("expected_version"),
        _checkpoint.position == bindparam("expected_position"),
    ),
    "delete_checkpoint": delete(projection_checkpoints).where(_checkpoint.name == bindparam("name")),
    "insert_checkpoint": insert(projection_checkpoints),
    "app_list_row": select(app_list).where(_app.deployment_id == bindparam("deployment_id")),
    "app_list_rows": select(app_list),
    "app_list_rows_page": select(app_list)
    .where(_app.deployment_id > bindparam("after"))
    .order_by(_app.deployment_id)
    .limit(bindparam("limit")),
    "delete_app_list_row": delete(app_list).where(_app.deployment_id == bindparam("deployment_id")),
    "app_list_past_rows": select(app_list_past).order_by(_past.opened, _past.valid_from),
    "app_list_past_page": select(app_list_past)
    .where(tuple_(_past.opened, _past.valid_from) > tuple_(bindparam("opened"), bindparam("valid_from")))
    .order_by(_past.opened, _past.valid_from)
    .limit(bindparam("limit")),
    "open_lives": select(app_list).where(*_place, _is_open).order_by(_app.opened).limit(bindparam("limit")),
    "all_lives": select(app_list).where(*_place).order_by(_app.opened).limit(bindparam("limit")),
    "count_open_lives": select(func.count()).where(*_place, _is_open),
    "count_all_lives": select(func.count()).where(*_place),
    "open_lives_then": _lives_then.where(_was_open),
    "all_lives_then": _lives_then,
    "count_open_lives_then": select(func.count()).where(*_place, _was_opened, _was_open),
    "count_all_lives_then": select(func.count()).where(*_place, _was_opened),
}
