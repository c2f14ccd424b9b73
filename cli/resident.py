"""A resident worker applies what is recorded: the command follows the ledger until it says how that went."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from cli.answers import rollout_failed, tell_verdict
from cli.exit_codes import CommandError, ExitCode
from cli.parked_hints import given_up, parked_error, refusal
from cli.recording import LEDGER_FAILURES, healthy, not_applied, not_watched, status_hint
from effects.cluster import Ref
from effects.crash_points import crash_point
from ledger.errors import may_pass
from ledger.follow import Follower

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.deadline import Deadline
    from cli.session import Session
    from effects.reconcile import Progress
    from ledger.app import App, Life
    from ledger.request import Request
    from ledger.spec import AppId

NO_WORKER_SECONDS = 10.0
"""How long a command waits for a worker to be seen."""

APPLY_SECONDS = 60.0
"""How long a command waits for a worker that is there to apply what was recorded."""

AWAY_SECONDS = 0.5
"""How long a command that follows the ledger waits before it asks a ledger that is away again."""

_AGAIN = "The worker applies it; 1ctl deploy status shows where it stands."


class Resident:
    """See `cli.applying.Applying`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def prepare(self) -> None:
        """Nothing is needed here: the worker has the cluster."""

    def check_roll(self, app: App, request: Request) -> None:
        """The worker holds the identity that opens secrets."""

    def check_place(self, app: App, request: Request) -> None:
        """The worker finds out, and the ledger says so."""

    def look_back(self, app: App, request: Request) -> None:
        """The worker watches."""

    def apply(
        self, app_id: AppId, request: Request, progress: Progress | None = None, *, deadline: Deadline | None = None
    ) -> App:
        """Follow the ledger until the worker has applied what is recorded by now, or says why not."""
        crash_point("before following")
        life = _concerned(self._session.reader.app(app_id))
        target = life.changed if life is not None else 0
        within = APPLY_SECONDS if deadline is None else min(APPLY_SECONDS, deadline.left)
        try:
            for app in self._follow(app_id, within=within, patience=min(NO_WORKER_SECONDS, within)):
                if life is None or _is_applied(app, life.deployment_id, target):
                    _tell(app, progress)
                    return app
                parked = given_up(_concerned(app))
                if parked is not None and parked.through >= target:
                    raise parked_error(app_id, parked, again=_AGAIN)
        except LEDGER_FAILURES as error:
            raise not_applied(error.message, hint=None, again=_AGAIN) from error
        why = self._why_not(app_id)
        raise not_applied(
            f"the worker has not applied it within {within:.2g} s" + (f": {why}" if why else ""),
            hint="See: 1ctl worker status",
            again=_AGAIN,
        )

    def wait_pods(self, app: App, life: Life, request: Request, deadline: Deadline) -> None:
        """Ask the cluster from here: the worker records what became of rolls only."""
        from cli.inline import Inline  # noqa: PLC0415 - for this case only

        if (parked := given_up(life)) is not None:  # whatever it is that runs there
            raise parked_error(app.id, parked, again=_AGAIN)
        Inline(self._session).wait(app, life, request, deadline, records=False)

    def wait(self, app: App, life: Life, request: Request, deadline: Deadline) -> None:
        """Follow the ledger until the worker says what became of the pods."""
        terminal = self._session.terminal
        terminal.info("Waiting for deployment to become healthy...")
        if life.rollout == "pending" or life.roll.request == request.request_id:
            # It was so when this was asked for, even if the worker and the pods are quicker than this process.
            terminal.info("Deployment status: NotReady (0 pct)")
        try:
            for now in self._follow(app.id, within=deadline.left, patience=NO_WORKER_SECONDS):
                current = now.life
                if (
                    current is None
                    or current.deployment_id != life.deployment_id
                    or current.roll.position != life.roll.position
                ):
                    tell_verdict(self._session, app.id, life)
                    return
                if current.rollout == "completed":
                    terminal.success(healthy(current))
                    return
                if current.rollout == "failed":
                    raise rollout_failed(life, *(current.rollout_failure or ("Unknown", "")))
                if (parked := given_up(current)) is not None:  # then the worker does not look at its pods any more
                    if parked.through > current.applied_through:  # of a later request: this one is applied
                        why = refusal(parked.reason, parked.message)
                        raise not_watched(f"nobody watches its pods while a later request is refused: {why}", life)
                    raise parked_error(app.id, parked, again=_AGAIN)
        except LEDGER_FAILURES as error:
            raise not_watched(f"the ledger cannot be followed: {error.message}", life) from error
        raise CommandError(
            f"the pods were not ready within {deadline.seconds:g} s", code=ExitCode.TIMED_OUT, hint=status_hint(life)
        )

    def _follow(self, app_id: AppId, *, within: float, patience: float) -> Iterator[App]:
        """The app as it is, now and whenever the ledger has grown; ends after so many seconds.

        Args:
            app_id: The app.
            within: Seconds.
            patience: Seconds for which no worker may be seen.

        Raises:
            CommandError: No worker was seen for longer.
            LedgerBusyError, LedgerUnavailableError: The ledger was away, up to the end.
        """
        began = seen = time.monotonic()
        store, follower = self._session.store, None
        try:
            while True:
                now = time.monotonic()
                try:
                    follower = follower or Follower(store, store.head().position)
                    yield self._session.reader.app(app_id)
                    if self._is_led():
                        seen = now
                    elif now - seen >= patience:
                        raise _no_worker(patience)
                    if now >= began + within:
                        return
                    if follower.wait(min(1.0, began + within - now)):
                        follower.read(500)
                except LEDGER_FAILURES as error:
                    if not may_pass(error) or time.monotonic() + AWAY_SECONDS >= began + within:
                        raise
                    time.sleep(AWAY_SECONDS)
                    seen = time.monotonic()  # a worker that could not be asked about was not missed
        finally:
            if follower is not None:
                follower.close()

    def _why_not(self, app_id: AppId) -> str | None:
        """What keeps the worker from applying it, as far as the worker could say."""
        from cli.worker_status import shown_trouble  # noqa: PLC0415 - only where it took too long

        with suppress(*LEDGER_FAILURES):
            return shown_trouble(self._session.store.lease_row(self._session.place.cluster), app_id)
        return None

    def _is_led(self) -> bool:
        row = self._session.store.lease_row(self._session.place.cluster)
        return row is not None and row.valid


def _no_worker(seconds: float) -> CommandError:
    return not_applied(
        f"no worker was seen for {seconds:.2g} s",
        hint="Start one: 1ctl worker run   (or let commands apply again: 1ctl worker disable)",
        again="It is applied once a worker runs.",
    )


def _concerned(app: App) -> Life | None:
    """The life that the cluster has to catch up with."""
    return app.leaving or app.life


def _is_applied(app: App, deployment_id: str, target: int) -> bool:
    """Whether the cluster reflects everything about this life up to a position; an ended one is gone."""
    if app.is_leaving(deployment_id):
        return False
    life = app.life
    return life is None or life.deployment_id != deployment_id or life.applied_through >= target


def _tell(app: App, progress: Progress | None) -> None:
    """Every object that the cluster has, in the order in which they are applied."""
    if app.life is None or progress is None:
        return
    order = ("ConfigMap", "Secret", "Deployment", "Service", "HTTPRoute")
    for each in sorted(app.life.objects, key=lambda each: order.index(each.kind)):
        progress(Ref(each.kind, app.id.namespace, each.name))
