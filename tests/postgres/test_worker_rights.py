"""A login that may not be a worker hears so at once, and never stands by as if it could lead."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from tests.cli_support import Cli, write_toml
from tests.effects.worlds import eventually
from tests.postgres_support import administer
from tests.worker.commands import worker


@pytest.fixture
def cli(tmp_path: Path, database: str) -> Cli:
    write_toml(tmp_path / "svc", "user-service")
    cli = Cli(tmp_path / "home", tmp_path / "svc").having(ONECTL_LEDGER=database)
    cli.run("ledger", "migrate").done()
    return cli


@pytest.mark.parametrize("role", ["writer", "reader", "nobody"])
@pytest.mark.parametrize("once", [(), ("--once",)])
def test_who_is_no_worker_is_refused_with_3_and_the_grant_that_is_missing(
    cli: Cli, roles: dict[str, str], role: str, once: tuple[str, ...]
) -> None:
    refused = cli.having(ONECTL_LEDGER=roles[role]).run("worker", "run", "--listen", "none", *once).failed(3)
    why = "permission denied" if role == "nobody" else "it lacks INSERT on worker_leases, UPDATE on worker_leases"
    assert why in refused.error
    assert "GRANT onectl_worker TO " in refused.error
    assert "WorkerEnabled" not in str(cli.run("-o", "json", "audit", "log").json)


def test_a_worker_whose_rights_are_taken_away_ends_with_3(cli: Cli, roles: dict[str, str], database: str) -> None:
    with worker(cli.having(ONECTL_LEDGER=roles["worker"]), code=ExitCode.REFUSED) as run:
        administer(database, "REVOKE t1_worker FROM worker_login")
        eventually(lambda: run.process.poll() is not None)
