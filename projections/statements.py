"""Every statement on the read models' tables, written once, by name."""

from collections.abc import Mapping

from sqlalchemy import ClauseElement, bindparam, delete, insert, select, update

from projections.tables import app_list, projection_checkpoints

_checkpoint = projection_checkpoints.c
_app = app_list.c
_place = (
    _app.cluster == bindparam("cluster"),
    _app.namespace == bindparam("namespace"),
    _app.opened > bindparam("after"),
)

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
    "delete_app_list_row": delete(app_list).where(_app.deployment_id == bindparam("deployment_id")),
    "insert_app_list_row": insert(app_list),
    "open_lives": select(app_list)
    .where(*_place, _app.destroyed_us.is_(None))
    .order_by(_app.opened)
    .limit(bindparam("limit")),
    "all_lives": select(app_list).where(*_place).order_by(_app.opened).limit(bindparam("limit")),
}
