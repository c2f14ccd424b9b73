"""`worker replay` finds the kubeconfig where every command does: its option, the environment, the profile."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli_support import Cli, write_toml


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    write_toml(tmp_path / "svc", "user-service")
    place = ("--context", "ctx", "--namespace", "shop", "--kubeconfig", str(tmp_path / "of-the-profile"))
    cli = Cli(tmp_path / "home", tmp_path / "svc")
    cli.run("profile", "create", "prod", *place).done()
    return cli


def test_the_option_wins_over_the_environment_and_that_over_the_profile(cli: Cli, tmp_path: Path) -> None:
    replay = ("-p", "prod", "worker", "replay", "--context", "new", "-y")
    env = {"ONECTL_KUBECONFIG": str(tmp_path / "of-the-environment")}
    assert "of-the-profile" in cli.run(*replay).error
    assert "of-the-environment" in cli.run(*replay, env=env).error
    assert "given" in cli.run(*replay, "--kubeconfig", str(tmp_path / "given"), env=env).error
