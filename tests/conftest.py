"""Fixtures for tests of every folder."""

from tests.postgres_support import database, postgres

__all__ = ["database", "postgres"]
