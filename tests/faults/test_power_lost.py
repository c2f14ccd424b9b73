"""F3: the power goes at any moment of a command: what was acknowledged is there, and what is there is whole."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import pytest

from cli.profiles import Profiles
from ledger import checkpoint as notes
from ledger.comparing import verify_against
from ledger.kept_checkpoints import KeptCheckpoints
from ledger.ledger import Ledger
from ledger.ledger_key import ledger_key
from ledger.reader import LedgerReader
from tests.cli_support import write_toml
from tests.faults import dose, power
from tests.faults import ledger_invariants as invariants
from tests.faults.power import Disk, Fate, Said, Step
from tests.faults.scenes import COMMANDS, FIRST, NAME, SQLITE, WAL, Command, Kind, Scene

pytestmark = [pytest.mark.crash, pytest.mark.timeout(7200)]

CHECKPOINT = Command("checkpoint", ("audit", "checkpoint"), request_id="")
PROFILE = Command("profile", ("profile", "create", "prod", "--context", "c", "--namespace", "shop"), request_id="")
ALL = (*dose.of(few=COMMANDS[:2], short=COMMANDS, long=COMMANDS), CHECKPOINT, PROFILE)
FATES: tuple[Fate, ...] = ("dropped", "kept", "torn")
KINDS: dict[Kind, int] = {SQLITE: dose.of(few=1, short=1, long=30), WAL: dose.of(few=1, short=1, long=30)}
"""How often each moment is torn anew."""


@dataclass(frozen=True, slots=True)
class Film:
    """A command, step by step.

    Attributes:
        scene: The user who gave it, as they were before.
        command: What they asked for.
        steps: What it did to their files.
        before: Their files.
    """

    scene: Scene
    command: Command
    steps: list[Step]
    before: dict[str, bytes | None]

    @property
    def home(self) -> Path:
        return self.scene.cli.home

    def disk(self, count: int) -> Disk:
        """After that many steps."""
        disk = Disk(self.before)
        for step in self.steps[:count]:
            disk.take(step)
        return disk

    def acknowledged(self, count: int) -> bool:
        """Whether success was told within that many steps."""
        said = "".join(step.text for step in self.steps[:count] if isinstance(step, Said))
        return any(sign in said for sign in ("✅", "Step 2/5", "— 1ctl.dev/ledger"))


@pytest.fixture(scope="session")
def film(prepared: Callable[..., Scene], in_memory: Path) -> Callable[..., Film]:
    """Films commands, each once."""
    made: dict[tuple[Kind, str, str | None], Film] = {}

    def filmed(kind: Kind, command: Command, change: str | None = None) -> Film:
        key = kind, command.name, change
        if key not in made:
            directory = Path(tempfile.mkdtemp(dir=in_memory))
            user = prepared(kind, command).moved(directory / "user")
            if change is not None:
                user = replace(user, cli=replace(user.cli, change=change))
            before = power.held(user.cli.home)
            kept = user.moved(directory / "kept")
            trace = directory / "trace"
            user.run(command, "-o", str(trace), *power.OPTIONS).done()
            steps = power.recorded(trace.read_text(), user.cli.home, before)
            # The copy that is kept answers to the paths of the one that was filmed.
            made[key] = Film(replace(kept, cli=user.cli), command, steps, before)
            shutil.rmtree(user.cli.home.parent)
        return made[key]

    return filmed


@pytest.mark.fault("F3", on="kind")
@pytest.mark.parametrize("command", ALL, ids=lambda command: command.name)
@pytest.mark.parametrize("kind", dose.of(few=[SQLITE], short=[SQLITE, WAL], long=[SQLITE, WAL]))
def test_whenever_the_power_goes_what_was_acknowledged_is_there_and_whole(
    kind: Kind, command: Command, film: Callable[..., Film], cases: dose.Cases, tmp_path: Path
) -> None:
    filmed = film(kind, command)
    moments = len(filmed.steps) + 1
    states = range(moments * (2 + KINDS[kind]))
    seen: set[bytes] = set()
    # When all is done, and nothing more synced, what was acknowledged is most at stake.
    for number in cases.each([moments - 1, *some(states, of=dose.of(few=13.0, short=2.0, long=1.0))]):
        fate = FATES[min(number // moments, 2)]
        contents = filmed.disk(number % moments).after_power_loss(fate, random.Random(number))
        digest = sha256(repr(sorted(contents.items())).encode()).digest()
        if digest in seen and not filmed.acknowledged(number % moments):
            cases.count -= 1  # the same state as before
            continue
        seen.add(digest)
        user = replace(filmed.scene, cli=replace(filmed.scene.cli, home=tmp_path / str(number) / "home"))
        power.put(contents, filmed.home, user.cli.home)
        check(user, command, acknowledged=filmed.acknowledged(number % moments), where=f"{fate} {number % moments}")
        shutil.rmtree(tmp_path / str(number))


def some(states: Sequence[int], *, of: float) -> Sequence[int]:
    """One in so many, the same ones each time."""
    return sorted(random.Random(of).sample(states, max(1, int(len(states) / of))))


def check(user: Scene, command: Command, *, acknowledged: bool, where: str) -> None:
    """Every invariant of what a machine holds when it is switched on again."""
    told = {command.request_id} if acknowledged and command in COMMANDS else set()
    with user.store() as store:
        invariants.ledger_is_whole(store, user.keys, user.past)
        invariants.requests_are_recorded_once(
            store, sent={*user.sent, command.request_id}, acknowledged=user.acknowledged | told
        )
        rows = store.positions(1, len(user.past.rows), limit=invariants.ALL) if user.past.rows else []
        invariants.hold(tuple(rows) == user.past.rows, f"3: {where}: lines that were there are others now")
        ledger = Ledger(store, user.keys, mint_domain=lambda: "never.example.com")
        for app in user.apps(store):
            life = ledger.app(app).life
            invariants.hold(life is None or ledger.can_open_secrets(life), f"{where}: the identity is not there")
        ledger_id = LedgerReader(store).ledger_id()
        note = KeptCheckpoints(user.cli.home / "checkpoints").newest(ledger_id) if ledger_id is not None else None
        invariants.hold(note is not None or command != CHECKPOINT or not acknowledged, f"5: {where}: nothing was kept")
        if note is not None:
            kept = notes.open_note(note, ledger_key(store))
            verdict = verify_against(store, note, ledger_key(store)).verdict
            invariants.hold(verdict == "consistent", f"5: {where}: the kept checkpoint of {kept.size} is {verdict}")
    profiles = Profiles(user.cli.home / "profiles.json").all
    invariants.hold("prod" in profiles or command != PROFILE or not acknowledged, f"{where}: profile lost")
    user.check_secrets()


def test_the_machine_goes_on_with_the_same_request_after_the_power_was_cut(
    film: Callable[..., Film], tmp_path: Path
) -> None:
    filmed = film(SQLITE, FIRST)
    write_toml(tmp_path / NAME, NAME)
    for number in range(0, len(filmed.steps), dose.of(few=60, short=20, long=1)):
        contents = filmed.disk(number).after_power_loss("torn", random.Random(number))
        cli = replace(filmed.scene.cli, home=tmp_path / str(number) / "home", cwd=tmp_path / NAME)
        user = replace(filmed.scene, cli=cli)
        power.put(contents, filmed.home, user.cli.home)
        # The simulated cluster is not kept through a power cut; it says so.
        for file in user.cli.home.glob("sandbox.db*"):
            file.unlink()
        user.run(FIRST).done()
        user.check()
        user.check_cluster()
