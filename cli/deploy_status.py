"""`1ctl deploy status`: how an app is doing, as far as anybody can say: applied, pods, route, DNS, drift."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from cli import origin
from cli.exit_codes import CommandError, ExitCode, UsageError
from cli.moment import When
from cli.options import Waiting, Which
from cli.overtaken import overtaken
from cli.parked_hints import given_up, parked_error, parked_hint
from cli.past import asked
from cli.recording import LEDGER_FAILURES, not_applied, not_watched, status_hint, way_on
from cli.session import Session
from cli.status_facts import UNKNOWN, Status, cluster_facts, dns, ledger_facts
from cli.target import running, target
from ledger.app import App, Life, destroyed_error
from ledger.errors import OneCtlError, RefusedError, may_pass

if TYPE_CHECKING:
    from cli.deadline import Deadline
    from ledger.request import Request
    from ledger.spec import AppId

_HELP = "Run '1ctl deploy status --help' for usage"

WATCH_SECONDS = 0.5
"""How often `--watch` looks."""

LONGEST_ASKED_SECONDS = 60.0
"""How long a cluster that says when to come back is left alone at most: it may be wrong about itself."""


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Go on, with a line for each change.")] = False,
    *,
    waiting: Waiting,
    check_dns: Annotated[
        bool, typer.Option("--check-dns", help="Ask this machine's resolver for the host name.")
    ] = False,
    which: Which,
    when: When,
) -> None:
    """Show how an app is doing now.

    Where commands apply what they record, it finishes what an interrupted one left undone.

    With --wait it ends with 0 once its pods are ready, with 4 if they will not become ready, with 5 if not in time,
    and with 8 if what is recorded is refused, or not applied by then.

    Example:  1ctl deploy status --wait --timeout 2m
    """
    if watch and waiting.wait:
        raise UsageError("--watch and --wait exclude each other", hint=_HELP)
    if (watch or waiting.wait or check_dns) and not when.is_now:
        raise UsageError(
            "--watch, --wait and --check-dns are about now; --at-release, --as-of and --at-position about the past",
            hint=_HELP,
        )
    seconds = waiting.seconds()
    session = Session()
    session.require_named_ledger()
    is_only_read = when.is_now and not session.reader.may_append()
    if is_only_read and waiting.wait:
        raise RefusedError(
            "this ledger is only read here, so there is nothing to wait for",
            hint="See where it goes on: 1ctl ledger status",
        )
    if is_only_read:
        session.terminal.notice("This ledger is only read here, so the cluster is not asked.")
    if is_only_read or not when.is_now:
        question = asked(session, when, which)
        # What to do about it is no business of the past.
        _print(session, question.app, question.life, replace(ledger_facts(question.life, past=True), hint=None))
        return
    request = origin.request()
    app = _app(session, which)
    if watch:
        _watch(session, app, request, check_dns=check_dns, deployment_id=which.deployment_id)
        return
    if waiting.wait:
        _wait(session, app, request, check_dns=check_dns, timeout=seconds)
        return
    _show(session, app, request, check_dns=check_dns)


def _show(session: Session, app: App, request: Request, *, check_dns: bool) -> None:
    """How it is doing, once.

    Raises:
        CommandError: What is recorded could not be applied (exit code 8); how far the ledger knows it is shown before.
    """
    try:
        app, found = _now(session, app, request, check_dns=check_dns)
    except CommandError:
        with suppress(*LEDGER_FAILURES):  # it may be what failed; then as it was before
            app = session.reader.app(app.id)
        if (life := app.life or app.leaving) is not None:  # what to do about it is said with the error
            _print(session, app, life, replace(ledger_facts(life), hint=None))
        raise
    _print(session, app, app.life or app.leaving, found)


def _app(session: Session, which: Which) -> App:
    app = session.reader.app(target(session, which, ended=True))
    shown = app.life or app.leaving or running(session, app)
    if which.deployment_id not in (None, shown.deployment_id):
        raise destroyed_error(app.id, which.deployment_id)
    return app


def _now(session: Session, app: App, request: Request, *, check_dns: bool) -> tuple[App, Status]:
    """The app, applied if that is this process's business, and how it is doing."""
    resident = session.reader.has_worker(session.place.cluster)
    if app.dirty and not resident:
        app = session.applying.apply(app.id, request)
    if app.life is None and app.leaving is None:
        return app, Status(status="Destroyed", message="Nothing is left in the cluster.", progress=0)
    if app.life is None:
        assert app.leaving is not None
        return app, _with_trouble(session, app, ledger_facts(app.leaving))
    known = replace(ledger_facts(app.life), dns=dns(app.life.domain) if check_dns else UNKNOWN)
    if app.life.dirty:
        return app, _with_trouble(session, app, known)
    return app, cluster_facts(session, app, known, request, records=not resident)


