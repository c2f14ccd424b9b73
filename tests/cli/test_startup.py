"""What a cold start may cost, without a clock: modules imported, statements run, files written."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli_support import Cli, commands, write_toml

HEAVY = {
    "sqlalchemy", "kubernetes", "pydantic", "psycopg", "rich", "requests", "yaml", "asyncio", "cryptography",
    "eventsourcing", "urllib3", "http", "email", "ssl", "unittest", "importlib.metadata",
}  # fmt: skip

RUNNER = """
import json, sys
out, traced, sys.argv = sys.argv[1], sys.argv[2] == "traced", ["1ctl", *sys.argv[3:]]
statements = []
if traced:
    import sqlite3

    def connect(*args, _connect=sqlite3.connect, **options):
        connection = _connect(*args, **options)
        connection.set_trace_callback(statements.append)
        return connection

    sqlite3.connect = connect
from cli.main import main
code = main()
with open(out, "w") as file:
    json.dump({"modules": sorted(sys.modules), "statements": statements}, file)
sys.exit(code)
"""

HELPER = """
import json, sys
from cli.main import main
imported = []
for path in json.loads(sys.argv[1]):
    sys.argv = ["1ctl", *path, "--help"]
    assert main() == 0
    imported.append(sorted(sys.modules))
    print(end="\\0")
json.dump(imported, sys.stderr)
"""

READS = [
    ["deploy", "get"],
    ["deploy", "releases"],
    ["deploy", "list"],
    ["env", "list"],
    ["secret", "list"],
]
NO_LEDGER = [["--version"], ["--help"]]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run needed."""

    modules: set[str]
    statements: list[str]

    def of(self, *packages: str) -> set[str]:
        """Modules of these packages."""
        return {name for name in self.modules if name.split(".")[0] in packages or name in packages}


def cost(cli: Cli, *args: str, traced: bool = False) -> Cost:
    out = cli.cwd / "cost.json"
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, str(out), "traced" if traced else "", *args],
        cwd=cli.cwd,
        env=cli.environ(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    out.unlink()
    return Cost(set(found["modules"]), found["statements"])


def state(directory: Path) -> dict[str, str]:
    """Every file and its content."""
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A user with an app that has everything set, whose list is up to date."""
    base = tmp_path_factory.mktemp("startup")
    write_toml(base / "svc", "user-service")
    cli = Cli(base / "home", base / "svc")
    for args in (["--image", "nginx:1", "--env", "A=b"], ["--image", "nginx:2"]):
        cli.run("deploy", *args).done()
    cli.run("secret", "create", "--kv", "TOKEN=value").done()
    cli.run("deploy", "list").done()
    return cli


@pytest.mark.parametrize("args", READS, ids=" ".join)
def test_a_read_imports_no_heavy_library_and_nothing_of_effects(used: Cli, args: list[str]) -> None:
    assert cost(used, *args).of(*HEAVY, "effects") == set()


@pytest.mark.parametrize("args", NO_LEDGER, ids=" ".join)
def test_version_and_help_know_nothing_of_the_ledger(used: Cli, args: list[str]) -> None:
    assert cost(used, *args).of(*HEAVY, "projections", "effects", "sqlite3", "orjson") == set()


def test_the_version_imports_nothing_of_ours_but_the_command_line(used: Cli) -> None:
    found = cost(used, "--version")
    assert found.of("ledger", "projections", "effects") <= {"ledger", "ledger.errors"}
    assert len(found.of("cli")) <= 6


def test_help_imports_no_heavy_library(used: Cli) -> None:
    paths = commands()
    done = subprocess.run(
        [sys.executable, "-c", HELPER, json.dumps(paths)],
        cwd=used.cwd,
        env=used.environ(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    # One process for all: what the first heavy one imports, all after it have too.
    assert done.stdout.count("\0") == done.stdout.count("Usage: 1ctl") == len(paths)
    for path, modules in zip(paths, json.loads(done.stderr), strict=True):
        assert Cost(set(modules), []).of(*HEAVY) == set(), path


@pytest.mark.parametrize(
    ("args", "allowed"),
    [
        (["deploy", "status"], {"eventsourcing", "cryptography"}),
        (["deploy", "--image", "nginx:3"], {"eventsourcing", "cryptography"}),
        (["deploy", "restart"], {"eventsourcing", "cryptography"}),
        (["deploy", "scale", "--replicas", "2"], {"eventsourcing", "cryptography"}),
        (["env", "create", "--env", "C=d"], {"eventsourcing", "cryptography"}),
        (["audit", "verify"], set()),
        (["profile", "list"], set()),
        (["profile", "current"], set()),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_write_on_the_embedded_default_imports_only_what_it_uses(
    used: Cli, args: list[str], allowed: set[str]
) -> None:
    needed = {"importlib.metadata", "email", "asyncio", "ssl", "http"} if allowed else set()
    assert cost(used, *args).of(*(HEAVY - allowed - needed)) == set()


def test_an_address_is_shown_without_waiting_for_its_driver(used: Cli) -> None:
    named = used.having(ONECTL_LEDGER="postgresql://u:p@db.example.com/ledger")
    assert cost(named, "profile", "current").of(*HEAVY) == set()


def test_a_deploy_that_only_records_imports_nothing_that_applies_or_seals(cli: Cli) -> None:
    write_toml(cli.cwd, "user-service")
    cli.run("deploy", "--image", "nginx:1", "--detach").done()

    found = cost(cli, "deploy", "--image", "nginx:2", "--env", "A=b", "--detach")

    assert found.of("effects", *(HEAVY - {"eventsourcing", "importlib.metadata", "email", "asyncio"})) == set()


@pytest.mark.parametrize("args", READS, ids=" ".join)
def test_a_read_runs_few_statements(used: Cli, args: list[str]) -> None:
    used.run("deploy", "list").done()
    found = cost(used, *args, traced=True).statements
    assert 0 < len(found) <= 11, found
    assert not [text for text in found if text.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE", "CREATE"))]


@pytest.mark.parametrize("args", READS, ids=" ".join)
def test_the_number_of_statements_does_not_grow_with_the_history(used: Cli, args: list[str]) -> None:
    used.run("deploy", "list").done()
    before = len(cost(used, *args, traced=True).statements)
    for number in range(3):
        used.run("env", "create", "--env", f"A={number}").done()
    used.run("deploy", "list").done()
    assert len(cost(used, *args, traced=True).statements) == before


@pytest.mark.parametrize("args", [*READS, ["audit", "verify"], ["profile", "list"]], ids=" ".join)
def test_a_read_with_nothing_new_writes_no_file(used: Cli, args: list[str]) -> None:
    used.run("deploy", "list").done()
    before = state(used.home)
    used.run(*args).done()
    assert state(used.home) == before


@pytest.mark.parametrize("args", [*READS, ["audit", "verify"], ["profile", "list"]], ids=" ".join)
def test_a_read_with_nothing_at_all_makes_no_file(cli: Cli, args: list[str]) -> None:
    cli.run(*args)
    assert not cli.home.exists()
