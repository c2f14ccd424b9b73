"""The clusters that effects are tested on: the sandbox always, a real API server where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.effects.worlds import World, kubernetes_world, sandbox_world


@pytest.fixture(params=["sandbox", pytest.param("kubernetes", marks=pytest.mark.kubernetes)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    make = {"sandbox": sandbox_world, "kubernetes": kubernetes_world}[request.param]
    with make(tmp_path) as made:
        yield made
