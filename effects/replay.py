"""Bringing a cluster that is empty to what the ledger asks for, now or at an earlier position. Records nothing.

The objects are the same as those of a worker, label and position included, so a later worker for this ledger finds
them in order. Nothing that is not ours is touched, and an object that reflects a later position is left as it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from effects.cluster import DIGEST_ANNOTATION, LEDGER_LABEL, LIFE_LABEL, Cluster, ClusterError, NotOursError
from effects.desired import Surroundings, desired
from effects.redacted import refuse_redacted
from effects.secret_values import LazyValues
from effects.sending import position_text, reflected, send
from ledger.app import Life
from ledger.errors import OneCtlError
from ledger.secret_reader import SecretReader
from ledger.spec import AppId

AT_ONCE = 8
"""How many apps are applied at once: as many as a worker does."""

_EMPTY = "Replay into an empty namespace, or remove what is there."


class OtherStateError(ClusterError):
    """What is there is ours and must not be replaced by a replay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Applies the apps of one ledger to another cluster than the one they are recorded for.

    Attributes:
        ledger: What is asked for.
        cluster: Where it is made true.
        gateway: ``namespace/name`` of the Gateway for routes.
        upto: Position to go back to, or None for now.
    """

    ledger: SecretReader
    cluster: Cluster
    gateway: str
    upto: int | None = None

    def life(self, app_id: AppId) -> Life | None:
        """The life that was open at that position."""
        return self.ledger.app(app_id, upto=self.upto).life

    def replay(self, app_id: AppId) -> int:
        """Apply one app; how many objects were sent. May be repeated: what is as desired is not sent again.

        Raises:
            NotOursError: Somebody else has an object of that name.
            OtherStateError: There is an object of another life, or of a later position.
            SealedError: Secret values are needed that this machine cannot open, or that were shredded since.
            RedactedError: Its pods read a value that was redacted since.
            ClusterError: The cluster cannot be reached, or says no.
        """
        app = self.ledger.app(app_id, upto=self.upto)
        if app.life is None:
            return 0
        refuse_redacted(app, app.life)
        ledger_id = self.ledger.ledger_id() or ""
        values = LazyValues(self.ledger, app.life)
        epoch = self.ledger.epoch()
        owner_uid: str | None = None
        sent = 0
        for entry in desired(app, app.life, Surroundings(ledger_id=ledger_id, gateway=self.gateway)):
            if entry.lost:
                continue
            seen = self.cluster.look(entry.ref, ledger_id=ledger_id)
            if seen is not None:
                if seen.labels.get(LEDGER_LABEL) != ledger_id:
                    raise NotOursError(entry.ref, hint=_EMPTY)
                if seen.labels.get(LIFE_LABEL) != app.life.deployment_id:
                    raise OtherStateError(f"{entry.ref} belongs to another deployment of the app", hint=_EMPTY)
                if reflected(seen) > (epoch, app.head):
                    raise OtherStateError(f"{entry.ref} reflects a later position than the one asked for", hint=_EMPTY)
            if seen is None or seen.annotations.get(DIGEST_ANNOTATION) != entry.digest:
                seen = send(
                    self.cluster,
                    entry,
                    ledger_id=ledger_id,
                    position=position_text(epoch, app.head),
                    owner_uid=owner_uid,
                    values=values,
                    expect=seen,
                )
                sent += 1
            owner_uid = owner_uid or seen.uid
        return sent


def replay_all(
    make: Callable[[], Replay], apps: Sequence[AppId], *, at_once: int = AT_ONCE
) -> Generator[tuple[AppId, int | OneCtlError]]:
    """Apply many apps, several at once; yields each as it is done, with the objects that were sent or what went wrong.

    If closed before its end, it begins no further app and returns when those in work are done.

    Args:
        make: Makes what replays for one thread.
        apps: The apps, each once.
        at_once: How many at once.
    """
    own = threading.local()

    def one(app_id: AppId) -> int | OneCtlError:
        work: Replay = own.work
        try:
            return work.replay(app_id)
        except OneCtlError as error:
            return error

    pool = ThreadPoolExecutor(at_once, "replay", initializer=lambda: setattr(own, "work", make()))
    try:
        asked = {pool.submit(one, app_id): app_id for app_id in apps}
        for done in as_completed(asked):
            yield asked[done], done.result()
    finally:
        pool.shutdown(cancel_futures=True)
