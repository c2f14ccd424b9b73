"""No worker runs: the command that recorded a request applies it, and may wait for its pods."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from cli.answers import sentence, tell_verdict
from cli.exit_codes import CommandError, ExitCode
from cli.parked_hints import refusal
from cli.recording import LEDGER_FAILURES, healthy, not_applied, not_watched, status_hint, way_on
from cli.status_facts import why_not_ready
from effects.cluster import ClusterError, ClusterUnreachableError, LogsUnavailableError, NotOursError
from effects.inventory import Inventory
from effects.reconcile import ParkedError, Progress
from ledger.errors import ConflictError, RefusedError, SealedError
from ledger.text import Lines

if TYPE_CHECKING:
    from cli.deadline import Deadline
    from cli.session import Session
    from effects.cluster import Ref
    from effects.rollout import RolloutLook
    from ledger.app import App, Life
    from ledger.request import Request
    from ledger.spec import AppId

LOG_LINES = 20

BUSY_SECONDS = 30.0
"""How long a cluster that is too busy is waited for, if it asks for that (``Retry-After``) and nobody set an earlier end."""

LEAST_PAUSE_SECONDS = 0.5
"""How long such a cluster is left alone at least: some ask for no time at all."""

_AGAIN = "1ctl deploy status applies it and shows where it stands."


class Inline:
    """See `cli.applying.Applying`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._looked_at: Inventory | None = None

    def prepare(self) -> None:
        """What is wrong with the cluster's configuration is told before anything is recorded."""
        _ = self._session.cluster

    def check_roll(self, app: App, request: Request) -> None:
        """Refuse if pods would need secrets that this machine cannot open, unless the request was recorded before."""
        if self._session.store.request(request.request_id) is not None:
            return
        if app.life is not None and app.life.secrets and not self._session.ledger.can_open_secrets(app.life):
            self._session.reader.refuse_ended()  # a replica has no sealed values; that it is one is what counts
            raise RefusedError(
                f'app "{app.id.name}" has secrets that this machine cannot open',
                hint=Lines(
                    "Run the command where the identity is, or point ONECTL_IDENTITY to it (on PostgreSQL, with the"
                    " worker's role).",
                    f"Or let one process apply what everybody records: {self._session.lets_worker_apply}",
                ),
            )

    def check_place(self, app: App, request: Request) -> None:
        """The namespace must exist; nothing of someone else's may be in the way of a new life.

        What was looked at for that is remembered, since the objects are made right after. An app whose objects were
        applied is in a namespace that exists. A request that was recorded before cannot be refused any more. The
        process that applies it then reports what is wrong, with exit code 8.
        """
        if (app.life is not None and app.life.applied_through) or self._session.is_unused_sandbox:
            return
        try:
            self._check_place(app, request)
        except (ClusterError, RefusedError):
            if self._session.store.request(request.request_id) is None:
                raise

    def _check_place(self, app: App, request: Request) -> None:
        self._session.require_namespace()
        if app.life is not None or app.leaving is not None:
            return
        self._looked_at = self._remembering()
        try:
            self._session.reconciler(request, self._looked_at).refuse_foreign_objects(app.id)
        except NotOursError as error:
            raise RefusedError(error.message, hint=error.hint) from error

    def look_back(self, app: App, request: Request) -> None:
        """Without a worker nobody watches when no command waits, so each command that changes an app looks first.

        Where the cluster cannot be asked, the change itself will say so.
        """
        life = app.life
        if life is None or life.dirty or life.rollout != "pending":
            return
        with suppress(ClusterError):
            self._session.watch(request).look(app.id, life)

    def apply(
        self,
        app_id: AppId,
        request: Request,
        progress: Progress | None = None,
        *,
        deadline: Deadline | None = None,
    ) -> App:
        """Make the cluster equal to the ledger."""
        # What was looked at before is good for what follows at once, not for the next time somebody asks.
        looked_at, self._looked_at = self._looked_at or self._remembering(), None
        try:
            if not self._session.reader.may_append():
                raise RefusedError(
                    "this ledger is only read here, so nothing is applied from it",
                    hint="See where it goes on: 1ctl ledger status",
                )
            return self._reconcile(app_id, request, looked_at, progress, deadline)
        except ParkedError as error:
            raise not_applied(
                refusal(error.reason, error.message), hint=error.hint, again=_AGAIN, repeatable=True
            ) from error
        except (ClusterError, SealedError, ConflictError, *LEDGER_FAILURES) as error:
            ours = isinstance(error, LEDGER_FAILURES)
            raise not_applied(
                error.message, hint=None if ours else error.hint, again=_AGAIN, repeatable=True
            ) from error

    def _reconcile(
        self,
        app_id: AppId,
        request: Request,
        looked_at: Inventory,
        progress: Progress | None,
        deadline: Deadline | None,
    ) -> App:
        """As the reconciler does; a cluster that is too busy, and says for how long, is waited for.

        Nothing else is given up at the deadline: to stop halfway would help nobody.
        """
        told: set[Ref] = set()

        def once(ref: Ref) -> None:
            if progress is not None and ref not in told:
                told.add(ref)
                progress(ref)

        patience = time.monotonic() + (BUSY_SECONDS if deadline is None else min(BUSY_SECONDS, deadline.left))
        while True:
            try:
                return self._session.reconciler(request, looked_at).reconcile(app_id, once)
            except ClusterUnreachableError as error:
                if error.retry_after is None:
                    raise
                pause = max(error.retry_after, LEAST_PAUSE_SECONDS)
                if time.monotonic() + pause > patience:
                    raise
                self._session.notice_once(f"{error.message}. It is asked again in {pause:g} s.")
            time.sleep(pause)

    def _remembering(self) -> Inventory:
        """The cluster; each object is looked at once, unless a write shows that it has changed since."""
        return Inventory(self._session.cluster, lambda: None, remembers_absence=True)

    def wait_pods(self, app: App, life: Life, request: Request, deadline: Deadline) -> None:
        """Look at the pods again and again, just as for a roll."""
        self.wait(app, life, request, deadline)

    def wait(self, app: App, life: Life, request: Request, deadline: Deadline, *, records: bool = True) -> None:
        """Look at the pods again and again, and record what became of the roll unless that is a worker's business."""
        session, terminal = self._session, self._session.terminal
        terminal.info("Waiting for deployment to become healthy...")
        said, progress = None, None
        if life.rollout == "pending":
            # That is what is known now, even if the pods are quicker than the first look at them.
            terminal.info("Deployment status: NotReady (0 pct)")
            said = 0
        try:
            for progress in session.watch(request).wait(app.id, life, timeout=deadline.left, records=records):
                # All ready and still waiting: older pods are going, or the cluster has yet to count. No news for a person.
                if progress.verdict == "waiting" and progress.percent != said and progress.ready < progress.desired:
                    terminal.info(f"Deployment status: NotReady ({progress.percent} pct)")
                    said = progress.percent
        except (
            ClusterError,
            RefusedError,
            *LEDGER_FAILURES,
        ) as error:  # refused: nothing says how to reach the cluster
            raise not_watched(f"the pods cannot be watched: {error.message}", life) from error
        assert progress is not None
        match progress.verdict:
            case "completed":
                terminal.success(healthy(life))
            case "failed":
                raise _failed(session, app, life, progress)
            case "superseded":
                tell_verdict(session, app.id, life)
            case "waiting":
                why = f": {trouble}" if (trouble := why_not_ready(progress)) else ""
                raise CommandError(
                    f"the pods were not ready within {deadline.seconds:g} s ({progress.ready} of {progress.desired} ready){why}",
                    code=ExitCode.TIMED_OUT,
                    hint=status_hint(life),
                )


def _failed(session: Session, app: App, life: Life, progress: RolloutLook) -> CommandError:
    reason, message = progress.reason or ("Unknown", "")
    _print_logs(session, app, progress)
    serving = ""
    if progress.rollout is not None and progress.rollout.old_ready:
        serving = " The pods of the earlier release keep running."
    return CommandError(
        f"release {life.release} failed: {sentence(reason, message)}{serving}",
        code=ExitCode.ROLLOUT_FAILED,
        hint=way_on(life.release),
    )


def _print_logs(session: Session, app: App, progress: RolloutLook) -> None:
    crashed = [pod for pod in (progress.rollout.pods if progress.rollout else ()) if pod.restarts and not pod.ready]
    for pod in crashed[:1]:
        try:
            lines = session.cluster.logs(app.id.namespace, pod.name, lines=LOG_LINES)
        except LogsUnavailableError as error:
            session.terminal.notice(error.message)
        except ClusterError as error:
            session.terminal.notice(f"The log of pod {pod.name} cannot be read: {error.message}")
        else:
            session.terminal.notice(f"Last lines of pod {pod.name}:")
            for line in lines:
                session.terminal.notice_line(line.expandtabs())
