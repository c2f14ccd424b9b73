"""The options of questions about the past: ``--at-release``, ``--as-of``, ``--at-position``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from cli.exit_codes import UsageError
from cli.options import Which, countable, offer
from ledger.clock import SystemClock, from_micros, to_micros
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
AsOfOption = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="As it was then, that second included: 2026-05-01T12:00 (local), yesterday, '2h ago'."
    ),
]
AtPositionOption = Annotated[
    int | None, typer.Option(metavar="P", callback=countable, help="As it was at this position of the ledger.")
]

_SAID = {"now": 0, "just now": 0, "yesterday": 86_400}
_SECONDS = {
    name: seconds
    for names, seconds in (
        ("s sec secs second seconds", 1),
        ("m min mins minute minutes", 60),
        ("h hr hrs hour hours", 3_600),
        ("d day days", 86_400),
        ("w week weeks", 7 * 86_400),
        ("month months", 30 * 86_400),
        ("y year years", 365 * 86_400),
    )
    for name in names.split()
}

_TO_END_US = 999_999
"""From the beginning of a second to its last microsecond."""

_DAY = re.compile(r"today|yesterday|\d{4}-?\d{2}-?\d{2}")
"""What names a whole day."""


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
        if parse_time(when.as_of, now_us) > now_us:
            raise RefusedError(f'"{when.as_of}" lies in the future', hint="Leave --as-of out to ask about now.")
        moment = moments.as_of(session.store, parse_time(when.as_of, now_us, to_end=True))
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
    from cli.satusky_toml import find  # noqa: PLC0415 - most questions about all apps name no release
    from cli.target import target, working_directory  # noqa: PLC0415 - likewise

    if find(None, working_directory()) is None:
        raise RefusedError(
            "--at-release counts releases of the app in this directory, and there is no satusky.toml here or above",
            hint="Run it in the app's directory, or say when in another way: --as-of TIME, or --at-position P",
        )
    app_id = target(session, Which(), ended=True)
    return resolve(session, when, app_id=app_id, deployment_id=None)


def parse_time(text: str, now_us: int, *, to_end: bool = False) -> int:
    """Microseconds since 1970-01-01 UTC of ISO 8601 (local time without an offset), "14:30" (today), or "2h ago".

    Whatever `cli.age.age` says is understood; a month has 30 days there and here, a year 365, and yesterday is a day ago.

    Args:
        text: As typed.
        now_us: The present.
        to_end: Whether to go to the end of the second that is named. Times are shown to the second, so whoever asks up to
            one of them means all that was recorded in it. A time with a fraction, or so long ago, is exact.

    Raises:
        RefusedError: It is none of these.
    """
    said = text.strip().lower()
    seconds = _SAID.get(said) if said in _SAID else _ago(said)
    if seconds is not None:
        return max(0, now_us - seconds * 1_000_000)
    try:
        at_us = to_micros(_read(text.strip(), from_micros(now_us).astimezone()).astimezone(UTC))
    except (ValueError, OverflowError):  # both happen near the year 1, depending on the time zone
        raise RefusedError(
            f'"{text}" is not a time',
            hint="Examples: 2026-05-01T12:00:00+02:00, 2026-05-01T12:00 (local), 14:30 (today), yesterday, '2h ago'",
        ) from None
    return at_us + _TO_END_US if to_end and not re.search("[.,]", text) else at_us


def parse_since(text: str, now_us: int) -> int:
    """Like `parse_time`, for the first moment that is meant: yesterday begins at midnight, like any day.

    Raises:
        RefusedError: It is no time.
    """
    found = _midnight(text, now_us, days=0)
    return parse_time(text, now_us) if found is None else found


def parse_until(text: str, now_us: int) -> int:
    """Like `parse_time`, for the last moment that is meant: a day ends with its last microsecond, so does a second.

    Raises:
        RefusedError: It is no time.
    """
    found = _midnight(text, now_us, days=1)
    return parse_time(text, now_us, to_end=True) if found is None else found - 1


def _midnight(text: str, now_us: int, *, days: int) -> int | None:
    """The local midnight so many days after the one that a day begins with; None if it names no day."""
    if not _DAY.fullmatch(text.strip().lower()):
        return None
    try:
        day = _read(text.strip(), from_micros(now_us).astimezone())
        return to_micros((day + timedelta(days=days)).astimezone(UTC))
    except (ValueError, OverflowError):  # no such day, or the last one that there is
        return None


def _ago(said: str) -> int | None:
    """Seconds of "2 hours ago", or "1h30m ago"; None if it is no such phrase."""
    if not re.fullmatch(r"(\d{1,18}\s*[a-z]+\s*)+\sago", said):
        return None
    parts = [(int(count), _SECONDS.get(unit)) for count, unit in re.findall(r"(\d+)\s*([a-z]+)", said)]
    known = [count * seconds for count, seconds in parts if seconds is not None]
    return sum(known) if len(known) == len(parts) else None


def _read(text: str, now: datetime) -> datetime:
    """A date, a date with a time, a time of today, or today or yesterday, which begin at midnight."""
    if text.lower() in ("today", "yesterday"):
        return datetime.combine(now.date() - timedelta(days=text.lower() == "yesterday"), time())
    if re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", text):
        return datetime.combine(now.date(), time.fromisoformat(text if text[1] != ":" else f"0{text}"))
    return datetime.fromisoformat(text)


def life_of(session: Session, app_id: AppId, deployment_id: str | None, *, upto: int | None = None) -> LifeSpan:
    """Where the life that is meant lies in the ledger: the one named, or else the app's newest then.

    Raises:
        AppNotFoundError: The app had none, or the one named was not open by then.
    """
    from ledger.landmarks import newest_releases, span  # noqa: PLC0415 - most questions are about the present

    life = span(session.store, app_id, deployment_id, upto=upto)
    if upto is not None and life is not None and not newest_releases(session.store, life, 1).newest:
        life = None  # the position is just before its first line
    if life is None:
        from cli.target import not_open, running  # noqa: PLC0415 - needed for an error only
        from ledger.app import App  # noqa: PLC0415

        if deployment_id is not None and upto is not None:
            raise not_open(deployment_id, upto)
        running(session, App(id=app_id), upto=upto)
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
