"""What an operator of a worker relies on: it ends in order, survives what comes back, and says what does not."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.exit_codes import ExitCode
from effects.worker import STOP_SECONDS
from tests.cli_support import Cli, tamper, write_toml
from tests.effects.worlds import eventually
from tests.faults import dose
from tests.faults.canary import CANARY
from tests.faults.ledger_invariants import canary_is_nowhere
from tests.faults.plan import Fault, Plan
from tests.faults.proxy import CONTEXT, FaultProxy
from tests.kubernetes_support import Administrator, kubeconfig
from tests.postgres_support import Server
from tests.worker.commands import Run

SECONDS = 60.0
DEPLOY = ("deploy", "--image", "nginx:alpine")


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    write_toml(tmp_path / "svc", "user-service")
    return Cli(tmp_path / "home", tmp_path / "svc")


@contextmanager
def worker(cli: Cli, *args: str, name: str = "worker") -> Iterator[Run]:
    """A worker process; killed at the end if it still runs."""
    log = cli.home.parent / f"{name}.log"
    with log.open("wb") as out:
        process = cli.start("worker", "run", "--listen", "127.0.0.1:0", *args, stdout=out, stderr=out)
    try:
        yield Run(process, log)
    finally:
        process.kill()
        process.wait()


def text(run: Run) -> str:
    return run._log.read_text()


def test_sigterm_ends_it_within_two_seconds_with_what_is_in_work_finished(cli: Cli) -> None:
    """Whatever else this machine has to do only makes it slower: so the quickest of three counts."""
    took: list[float] = []
    for attempt in range(3):
        with worker(cli, name=f"worker-{attempt}") as run:
            eventually(run.leads, within=SECONDS)
            for number in range(5):
                write_toml(cli.cwd.parent / f"svc-{number}", f"svc-{number}")
                cli.within(cli.cwd.parent / f"svc-{number}").run(*DEPLOY, "--detach").done()
            began = time.monotonic()
            run.process.send_signal(signal.SIGTERM)
            assert run.process.wait(SECONDS) == 0
            took.append(time.monotonic() - began)
        assert cli.run("-o", "json", "worker", "status").json["leader"] is None
        if took[-1] <= 2:
            break
    assert min(took) <= 2, took
    with worker(cli, name="next"):
        eventually(lambda: set(cli.objects()) >= {f"Deployment/svc-{number}" for number in range(5)}, within=SECONDS)


def test_it_answers_while_it_leads_and_while_it_stands_by_and_logs_one_object_a_line(cli: Cli) -> None:
    with worker(cli) as leads:
        eventually(leads.leads, within=SECONDS)
        with worker(cli, name="stand-by") as stands_by:
            for run, number in ((leads, "1.0"), (stands_by, "0.0")):
                eventually(lambda run=run: run.get("/readyz")[0] == 200, within=SECONDS)  # type: ignore[misc]
                assert run.get("/healthz") == (200, "ok\n")
                metrics = run.get("/metrics")[1]
                assert f"onectl_leader {number}" in metrics
                assert "onectl_lag_positions" in metrics
            cli.run(*DEPLOY, "--wait").done()
    for run in (leads, stands_by):
        told = [line for line in text(run).splitlines() if not line.startswith(("💡", "listening"))]
        assert told
        assert all({"time", "level", "message"} <= json.loads(line).keys() for line in told)


def test_a_ledger_that_was_tampered_with_ends_it_with_7_and_the_next_command(cli: Cli) -> None:
    cli.run(*DEPLOY, "--detach").done()
    tamper(cli.ledger, "UPDATE stored_events SET state = '{}' WHERE topic = 'Deployed'")
    with worker(cli) as run:
        assert run.process.wait(SECONDS) == ExitCode.DAMAGED
    assert text(run).count("❌") == 1
    assert "1ctl audit verify" in text(run) or "cannot be read" in text(run)
    assert "Traceback" not in text(run)


def test_a_full_disk_ends_it_and_says_so(cli: Cli) -> None:
    for number in range(12):  # what is observed of so many does not fit into pages that are there already
        write_toml(cli.cwd.parent / f"svc-{number}", f"svc-{number}")
        cli.within(cli.cwd.parent / f"svc-{number}").run(*DEPLOY, "--detach").done()
    with worker(replace(cli, change="tests.worker.test_operation:fill_the_disk")) as run:
        code = run.process.wait(SECONDS)
    assert code == ExitCode.FAILED, text(run)
    assert "full" in text(run)
    assert "Traceback" not in text(run)
    with worker(cli, name="with-room") as run:
        eventually(lambda: cli.events().count("ResourcesApplied") == 12, within=SECONDS)


def fill_the_disk() -> None:
    """Let no ledger grow, as SQLite itself sees a disk that is full."""
    connect = sqlite3.connect

    def connect_full(path: str, *args: Any, **more: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(path, *args, **more)
        if "ledgers" in str(path):
            connection.execute("PRAGMA max_page_count = 1")  # SQLite takes what there is, if that is more
        return connection

    sqlite3.connect = connect_full  # type: ignore[assignment]


@dose.not_few("the database is away for seconds")
def test_a_postgresql_that_is_killed_and_comes_back_is_survived(cli: Cli) -> None:
    server = Server()
    try:
        cli = cli.having(ONECTL_LEDGER=server.new_database())
        cli.run("ledger", "migrate").done()
        with worker(cli, "--lease", "2s") as run:
            eventually(run.leads, within=SECONDS)
            cli.run(*DEPLOY, "--wait").done()
            server.kill()
            eventually(lambda: run.get("/metrics")[0] == 200, within=SECONDS)
            eventually(lambda: any(line["message"] == "not leading" for line in run.log()), within=SECONDS)
            assert run.process.poll() is None
            server.start_again()
            eventually(lambda: sum(line["message"] == "leading" for line in run.log()) >= 2, within=SECONDS)
            cli.run("deploy", "--image", "nginx:2", "--wait").done()
            run.process.send_signal(signal.SIGTERM)
            assert run.process.wait(SECONDS) == 0
        assert "Traceback" not in text(run)
    finally:
        server.close()


@dose.not_few("the database is away for seconds")
def test_a_postgresql_that_is_away_when_it_starts_is_waited_for(cli: Cli) -> None:
    server = Server()
    try:
        cli = cli.having(ONECTL_LEDGER=server.new_database())
        cli.run("ledger", "migrate").done()
        server.kill()
        with worker(cli, "--lease", "2s") as run:
            eventually(lambda: any(line["message"] == "ledger" for line in run.log()), within=SECONDS)
            assert run.get("/healthz") == (200, "ok\n")
            assert run.get("/readyz")[0] == 503
            assert "❌" not in text(run)
            server.start_again()
            eventually(run.leads, within=SECONDS)
            cli.run(*DEPLOY, "--wait").done()
            run.process.send_signal(signal.SIGTERM)
            assert run.process.wait(SECONDS) == 0
        assert len(cli.run("-o", "json", "audit", "log", "--kind", "WorkerEnabled").done().json) == 1
    finally:
        server.close()


def test_a_database_that_does_not_let_it_in_ends_it(cli: Cli) -> None:
    server = Server()
    try:
        url = server.new_database()
        cli.having(ONECTL_LEDGER=url).run("ledger", "migrate").done()
        server.execute("CREATE ROLE nobody LOGIN")
        with worker(cli.having(ONECTL_LEDGER=url.replace("postgres@", "nobody@"))) as run:
            assert run.process.wait(SECONDS) == ExitCode.REFUSED
        assert text(run).count("❌") == 1
        assert "does not allow its user to do this" in text(run)
    finally:
        server.close()


@pytest.mark.kubernetes
def test_an_api_server_that_is_down_when_it_starts_is_waited_for(cli: Cli, tmp_path: Path) -> None:
    administrator = Administrator(kubeconfig())
    with administrator.namespace() as namespace, FaultProxy(kubeconfig()) as proxy:
        place = {"CONTEXT": CONTEXT, "KUBECONFIG": str(proxy.kubeconfig(tmp_path)), "NAMESPACE": namespace}
        cli = cli.having(**{f"ONECTL_{name}": value for name, value in place.items()}, ONECTL_CLUSTER="test")
        proxy.plan = Plan(odds={Fault.RESET_BEFORE: 1.0})
        with worker(cli) as run:
            eventually(run.leads, within=SECONDS)
            assert run.get("/healthz") == (200, "ok\n")
            cli.run(*DEPLOY, "--detach").done()
            eventually(lambda: [line for line in run.log() if line["message"] == "retry"], within=SECONDS)
            proxy.plan = Plan()
            status = eventually(
                lambda: (
                    found if (found := cli.run("-o", "json", "deploy", "status").json)["applied"] == "yes" else None
                ),
                within=SECONDS,
            )
            assert status
            run.process.send_signal(signal.SIGTERM)
            assert run.process.wait(SECONDS) == 0
    administrator.close()


@pytest.mark.kubernetes
def test_a_cluster_that_says_nothing_does_not_keep_it_from_ending(cli: Cli, tmp_path: Path) -> None:
    administrator = Administrator(kubeconfig())
    with administrator.namespace() as namespace, FaultProxy(kubeconfig()) as proxy:
        place = {"CONTEXT": CONTEXT, "KUBECONFIG": str(proxy.kubeconfig(tmp_path)), "NAMESPACE": namespace}
        cli = cli.having(**{f"ONECTL_{name}": value for name, value in place.items()}, ONECTL_CLUSTER="test")
        with worker(cli) as run:
            eventually(run.leads, within=SECONDS)
            proxy.plan = plan = Plan(odds={Fault.STALL_BEFORE: 1.0})
            cli.run(*DEPLOY, "--detach").done()
            eventually(lambda: [each for each in plan.faults() if each.asked.verb != "watch"], within=SECONDS)
            run.process.send_signal(signal.SIGTERM)
            assert run.process.wait(STOP_SECONDS + 15) == 0  # a request may take thirty
            assert any(line["message"] == "left in work" for line in run.log())
            assert "Traceback" not in text(run)
        assert cli.run("-o", "json", "worker", "status").json["leader"] is None
    administrator.close()


def test_no_secret_is_in_what_a_worker_prints_or_counts(cli: Cli) -> None:
    with worker(cli) as run:
        eventually(run.leads, within=SECONDS)
        cli.run(*DEPLOY, "--wait").done()
        cli.run("secret", "create", input=f"TOKEN={CANARY}\n").done()
        cli.run("deploy", "restart").done()
        eventually(lambda: cli.events().count("ResourcesApplied") >= 2, within=SECONDS)
        metrics = run.get("/metrics")[1]
    texts = {"log": text(run), "metrics": metrics}
    canary_is_nowhere(CANARY, files=[cli.home], texts=texts)
