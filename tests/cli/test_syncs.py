"""What is waited for the disk, counted: a request is on disk when it is acknowledged, and is put there once."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cli_support import Cli, Result
from tests.faults.straced import strace

TRANSACTION = ["sandbox.db-journal", "ledgers", "sandbox.db-journal", "sandbox.db", "sandbox.db-journal"]
"""What SQLite syncs for one: the journal and its name, how long the journal is, the database, that the journal is void."""


def syncs(cli: Cli, *args: str) -> list[str]:
    """The files that a command waits for until they are on disk, in order."""
    traced = cli.cwd / "traced"
    command = [strace(), "-f", "-qq", "-y", "-e", "trace=fsync,fdatasync", "-e", "signal=none", "-o", str(traced)]
    done = subprocess.run(
        [*command, *cli.argv(*args)], cwd=cli.cwd, env=cli.environ(), capture_output=True, text=True, check=False
    )
    Result(" ".join(args), done.stdout, done.stderr, done.returncode).done()
    return [Path(line.partition("<")[2].partition(">")[0]).name for line in traced.read_text().splitlines()]


def test_a_request_that_is_only_recorded_is_one_transaction(deployed: Cli) -> None:
    assert syncs(deployed, "deploy", "--image", "nginx:2", "--detach") == TRANSACTION


def test_a_request_that_is_applied_is_two_transactions_whatever_it_changes(deployed: Cli) -> None:
    deployed.run("deploy", "--image", "nginx:2", "--wait").done()  # what became of the pods is recorded then
    many = [f"--env=KEY_{number}=1" for number in range(20)]
    assert syncs(deployed, "env", "create", *many) == 2 * TRANSACTION


@pytest.mark.parametrize("args", [("deploy", "get"), ("deploy", "releases"), ("audit", "log")])
def test_a_question_waits_for_no_disk(deployed: Cli, args: tuple[str, ...]) -> None:
    assert syncs(deployed, *args) == []
