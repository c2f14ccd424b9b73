"""A story told once for each test process, and a user with a copy of its files for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.canary import CANARY
from tests.cli.story import Story, told
from tests.moves.support import User


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    story = told(tmp_path_factory.mktemp("story"))
    story.does("order-service", "secret", "create", "--key", "CANARY", stdin=f"{CANARY}\n")
    return story


@pytest.fixture
def user(story: Story, tmp_path: Path) -> User:
    return User(story, tmp_path / "user")


@pytest.fixture
def database(empty_database: str) -> str:
    """Address of a database without tables: here it matters who makes them."""
    return empty_database


@pytest.fixture(params=["sqlite", "postgresql"])
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of a ledger that does not exist yet, in each kind of store."""
    if request.param == "sqlite":
        return str(tmp_path / "elsewhere" / "ledger.db")
    return str(request.getfixturevalue("database"))
