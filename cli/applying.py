"""What follows a recorded request: this process applies it, or a resident worker does. The ledger says which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from cli.deadline import Deadline
    from effects.reconcile import Progress
    from ledger.app import App, Life
    from ledger.request import Request
    from ledger.spec import AppId


class Applying(Protocol):
    """Makes sure, for one run of the program, that what was recorded becomes true."""

    def prepare(self) -> None:
        """Find out before anything is recorded what would keep it from being applied."""

    def check_roll(self, app: App, request: Request) -> None:
        """Refuse, before it is recorded, a roll whose pods could not be made.

        Raises:
            RefusedError: They could not.
        """

    def check_place(self, app: App, request: Request) -> None:
        """Refuse, before it is recorded, a deploy into a place where it cannot be applied.

        Raises:
            RefusedError: There is no such namespace, or someone else's objects are in the way of a new life.
        """

    def look_back(self, app: App, request: Request) -> None:
        """Record what became of the newest roll, before a change makes it impossible to tell."""

    def apply(
        self, app_id: AppId, request: Request, progress: Progress | None = None, *, deadline: Deadline | None = None
    ) -> App:
        """Return once the cluster is equal to the ledger, with the app as it then is.

        Args:
            app_id: The app.
            request: On whose behalf.
            progress: Told of each object that the cluster has.
            deadline: When to give up a worker that does not apply it, if that is earlier than usual.

        Raises:
            CommandError: It is recorded, but not applied (exit code 8).
            RefusedError: This is a replica, a backup, or a ledger that goes on elsewhere.
        """

    def wait_pods(self, app: App, life: Life, request: Request, deadline: Deadline) -> None:
        """Like `wait`, though no roll was asked for: until as many pods are ready as are asked for now.

        Raises:
            CommandError: As for `wait`; also if nobody here can ask about the pods (exit code 5).
        """

    def wait(self, app: App, life: Life, request: Request, deadline: Deadline) -> None:
        """Wait until the newest roll's pods are ready, saying how far they are whenever that changes.

        Raises:
            CommandError: The rollout failed or was superseded (exit code 4), or took too long (exit code 5).
        """
