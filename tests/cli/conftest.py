"""Users to run commands as."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli_support import Cli, newcomer


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """A user in the directory of user-service, which is not deployed."""
    return newcomer(tmp_path)


@pytest.fixture(scope="session")
def files_of_deployed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("deployed")
    newcomer(root).run("deploy", "--image", "nginx:alpine").done()
    return root


@pytest.fixture
def deployed(cli: Cli, files_of_deployed: Path, tmp_path: Path) -> Cli:
    """The same, deployed; a while ago, by a user whose files are copied for each test."""
    shutil.copytree(files_of_deployed, tmp_path, dirs_exist_ok=True)
    return cli
