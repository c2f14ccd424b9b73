"""Several apps of one ledger on one cluster, what is asked of them by chance, and what must hold when it is quiet again."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from effects.cluster import Cluster
from effects.sandbox import SandboxCluster
from ledger.commands import Command, Destroy, Restart, RetryApply, Scale, SetEnv, UnsetEnv
from ledger.domains import mint_domain
from ledger.errors import RefusedError
from ledger.events import DriftHealed
from ledger.ledger import Ledger
from ledger.postgres_migrate import migrate
from ledger.spec import AppId
from ledger.stores import open_store
from tests.effects.worlds import GATEWAY, World, eventually, image, kubernetes_world, request, sandbox_world
from tests.faults import dose
from tests.faults.canary import CANARY
from tests.faults.invariants import Positions, apps_of, violations
from tests.kubernetes_support import Administrator, kubeconfig
from tests.postgres_support import Server

SANDBOX, API_SERVER = "sandbox", "API server"
SQLITE, POSTGRES = "SQLite", "PostgreSQL"
SECONDS = 60.0
"""How long the busiest machine may take until it is quiet; the invariant says 30."""


def places(*, clusters: Sequence[str] = (SANDBOX, API_SERVER), databases: Sequence[str] = (SQLITE, POSTGRES)) -> Any:
    """Parameters that say where a case is tried: ``API server, SQLite``; see `usual_places`."""
    return [
        pytest.param(f"{cluster}, {database}", marks=pytest.mark.kubernetes if cluster == API_SERVER else ())
        for cluster in clusters
        for database in databases
    ]


def usual_places() -> Any:
    """All of them; in the smallest dose each cluster and each database once."""
    few = [*places(clusters=[SANDBOX], databases=[SQLITE]), *places(clusters=[API_SERVER], databases=[POSTGRES])]
    return dose.of(few=few, short=places(), long=places())


@dataclass
class Crowd:
    """The apps.

    Attributes:
        world: Ledger and cluster, judged on a way that is sound.
        chance: Decides what is asked.
        positions: Remembers which position each object reflected.
        asked: How many commands were recorded.
        by_others: How often somebody else changed a pod template.
    """

    world: World
    chance: random.Random
    positions: Positions
    apps: Sequence[str] = ("one", "two", "three")
    asked: int = 0
    by_others: int = 0
    secrets: int = field(default=0)

    def app_id(self, name: str) -> AppId:
        """One of them."""
        return replace(self.world.app_id, name=name)

    def ask(self, name: str | None = None) -> None:
        """Record something about one of them; what a rule refuses is passed over."""
        self.world.app_id = self.app_id(name or self.chance.choice(self.apps))
        self.asked += 1
        number, lives = self.asked, self.world.app.life is not None
        with suppress(RefusedError):
            if not lives:
                self.world.ask(image(f"nginx:{number}", env={"GREETING": f"hello {number}"}))
            elif (drawn := self.chance.random()) < 0.15:
                self.world.ask_secrets(TOKEN=f"{CANARY} {number}")
            else:
                change: list[Command] = [
                    image(f"nginx:{number}", replicas=self.chance.randint(1, 3)),
                    Restart(),
                    Scale(replicas=self.chance.randint(0, 3)),
                    SetEnv(values={"GREETING": f"hello {number}", f"VAR_{number % 3}": "x"}),
                    UnsetEnv(keys=("GREETING",)),
                    Destroy(),
                ]
                weights = (4, 2, 2, 3, 1, 2)
                self.world.ask(self.chance.choices(change, weights)[0] if drawn < 0.95 else RetryApply())

    def end_or_redeploy(self, name: str) -> None:
        """One that lives ends or gets another image; one that does not begins anew."""
        self.world.app_id = self.app_id(name)
        self.asked += 1
        ends = self.world.app.life is not None and self.chance.random() < 0.5
        self.world.ask(Destroy() if ends else image(f"nginx:{self.asked}"))

    def violations(self) -> list[str]:
        """What is wrong now."""
        return [
            each
            for each in violations(self.world.ledger, self.world.cluster, gateway=GATEWAY)
            if self.by_others == 0 or "were rolled" not in each
        ]

    def assert_quiet(self, told: str = "") -> None:
        """Faults have stopped: the cluster becomes equal to the ledger, and nothing ever went back."""
        wrong: list[str] = []

        def is_quiet() -> bool:
            wrong[:] = self.violations()
            return not wrong

        try:
            eventually(is_quiet, within=SECONDS)
        except AssertionError:
            raise AssertionError("\n".join([*wrong, told])) from None
        went_back = self.positions.observe()
        assert not went_back, "\n".join([*went_back, told])

    def healed(self) -> list[DriftHealed]:
        """What was set back, of every app."""
        ledger = self.world.ledger
        lines = [line for app_id in apps_of(ledger) for line in ledger.history(app_id)]
        return [line.event for line in lines if isinstance(line.event, DriftHealed)]


@contextmanager
def a_crowd(directory: Path, place: str, seed: int, server: Server | None) -> Iterator[Crowd]:
    """A crowd on a cluster, with its ledger in a database: ``API server, PostgreSQL``."""
    where, _, kind = place.partition(", ")
    make = sandbox_world if where == SANDBOX else kubernetes_world
    with ExitStack() as stack:
        world = stack.enter_context(make(directory, watch_seconds=2))
        if kind == POSTGRES:
            assert server is not None
            world = replace(world, ledger=stack.enter_context(_ledger_in(server, world)))
        ledger_id = world.ledger.create(request())
        seen = stack.enter_context(_another_way(world, directory))
        yield Crowd(world, random.Random(seed), Positions(seen, world.namespace, ledger_id=ledger_id))


@contextmanager
def _another_way(world: World, directory: Path) -> Iterator[Cluster]:
    """To the same cluster, with watches that end as soon as they have told what happened; a worker's last longer."""
    if world.cluster.kind == "sandbox":
        yield (sandbox := SandboxCluster.open(directory / "sandbox.db", watch_seconds=-1))
        sandbox.close()
        return
    from effects.kubernetes_cluster import KubernetesCluster

    file, administrator = kubeconfig(), Administrator(kubeconfig())
    administrator.close()
    with KubernetesCluster.connect(kubeconfig=file, context=administrator.context, watch_seconds=1) as cluster:
        yield cluster


@contextmanager
def _ledger_in(server: Server, world: World) -> Iterator[Ledger]:
    url = server.new_database()
    migrate(url)
    store = open_store(url)
    yield Ledger(store, world.ledger._keys, mint_domain=lambda: mint_domain("example.com"))
    store.close()
    server.execute(f"DROP DATABASE {url.partition('@/')[2].partition('?')[0]} WITH (FORCE)")
