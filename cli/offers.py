"""What a shell is offered for the value of an option when Tab is pressed.

Only what can be read on this machine, at once: a ledger in a database is not asked. Whatever goes wrong, nothing is
offered and nothing is said, for the user has not asked anything yet.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cli.options import INVOCATION, Which

if TYPE_CHECKING:
    from cli.session import Session
    from ledger.app import Life
    from ledger.spec import AppId

Offers = Iterable[tuple[str, str]]
"""Values, each with a word about it for shells that show one."""

MOST_APPS = 200
"""Of how many apps deployment ids are offered: as many as can be looked up before anybody waits."""

MOST_RELEASES = 50

_WORD = re.compile(r"[\w.:/@+][\w.:/@+-]*", re.ASCII)
"""What no shell takes for more than a word: a file may come from somebody else, and Tab types what is offered."""

_WORDS = re.compile(r"[\w.:/@+ -]*", re.ASCII)


def offers(of: str) -> list[tuple[str, str]]:
    """The values of that sort; none if there are none here, or they cannot be read.

    Args:
        of: A key of `_FOUND`.
    """
    with suppress(Exception):
        found = _FOUND[of]()
        return [(value, about if _WORDS.fullmatch(about) else "") for value, about in found if _WORD.fullmatch(value)]
    return []


def _profiles() -> Offers:
    from cli.home import home  # noqa: PLC0415 - each sort imports what it needs
    from cli.profiles import SANDBOX, Profiles  # noqa: PLC0415

    profiles = Profiles(home() / "profiles.json").all
    yield from ((name, each.cluster or each.context or "") for name, each in sorted(profiles.items()))
    if SANDBOX not in profiles:
        yield SANDBOX, "the simulated cluster on this machine"


def _deployments() -> Offers:
    from ledger.landmarks import span  # noqa: PLC0415

    session = _session()
    here = [
        app_id for app_id in session.reader.apps(session.place.cluster) if app_id.namespace == session.place.namespace
    ]
    for app_id in here[:MOST_APPS]:
        life = span(session.store, app_id, None)
        if life is not None:
            yield life.deployment_id, app_id.name


def _releases() -> Offers:
    from ledger.landmarks import newest_releases, number, span  # noqa: PLC0415

    session = _session()
    life = span(session.store, _app(session), INVOCATION.deployment_id)
    if life is not None:
        for line in newest_releases(session.store, life, MOST_RELEASES).newest_first:
            yield str(number(line)), ""


def _environment() -> Offers:
    life = _life()
    return [(key, "") for key in sorted(life.env)] if life else []


def _secrets() -> Offers:
    life = _life()
    return [(key, "") for key in sorted(life.secrets)] if life else []


def _moments() -> Offers:
    yield from _releases()
    yield "live", "what the cluster has"


def _settings() -> Offers:
    from dataclasses import fields  # noqa: PLC0415

    life = _life()
    if life is not None:
        for name in sorted({each.name for each in fields(life.spec)} | {"domain"} | {*life.env} | {*life.secrets}):
            yield name, ""


def _models() -> Offers:
    from cli.ledger_commands import SNAPSHOTS  # noqa: PLC0415
    from projections.app_list import APP_LIST  # noqa: PLC0415

    return [(APP_LIST.name, "what 'deploy list' reads"), (SNAPSHOTS, "states of apps, to fold on from")]


def _kinds() -> Offers:
    from ledger.events import SCHEMA_VERSIONS  # noqa: PLC0415

    return [(kind.__name__, "") for kind in sorted(SCHEMA_VERSIONS, key=lambda kind: kind.__name__)]


def _formats() -> Offers:
    from ledger.export import FORMATS  # noqa: PLC0415

    return [(name, "") for name in FORMATS]


def _session() -> Session:
    """This run's session.

    Raises:
        LookupError: There is nothing to read at once.
    """
    from cli.session import Session  # noqa: PLC0415

    session = Session()
    if not isinstance(session.place.ledger, Path) or not session.place.ledger.exists():
        raise LookupError
    return session


def _app(session: Session) -> AppId:
    from cli.target import target  # noqa: PLC0415

    return target(session, Which(INVOCATION.name, INVOCATION.deployment_id, INVOCATION.config), ended=True)


def _life() -> Life | None:
    session = _session()
    return session.reader.app(_app(session)).life


_FOUND: Mapping[str, Callable[[], Offers]] = {
    "outputs": lambda: [("table", ""), ("json", "")],
    "shells": lambda: [("bash", ""), ("zsh", ""), ("fish", "")],
    "parts": lambda: [("code", "image and settings"), ("config", "the values")],
    "profiles": _profiles,
    "apps": lambda: ((name, "") for _, name in _deployments()),
    "deployments": _deployments,
    "releases": _releases,
    "moments": _moments,
    "settings": _settings,
    "models": _models,
    "drift": lambda: [("heal", "set back"), ("report", "only recorded")],
    "environment": _environment,
    "secrets": _secrets,
    "kinds": _kinds,
    "formats": _formats,
}
