"""F20: the whole system in one process, a step at a time: users, two workers, a cluster that others edit, and bad weather."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from effects.cluster import APP_LABEL, LEDGER_LABEL, LIFE_LABEL, POSITION_ANNOTATION, ClusterRefusedError, Ref, ref_of
from effects.desired import Surroundings, desired, named_objects
from effects.sandbox import SandboxCluster
from effects.term import Equipment, Settings, Term
from ledger import commands
from ledger.commands import (
    AdoptObject,
    Command,
    Deploy,
    Destroy,
    MarkBad,
    PurgeSecret,
    Restart,
    Restore,
    RetryApply,
    Rollback,
    Scale,
    SetEnv,
    SetSecrets,
    Unmark,
    UnsetEnv,
    UnsetSecrets,
)
from ledger.errors import LedgerUnavailableError, OneCtlError, OutcomeUnknownError, RefusedError, RequestReusedError
from ledger.keys import KeyFiles
from ledger.ledger import Ledger
from ledger.spec import AppId
from ledger.sqlite_store import SqliteStore
from projections.app_list import APP_LIST
from tests.effects.worlds import GATEWAY, Killed, World, request
from tests.faults.ledger_invariants import hold
from tests.projections.stores import catch_up
from tests.system.simulated import Fault, Seat, SeatLease, Telling, Time, Weather, WeatherCluster, WeatherLedger, told
from tests.system.witness import NAMESPACE, Witness

APPS = tuple(AppId("test", NAMESPACE, name) for name in ("orders", "users", "shop"))
LEASE_SECONDS = 5.0
QUIET_SECONDS = 30.0
"""For so long nothing may go wrong until cluster and ledger are equal."""

CURES: Mapping[str, Command] = {"Contended": RetryApply(), "Sealed": Restart()}
"""What a user does about an app that is parked although the cluster is in order, by the reason.

Pods of the newest roll read a secret that was purged before they were there: the next roll's do not.
"""

TMPFS = Path("/dev/shm")

keys = st.sampled_from(["A", "B"])
secret_keys = st.sampled_from(["S", "T"])
COMMANDS: Mapping[type[Command], st.SearchStrategy[Any]] = {
    Deploy: st.builds(
        Deploy,
        image=st.sampled_from(["nginx:1", "nginx:2", "broken:1"]),
        replicas=st.integers(0, 2),
        machines=st.sampled_from([None, ("m1",)]),
        env=st.dictionaries(keys, st.sampled_from("xy"), max_size=1),
    ),
    Restore: st.builds(Restore, without_secrets=st.just(True)),
    Rollback: st.builds(
        Rollback, version=st.sampled_from([None, 1, 2, 3]), only=st.sampled_from(["all", "code", "config"])
    ),
    MarkBad: st.builds(MarkBad, release=st.integers(1, 3)),
    Unmark: st.builds(Unmark, release=st.integers(1, 3)),
    SetEnv: st.builds(SetEnv, values=st.dictionaries(keys, st.sampled_from("xyz"), min_size=1)),
    UnsetEnv: st.builds(UnsetEnv, keys=keys.map(lambda key: (key,))),
    SetSecrets: st.builds(SetSecrets, keys=secret_keys.map(lambda key: (key,))),
    UnsetSecrets: st.builds(UnsetSecrets, keys=secret_keys.map(lambda key: (key,))),
    PurgeSecret: st.builds(PurgeSecret, key=secret_keys),
    Scale: st.builds(Scale, replicas=st.integers(0, 3)),
    Restart: st.builds(Restart),
    RetryApply: st.builds(RetryApply),
    Destroy: st.builds(Destroy),
}
"""Every command but `AdoptObject`, which needs an object that is there; see `WholeSystem.adopts`."""

assert {*COMMANDS, AdoptObject} == {*commands.Command.__args__}

likely = st.one_of(COMMANDS[Deploy], COMMANDS[SetEnv], COMMANDS[SetSecrets], COMMANDS[Restart])
asked = st.tuples(st.sampled_from(APPS), st.one_of(likely, *COMMANDS.values()))

PATCHES: Sequence[Mapping[str, Any]] = (
    {"spec": {"replicas": 4}},
    {"spec": {"template": {"spec": {"nodeSelector": {"kubernetes.io/hostname": "elsewhere"}}}}},
    {"spec": {"selector": {"app": "other"}}},
    {"data": {"a": "edited"}},
    {"metadata": {"labels": {LEDGER_LABEL: None}}},
    {"metadata": {"labels": {LIFE_LABEL: "unknown"}}},
    {"metadata": {"labels": {APP_LABEL: "another"}}},
    {"metadata": {"annotations": {POSITION_ANNOTATION: None}}},
)
"""What somebody does to an object by hand; it fails where the object has no such field or may not be changed."""


class SteppedTerm(Term):
    """A term whose threads do not run by themselves."""

    def _start(self, name: str, run: Callable[[], None]) -> None:
        self.__dict__.setdefault("waiting", {})[name] = run

    def look_at_everything(self) -> None:
        """What the resync's thread would do, once everything was listed."""
        waiting = self.__dict__.setdefault("waiting", {})
        if "resync" in waiting and all(each.wait_listed(0) for each in self._listers.values()):
            waiting.pop("resync")()

    def hear(self, how: Telling, chance: Random) -> None:
        """Read the ledger on; of the apps that are put in, what is told arrives."""
        arrived: list[tuple[AppId, dict[str, Any]]] = []
        add = self.queue.add

        def note(app_id: AppId, **about: Any) -> None:
            arrived.append((app_id, about))

        self.queue.add = note  # type: ignore[method-assign]
        try:
            self.read_on()
        finally:
            self.queue.add = add  # type: ignore[method-assign]
        for app_id, about in told(arrived, how, chance):
            add(app_id, **about)


