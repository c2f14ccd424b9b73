"""F14: two to eight commands at once, on one app, for one host name, or with one request id."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from tests.cli_support import Result, write_toml
from tests.faults import dose
from tests.faults import ledger_invariants as invariants
from tests.faults.scenes import (
    AGAIN,
    DESTROY,
    ENV,
    FIRST,
    POSTGRES,
    RESTART,
    ROLLBACK,
    SCALE,
    SECRET,
    SQLITE,
    Command,
    Kind,
    Scene,
)

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]

KINDS: Sequence[Kind] = dose.of(few=[SQLITE], short=[SQLITE, POSTGRES], long=[SQLITE, POSTGRES])
SETTLED = Command("settled", ("env", "create", "--env", "SETTLED=yes"), request_id="settled")
CHANGES = (AGAIN, ENV, SECRET, SCALE, RESTART, ROLLBACK)


def at_once(commands: Sequence[tuple[Scene, Command]]) -> list[Result]:
    """How each of them ended, all begun together."""
    with ThreadPoolExecutor(len(commands)) as pool:
        return list(pool.map(lambda each: each[0].run(each[1]), commands))


def numbered(command: Command, number: int) -> Command:
    """A command that asks for something that no other one asks for."""
    own = {SCALE: ("deploy", "scale", "--replicas", str(2 + number)), ENV: ("env", "create", "--env", f"N={number}")}
    return replace(command, args=own.get(command, command.args), request_id=f"at-once-{number}")


def assert_all_true(scene: Scene, commands: Sequence[tuple[Scene, Command]], results: Sequence[Result]) -> None:
    """Everybody was told the truth; the next command finds nothing to unlock; every invariant holds."""
    for (who, command), result in zip(commands, results, strict=True):
        invariants.end_is_true(result, was_recorded=who.recorded(command))
    for who in {who.cli.cwd: who for who, _ in commands}.values():
        settled = who.run(SETTLED)  # it also tidies up what only older pods read
        invariants.hold(settled.code in {0, ExitCode.REFUSED}, f"7: {settled}")
    scene.check()
    scene.check_cluster()


@pytest.mark.fault("F14", on="kind")
@pytest.mark.parametrize("seed", dose.seeds(few=1, short=15, long=300))
@pytest.mark.parametrize("kind", KINDS)
def test_everybody_gets_what_they_asked_for_on_one_app(
    seed: int, kind: Kind, prepared: Callable[..., Scene], tmp_path: Path
) -> None:
    chance = random.Random(seed)
    count = chance.randint(2, 8)
    is_new = seed % 4 == 0
    scene = prepared(kind, FIRST if is_new else AGAIN).moved(tmp_path)
    chosen = [FIRST] * count if is_new else chance.choices((*CHANGES, DESTROY), weights=(6, 3, 3, 3, 3, 3, 1), k=count)
    commands = [(scene, numbered(command, number)) for number, command in enumerate(chosen)]
    results = at_once(commands)
    for (_, command), result in zip(commands, results, strict=True):
        # What is gone cannot be changed; and there may be nothing to roll back to yet.
        may_refuse = DESTROY in chosen or command.name == ROLLBACK.name
        codes = {0, ExitCode.REFUSED} if may_refuse else {0}
        invariants.hold(result.code in codes, f"somebody did not get what they asked for: {result}")
    assert_all_true(scene, commands, results)
    scene.gone()


@pytest.mark.fault("F14", on="kind")
@pytest.mark.parametrize("seed", dose.seeds(few=1, short=5, long=100))
@pytest.mark.parametrize("kind", KINDS)
def test_a_request_that_is_sent_several_times_at_once_is_recorded_once(
    seed: int, kind: Kind, prepared: Callable[..., Scene], tmp_path: Path
) -> None:
    chance = random.Random(seed)
    command = (FIRST, *CHANGES)[seed % (1 + len(CHANGES))]
    scene = prepared(kind, command).moved(tmp_path)
    commands = [(scene, command)] * chance.randint(2, 5)
    results = at_once(commands)
    # To the only release nobody can go back.
    code = ExitCode.REFUSED if command.name == ROLLBACK.name else 0
    for result in results:
        invariants.hold(result.code == code, f"somebody did not get what they asked for: {result}")
    assert_all_true(scene, commands, results)
    scene.gone()


@pytest.mark.fault("F14", on="kind")
@pytest.mark.parametrize("seed", dose.seeds(few=1, short=5, long=100))
@pytest.mark.parametrize("kind", KINDS)
def test_a_host_name_that_several_draw_at_once_goes_to_one_of_them(
    seed: int, kind: Kind, prepared: Callable[..., Scene], tmp_path: Path
) -> None:
    original = prepared(kind, FIRST).moved(tmp_path)
    scene = replace(original, cli=replace(original.cli, change="tests.faults.changes:few_domains"))
    commands = []
    for number in range(random.Random(seed).randint(2, 8)):
        directory = tmp_path / f"app-{number}"
        write_toml(directory, directory.name)
        commands.append((replace(scene, cli=scene.cli.within(directory)), FIRST.named(f"app-{number}")))
    results = at_once(commands)
    for result in results:
        invariants.hold(result.code == 0, f"somebody did not get what they asked for: {result}")
    assert_all_true(scene, commands, results)
    scene.gone()
