"""What `1ctl env list` and `1ctl secret list` show: of one app or of all in the namespace, now or in the past."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cli.exit_codes import UsageError
from cli.moment import When, resolve_for_all
from cli.past import asked
from cli.session import Session
from ledger.spec import AppId

if TYPE_CHECKING:
    from cli.options import Which
    from ledger.app import Life
    from ledger.moments import Moment

UNTIL_RESTART = "until restart"


def show_environments(when: When, which: Which, *, all_: bool) -> None:
    """Environment values: keys, values, and whether the pods have them."""
    from projections.configuration_views import environment, serving  # noqa: PLC0415

    session = Session.for_questions()
    apps = _apps(session, when, which, all_=all_)
    views = [
        view
        for app_id, life, upto in apps
        if (view := environment(app_id, life, serving(session.store, app_id, life, upto=upto)))
    ]
    if session.terminal.json:
        session.terminal.document([view.to_json() for view in views])
        return
    rows = []
    for view in views:
        rows += [[view.app.name, each.key, each.value, each.reach] for each in view.values]
        rows += [[view.app.name, key, "(unset)", UNTIL_RESTART] for key in view.only_in_pods]
    _table(session, ["APP", "KEY", "VALUE", "IN PODS"], rows, all_=all_, nothing="No environment values found")


def show_secrets(when: When, which: Which, *, all_: bool) -> None:
    """Secrets: keys, versions, fingerprints, and whether the pods have them. Never a value."""
    from ledger.landmarks import span  # noqa: PLC0415
    from projections.configuration_views import secrets, serving  # noqa: PLC0415
    from projections.fingerprints import current_fingerprints  # noqa: PLC0415

    session = Session.for_questions()
    apps = _apps(session, when, which, all_=all_)
    documents, rows = [], []
    for app_id, life, upto in apps:
        view = secrets(app_id, life, serving(session.store, app_id, life, upto=upto))
        if view is None:
            continue
        where = span(session.store, app_id, life.deployment_id, upto=upto)
        wanted = {each.key: each.version for each in view.keys}
        known = current_fingerprints(session.store, where, wanted) if where and wanted else {}
        marks = {key: known.get(key) for key in wanted}
        documents.append({**view.to_json(), "fingerprints": marks})
        rows += [[app_id.name, each.key, str(each.version), marks[each.key] or "-", each.reach] for each in view.keys]
        rows += [[app_id.name, key, "-", "-", UNTIL_RESTART] for key in view.only_in_pods]
    if session.terminal.json:
        session.terminal.document(documents)
        return
    _table(session, ["APP", "KEY", "VERSION", "FINGERPRINT", "IN PODS"], rows, all_=all_, nothing="No secrets found")


def _apps(session: Session, when: When, which: Which, *, all_: bool) -> Iterator[tuple[AppId, Life, int | None]]:
    if not all_:
        question = asked(session, when, which)
        return iter([(question.app.id, question.life, question.upto)])
    if any(each is not None for each in which):
        raise UsageError("--all is about the whole namespace: leave --name, --deployment-id and --config out")
    return _all(session, resolve_for_all(session, when))


def _all(session: Session, moment: Moment | None) -> Iterator[tuple[AppId, Life, int | None]]:
    from projections.app_list import app_list  # noqa: PLC0415

    place, upto = session.place, moment.position if moment else None
    for each in app_list(session.store, place.cluster, place.namespace, position=upto):
        app_id = AppId(each.cluster, each.namespace, each.app)
        life = session.reader.app(app_id, upto=upto).life
        if life is not None:
            yield app_id, life, upto


def _table(
    session: Session, headers: Sequence[str], rows: Sequence[Sequence[str]], *, all_: bool, nothing: str
) -> None:
    """The app's name is a column where there is more than one."""
    if not rows:
        session.terminal.info(nothing)
        return
    first = 0 if all_ else 1
    session.terminal.table(headers[first:], [row[first:] for row in rows])