@dataclass
class Staff:
    """One worker: what it knows lasts until it is killed."""

    lease: SeatLease
    cluster: WeatherCluster
    term: SteppedTerm | None = None

    def drop(self) -> None:
        """It is killed: only the cluster and the ledger remember what it did."""
        if self.term is not None:
            self.term.stop()
        self.term = None


class Measures:
    def worked(self, outcome: str, seconds: float) -> None:
        pass

    def relisted(self) -> None:
        pass

    def drifted(self, action: str) -> None:
        pass

    def cluster_failed(self, reason: str) -> None:
        pass


class WholeSystem(RuleBasedStateMachine):
    """See the module."""

    stepped: Callable[[], None] = staticmethod(lambda: None)
    """Called at each step, to count them."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(mkdtemp(dir=TMPFS if TMPFS.is_dir() else None, prefix="onectl-system-"))
        self.time, self.weather = Time(), Weather()
        self.store = SqliteStore(self.directory / "ledger.db")
        self.cluster = SandboxCluster.open(
            self.directory / "sandbox.db", now=self.time.cluster, startup_seconds=1.0, watch_seconds=-1.0
        )
        self.chance = Random(0)
        self.made = 0
        self.ledger = self._make_ledger()
        self.ledger_id = self.ledger.create(request("genesis"))
        self.witness = Witness(self.store, self.cluster)
        seat = Seat()
        self.staff = [
            Staff(
                SeatLease(seat, self.time, number, LEASE_SECONDS),
                WeatherCluster(self.cluster, self.weather, self.chance, self.witness.wrote),
            )
            for number in (1, 2)
        ]
        self.sent: list[tuple[str, AppId, Command]] = []
        self.worlds = [
            World(self.cluster, NAMESPACE, self.ledger, lambda: self.cluster.objects(NAMESPACE), app) for app in APPS
        ]

    def _make_ledger(self) -> Ledger:
        def domain() -> str:
            self.made += 1
            return f"name-{self.made}.example.com"

        made = WeatherLedger(self.store, KeyFiles(self.directory / "keys"), mint_domain=domain, clock=self.time)
        made.weather = self.weather
        return made

    @initialize(seed=st.integers(0, 2**16), first=COMMANDS[Deploy])
    def begins(self, seed: int, first: Deploy) -> None:
        self.chance.seed(seed)
        self._ask(APPS[0], first)
        self.runs(0)

    # -- Users -----------------------------------------------------------------------------------------------------

    @rule(asked=asked)
    def asks(self, asked: tuple[AppId, Command]) -> None:
        self.stepped()
        with suppress(Killed):
            self._ask(*asked)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def repeats(self, data: st.DataObject) -> None:
        """The same request again records nothing if it was recorded before."""
        self.stepped()
        request_id, app_id, command = data.draw(st.sampled_from(self.sent[-6:]))
        known = self.store.request(request_id)
        head = self.store.head().position
        with suppress(Killed):
            self._ask(app_id, command, request_id)
        hold(known is None or self.store.head().position == head, f"1: {request_id} was recorded again")

    @rule(app_id=st.sampled_from(APPS), kind=st.integers(0, 4))
    def adopts(self, app_id: AppId, kind: int) -> None:
        self.stepped()
        ref = named_objects(app_id.name, NAMESPACE)[kind]
        seen = self.cluster.look(ref, ledger_id="")
        with suppress(Killed):
            self._ask(app_id, AdoptObject(kind=ref.kind, name=ref.name, uid=seen.uid if seen else "nobody"))

    @rule()
    def lists_apps(self) -> None:
        self.stepped()
        catch_up(self.store, [APP_LIST])

    def _ask(self, app_id: AppId, command: Command, request_id: str | None = None) -> None:
        request_id = request_id or f"request-{len(self.sent) + 1}"
        self.sent.append((request_id, app_id, command))
        self.witness.sent.add(request_id)
        values = dict.fromkeys(command.keys, b"not-in-the-ledger") if isinstance(command, SetSecrets) else {}
        try:
            outcome = self.ledger.execute(app_id, command, request(request_id), secret_values=values)
        except (RefusedError, RequestReusedError, LedgerUnavailableError, OutcomeUnknownError):
            return
        if outcome.recorded:
            self.witness.acknowledged.add(request_id)

    # -- Workers ---------------------------------------------------------------------------------------------------

    @rule(number=st.integers(0, 1))
    def runs(self, number: int) -> None:
        """The worker goes on for a while, as its threads would."""
        self.stepped()
        self._guarded(self.staff[number], self._run)

    @rule(number=st.integers(0, 1), how=st.sampled_from(["lost", "twice", "shuffled"]))
    def hears(self, number: int, how: Telling) -> None:
        """Wake-ups by the ledger arrive or not."""
        self.stepped()
        staff = self.staff[number]
        if staff.term is not None:
            staff.term.hear(how, self.chance)

    @rule(number=st.integers(0, 1), how=st.sampled_from(["lost", "twice", "shuffled"]), which=st.integers(0, 3))
    def watches(self, number: int, how: Telling, which: int) -> None:
        """Changes in the cluster are told or not."""
        self.stepped()
        staff = self.staff[number]

        def turn(staff: Staff) -> None:
            assert staff.term is not None
            listers = list(staff.term._listers.values())
            if listers:
                listers[which].turn()

        staff.cluster.telling = how
        if staff.term is not None:
            self._guarded(staff, turn)
        staff.cluster.telling = "all"

    @rule(number=st.integers(0, 1))
    def works_on_one_app(self, number: int) -> None:
        self.stepped()
        staff = self.staff[number]
        if staff.term is not None:
            self._guarded(staff, self._work)

    @rule(number=st.integers(0, 1))
    def resyncs(self, number: int) -> None:
        self.stepped()
        term = self.staff[number].term
        if term is not None:
            term.resync()

    @rule(number=st.integers(0, 1))
    def is_killed(self, number: int) -> None:
        self.stepped()
        self.staff[number].drop()

    def _guarded(self, staff: Staff, act: Callable[[Staff], object]) -> None:
        """Act as long as this worker lives and leads."""
        try:
            if staff.term is None and staff.lease.acquire():
                staff.term = SteppedTerm(self._settings(), self._equipment(staff), staff.lease, threading.Event())
                staff.term._know_namespace(NAMESPACE)  # the resync would wait for the first lists
                staff.term.resync()
            if staff.term is not None:
                act(staff)
        except Killed:
            staff.drop()
        except OneCtlError:
            staff.drop()  # the term ends, as the thread that met it would end it
            staff.lease.release()

    def _run(self, staff: Staff) -> None:
        term = staff.term
        assert term is not None
        staff.lease.renew(term.position())
        if not staff.lease.held:
            staff.drop()
            return
        term.hear("all", self.chance)
        for lister in list(term._listers.values()):
            lister.turn()
        term.look_at_everything()
        while self._work(staff):
            pass

    def _work(self, staff: Staff) -> bool:
        assert staff.term is not None
        taken = staff.term.queue.take(0)
        if taken is not None:
            staff.term.make_work().do(taken)
        return taken is not None

    def _settings(self) -> Settings:
        return Settings(cluster="test", gateway=GATEWAY, threads=1, lease_seconds=LEASE_SECONDS)

    def _equipment(self, staff: Staff) -> Equipment:
        return Equipment(
            store=self.store,
            make_ledger=self._make_ledger,
            cluster=staff.cluster,
            request=replace(request("worker"), actor="1ctl/worker"),
            chance=self.chance.random,
            measures=Measures(),
            clock=self.time.rising,
            now_us=self.time.now_us,
        )

    # -- What goes wrong -------------------------------------------------------------------------------------------

    @rule(fault=st.sampled_from([each for each in Fault if each is not Fault.STALLED]), after=st.integers(0, 25))
    def will_go_wrong(self, fault: Fault, after: int) -> None:
        self.stepped()
        self.weather.arm(fault, after)

    @rule(
        number=st.integers(0, 1),
        app_id=st.sampled_from(APPS),
        first=likely,
        meanwhile=st.lists(st.one_of(likely, COMMANDS[Destroy]), min_size=1, max_size=2),
        after=st.integers(0, 12),
    )
    def is_stopped_in_a_write(
        self, number: int, app_id: AppId, first: Command, meanwhile: list[Command], after: int
    ) -> None:
        """Past its lease; more is asked of the same app, and the other worker leads. Then the write arrives."""
        self.stepped()
        other = self.staff[1 - number]

        def others_go_on() -> None:
            self.time.passes(LEASE_SECONDS + 1)
            for command in meanwhile:
                self._ask(app_id, command)
            for _ in range(2):
                self._guarded(other, self._run)

        other.drop()
        other.lease.release()
        self.weather.meanwhile = others_go_on
        self.weather.arm(Fault.STALLED, after)
        with suppress(Killed):
            self._ask(app_id, first)
        self._guarded(self.staff[number], self._run)

    @rule(seconds=st.sampled_from([0.3, 2.0, 11.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        self.stepped()
        self.time.passes(seconds)

    @rule(by=st.sampled_from([-3 * 86400.0, -1.0, 3600.0, 365 * 86400.0]))
    def somebody_sets_the_clock(self, by: float) -> None:
        self.stepped()
        self.time.set_by += by

    @rule(data=st.data(), patch=st.sampled_from(PATCHES))
    def somebody_edits(self, data: st.DataObject, patch: Mapping[str, Any]) -> None:
        self.stepped()
        refs = sorted(self._ours())
        if refs:
            with suppress(ClusterRefusedError):
                self.cluster.edit(data.draw(st.sampled_from(refs)), patch)

    @rule(data=st.data())
    def somebody_deletes(self, data: st.DataObject) -> None:
        self.stepped()
        refs = sorted(self._ours())
        if refs:
            ref = data.draw(st.sampled_from(refs))
            self.witness.by_hand(ref)
            self.cluster.delete(ref, uid=None)

    @rule(world=st.integers(0, 2), kind=st.sampled_from(["ConfigMap", "Deployment", "Service", "HTTPRoute", "Secret"]))
    def somebody_is_in_the_way(self, world: int, kind: str) -> None:
        self.stepped()
        with suppress(OneCtlError):
            self.worlds[world].foreign(kind)

    def _ours(self) -> list[Ref]:
        objects = self.cluster.objects(NAMESPACE)
        return [ref_of(each) for each in objects if LEDGER_LABEL in each["metadata"].get("labels", {})]

    # -- What must hold --------------------------------------------------------------------------------------------

    @invariant()
    def the_ledger_is_whole(self) -> None:
        self.witness.look()

    def teardown(self) -> None:
        try:
            self._settle()
        finally:
            for staff in self.staff:
                staff.drop()
            self.store.close()
            self.cluster.close()
            rmtree(self.directory)

    def _settle(self) -> None:
        """Nothing goes wrong any more; somebody clears away what is not ours and asks again where that is needed."""
        self.weather.clear()
        self.time.passes(LEASE_SECONDS + 1)
        first, second = self.staff
        second.drop()
        second.lease.release()
        if first.term is not None:
            first.term.resync()  # what it missed, it must find out now
        for each in self.cluster.objects(NAMESPACE):
            if self._is_in_the_way(each["metadata"].get("labels", {})):
                self.witness.by_hand(ref_of(each))
                self.cluster.delete(ref_of(each), uid=None)
        self._quiet()
        self.witness.look()
        parked = [world for world in self.worlds if world.app.life is not None and world.life.parked is not None]
        for world in parked:
            assert world.life.parked is not None
            cure = CURES.get(world.life.parked.reason)
            hold(cure, f"4: {world.app_id.name} is parked without a cause: {world.life.parked}")
            assert cure is not None
            self._ask(world.app_id, cure)
        if parked:
            self._quiet()
        self.witness.look()
        wanted: set[Ref] = set()
        for world in self.worlds:
            hold(not world.difference(), f"4: {world.app_id.name}: {world.difference()}")
            if world.app.life is not None:
                around = Surroundings(ledger_id=self.ledger_id, gateway=GATEWAY)
                wanted |= {entry.ref for entry in desired(world.app, world.life, around)}
        self.witness.judge(self.ledger_id, wanted)
        writes, head = self.staff[0].cluster.writes, self.store.head().position
        assert self.staff[0].term is not None
        self.staff[0].term.resync()
        self._quiet()
        hold(self.staff[0].cluster.writes == writes, "4: what is as asked for was written again")
        hold(self.store.head().position == head, "4: what is as asked for was recorded again")

    def _is_in_the_way(self, labels: Mapping[str, str]) -> bool:
        """Whether nobody can tell that the object is ours: a label was removed, or names a life that never was."""
        return LEDGER_LABEL not in labels or self.ledger.find(labels.get(LIFE_LABEL, "")) is None

    def _quiet(self) -> None:
        """As long as it may take until everything is equal."""
        staff = self.staff[0]
        ends = self.time.seconds + QUIET_SECONDS
        while self.time.seconds < ends:
            self._guarded(staff, self._run)
            self.time.passes(0.5)
