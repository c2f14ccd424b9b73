"""`1ctl deploy rollback|mark-bad`: go back to what an earlier release ran, configuration included."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from cli import answers, origin
from cli.deadline import Deadline
from cli.exit_codes import UsageError
from cli.moment import life_of
from cli.options import Change, DryRunOption, RequestIdOption, Waiting, Which, YesOption, countable, offer
from cli.recording import record, show_plan, status_hint, way_on
from cli.session import Session
from cli.target import meant, named
from ledger.app import App
from ledger.commands import MarkBad, Rollback, Unmark
from ledger.events import RolledBack
from ledger.landmarks import release_failure, release_lines
from projections.changes import changes, in_words

if TYPE_CHECKING:
    from ledger.ledger import Plan


def rollback(
    version: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            callback=countable,
            autocompletion=offer("releases"),
            help="Release to go back to; default: the last healthy one.",
        ),
    ] = None,
    only: Annotated[
        str,
        typer.Option(
            metavar="code|config",
            autocompletion=offer("parts"),
            help="Restore image and settings but not values, or only the values.",
        ),
    ] = "all",
    yes: YesOption = False,
    *,
    waiting: Waiting,
    which: Which,
    change: Change,
) -> None:
    """Make a release that runs what an earlier one ran.

    Image, settings, environment values and secrets are those of that release. The number of pods stays.

    Example:  1ctl deploy rollback --version 1 --reason "2 loses orders" --wait
    """
    if only not in ("all", "code", "config"):
        raise UsageError(f'invalid --only "{only}": expected code or config')
    session = Session()
    seconds = waiting.seconds()
    request = origin.request(request_id=change.request_id, reason=change.reason)
    app = meant(session, request, which)
    command = Rollback(version=version, only=only)
    session.applying.check_roll(app, request)
    if change.dry_run:
        planned = show_plan(session, app.id, command, request)
        if planned.events:
            _warn_of_failure(session, planned)
        return
    session.applying.look_back(app, request)
    agreed = _agreed(session, app, command, request.request_id, yes=yes)
    if agreed is None:
        document = answers.with_names(request, {"rolled_back": False}, deployment_id=app.deployment_id)
        answers.declined(session, document)
        return
    outcome = record(session, app.id, agreed, request, life=app.deployment_id, asked=command)
    life = answers.own_life(outcome)
    rolled = next((each.event for each in outcome.recorded if isinstance(each.event, RolledBack)), None)
    assert rolled is not None
    content = {"rolled_back": True, "release": rolled.release, "target": rolled.target, "only": rolled.only}
    with answers.answering(session, request, outcome, lambda: content):
        deadline = Deadline.after(seconds) if waiting.wait else None
        applied = session.applying.apply(app.id, request, deadline=deadline)
        session.terminal.success(f"Rollback to version {rolled.target} initiated")
        session.terminal.info(status_hint(life))
        if deadline is not None:
            answers.wait(session, applied, outcome, request, deadline)


def mark_bad(
    release: Annotated[
        int, typer.Argument(metavar="N", callback=countable, autocompletion=offer("releases"), help="Release.")
    ],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; shown to whoever wants to go back to it.")],
    undo: Annotated[bool, typer.Option("--undo", help="Take the mark back; both stay in the history.")] = False,
    *,
    which: Which,
    request_id: RequestIdOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Block rollbacks to a release.

    If the release runs, it goes on; its image can be deployed again, as a new release.

    Example:  1ctl deploy mark-bad 2 --reason "loses orders"
    """
    session = Session()
    request = origin.request(request_id=request_id, reason=reason)
    app = meant(session, request, which)
    command = Unmark(release=release) if undo else MarkBad(release=release)
    if dry_run:
        show_plan(session, app.id, command, request)
        return
    outcome = record(session, app.id, command, request, life=app.deployment_id)
    life = answers.own_life(outcome)
    # Of a request that is repeated, as it was recorded: the mark may have been taken back since.
    before = None if outcome.recorded else life.bad.get(release)
    why = None if undo else before or outcome.recorded[0].envelope.reason
    with answers.answering(session, request, outcome, lambda: {"release": release, "bad": why}):
        if undo:
            said = "is no longer marked as bad" if outcome.recorded else "is not marked as bad"
            session.terminal.success(f"Release {release} {said}")
        elif before is not None:
            session.terminal.info(f"Release {release} was marked as bad before: {before}")
            if reason != before:
                session.terminal.notice(
                    f"To change why, take the mark back first: 1ctl deploy mark-bad {release} --undo --reason TEXT"
                )
        else:
            session.terminal.success(f"Release {release} is marked as bad")
            if release == life.release:
                session.terminal.notice(f"Release {release} is the one that runs, and goes on. {way_on(release)}")


def _agreed(session: Session, app: App, command: Rollback, request_id: str, *, yes: bool) -> Rollback | None:
    """The command with the very release that was told of, whatever is deployed meanwhile; None after a no.

    What comes back is told first, also to whoever does not want to be asked. A request that was recorded before needs no
    answer.
    """
    if session.store.request(request_id) is not None:
        return command
    planned = session.ledger.plan(app.id, command)
    _warn_of_failure(session, planned)
    if changed := in_words(changes(planned.before.life, planned.after.life)):
        session.terminal.notice(f"Changes: {changed}")
    (event,) = planned.events
    assert isinstance(event, RolledBack)
    what = {"all": "image, settings and values", "code": "image and settings", "config": "values"}[event.only]
    question = f"Roll back {what} of {named(app)} to version {event.target}?"
    return replace(command, version=event.target) if yes or session.terminal.confirm(question) else None


def _warn_of_failure(session: Session, planned: Plan) -> None:
    """Say so if the release that is gone back to had failed: pods like its own may fail alike."""
    (event,) = planned.events
    assert isinstance(event, RolledBack)
    assert planned.before.life is not None
    where = life_of(session, planned.before.id, planned.before.life.deployment_id)
    failure = release_failure(session.store, where, *release_lines(session.store, where, event.target))
    if failure is not None:
        session.terminal.warn(
            f"Release {event.target} had failed: {answers.sentence(failure.reason, failure.message)}"
            " See which were healthy: 1ctl deploy releases --wide"
        )
