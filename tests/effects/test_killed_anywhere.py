"""Real commands that are killed at any moment, and are simply run again."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli_support import Cli
from tests.effects.killed import AGAIN, DESTROY, FIRST, assert_done_once, moved, newcomer, recorded, veteran
from tests.seeds import seeds

pytestmark = pytest.mark.crash


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    return veteran(tmp_path_factory.mktemp("veteran"))


@pytest.fixture(scope="module")
def seconds(tmp_path_factory: pytest.TempPathFactory) -> float:
    """How long a deploy takes here and now."""
    cli = newcomer(tmp_path_factory.mktemp("timed"))
    cli.run(*FIRST).done()
    began = time.monotonic()
    process = cli.start(*AGAIN[:-1], "another-request", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert process.wait() == 0
    return time.monotonic() - began


@pytest.mark.parametrize("seed", seeds(3, short=12))
def test_a_command_that_was_killed_at_any_moment_is_finished_by_repeating_it(
    seed: int, prepared: Cli, seconds: float, tmp_path: Path
) -> None:
    command = (FIRST, AGAIN, DESTROY)[seed % 3]
    cli = newcomer(tmp_path) if command is FIRST else moved(prepared, tmp_path)
    process = cli.start(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # In its first third a command only starts up.
    time.sleep(seconds * random.Random(seed).uniform(0.3, 1.1))
    process.kill()
    process.wait()
    before = recorded(cli)
    repeated = cli.run(*command)
    assert_done_once(cli, command, repeated)
    assert recorded(cli)[: len(before)] == before
