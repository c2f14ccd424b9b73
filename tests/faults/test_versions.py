"""F18: a command that is older than the one that recorded something; read models rebuilt while others record."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from tests.cli_support import Result
from tests.faults import dose
from tests.faults import ledger_invariants as invariants
from tests.faults.ledger_invariants import ALL, Violation
from tests.faults.scenes import AGAIN, ENV, POSTGRES, RESTART, SCALE, SECRET, SQLITE, Command, Kind, Scene
from tests.postgres_support import administer

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]

KINDS: Sequence[Kind] = dose.of(few=[SQLITE], short=[SQLITE, POSTGRES], long=[SQLITE, POSTGRES])
NEWER = {
    "before_scaling": SCALE,
    "before_environments": ENV,
    "before_restarts": RESTART,
    "before_newer_releases": AGAIN,
}
"""What an older program does not know, and the command that records it."""

LATER = (AGAIN, replace(ENV, args=("env", "create", "--env", "COLOUR=green")), SECRET, RESTART)
READS = (("deploy", "get"), ("deploy", "releases"), ("deploy", "list"), ("env", "list"), ("audit", "log"))


@pytest.mark.fault("F18", on="kind")
@pytest.mark.parametrize("seed", dose.seeds(few=1, short=11, long=40))
@pytest.mark.parametrize("kind", KINDS)
def test_an_older_command_records_nothing_on_what_it_does_not_understand(
    seed: int, kind: Kind, prepared: Callable[..., Scene], tmp_path: Path
) -> None:
    older_program, newer = list(NEWER.items())[seed % len(NEWER)]
    scene = prepared(kind, AGAIN).moved(tmp_path)
    meet(scene, newer, f"tests.faults.changes:{older_program}", random.Random(seed).choice(LATER), seed)
    scene.gone()


def meet(scene: Scene, newer: Command, older_program: str, command: Command, seed: int) -> None:
    """A newer program records something; then an older one is asked for a command, and about everything."""
    older = replace(scene, cli=replace(scene.cli, change=older_program))
    scene.run(newer.named("newer")).done()
    with scene.store() as store:
        before = store.positions(1, limit=ALL)
    result = older.run(command)
    for said in (result, *(older.cli.run(*read) for read in READS)):
        if said.code != 0:  # some questions are not about what is new
            assert_told_to_upgrade(said)
    assert_told_to_upgrade(result)
    with scene.store() as store:
        invariants.hold(store.positions(1, limit=ALL) == before, "1: an older program recorded something")
    assert older.cli.run("audit", "verify").code == 0  # the chain needs no understanding
    scene.settle(command, result, number=seed)


def test_an_older_program_that_guesses_is_caught(prepared: Callable[..., Scene], tmp_path: Path) -> None:
    scene = prepared(SQLITE, AGAIN).moved(tmp_path)
    with pytest.raises(Violation, match=r"7: .*deploy"):
        meet(scene, SCALE, "tests.faults.defects:guesses_at_what_it_does_not_know", AGAIN, 0)


def assert_told_to_upgrade(result: Result) -> None:
    """It says that something newer is there, and what to do."""
    invariants.hold(result.code == ExitCode.DAMAGED, f"7: {result}")
    invariants.hold("Upgrade this one: 1ctl --version" in result.stderr, f"7: {result}")


@pytest.mark.fault("F18", on="kind")
@pytest.mark.parametrize("command", [AGAIN, ENV], ids=lambda command: command.name)
@pytest.mark.parametrize("kind", KINDS)
def test_an_older_command_leaves_tables_alone_that_a_newer_one_made(
    kind: Kind, command: Command, prepared: Callable[..., Scene], tmp_path: Path
) -> None:
    scene = prepared(kind, AGAIN).moved(tmp_path)
    if kind == SQLITE:
        with closing(sqlite3.connect(scene.address)) as file:
            (version,) = file.execute("PRAGMA user_version").fetchone()
            file.execute(f"PRAGMA user_version = {version + 1}")
            result = scene.run(command)
            assert_told_to_upgrade(result)
            file.execute(f"PRAGMA user_version = {version}")
    else:
        administer(scene.address, "UPDATE schema_version SET version = version + 1")
        result = scene.run(command)
        assert_told_to_upgrade(result)
        administer(scene.address, "UPDATE schema_version SET version = version - 1")
    scene.settle(command, result)
    scene.gone()


def numbered(command: Command, number: int) -> Command:
    """A command that asks for something that no other one asks for."""
    args = ("env", "create", "--env", f"N={number}") if command is ENV else command.args
    return replace(command, args=args, request_id=f"meanwhile-{number}")


def one_after_the_other(scene: Scene, commands: Sequence[Command]) -> list[Result]:
    """How each of them ended."""
    return [scene.run(command) for command in commands]


@pytest.mark.fault("F18", on="kind")
@pytest.mark.parametrize("seed", dose.seeds(few=1, short=10, long=40))
@pytest.mark.parametrize("kind", KINDS)
def test_read_models_that_are_rebuilt_while_others_record_miss_nothing(
    seed: int, kind: Kind, prepared: Callable[..., Scene], tmp_path: Path
) -> None:
    chance = random.Random(seed)
    scene = prepared(kind, AGAIN).moved(tmp_path)
    asked = [numbered(chance.choice((AGAIN, ENV, SECRET)), number) for number in range(6)]
    with ThreadPoolExecutor(4) as pool:
        recording = [pool.submit(one_after_the_other, scene, part) for part in (asked[:3], asked[3:])]
        rebuilding = pool.submit(lambda: [scene.cli.run("ledger", "rebuild") for _ in range(6)])
        listing = pool.submit(lambda: [scene.cli.run("-o", "json", "deploy", "list") for _ in range(8)])
    for result in (*(each for part in recording for each in part.result()), *rebuilding.result()):
        invariants.hold(result.code == 0, f"7: {result}")
    releases = [int(app["release"]) for said in listing.result() for app in json.loads(said.done().stdout)]
    invariants.hold(releases == sorted(releases), f"3: the list went back: {releases}")
    last = scene.run(AGAIN)
    scene.settle(AGAIN, last, number=seed)
    scene.gone()
