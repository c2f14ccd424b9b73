"""A copied process is a command like one in a fresh interpreter."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli_support import Cli, write_toml
from tests.forks import forks, usable


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    write_toml(tmp_path / "svc", "user-service")
    return Cli(tmp_path / "home", tmp_path / "svc")


@pytest.mark.parametrize(
    ("args", "typed"),
    [
        (["--version"], ""),
        (["deploy"], ""),
        (["deploy", "--image"], ""),
        (["deploy", "get"], ""),
        (["deploy", "--image", "nginx", "--dry-run"], ""),
        (["secret", "create", "--key", "A"], "über\n"),
        (["--config", "🚀", "deploy", "list"], ""),
    ],
)
def test_it_says_and_ends_the_same(cli: Cli, args: list[str], typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = cli.run(*args, input=typed)
    monkeypatch.setenv("ONECTL_TEST_PROCESSES", "fresh")
    assert not usable(cli.environ())
    assert cli.run(*args, input=typed) == copied


def test_one_that_is_typed_to_while_it_runs_says_and_ends_the_same(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def typed_to() -> tuple[int, tuple[bytes, bytes]]:
        process = cli.start("secret", "create", "--key", "TOKEN", stdin=subprocess.PIPE)
        assert process.poll() is None  # it reads
        said = process.communicate("über\n".encode(), timeout=30)
        return process.wait(), said

    copied = typed_to()
    monkeypatch.setenv("ONECTL_TEST_PROCESSES", "fresh")
    assert typed_to() == copied


def test_a_signal_ends_it_with_its_number(cli: Cli) -> None:
    died = cli.run("deploy", "--image", "nginx", env={"ONECTL_CRASH_AT": "applied Service"})
    assert died.code == -signal.SIGKILL


def test_nothing_of_one_is_left_in_the_next(cli: Cli) -> None:
    assert cli.run("-o", "json", "profile", "list", env={"ONECTL_PROFILE": "gone"}).done().stdout != ""
    assert cli.run("profile", "list").done().stdout == cli.run("profile", "list").done().stdout
    assert not cli.run("profile", "list").stdout.startswith("[")


@pytest.mark.skipif(
    not usable({"PYTHONPATH": str(Path(__file__).parents[1]), "LANG": "C.UTF-8"}), reason="no copies here"
)
def test_one_that_does_not_end_is_ended(cli: Cli) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        forks().run(
            ["deploy", "--image", "held:1", "--wait"], cwd=cli.cwd, environ=cli.environ(), stdin=b"", timeout=0.5
        )
