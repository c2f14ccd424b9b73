"""`make soak`: hours of a team's work in minutes, and what is left of memory, cluster and ledger after them.

Users, a worker with its threads, and everything that goes wrong are in one process; ledger and sandbox are files in
memory. With ONECTL_TEST_KUBECONFIG the cluster is a real API server, with a tenth of the apps and commands.
"""

from __future__ import annotations

import os
import sys
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from cli import collect_garbage_as_usual
from effects.cluster import LEDGER_LABEL, ClusterRefusedError, Ref, ref_of
from effects.sandbox import SandboxCluster
from ledger.commands import (
    Command,
    Deploy,
    Destroy,
    PurgeSecret,
    Restart,
    RetryApply,
    Rollback,
    Scale,
    SetEnv,
    SetSecrets,
    UnsetEnv,
)
from ledger.errors import OneCtlError, RefusedError
from ledger.spec import AppId
from tests.effects.worlds import World, kubernetes_world, request, sandbox_world
from tests.faults import ledger_invariants as invariants
from tests.faults import reliability
from tests.faults.ledger_invariants import Violation, hold
from tests.kubernetes_support import Administrator, kubeconfig
from tests.system.simulated import Fault, Weather, WeatherCluster
from tests.worker.crews import Member, hire

APPS, COMMANDS, FAULTS = 1_000, 10_000, 100
LAG = 300
"""So many positions the worker may be behind before users wait for it; else all work would be done in the end."""

SETTLE_SECONDS = 900.0
FLAT = 1.05
"""How much more memory there may be in the end than half-way."""

WEATHER = (Fault.NO_ANSWER_BEFORE, Fault.NO_ANSWER_AFTER, Fault.REFUSED, Fault.EXPIRED)
TMPFS = Path("/dev/shm")


