"""Why the pods that somebody waits for are not what is asked for any more, and who asked for what since."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.exit_codes import CommandError, ExitCode
from cli.moment import life_of
from ledger.landmarks import newest_releases, number, release_lines

if TYPE_CHECKING:
    from cli.session import Session
    from ledger.app import Life
    from ledger.spec import AppId


def overtaken(session: Session, app_id: AppId, life: Life) -> CommandError:
    """The error for whoever waits for pods of a life where others were asked for since, or none.

    Args:
        session: This run's session.
        app_id: The app.
        life: The life as it was when the pods were asked for.
    """
    span = life_of(session, app_id, life.deployment_id)
    _, newer = release_lines(session.store, span, life.release)
    if (end := newest_releases(session.store, span, 1).destroyed) is not None:
        what = f"deployment {life.deployment_id} was destroyed by {end.envelope.actor} while its pods were waited for"
        hint = f"See why: 1ctl deploy events --deployment-id {life.deployment_id}"
    elif newer is not None:
        what = f"{_superseded(life)}: {newer.envelope.actor} asked for release {number(newer)}"
        hint = "See why: 1ctl deploy releases --wide"
    else:
        what = f"{_superseded(life)}: the same release was restarted"
        hint = "See why: 1ctl deploy events"
    return CommandError(what, code=ExitCode.ROLLOUT_FAILED, hint=hint)


def _superseded(life: Life) -> str:
    return f"release {life.release} was superseded before its pods were ready"