def _with_trouble(session: Session, app: App, known: Status) -> Status:
    """Where something waits to be applied, add what keeps a worker from applying it."""
    from cli.worker_status import shown_trouble  # noqa: PLC0415

    why = shown_trouble(session.store.lease_row(app.id.cluster), app.id) if known.applied == "pending" else None
    return known if why is None else replace(known, message=f"The worker cannot apply it: {why}")


def _watch(session: Session, app: App, request: Request, *, check_dns: bool, deployment_id: str | None) -> None:
    """A line for each change until interrupted; in JSON mode one document a line.

    Raises:
        AppNotFoundError: Another deployment was opened, and the one that was named is not it.
    """
    import time  # noqa: PLC0415

    import orjson  # noqa: PLC0415

    from cli.following import until_interrupted  # noqa: PLC0415

    said: object = None
    with until_interrupted():
        while True:
            app, found = _look(session, app.id, request, check_dns=check_dns)
            shown = app.life or app.leaving
            if deployment_id is not None and shown is not None and shown.deployment_id != deployment_id:
                raise destroyed_error(app.id, deployment_id)
            document = _document(app, shown, found)
            if document != said and session.terminal.json:
                session.terminal.bytes([orjson.dumps(document) + b"\n"])
            elif document != said:
                release = app.life.release if app.life else "-"
                session.terminal.line(
                    f"{time.strftime('%H:%M:%S')}  release {release}  {found.status} {found.progress}%  {found.message}  "
                    f"(applied: {found.applied}, route: {found.route})"
                )
            said = document
            time.sleep(_pause(found.again_in))


def _look(
    session: Session, app_id: AppId, request: Request, *, check_dns: bool, deadline: Deadline | None = None
) -> tuple[App, Status]:
    """`_now`, asked again while the ledger or the cluster is away for a moment, which is said once each time.

    Args:
        session: Where to look.
        app_id: The app.
        request: On whose behalf.
        check_dns: See `_now`.
        deadline: When to give up; until then a worker that has to apply something is waited for. None: never, and it is
            not.

    Raises:
        LedgerUnavailableError, LedgerBusyError, ClusterUnreachableError: It was away up to the end.
        CommandError: So was the cluster, and what is recorded is not applied (exit code 8).
    """
    import time  # noqa: PLC0415

    said = False
    while True:
        try:
            app = session.reader.app(app_id)
            if deadline is not None and app.dirty:
                app = session.applying.apply(app_id, request, deadline=deadline)
            return _now(session, app, request, check_dns=check_dns)
        except OneCtlError as error:
            pause = _passes_in(error)
            if pause is None or (deadline is not None and not deadline.left):
                raise
            if not said:  # whatever else it is away for by then
                session.terminal.notice(f"{error.message[:1].upper()}{error.message[1:]}; trying again.")
            said = True
        time.sleep(pause if deadline is None else min(pause, deadline.left))


def _passes_in(error: OneCtlError) -> float | None:
    """Seconds after which to ask again what is only away for a moment, as far as anybody can tell; None for all else.

    What could not be applied for such a reason may be by then.
    """
    from effects.cluster import ClusterUnreachableError  # noqa: PLC0415 - only where something is away

    cause = error.__cause__ if isinstance(error, CommandError) else error
    if isinstance(cause, ClusterUnreachableError):
        return _pause(cause.retry_after)
    return WATCH_SECONDS if isinstance(cause, OneCtlError) and may_pass(cause) else None


def _pause(asked: float | None) -> float:
    """Seconds until the next look, where the cluster may have asked for some."""
    return min(max(WATCH_SECONDS, asked or 0.0), LONGEST_ASKED_SECONDS)