@dataclass
class Soak:
    """One run.

    Attributes:
        world: Ledger and cluster.
        apps: The apps, a world each.
        chance: Decides everything that chance decides.
        total: How many commands.
        faults: How many faults.
    """

    world: World
    apps: Sequence[AppId]
    chance: Random
    total: int
    faults: int
    weather: Weather = field(default_factory=Weather)
    went_wrong: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    squatters: list[Ref] = field(default_factory=list)
    member: Member | None = None
    _cluster: WeatherCluster | None = None

    # -- What is done ----------------------------------------------------------------------------------------------

    def run(self) -> Mapping[str, Any]:
        """All of it; the figures."""
        began = time.monotonic()
        self._cluster = WeatherCluster(
            self.world.cluster,
            self.weather,
            self.chance,
            lambda *_: lambda: None,
            telling=None,
            kind=self.world.cluster.kind,
        )
        self.world.ledger.create(request())
        self._begin()
        for app_id in self.apps:
            self._ask(app_id, Deploy(image="nginx:1", cpu="250m", memory="64Mi", replicas=0))
            self._keep_pace()
        self._settle()
        memory = [rss()]
        at = sorted(self.chance.sample(range(self.total), self.faults))
        for number in range(1, self.total + 1):
            self._ask(self.chance.choice(self.apps), self._command())
            while at and at[0] < number:
                at.pop(0)
                self._go_wrong()
            self._keep_pace()
            if number % max(1, self.total // 20) == 0:
                self._say(number, began)
            if number in (self.total // 4, self.total // 2):
                memory.append(rss())
        memory.append(rss())  # before everything is read at once, to be judged
        self.weather.clear()
        parked = self._parked()
        self._hand_over()  # whoever comes lists everything
        self._clear_away()
        self._settle()
        assert self.member is not None
        self.member.end()
        violations = [*self._violations(), *self._memory_violations(memory)]
        return {
            "apps": len(self.apps),
            "commands": self.total,
            "refused": self.refused,
            "faults": dict(sorted(self.went_wrong.items())),
            "events": self.world.ledger.store.head().position,
            "memory_mib": [round(each / 2**20, 1) for each in memory],
            "parked": dict(Counter(parked.values())),
            "violations": violations,
            "seconds": round(time.monotonic() - began),
        }

    def _begin(self) -> None:
        self.member = hire(self.world, self._cluster, threads=8, lease_seconds=5.0, resync_seconds=60.0)

    def _ask(self, app_id: AppId, command: Command) -> None:
        values = dict.fromkeys(command.keys, b"not-in-the-ledger") if isinstance(command, SetSecrets) else {}
        try:
            self.world.ledger.execute(app_id, command, request(), secret_values=values)
        except RefusedError:
            self.refused += 1

    def _command(self) -> Command:
        """What somebody asks for; of all kinds, deploys most often."""
        chance = self.chance
        key, value = chance.choice("AB"), chance.choice("xyz")
        image, replicas = f"nginx:{chance.randint(1, 5)}", self._replicas()
        kinds: dict[Callable[[], Command], int] = {
            lambda: Deploy(image=image, cpu="250m", memory="64Mi", replicas=replicas): 30,
            lambda: SetEnv(values={key: value}): 20,
            lambda: UnsetEnv(keys=(key,)): 4,
            lambda: SetSecrets(keys=("S",)): 8,
            lambda: PurgeSecret(key="S"): 2,
            lambda: Scale(replicas=replicas): 8,
            Restart: 10,
            lambda: Rollback(version=chance.randint(1, 3)): 6,
            RetryApply: 2,
            Destroy: 4,
        }
        return chance.choices(list(kinds), list(kinds.values()))[0]()

    def _replicas(self) -> int:
        """Of a real API server without nodes no pod ever gets ready."""
        return self.chance.choice((0, 0, 0, 1)) if self.world.cluster.kind == "sandbox" else 0

    def _keep_pace(self) -> None:
        if self._lag() > LAG:
            wait(lambda: self._lag() <= LAG // 2, "the worker does not keep up")

    def _lag(self) -> int:
        assert self.member is not None
        hold(not self.member.ended, f"the worker has ended: {self.member.ended}")
        term = self.member.worker.term
        return LAG if term is None else self.world.ledger.store.head().position - term.position()

    # -- What goes wrong -------------------------------------------------------------------------------------------

    def _go_wrong(self) -> None:
        what = self.chance.choice([self._bad_calls, self._edit, self._delete, self._squat, self._hand_over])
        self.went_wrong[what.__name__.strip("_").replace("_", " ")] += 1
        what()

    def _bad_calls(self) -> None:
        for after in range(self.chance.randint(1, 10)):
            self.weather.arm(self.chance.choice(WEATHER), after)

    def _edit(self) -> None:
        ref = Ref("Deployment", self.world.namespace, self.chance.choice(self.apps).name)
        patch = self.chance.choice([{"spec": {"replicas": 4}}, {"spec": {"minReadySeconds": 3, "replicas": 2}}])
        self._by_hand(ref, patch)

    def _by_hand(self, ref: Ref, patch: Mapping[str, Any]) -> None:
        if isinstance(self.world.cluster, SandboxCluster):
            with suppress(ClusterRefusedError):
                self.world.cluster.edit(ref, patch)
            return
        administrator = Administrator(kubeconfig())
        with suppress(OSError, AssertionError):  # as in the sandbox: of an app that is destroyed there is none
            administrator.edit(ref, dict(patch), "kubectl-edit")
        administrator.close()

    def _delete(self) -> None:
        name = self.chance.choice(self.apps).name
        kind, suffix = self.chance.choice([("Service", ""), ("Deployment", ""), ("ConfigMap", "-environments")])
        self.world.cluster.delete(Ref(kind, self.world.namespace, name + suffix), uid=None)

    def _squat(self) -> None:
        """Somebody takes the name of an object that goes."""
        app_id = self.chance.choice(self.apps)
        self._ask(app_id, Destroy())
        self.world.app_id = app_id
        with suppress(OneCtlError):
            self.squatters.append(self.world.foreign("Service"))

    def _hand_over(self) -> None:
        assert self.member is not None
        successor_of, self.member = self.member, None
        successor_of.end()
        self._begin()

    def _clear_away(self) -> None:
        """What stood in the way goes, and what was parked is asked for again."""
        for each in self.world.everything():
            if LEDGER_LABEL not in each["metadata"].get("labels", {}) and ref_of(each) in self.squatters:
                self.world.cluster.delete(ref_of(each), uid=None)
        self._settle()
        for app_id in self._parked():
            self._ask(app_id, RetryApply())
        self._settle()
        for app_id, reason in self._parked().items():
            hold(reason == "Sealed", f"{app_id.name} is parked without a cause: {reason}")
            self._ask(app_id, Restart())  # its pods were to read a secret that was purged before they were there

    # -- What comes of it ------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Wait until nothing is left to do."""
        wait(lambda: self.member is not None and self.member.worker.term is not None, "nobody leads")
        assert self.member is not None
        term = self.member.worker.term
        assert term is not None
        quiet = [0]

        def is_quiet() -> bool:
            self._lag()
            is_done = term.is_settled() and len(term.queue) == 0 and term.position() >= self._head()
            quiet[0] = quiet[0] + 1 if is_done else 0
            return quiet[0] >= 5

        wait(is_quiet, "the worker is not done")

    def _head(self) -> int:
        return self.world.ledger.store.head().position

    def _parked(self) -> Mapping[AppId, str]:
        found = {}
        for app_id in self.apps:
            app = self.world.ledger.app(app_id)
            life = app.leaving or app.life
            if life is not None and life.parked is not None:
                found[app_id] = life.parked.reason
        return found

    def _violations(self) -> Iterator[str]:
        objects = self.world.everything()
        by_app: dict[str, list[Mapping[str, Any]]] = {}
        for each in objects:
            by_app.setdefault(each["metadata"].get("labels", {}).get("app", ""), []).append(each)
        for app_id in self.apps:
            mine = by_app.get(app_id.name, [])
            one = World(self.world.cluster, self.world.namespace, self.world.ledger, lambda m=mine: m, app_id)  # type: ignore[misc]
            if difference := one.difference():
                yield f"4: {app_id.name}: {difference}"
        store = self.world.ledger.store
        lines = invariants.lines_of(store)
        for check in (
            lambda: invariants.positions_have_no_gap(store),
            lambda: invariants.releases_are_consecutive(lines),
            lambda: invariants.domains_belong_to_one_app(lines),
            lambda: invariants.chain_verifies(store),
            lambda: invariants.read_models_equal_a_fresh_fold(store),
        ):
            try:
                check()
            except Violation as violation:
                yield str(violation)

    def _memory_violations(self, memory: Sequence[int]) -> Iterator[str]:
        half, end = memory[-2:]
        if self.total >= COMMANDS // 2 and end > half * FLAT:  # a short run has not filled its caches half-way
            yield f"memory grew from {half / 2**20:.1f} to {end / 2**20:.1f} MiB in the second half"

    def _say(self, number: int, began: float) -> None:
        assert self.member is not None
        print(
            f"{number:>7,} of {self.total:,} commands {self._head():>8,} events {sum(self.went_wrong.values()):>4} faults "
            f"{rss() / 2**20:>6.1f} MiB  lag {self._lag():>4}  {time.monotonic() - began:>5.0f} s",
            flush=True,
        )


def wait(check: Callable[[], object], otherwise: str) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS
    while not check():
        hold(time.monotonic() < deadline, f"4: {otherwise} within {SETTLE_SECONDS:g} s")
        time.sleep(0.05)


def rss() -> int:
    """Resident memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def _world(directory: Path) -> Iterator[World]:
    real = os.environ.get("ONECTL_TEST_KUBECONFIG")
    with kubernetes_world(directory) if real else sandbox_world(directory) as world:
        yield world


def main() -> int:
    parser = ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="part of all apps, commands and faults")
    parser.add_argument("--apps", type=int, help="how many, whatever the scale")
    parser.add_argument("--commands", type=int, help="how many, likewise")
    parser.add_argument("--faults", type=int, help="how many, likewise")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", action="store_true", help="write the figures into docs/reliability.*")
    asked = parser.parse_args()
    collect_garbage_as_usual()  # as `worker run` does; what tests import stops that for commands
    place = TMPFS if TMPFS.is_dir() else None
    with TemporaryDirectory(dir=place, prefix="onectl-soak-") as directory, _world(Path(directory)) as world:
        part = asked.scale * (1.0 if world.cluster.kind == "sandbox" else 0.1)
        usual = ((asked.apps, APPS), (asked.commands, COMMANDS), (asked.faults, FAULTS))
        count = [given or max(1, round(part * whole)) for given, whole in usual]
        print(f"seed {asked.seed}: {count[0]:,} apps, {count[1]:,} commands, {count[2]} faults, {world.cluster.kind}")
        apps = [AppId("test", world.namespace, f"app-{number:04}") for number in range(count[0])]
        figures = Soak(world, apps, Random(asked.seed), count[1], count[2]).run()
        where = "sandbox" if world.cluster.kind == "sandbox" else "API server"
    for name, figure in figures.items():
        print(f"{name:>12}  {figure}")
    if asked.record:
        reliability.write_soak(where, {"seed": asked.seed, **figures})
    return 1 if figures["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
