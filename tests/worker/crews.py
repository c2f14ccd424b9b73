"""Workers as threads over a world, as quick as tests want them; nothing of what they do is simulated."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from effects.backoff import Backoff
from effects.cluster import Cluster, Ref
from effects.inventory import Inventory
from effects.listing import Lister
from effects.term import Equipment, Settings
from effects.worker import Worker
from ledger.domains import mint_domain
from ledger.errors import OneCtlError
from ledger.ledger import Ledger
from tests.effects.worlds import GATEWAY, World, eventually, request
from tests.kubernetes_support import Administrator, kubeconfig

LEDGER = "ledger-1"
"""Id of the ledger whose objects `lister_of` lists."""

LEASE_SECONDS = 20.0
"""A machine on which everything stands still for a while ends no term: few tests are about a new one."""


@dataclass
class Tally:
    """Counts what a worker does."""

    outcomes: dict[str, int] = field(default_factory=dict)
    relists: int = 0
    drift: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)

    def worked(self, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def relisted(self) -> None:
        self.relists += 1

    def drifted(self, action: str) -> None:
        self.drift[action] = self.drift.get(action, 0) + 1

    def cluster_failed(self, reason: str) -> None:
        self.errors[reason] = self.errors.get(reason, 0) + 1


@dataclass
class Member:
    """One worker in a thread of its own."""

    worker: Worker
    stop: threading.Event
    thread: threading.Thread
    tally: Tally
    ended: list[OneCtlError] = field(default_factory=list)

    @property
    def leads(self) -> bool:
        return self.worker.term is not None

    def end(self) -> None:
        self.stop.set()
        self.thread.join(20)
        assert not self.thread.is_alive()


def replica(world: World, cluster: Cluster | None = None, **settings: object) -> tuple[Worker, Tally]:
    """A worker that has not begun, and what counts what it does."""
    ledger, tally, cluster_name = world.ledger, Tally(), world.app_id.cluster

    def make_ledger() -> Ledger:
        return Ledger(ledger.store, ledger._keys, mint_domain=lambda: mint_domain("example.com"))

    usual = {"threads": 3, "lease_seconds": LEASE_SECONDS}
    chosen = Settings(cluster=cluster_name, gateway=GATEWAY, **{**usual, **settings})  # type: ignore[arg-type]
    equipment = Equipment(
        store=ledger.store,
        make_ledger=make_ledger,
        cluster=cluster or world.cluster,
        request=request(),
        chance=lambda: 0.5,
        measures=tally,
    )
    lease = ledger.store.lease(cluster_name, holder=str(uuid.uuid4()), note="a test", seconds=chosen.lease_seconds)
    return Worker(chosen, equipment, lease), tally


def lister_of(world: World, cluster: Cluster, **other: Any) -> Lister:
    """What lists the world's ConfigMaps and wakes nobody, but for what it is to have instead."""
    usual = {
        "kind": "ConfigMap",
        "namespace": world.namespace,
        "inventory": Inventory(cluster, lambda: None),
        "ledger_id": LEDGER,
        "wake": lambda namespace, app: None,
        "backoff": Backoff(chance=lambda: 0.5),
        "restarted": lambda: None,
    }
    return Lister(**{**usual, **other})


def hire(world: World, cluster: Cluster | None = None, **settings: object) -> Member:
    """A worker that begins at once."""
    worker, tally = replica(world, cluster, **settings)
    stop = threading.Event()
    ended: list[OneCtlError] = []

    def run() -> None:
        try:
            worker.run(stop)
        except OneCtlError as error:
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return Member(worker, stop, thread, tally, ended)


@contextmanager
def working(world: World, cluster: Cluster | None = None, **settings: object) -> Iterator[Member]:
    """A worker that leads."""
    world.ledger.create(request())
    member = hire(world, cluster, **settings)
    try:
        eventually(lambda: member.leads or member.ended)
        yield member
    finally:
        member.end()


def settled(world: World) -> None:
    """Wait until the worker has made the cluster equal to the ledger, and recorded it."""

    def is_settled() -> bool:
        app = world.app
        return not app.dirty and (app.life is None or app.life.rollout != "pending") and not world.difference()

    eventually(is_settled)


def edit(world: World, ref: Ref, patch: dict[str, Any], manager: str = "kubectl-edit") -> None:
    """Somebody changes an object by hand."""
    if world.cluster.kind == "sandbox":
        world.cluster.edit(ref, patch, manager=manager)  # type: ignore[attr-defined]
        return
    administrator = Administrator(kubeconfig())
    administrator.edit(ref, patch, manager)
    administrator.close()
