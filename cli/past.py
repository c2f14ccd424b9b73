"""Loading an app for a question, about now or about a moment in the past."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cli.moment import When, resolve
from cli.target import not_open, running, target
from ledger.app import destroyed_error

if TYPE_CHECKING:
    from cli.options import Which
    from cli.session import Session
    from ledger.app import App, Life


class Asked(NamedTuple):
    """What a question is about.

    Attributes:
        app: The app at the moment that is meant.
        life: Its open life then.
        upto: The position that is meant, or None for now.
    """

    app: App
    life: Life
    upto: int | None


def asked(session: Session, when: When, which: Which) -> Asked:
    """The app at the moment that is meant.

    Raises:
        AppNotFoundError: It had no open life then, or not the one that is named.
        RefusedError: Nothing says which app, or there was no such moment.
    """
    deployment_id = which.deployment_id
    app_id = target(session, which, ended=True)
    moment = resolve(session, when, app_id=app_id, deployment_id=deployment_id)
    upto = moment.position if moment else None
    app = session.reader.app(app_id, upto=upto)
    refuse_another(app, deployment_id, upto=upto)
    return Asked(app=app, life=running(session, app, upto=upto), upto=upto)


def refuse_another(app: App, deployment_id: str | None, *, upto: int | None) -> None:
    """Refuse a question about a deployment where another one was open, or none.

    Args:
        app: The app at the moment that is meant.
        deployment_id: The deployment; None means whichever was open.
        upto: The position that is meant, or None for now.

    Raises:
        AppNotFoundError: It was not open then.
    """
    if deployment_id is None or app.deployment_id == deployment_id:
        return
    if upto is None:
        raise destroyed_error(app.id, deployment_id)
    raise not_open(deployment_id, upto)
