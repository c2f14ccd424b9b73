from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.projections.stores import Ledgers


@pytest.fixture(params=["sqlite", "postgresql"])
def ledgers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledgers]:
    """Stores on one ledger, of each kind."""
    sqlite = request.param == "sqlite"
    result = Ledgers(str(tmp_path / "ledger.db") if sqlite else request.getfixturevalue("database"))
    yield result
    result.close()
