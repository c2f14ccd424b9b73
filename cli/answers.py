"""What a request is answered with: its own events, whatever was asked for since.

A request may be repeated, or overtaken by another one while it is still being applied. So its deployment, its release
and the fate of its pods are never taken from the app as it is now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from cli.exit_codes import CommandError, ExitCode
from cli.moment import life_of
from cli.overtaken import overtaken
from cli.recording import LEDGER_FAILURES, counted, not_applied, not_watched, status_hint, way_on
from ledger.errors import RefusedError
from ledger.events import RolloutCompleted, RolloutFailed
from ledger.landmarks import roll_verdict

if TYPE_CHECKING:
    from cli.deadline import Deadline
    from cli.session import Session
    from ledger.app import App, Life
    from ledger.ledger import Outcome
    from ledger.request import Request
    from ledger.spec import AppId


Content: TypeAlias = Callable[[], Mapping[str, object]]
"""Makes what a command's JSON document says besides what all such documents say."""


@contextmanager
def answering(session: Session, request: Request, outcome: Outcome, content: Content) -> Iterator[None]:
    """A block that follows what was recorded; see `documented` and `after_recording`."""
    own = own_deployment(outcome)
    with documented(session, request, content, deployment_id=own, repeated=outcome.repeated), after_recording():
        yield


@contextmanager
def after_recording() -> Iterator[None]:
    """A block in which the ledger may fail, but what was asked for is in it.

    Raises:
        CommandError: Recorded, but not applied (exit code 8), where the ledger's own error would say that nothing is.
    """
    try:
        yield
    except LEDGER_FAILURES as error:
        raise not_applied(error.message, hint=None, again="See how far it got: 1ctl deploy status") from error


@contextmanager
def documented(
    session: Session, request: Request, content: Content, *, deployment_id: str | None, repeated: bool
) -> Iterator[None]:
    """A block that ends with the command's JSON document, even if it fails, where JSON is asked for.

    What was recorded is told even then: whoever has to find out what became of it needs its ids.
    """
    try:
        yield
    finally:
        if session.terminal.json:
            session.terminal.document(with_names(request, content(), deployment_id=deployment_id, repeated=repeated))


def with_names(
    request: Request, content: Mapping[str, object], *, deployment_id: str | None, repeated: bool = False
) -> Mapping[str, object]:
    """What a command's JSON document says, with what all of them say about an app's life."""
    names = {"request_id": request.request_id, "repeated": repeated}
    return {"deployment_id": deployment_id, **content, **names}


def declined(session: Session, document: Mapping[str, object]) -> None:
    """Answer a "no" at a prompt: nothing is done. In JSON mode the document says so."""
    session.terminal.info("Aborted.")
    if session.terminal.json:
        session.terminal.document(document)


def own_deployment(outcome: Outcome) -> str | None:
    """The deployment id of the life that a request was about when it was recorded; None if there was no life."""
    if outcome.recorded:
        subject = outcome.recorded[0].envelope.subject
        return subject.deployment_id or None if subject is not None else None
    return outcome.app.deployment_id


def own_life(outcome: Outcome) -> Life:
    """That life as it is now.

    Raises:
        RefusedError: The request is a repeated one, and the life was destroyed since. Whatever was deployed then is not
            what it was about.
    """
    own, life = own_deployment(outcome), outcome.app.life
    if life is None or life.deployment_id != own:
        raise RefusedError(
            f"what this request was about, {own}, was destroyed since",
            hint="Nothing was recorded. To ask for it again, use a new request id.",
        )
    return life


def wait(session: Session, applied: App, outcome: Outcome, request: Request, deadline: Deadline) -> None:
    """Wait for the pods of the roll that this very request asked for.

    Args:
        session: This run's session.
        applied: The app as it was when the cluster was made equal to the ledger.
        outcome: What was recorded for the request; a roll is among it.
        request: The request.
        deadline: When to give up.

    Raises:
        CommandError: The rollout failed or was superseded, or the deployment was destroyed (exit code 4); or it took too
            long (exit code 5).
    """
    with _asking_about_pods(own_life(outcome)):
        asked, newest = _when_asked(session, outcome), applied.life
    if newest is not None and newest.roll.position == asked.roll.position:
        session.applying.wait(applied, newest, request, deadline)
    else:
        tell_verdict(session, applied.id, asked)


def wait_scaled(
    session: Session, applied: App, outcome: Outcome, request: Request, deadline: Deadline, *, replicas: int
) -> None:
    """Wait until as many pods are ready as this very request asked for. No roll begins with it.

    Raises:
        CommandError: The pods failed, another number was asked for meanwhile, or the deployment was destroyed (exit code
            4); or it took too long, or nobody here can ask about the pods (exit code 5).
    """
    own = own_life(outcome)
    life = _scaled(session, applied, own, replicas)
    session.applying.wait_pods(applied, life, request, deadline)
    with _asking_about_pods(life):
        _scaled(session, session.reader.app(applied.id), own, replicas)


def _scaled(session: Session, app: App, own: Life, replicas: int) -> Life:
    life = app.life
    if life is None or life.deployment_id != own.deployment_id:
        raise overtaken(session, app.id, own)
    if life.spec.replicas != replicas:
        verb = "is" if replicas == 1 else "are"
        raise CommandError(f"{counted(replicas)} {verb} not what is asked for any more", code=ExitCode.ROLLOUT_FAILED)
    return life


def tell_verdict(session: Session, app_id: AppId, life: Life) -> None:
    """Say how a roll ended that is no longer its life's newest, as far as that was recorded while it was.

    Raises:
        CommandError: Its pods failed, or it was superseded or its deployment destroyed before they were ready (exit code
            4); or nobody can say, since the ledger cannot be read (exit code 5).
    """
    with _asking_about_pods(life):
        verdict = roll_verdict(session.store, life_of(session, app_id, life.deployment_id), life.roll.position)
    match verdict:
        case RolloutCompleted():
            session.terminal.success(f"Release {life.release} became healthy; something newer was asked for since")
        case RolloutFailed() as failed:
            raise rollout_failed(life, failed.reason, failed.message, hint=status_hint(life))
        case None:
            with _asking_about_pods(life):
                raise overtaken(session, app_id, life)


@contextmanager
def _asking_about_pods(life: Life) -> Iterator[None]:
    """A block that asks the ledger for what became of a life's pods, after what was asked for is applied."""
    try:
        yield
    except LEDGER_FAILURES as error:
        raise not_watched(f"the ledger cannot be asked what became of the pods: {error.message}", life) from error


def rollout_failed(life: Life, reason: str, message: str, *, hint: str | None = None) -> CommandError:
    """The error of a roll whose pods will not become ready, as the ledger knows it."""
    return CommandError(
        f"release {life.release} failed: {sentence(reason, message)}",
        code=ExitCode.ROLLOUT_FAILED,
        hint=hint or way_on(life.release),
    )


def sentence(reason: str, message: str) -> str:
    """Why pods failed, as the cluster says it: with one full stop at the end, and nothing else changed."""
    return ": ".join(part for part in (reason, message.rstrip(".")) if part) + "."


def _when_asked(session: Session, outcome: Outcome) -> Life:
    """The life as it was when the request had just been recorded."""
    app = session.reader.app(outcome.app.id, upto=outcome.recorded[-1].position) if outcome.repeated else outcome.app
    assert app.life is not None
    return app.life
