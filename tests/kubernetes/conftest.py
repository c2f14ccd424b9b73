"""A user of a namespace of their own of the real API server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli_support import Cli
from tests.kubernetes.support import Kubectl, a_cluster_user


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Cli, Kubectl]]:
    with a_cluster_user(tmp_path) as made:
        yield made


@pytest.fixture
def user(place: tuple[Cli, Kubectl]) -> Cli:
    return place[0]


@pytest.fixture
def kubectl(place: tuple[Cli, Kubectl]) -> Kubectl:
    return place[1]