def _wait(session: Session, app: App, request: Request, *, check_dns: bool, timeout: float) -> None:
    """Look until its pods are ready, will not become ready, or the time is over; show that, and end with its code."""
    from cli.deadline import Deadline  # noqa: PLC0415
    from effects.cluster import ClusterRefusedError, ClusterUnreachableError  # noqa: PLC0415

    life = running(session, app)
    session.terminal.info("Waiting for deployment to become healthy...")
    try:
        app, found = _look_on(session, app, request, life, check_dns=check_dns, deadline=Deadline.after(timeout))
        gone = overtaken(session, app.id, life) if _is_gone(app, life) else None
    except LEDGER_FAILURES as error:
        if app.dirty:
            again = "See how far it got: 1ctl deploy status"
            raise not_applied(error.message, hint=None, again=again) from error
        raise not_watched(f"the ledger cannot be asked what became of the pods: {error.message}", life) from error
    except (ClusterRefusedError, ClusterUnreachableError) as error:
        raise not_watched(f"the pods cannot be watched: {error.message}", life) from error
    if gone is not None:
        raise gone
    parked = app.life.parked if app.life is not None else None
    # What to do about a refusal is said with the error.
    _print(session, app, app.life, found if parked is None else replace(found, hint=None))
    if parked is not None:
        raise parked_error(app.id, parked, again="1ctl deploy status shows where it stands.")
    if not _is_final(found):
        raise CommandError(
            f"the pods were not ready within {timeout:g} s: {found.message}",
            code=ExitCode.TIMED_OUT,
            hint=status_hint(life),
        )
    if _is_in_doubt(session, app, found):
        raise not_watched("the pods cannot be watched from here, and it was scaled after they became ready", life)
    if found.status != "Running":
        raise CommandError(
            f"the pods will not become ready: {found.message}".rstrip("."),
            code=ExitCode.ROLLOUT_FAILED,
            hint=way_on((app.life or life).release),
        )


def _is_gone(app: App, life: Life) -> bool:
    """Whether a life is not the app's open one any more: it was destroyed, and another may have begun."""
    return app.life is None or app.life.deployment_id != life.deployment_id


def _look_on(
    session: Session, app: App, request: Request, life: Life, *, check_dns: bool, deadline: Deadline
) -> tuple[App, Status]:
    """`_look` again and again, until nothing would become of waiting longer for this life, or the time is over."""
    import time  # noqa: PLC0415

    while True:
        app, found = _look(session, app.id, request, check_dns=check_dns, deadline=deadline)
        # A cluster that is away for a moment can say later what the ledger does not know.
        final = _is_final(found) and (found.again_in is None or not _is_in_doubt(session, app, found))
        if final or _is_gone(app, life) or given_up(app.life) is not None or not deadline.left:
            return app, found
        time.sleep(min(_pause(found.again_in), deadline.left))


def _is_final(found: Status) -> bool:
    return found.applied == "yes" and found.status != "NotReady"


def _is_in_doubt(session: Session, app: App, found: Status) -> bool:
    """Whether pods that were ready may not be: another number was asked for since, and nobody records what becomes of that."""
    from ledger.events import Scaled  # noqa: PLC0415

    if found.status != "Running" or found.seen:
        return False
    life = running(session, app)
    return any(
        line.position > life.roll.position and isinstance(line.event, Scaled) for line in session.reader.asked(app.id)
    )


def _print(session: Session, app: App, life: Life | None, found: Status) -> None:
    if session.terminal.json:
        session.terminal.document(_document(app, life, found))
    elif life is None or found.status == "Destroyed":
        session.terminal.info("Destroyed: nothing of it is left in the cluster.")
    else:
        shown = {
            "App": app.id.name,
            "Deployment ID": life.deployment_id,
            "URL": f"https://{life.domain}",
            "Release": str(life.release),
            "Status": found.status,
            "Message": found.message,
            "Progress": f"{found.progress}%",
            "Applied": found.applied,
            "Route": found.route,
            "DNS": found.dns,
        }
        if found.drift:
            shown["Drift"] = ", ".join(found.drift)
        session.terminal.fields("Deployment Status", shown)
        if found.hint and life.parked is not None and life.parked.reason == "NotOurs":
            session.terminal.notice(parked_hint(app.id, life.parked))
        elif found.hint:
            session.terminal.notice(found.hint)


def _document(app: App, life: Life | None, found: Status) -> dict[str, object]:
    ended = life is None or app.life is None
    return {
        "deployment_id": None if ended or life is None else life.deployment_id,
        "app_label": app.id.name,
        "status": found.status,
        "message": found.message,
        "progress": found.progress,
        "release": None if ended or life is None else life.release,
        "applied": found.applied,
        "route": found.route,
        "dns": found.dns,
        "drift": list(found.drift),
    }
