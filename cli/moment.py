"""The options of questions about the past: ``--at-release``, ``--as-of``, ``--at-position``."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from cli.exit_codes import UsageError
from cli.options import Which, countable, offer
from ledger.clock import SystemClock, to_micros
from ledger.errors import RefusedError
from ledger.text import Lines, lines_of

if TYPE_CHECKING:
    from cli.session import Session
    from ledger.landmarks import LifeSpan
    from ledger.moments import Moment
    from ledger.spec import AppId

AtReleaseOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        callback=countable,
        autocompletion=offer("releases"),
        help="As it last was while release N was the newest.",
    ),
]
AsOfOption = Annotated[str | None, typer.Option(metavar="TIME", help="As it was then: 2026-05-01T12:00, or '2h ago'.")]
AtPositionOption = Annotated[
    int | None, typer.Option(metavar="P", callback=countable, help="As it was at this position of the ledger.")
]

_AGO = r"(\d{1,18})\s*(s|m|h|d|w|seconds?|minutes?|hours?|days?|weeks?)\s+ago"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class When(NamedTuple):
    """The three options as given; at most one of them."""

    at_release: AtReleaseOption = None
    as_of: AsOfOption = None
    at_position: AtPositionOption = None

    @property
    def is_now(self) -> bool:
        """Whether none was given."""
        return (self.at_release, self.as_of, self.at_position) == (None, None, None)


def resolve(session: Session, when: When, *, app_id: AppId | None, deployment_id: str | None) -> Moment | None:
    """The moment that is meant, said on stderr; None for the present.

    Args:
        session: Where to look.
        when: The options.
        app_id: The app that the question is about, or None for all.
        deployment_id: The life that is meant, or None for the app's newest.

    Raises:
        RefusedError: There was no such moment.
    """
    if when.is_now:
        return None
    if [when.at_release, when.as_of, when.at_position].count(None) < 2:
        raise UsageError("--at-release, --as-of and --at-position exclude each other")
    from cli.age import local_time  # noqa: PLC0415 - most questions are about the present
    from ledger import moments  # noqa: PLC0415 - most questions are about the present

    now_us = SystemClock().now_us()
    if when.at_position is not None:
        moment = moments.at_position(session.store, when.at_position)
    elif when.as_of is not None:
        at_us = parse_time(when.as_of, now_us)
        if at_us > now_us:
            raise RefusedError(f'"{when.as_of}" lies in the future', hint="Leave --as-of out to ask about now.")
        moment = moments.as_of(session.store, at_us)
    else:
        assert when.at_release is not None
        if app_id is None:
            raise UsageError("--at-release needs an app")
        life = life_of(session, app_id, deployment_id)
        try:
            moment = moments.at_release(session.store, life, when.at_release, now_us)
        except RefusedError as error:
            former = None if deployment_id is not None else _former(session, life, when.at_release)
            if former is None:
                raise
            hint = f"An earlier deployment of the app had one; ask about it: --deployment-id {former}"
            raise RefusedError(error.message, hint=Lines(*lines_of(error.hint or ""), hint)) from None
    session.terminal.notice(f"As of position {moment.position}, {local_time(moment.at_us)}")
    return moment


def resolve_for_all(session: Session, when: When) -> Moment | None:
    """The same for a question about all apps; a release is one of the app of this directory.

    Raises:
        RefusedError: There was no such moment, or a release is named and this directory has no app.
    """
    if when.at_release is None:
        return resolve(session, when, app_id=None, deployment_id=None)
    from cli.target import target  # noqa: PLC0415 - most questions about all apps name no release

    app_id = target(session, Which(), ended=True)
    return resolve(session, when, app_id=app_id, deployment_id=None)


def parse_time(text: str, now_us: int) -> int:
    """Microseconds since 1970-01-01 UTC of ISO 8601 (local time without an offset) or of "2h ago".

    Raises:
        RefusedError: It is neither.
    """
    ago = re.fullmatch(_AGO, text.strip().lower())
    if ago is not None:
        return max(0, now_us - int(ago[1]) * _SECONDS[ago[2][0]] * 1_000_000)
    try:
        return to_micros(datetime.fromisoformat(text.strip()).astimezone(UTC))
    except (ValueError, OverflowError):  # both happen near the year 1, depending on the time zone
        raise RefusedError(
            f'"{text}" is not a time', hint="Examples: 2026-05-01T12:00:00+02:00, 2026-05-01T12:00 (local), '2h ago'"
        ) from None


def life_of(session: Session, app_id: AppId, deployment_id: str | None, *, upto: int | None = None) -> LifeSpan:
    """Where the life that is meant lies in the ledger: the one named, or else the app's newest then.

    Raises:
        AppNotFoundError: The app had none.
    """
    from ledger.app import App, open_life  # noqa: PLC0415
    from ledger.landmarks import span  # noqa: PLC0415 - most questions are about the present

    life = span(session.store, app_id, deployment_id, upto=upto)
    if life is None:
        if upto is not None:
            from cli.target import say_later  # noqa: PLC0415 - needed for an error only

            say_later(session, app_id)
        open_life(App(id=app_id))
    assert life is not None
    return life


_FORMER_LIVES = 10
"""How far back a release is looked for that an app does not have any more."""


def _former(session: Session, life: LifeSpan, release: int) -> str | None:
    """The deployment id of the newest of the lives before this one that had such a release; None for none of the last."""
    from ledger.landmarks import newest_releases, span  # noqa: PLC0415 - needed for an error only

    for _ in range(_FORMER_LIVES):
        former = span(session.store, life.app, None, upto=life.start - 1)
        if former is None:
            break
        if 0 < release <= newest_releases(session.store, former, 1).newest:
            return former.deployment_id
        life = former
    return None
