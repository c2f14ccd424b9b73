"""Real commands that die at each named place, and are simply run again."""

from __future__ import annotations

import ast
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import effects
from effects.cluster import API_VERSIONS
from tests.cli_support import Cli
from tests.effects.killed import AGAIN, DESTROY, FIRST, NAME, assert_done_once, moved, newcomer, recorded, veteran
from tests.effects.worlds import world_of

pytestmark = pytest.mark.crash


def crash_points() -> Iterator[str]:
    """Every name in the source of `effects`; a kind in it stands for each kind."""
    for path in Path(effects.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "crash_point":
                yield from _names(node.args[0])


def _names(name: ast.expr) -> Iterator[str]:
    if isinstance(name, ast.Constant):
        yield str(name.value)
        return
    assert isinstance(name, ast.JoinedStr)
    for kind in API_VERSIONS:
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else kind for part in name.values)


POINTS = sorted(crash_points())
REMOVING = [name for name in POINTS if name.startswith("before delete") or name == "before ResourcesRemoved"]
WAITING = ["before a verdict on pods"]
"""Where only who waits for pods dies."""
ONLY_WORKERS = [
    "before ApplyRefused",
    "before DriftDetected",
    "before DriftHealed",
    "before renewing the lease",
    "before taking up what was recorded",
    "listed",
]
"""Where a worker dies: see tests/faults."""
APPLYING = [name for name in POINTS if name not in REMOVING + WAITING + ONLY_WORKERS]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    return veteran(tmp_path_factory.mktemp("veteran"))


def die_and_repeat(cli: Cli, command: tuple[str, ...], point: str) -> None:
    died = cli.run(*command, env={"ONECTL_CRASH_AT": point})
    assert died.code == -signal.SIGKILL, f"{point} was not reached: {died}"
    before = recorded(cli)
    repeated = cli.run(*command)
    assert_done_once(cli, command, repeated)
    assert recorded(cli)[: len(before)] == before
    assert "Ledger is intact" in cli.run("audit", "verify").done().stdout


def test_there_are_places_to_die_at() -> None:
    assert len(APPLYING) >= 6
    assert len(REMOVING) >= 6


@pytest.mark.parametrize("point", [name for name in APPLYING if name != "applied Secret"])
def test_a_first_deploy_that_died_is_finished_by_repeating_it(point: str, tmp_path: Path) -> None:
    die_and_repeat(newcomer(tmp_path), FIRST, point)


@pytest.mark.parametrize("point", APPLYING)
def test_a_redeploy_that_died_is_finished_by_repeating_it(point: str, prepared: Cli, tmp_path: Path) -> None:
    die_and_repeat(moved(prepared, tmp_path), AGAIN, point)


def test_a_deploy_that_died_while_it_waited_for_pods_is_finished_by_repeating_it(tmp_path: Path) -> None:
    die_and_repeat(newcomer(tmp_path), (*FIRST, "--wait"), *WAITING)


@pytest.mark.parametrize("point", REMOVING)
def test_a_destroy_that_died_is_finished_by_repeating_it(point: str, prepared: Cli, tmp_path: Path) -> None:
    cli = moved(prepared, tmp_path)
    die_and_repeat(cli, DESTROY, point)
    assert cli.objects() == {}


@pytest.mark.parametrize("point", ["applied ConfigMap", "before ResourcesApplied"])
def test_a_deploy_that_died_is_finished_by_asking_how_it_is(point: str, prepared: Cli, tmp_path: Path) -> None:
    cli = moved(prepared, tmp_path)
    cli.run(*AGAIN, env={"ONECTL_CRASH_AT": point})
    assert "ResourcesApplied" not in recorded(cli)[-1]
    cli.run("deploy", "status").done()
    with world_of(cli, NAME) as world:
        assert not world.app.dirty
        assert world.life.release == 2
    applied = recorded(cli).count("ResourcesApplied")
    # What only older pods read is tidied up with the next change, since status may have seen the new ones ready.
    assert_done_once(cli, AGAIN, cli.run(*AGAIN))
    assert recorded(cli).count("ResourcesApplied") <= applied + 1


@pytest.mark.parametrize("point", ["before delete ConfigMap", "before ResourcesRemoved"])
def test_a_destroy_that_died_is_finished_by_the_next_deploy(point: str, prepared: Cli, tmp_path: Path) -> None:
    cli = moved(prepared, tmp_path)
    cli.run(*DESTROY, env={"ONECTL_CRASH_AT": point})
    cli.run("deploy", "--image", "nginx:alpine").done()
    assert recorded(cli).count("ResourcesRemoved") == 1
    assert len({each["metadata"]["labels"]["1ctl.dev/deployment-id"] for each in cli.objects().values()}) == 1


def test_a_place_that_nobody_named_kills_nobody(tmp_path: Path) -> None:
    newcomer(tmp_path).run(*FIRST, env={"ONECTL_CRASH_AT": "no such place"}).done()
