"""Users to run commands as."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli_support import Cli, write_toml


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """A user in the directory of user-service, which is not deployed."""
    directory = tmp_path / "services" / "user-service"
    write_toml(directory, "user-service")
    return Cli(tmp_path / "home", directory)


@pytest.fixture
def deployed(cli: Cli) -> Cli:
    """The same, deployed."""
    cli.run("deploy", "--image", "nginx:alpine").done()
    return cli
