"""A deploy of an app that was destroyed: it opens a new deployment, which takes nothing over from the one that ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cli.session import Session
    from ledger.app import App, Life


def former_life(session: Session, app: App) -> Life | None:
    """The deployment that was destroyed last, as it was, if none is open; None if there never was one."""
    if app.life is not None or not app.lives:
        return None
    from ledger.candidates import ended_life  # noqa: PLC0415 - most deploys are of an app that runs, or of a new one

    return ended_life(session.reader, app)


def say_what_is_left_behind(session: Session, former: Life | None, new: Life | None, *, recorded: bool) -> None:
    """On stderr, what the destroyed deployment had and the new one has not, and how to have it back.

    Nothing if the new one is like it but for its image.

    Args:
        session: This run's session.
        former: The destroyed one.
        new: The new one.
        recorded: Whether the new one is there, and has to be destroyed before the other can be restored.
    """
    if former is None or new is None:
        return
    from projections.changes import changes, in_words  # noqa: PLC0415 - like all that is said once it is recorded

    unlike = [change for change in changes(former, new) if change.setting != "image"]
    if not unlike:
        return
    secrets = [change for change in unlike if change.setting.startswith("secrets.")]
    first = f"1ctl deploy destroy -d {new.deployment_id}, then " if recorded else ""
    session.terminal.notice(
        f"This is a new deployment, which takes nothing over from {former.deployment_id}, destroyed before. "
        f"Unlike that one: {in_words(unlike)}"
    )
    if len(secrets) < len(unlike):
        but, anew = (
            (", but for values of secrets, which ended with it", " --kv-file FILE") if former.secrets else ("", "")
        )
        session.terminal.notice(
            f"To have it as it was{but}: {first}1ctl deploy restore -d {former.deployment_id}{anew}"
        )
    elif any(change.after is None for change in secrets):
        session.terminal.notice("Values of secrets ended with it. Set them again: 1ctl secret create --key KEY")
