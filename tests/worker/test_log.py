"""A worker's log alone tells what it did, and a failure that goes on does not fill it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from effects.cluster import Ref
from tests.cli_support import Cli, tamper, write_toml
from tests.effects.worlds import eventually
from tests.postgres_support import Server
from tests.worker.commands import Run, worker


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    write_toml(tmp_path / "svc", "user-service")
    return Cli(tmp_path / "home", tmp_path / "svc")


def told(run: Run, message: str) -> list[dict[str, object]]:
    """The lines with a message, without when and how loud."""
    return [
        {key: value for key, value in line.items() if key not in ("time", "level", "message")}
        for line in run.log()
        if line["message"] == message
    ]


def test_what_was_applied_set_back_and_removed_is_told(cli: Cli) -> None:
    with worker(cli) as run:
        cli.run("deploy", "--image", "nginx:alpine", "--wait").done()
        cluster = cli.cluster()
        cluster.edit(Ref("Deployment", "default", "user-service"), {"spec": {"replicas": 4}})
        cluster.close()
        eventually(lambda: told(run, "drift"))
        cli.run("deploy", "destroy", "-y").done()
        eventually(lambda: told(run, "removed"))
    app = {"app": "user-service", "namespace": "default"}
    (began,) = told(run, "start")
    assert began["cluster"] == "sandbox"
    assert str(began["ledger"]).endswith("sandbox.db")
    (applied,) = told(run, "applied")
    objects = ("ConfigMap", "Deployment", "Service", "HTTPRoute")
    assert applied == {**app, "release": 1, "through": applied["through"], "objects": len(objects)}
    (drift,) = told(run, "drift")
    assert drift == {**app, "object": "deployment/user-service", "fields": ["spec.replicas"], "action": "healed"}
    assert told(run, "removed") == [{**app, "release": 1}]
    assert run.log()[-1]["message"] == "ended"


def has_read(cli: Cli, position: int) -> bool:
    """Whether the leader said that it has worked on everything up to there."""
    leader = cli.run("worker", "status", "-o", "json").json["leader"]
    return leader is not None and leader["position"] >= position


def test_why_everything_is_looked_at_again_is_told_after_a_restore_that_is_as_long_as_what_was_read(
    cli: Cli, tmp_path: Path
) -> None:
    backup = tmp_path / "backup.db"
    with worker(cli) as run:
        cli.run("deploy", "--image", "nginx:alpine", "--wait").done()
        cli.run("ledger", "backup", str(backup)).done()
        cli.run("deploy", "mark-bad", "1", "--reason", "in no backup").done()
        (marked,) = cli.run("audit", "log", "--kind", "ReleaseMarkedBad", "-o", "json").json
        eventually(lambda: has_read(cli, marked["position"]))
        cli.run("ledger", "restore", str(backup), "--accept-loss", "-y").done()
        eventually(lambda: len(told(run, "leading")) > 1)
    (restored,) = cli.run("audit", "log", "--kind", "LedgerRestored", "-o", "json").json
    assert restored["position"] == marked["position"]
    (ended,) = told(run, "term ended")
    assert ended["error"] == "LeadershipLostError"
    assert "does not continue what was read" in str(ended["detail"])


def test_a_stand_by_says_once_that_it_is_one(cli: Cli) -> None:
    with worker(cli), worker(cli, leads=False, name="stand-by") as run:
        eventually(lambda: told(run, "standby"))
        time.sleep(1)
        assert told(run, "standby") == [{"cluster": "sandbox"}]


def test_the_last_json_line_says_why_it_ended_and_with_which_code(cli: Cli) -> None:
    cli.run("deploy", "--image", "nginx:alpine", "--detach").done()
    tamper(cli.ledger, "UPDATE stored_events SET state = '{}' WHERE topic = 'Deployed'")
    with worker(cli, leads=False, code=7) as run:
        eventually(lambda: run.process.poll() is not None)
    last = run.log()[-1]
    assert (last["message"], last["level"], last["exit_code"]) == ("ended", "ERROR", 7)
    assert last["error"] == "LedgerDamagedError"


def work_that_has_a_bug() -> None:
    """From now on working ends with an error that nobody expects."""
    _work_that_raises(ValueError("a bug"))


def work_that_cannot_be_told() -> None:
    """From now on what is said about the work cannot be written."""
    from cli.terminal import OutputError

    _work_that_raises(OutputError("the output cannot be written: No space left on device"))


def work_that_nobody_listens_to() -> None:
    """From now on the reader of what is said about the work is gone."""
    _work_that_raises(BrokenPipeError())


def _work_that_raises(error: Exception) -> None:
    from effects.worker import Stop, Worker

    def fail(self: Worker, stop: Stop) -> NoReturn:
        raise error

    Worker.run_once = fail  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("change", "code"), [(work_that_has_a_bug, 6), (work_that_cannot_be_told, 6), (work_that_nobody_listens_to, 141)]
)
def test_the_code_in_the_log_is_that_of_the_process(cli: Cli, change: Callable[[], None], code: int) -> None:
    ended = replace(cli, change=f"{__name__}:{change.__name__}").run("worker", "run", "--once")
    last = [json.loads(line) for line in ended.stderr.splitlines() if line.startswith("{")][-1]
    assert (ended.code, last["message"], last["exit_code"]) == (code, "ended", code)


def test_an_outage_of_the_ledger_is_told_a_few_times_and_when_it_is_over(cli: Cli) -> None:
    server = Server()
    try:
        cli = cli.having(ONECTL_LEDGER=server.new_database())
        cli.run("ledger", "migrate").done()
        with worker(cli, "--lease", "2s") as run:
            server.kill()
            eventually(lambda: told(run, "ledger"))
            time.sleep(6)
            server.start_again()
            (over,) = eventually(lambda: told(run, "answers again"))
            eventually(lambda: len(told(run, "leading")) == 2)
        said = told(run, "ledger")
        assert 1 <= len(said) <= 8, said
        assert isinstance(over["failures"], int)
        assert over["failures"] >= len(said)
        assert isinstance(over["seconds"], float)
    finally:
        server.close()
