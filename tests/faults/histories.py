"""Histories of an app, by chance, that are reconciled while requests to the cluster go wrong."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress

from effects.cluster import Cluster, ClusterUnreachableError
from effects.placing import LedgerBehindError
from effects.reconcile import ParkedError
from effects.removal import StillThereError
from ledger.commands import Command, Destroy, Restart, Scale, SetEnv, UnsetEnv, UnsetSecrets
from ledger.errors import ConflictError, RefusedError
from tests.effects.worlds import World, image
from tests.faults.plan import Fault, Plan, evenly

MAY_HAPPEN = (ClusterUnreachableError, ParkedError, ConflictError, LedgerBehindError, StillThereError)
"""How a reconcile may end while things go wrong."""


def some_odds(seed: int, faults: frozenset[Fault]) -> Plan:
    """A plan in which few of the requests go wrong, or many."""
    return Plan(seed, evenly(random.Random(seed).choice([0.05, 0.15, 0.4]), faults))


def live(world: World, cluster: Cluster, seed: int) -> None:
    """Ask for one thing after the other, and try up to three times to make each true on this way to the cluster."""
    for command in commands(seed):
        ask(world, command)
        for _ in range(3):
            with suppress(*MAY_HAPPEN):
                world.reconcile(cluster)
                break


def commands(seed: int) -> Iterator[Command | None]:
    """A life or two: what is asked for, one after the other; None stands for secrets."""
    chance = random.Random(seed)
    yield image("nginx:1", env={"GREETING": "hello"})
    for number in range(chance.randint(3, 5)):
        yield chance.choice(
            [
                image(f"nginx:{number + 2}"),
                Restart(),
                Scale(replicas=chance.randint(0, 3)),
                SetEnv(values={"GREETING": f"hello {number}"}),
                UnsetEnv(keys=("GREETING",)),
                UnsetSecrets(keys=("TOKEN",)),
                None,
            ]
        )
    if chance.random() < 0.4:
        yield Destroy()
        if chance.random() < 0.5:
            yield image("nginx:again")


def ask(world: World, command: Command | None) -> None:
    """Record it, unless a rule says no."""
    try:
        if command is None:
            world.ask_secrets(TOKEN=f"value of {world.app.head}")
        else:
            world.ask(command)
    except RefusedError:
        pass
