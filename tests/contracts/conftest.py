"""Databases for contracts."""

from __future__ import annotations

import pytest


@pytest.fixture
def database(empty_database: str) -> str:
    """Address of a database without tables: here it matters who makes them."""
    return empty_database
