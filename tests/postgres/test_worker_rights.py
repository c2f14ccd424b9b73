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


def test_a_login_that_may_not_record_hears_what_makes_the_role_that_may(cli: Cli, roles: dict[str, str]) -> None:
    refused = cli.having(ONECTL_LEDGER=roles["reader"]).run("deploy", "--image", "nginx:1").failed(1)
    assert "Nothing was recorded. Its owner grants the role for it (1ctl ledger roles makes it)" in refused.error


def test_a_worker_whose_rights_are_taken_away_ends_with_3(cli: Cli, roles: dict[str, str], database: str) -> None:
    with worker(cli.having(ONECTL_LEDGER=roles["worker"]), code=ExitCode.REFUSED) as run:
        administer(database, "REVOKE t1_worker FROM worker_login")
        try:
            eventually(lambda: run.process.poll() is not None)
        finally:
            administer(database, "GRANT t1_worker TO worker_login")  # a role is of the server, not of the database


WORKERS = (
    "ledger rebuild",
    "ledger rebuild snapshots",
    "secret rotate-keys -y",
    "ledger copy --to {there}",
    "ledger redact --position 3 --field reason --reason leaked -y",
    "ledger restore --accept-loss -y",
    "worker enable",
)


@pytest.mark.parametrize("command", WORKERS)
def test_what_needs_the_workers_role_says_so_before_anything_is_done(
    cli: Cli, roles: dict[str, str], tmp_path: Path, command: str
) -> None:
    cli.run("deploy", "--image", "nginx:1", "--reason", "leaked", "--detach").done()
    administer(cli.env["ONECTL_LEDGER"], "DELETE FROM projection_checkpoints")
    before = cli.run("-o", "json", "audit", "log").json
    args = command.format(there=tmp_path / "there.db").split()
    refused = cli.having(ONECTL_LEDGER=roles["writer"]).run(*args).failed(1)
    assert "does not let writer_login be a worker" in refused.error
    assert "onectl_worker" in refused.error
    assert "migrate" not in refused.error
    assert refused.stdout == ""
    assert cli.run("-o", "json", "audit", "log").json == before
    assert not (tmp_path / "there.db").exists()
    assert cli.run("-o", "json", "ledger", "status").json["read_models"][0]["position"] == 0


def test_who_may_say_who_applies_is_asked_before_a_worker_is_disabled(cli: Cli, roles: dict[str, str]) -> None:
    writer, worker = (cli.having(ONECTL_LEDGER=roles[role]) for role in ("writer", "worker"))
    worker.run("worker", "enable").done()
    assert "does not let writer_login be a worker" in writer.run("worker", "disable", "-y").failed(1).error
    worker.run("worker", "disable", "-y").done()


def test_what_a_writer_does_to_a_list_is_found_by_a_reader_and_repaired_by_a_writer(
    cli: Cli, roles: dict[str, str]
) -> None:
    cli.run("deploy", "--image", "nginx:1", "--detach").done()
    listed = cli.run("-o", "json", "deploy", "list").done().json
    reader, writer = (cli.having(ONECTL_LEDGER=roles[role]) for role in ("reader", "writer"))
    reader.run("audit", "verify", "--deep").done()
    administer(roles["writer"], "DELETE FROM app_list")
    assert cli.run("-o", "json", "deploy", "list").done().json == []
    assert "it lacks 1 of 1 rows" in reader.run("audit", "verify", "--deep").failed(7).error
    administer(roles["writer"], "UPDATE projection_checkpoints SET position = 1000000")
    for user in (reader, writer):
        assert "1ctl ledger rebuild app_list" in user.run("deploy", "list").failed(7).error
    writer.run("ledger", "rebuild", "app_list").done()
    assert reader.run("-o", "json", "deploy", "list").done().json == listed
    reader.run("audit", "verify", "--deep").done()
