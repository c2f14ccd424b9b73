"""Who asks, from where: found in the environment, claimed rather than proved."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping

from cli.options import INVOCATION
from cli.version import PROGRAM
from ledger import values
from ledger.envelope import Source
from ledger.request import Request

_CI_ACTORS = ("GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILDKITE_BUILD_CREATOR", "CIRCLE_USERNAME", "BUILD_USER_ID")
_CI_RUNS = ("CI_JOB_URL", "BUILDKITE_BUILD_URL", "CIRCLE_BUILD_URL", "BUILD_URL")


def request(*, request_id: str | None = None, reason: str | None = None, git: bool = False) -> Request:
    """This run's request; a new id if none is given.

    Args:
        request_id: The user's own, or None.
        reason: Why, or None.
        git: Whether to record the commit of the working directory; costs a `git status` (`cli.checkout`).

    Raises:
        InvalidValueError: Id, reason or the actor are not acceptable.
    """
    made = Request(
        request_id=values.request_id(request_id) if request_id is not None else str(uuid.uuid4()),
        actor=values.actor(actor(os.environ)),
        source=source(os.environ, git=git),
        reason=values.reason(reason) if reason is not None else None,
    )
    INVOCATION.request_id, INVOCATION.is_named = made.request_id, request_id is not None
    return made


def actor(environ: Mapping[str, str]) -> str:
    """``ONECTL_ACTOR``, else the CI's user, else the operating system's."""
    for name in ("ONECTL_ACTOR", *_CI_ACTORS):
        if environ.get(name):
            return environ[name]
    return _os_user(environ)


def source(environ: Mapping[str, str], *, git: bool) -> Source:
    """Program, host, CI run and, if asked for, the commit."""
    commit, dirty = _commit() if git else (None, None)
    return Source(program=PROGRAM, host=os.uname().nodename, commit=commit, dirty=dirty, ci=_ci_run(environ))


def _os_user(environ: Mapping[str, str]) -> str:
    import pwd  # noqa: PLC0415 - needed only here, on POSIX

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's arbitrary user id has no name
        return environ.get("USER") or f"uid-{os.geteuid()}"


def _ci_run(environ: Mapping[str, str]) -> str | None:
    if environ.get("GITHUB_RUN_ID"):
        server = environ.get("GITHUB_SERVER_URL", "https://github.com")
        run = f"{server}/{environ.get('GITHUB_REPOSITORY', '')}/actions/runs/{environ['GITHUB_RUN_ID']}"
    else:
        run = next((environ[name] for name in _CI_RUNS if environ.get(name)), "")
    return run.encode(errors="replace").decode() or None  # it may not even be UTF-8


def _commit() -> tuple[str | None, bool | None]:
    from cli.checkout import commit  # noqa: PLC0415 - deploys only

    return commit()
