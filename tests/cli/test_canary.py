"""A secret is nowhere but in the sealed table: not in a file, an output, a process, a database or its server's log."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from ledger import sealing
from ledger.app import Life
from ledger.errors import SealedError
from ledger.keys import KeyFiles
from ledger.ledger import Ledger
from ledger.spec import AppId
from ledger.store import LifeKeyRow
from ledger.stores import open_store
from tests.canary import CANARY, ENCODINGS, files_that_leak, leaks
from tests.cli import in_process
from tests.cli_support import ROOT, Cli, Result, write_toml
from tests.faults import dose
from tests.postgres_support import Server, administer, name_of

VISIBLE = "visible-canary"
"""Not a secret: what is looked for with it is found, so the search looks in the right places."""

LINE = "{}='" + CANARY.replace("'", "") + "'\n"
QUOTED = '{}="' + CANARY.replace('"', '\\"') + '"\n'


# -- The search itself -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "planted"),
    [
        ("raw", CANARY.encode()),
        ("base64", b""),
        ("base64url", b""),
        ("hex", CANARY.encode().hex().encode()),
        ("hex", CANARY.encode().hex().upper().encode()),
        ("JSON", json.dumps({"token": CANARY}).encode()),
        ("JSON", json.dumps({"token": CANARY}, ensure_ascii=False).encode()),
        ("percent", b"c4n4ry%27%CE%A9%C3%B7%20%22%C3%BF%3E%3F~%26%3Dtail"),
        ("percent", b"https://host/?token=c4n4ry%27%ce%a9%c3%b7+%22%c3%bf%3e%3f~%26%3dtail"),
        ("UTF-16", CANARY.encode("utf-16")),
        ("UTF-16", CANARY.encode("utf-16-be")),
        ("escaped", repr(CANARY.encode()).encode()),
        ("escaped", ascii(CANARY).encode()),
        ("escaped", rb"""$'c4n4ry\'\316\251\303\267 "\303\277>?~&=tail'"""),
        ("escaped", rb"""c4n4ry'\316\251\303\267 "\303\277>?~&=tail"""),
    ],
)
def test_a_planted_secret_is_found_in_each_encoding(name: str, planted: bytes, tmp_path: Path) -> None:
    """Each is written out by hand or by another hand than that of `tests.canary`."""
    for before in (b"", b"x", b"xx", b"user:", b'{"auth":"') if name.startswith("base64") else ():
        typed = before + CANARY.encode()
        planted = subprocess.run(["base64", "-w0"], input=typed, capture_output=True, check=True).stdout
        if name == "base64url":
            planted = planted.replace(b"+", b"-").replace(b"/", b"_")
        assert leaks(CANARY, planted) == [name], before
    assert leaks(CANARY, planted) == [name]
    (tmp_path / "deep" / "down").mkdir(parents=True)
    path = tmp_path / "deep" / "down" / "leak"
    path.write_bytes(b"\0" * 5000 + planted + b"\n")
    assert files_that_leak(CANARY, tmp_path) == {str(path): [name]}


def test_a_secret_planted_in_a_database_is_found_in_each_encoding(database: str) -> None:
    administer(database, "CREATE TABLE public.planted (bytes bytea, words text)")
    for name, encode in ENCODINGS.items():
        with psycopg.connect(database, autocommit=True) as connection:
            for form in encode(CANARY):
                connection.execute("TRUNCATE planted")
                connection.execute("INSERT INTO planted VALUES (%s, NULL)", [form])
                assert name in leaks(CANARY, dump(database, "public.planted"))
            connection.execute("INSERT INTO planted VALUES (NULL, %s)", [CANARY])
    assert "raw" in leaks(CANARY, dump(database, "public.planted"))


def test_a_secret_in_a_statement_is_found_in_the_servers_log(postgres: Server, database: str) -> None:
    make_talkative(postgres, database)
    before = len(postgres.log.read_bytes())
    administer(database, f"SELECT $secret${CANARY}$secret$")
    assert leaks(CANARY, postgres.log.read_bytes()[before:]) == ["raw"]


def test_there_are_eight_and_none_is_found_where_there_is_none() -> None:
    assert len(ENCODINGS) == 8
    assert set(ENCODINGS) == {"raw", "base64", "base64url", "hex", "JSON", "percent", "UTF-16", "escaped"}
    assert leaks(CANARY, b"c4n4ry canary " + os.urandom(100_000)) == []


def test_a_value_that_was_cut_off_is_found() -> None:
    assert leaks(CANARY, CANARY.encode()[:30] + b"...") == ["raw"]
    assert leaks(CANARY, CANARY.encode().hex()[:60].encode()) == ["hex"]


# -- The story ---------------------------------------------------------------------------------------------------------


class Teller:
    """A user of one ledger, who looks everywhere after each command, and all the time."""

    def __init__(self, root: Path, address: str | None, server: Server | None) -> None:
        for app in ("user-service", "order-service"):
            write_toml(root / "services" / app, app)
        (root / "tmp").mkdir()
        self.root, self.address, self.server = root, address, server
        env = {"TMPDIR": str(root / "tmp"), "ONECTL_DEBUG": "1", **({"ONECTL_LEDGER": address} if address else {})}
        self.cli = Cli(root / "home", root / "services" / "user-service", env)
        self._log_from = len(server.log.read_bytes()) if server is not None else 0
        self._seen: set[tuple[str, int, int]] = set()

    @property
    def looked_in(self) -> Sequence[Path]:
        """Where everything lies that commands write: the home, temporary files, and what they were told to write."""
        return (self.root / "home", self.root / "tmp", self.root / "out")

    def does(self, *args: str, input: str | None = None, code: int = 0, app: str = "user-service") -> Result:  # noqa: A002
        """A command; nothing that it said or left behind holds the secret."""
        env = {**self.cli.environ(), "PATH": os.environ["PATH"]}
        result = in_process.run(*args, cwd=self.root / "services" / app, env=env, stdin=input or "")
        return self._looked_at(result, code)

    def dies(self, *args: str, at: str, input: str | None = None) -> Result:  # noqa: A002
        """The same as a process of its own, which kills itself at a place."""
        return self._looked_at(self.cli.run(*args, input=input, env={"ONECTL_CRASH_AT": at}), -signal.SIGKILL)

    def _looked_at(self, result: Result, code: int) -> Result:
        assert result.code == code, result
        assert leaks(CANARY, (result.stdout + result.stderr).encode()) == [], result.command
        assert files_that_leak(CANARY, *self.looked_in, seen=self._seen) == {}, result.command
        return result

    @contextmanager
    def watched(self) -> Iterator[None]:
        """A block during which files are searched again and again: what is there for a moment only, as a journal."""
        found, over, seen = dict[str, list[str]](), threading.Event(), set[tuple[str, int, int]]()

        def watch() -> None:
            while not over.wait(0.02):
                found.update(files_that_leak(CANARY, *self.looked_in, seen=seen))

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        assert found == {}

    def everything_kept(self) -> bytes:
        """All that is stored: every file, or every table of the database and what its server has logged."""
        files = b"".join(path.read_bytes() for part in self.looked_in for path in part.rglob("*") if path.is_file())
        if self.address is None or self.server is None:
            return files
        return files + dump(self.address) + self.log()

    def log(self) -> bytes:
        """What the server has logged since the user began."""
        return self.server.log.read_bytes()[self._log_from :] if self.server is not None else b""


def dump(url: str, *tables: str) -> bytes:
    """Tables of a database in each format that the server has; without a name all that are not the server's own."""
    parts = []
    with psycopg.connect(url, autocommit=True) as connection:
        names = tables or (*_all_tables(connection), "pg_stat_activity")
        for style, form in (("hex", "text"), ("escape", "text"), ("hex", "binary")):
            connection.execute(f"SET bytea_output = {style}".encode())
            for name in names:
                asked = (
                    f"COPY (SELECT * FROM {name}) TO STDOUT (FORMAT {form})"
                    if name != "pg_stat_activity"
                    else _ACTIVITY
                )
                with connection.cursor().copy(asked.encode()) as copied:
                    parts += [bytes(part) for part in copied]
    return b"".join(parts)


_ACTIVITY = "COPY (SELECT query FROM pg_stat_activity) TO STDOUT"


def _all_tables(connection: psycopg.Connection[tuple[str]]) -> list[str]:
    rows = connection.execute(
        "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables"
        " WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
    ).fetchall()
    assert len(rows) > 8, "views are tables here"
    return [name for (name,) in rows]


@pytest.fixture(params=dose.of(few=["sqlite"], short=["sqlite", "postgresql"], long=["sqlite", "postgresql"]))
def teller(request: pytest.FixtureRequest, tmp_path: Path) -> Teller:
    if request.param == "sqlite":
        return Teller(tmp_path, None, None)
    server, database = request.getfixturevalue("postgres"), request.getfixturevalue("database")
    make_talkative(server, database)
    return Teller(tmp_path, database, server)


def make_talkative(server: Server, database: str) -> None:
    """Have a server log all it can: every statement with every parameter, and every error in full."""
    name = name_of(database)
    for setting in (
        "log_statement = 'all'",
        "log_min_duration_statement = 0",
        "log_parameter_max_length = -1",
        "log_parameter_max_length_on_error = -1",
        "log_error_verbosity = 'verbose'",
    ):
        server.execute(f"ALTER DATABASE {name} SET {setting}")


def test_a_secret_is_nowhere_in_the_clear_at_any_step(teller: Teller) -> None:
    with teller.watched():
        _told(teller)
    kept = teller.everything_kept()
    assert leaks(CANARY, kept) == []
    assert VISIBLE.encode() in kept
    if teller.server is not None:
        log = teller.log()
        assert b"append_events" in log
        assert VISIBLE.encode().hex().encode() in log or VISIBLE.encode() in log, "the log tells all that is sent"


def _told(teller: Teller) -> None:
    does, out = teller.does, teller.root / "out"
    out.mkdir()
    secret = ("secret", "create")
    # The guide, and what else is done to an app.
    does("deploy", "--image", "nginx:alpine", "--machine", "compute-main-01", "--wait")
    does("deploy", "--image", "nginx:alpine", "--wait", app="order-service")
    does("env", "create", "--env", f"NOTE={VISIBLE}", app="order-service")
    does(*secret, "--kv", f"JWT_SECRET={CANARY}")
    does(*secret, "--kv", f"JWT_SECRET={CANARY}", "--request-id", "again")
    does(*secret, "--kv", f"JWT_SECRET={CANARY}", "--request-id", "again")
    does(*secret, "--key", "DATABASE_URL", input=f"{CANARY}\n", app="order-service")
    does(*secret, input=QUOTED.format("THIRD"))
    (teller.root / "secrets.env").write_text(QUOTED.format("FOURTH"))
    does("-o", "json", *secret, "--kv-file", str(teller.root / "secrets.env"))
    does(*secret, "--kv", f"JWT_SECRET={CANARY}", "--dry-run")
    # Refused, and worded.
    for malformed in (f"TOKEN-{CANARY}", f"={CANARY}", CANARY):
        does(*secret, "--kv", malformed, code=3)
        does(*secret, input=f"{malformed}\n", code=3)
    does(*secret, input=f'THIRD="{CANARY}', code=3)
    does(*secret, "--kv-file", "none.env", code=3)
    does(*secret, "--kv", f"NOTE={CANARY}", code=3, app="order-service")
    does(*secret, input=QUOTED.format("BIG").replace("tail", "tail" * 300_000), code=3)
    # Pods get it, lose it, get it back.
    does("deploy", "restart")
    does("deploy", "--image", "nginx:1.27", "--wait", "--reason", "newer")
    does("deploy", "--image", "broken:2", "--wait", code=4)
    does("deploy", "rollback", "-y", "--wait")
    does(*secret, "--key", "JWT_SECRET", input="another\n")
    does("deploy", "restart", app="order-service")
    does("deploy", "rollback", "--version", "2", "-y", "--wait")
    does("secret", "unset", "--key", "THIRD")
    # Every question about now and then.
    reads = ("deploy get", "deploy list", "deploy releases", "deploy status", "env list", "secret list")
    for read in (*reads, "deploy events", "deploy blame", "deploy diff 1 2", "deploy diff live", "audit log"):
        does(*read.split())
        does("-o", "json", *read.split())
    does("deploy", "releases", "--wide")
    does("secret", "list", "--at-release", "1", "--all")
    # Keys, leaks, proofs.
    does("secret", "rotate-keys", "--dry-run")
    does("secret", "rotate-keys", "-y")
    does("deploy", "restart", app="order-service")
    does("secret", "purge", "FOURTH", "-y", "--reason", "leaked")
    does("audit", "verify")
    does("audit", "checkpoint", "--file", str(out / "checkpoint"))
    does("audit", "prove", "--release", "2", "--file", str(out / "release-2.tlog-proof"))
    (out / "witness").mkdir()
    does("audit", "witness", str(out / "witness"))
    does("ledger", "status")
    does("ledger", "rebuild")
    # Everywhere that a ledger goes.
    for name in ("jsonl", "csv", "cloudevents"):
        does("audit", "export", "--format", name, "--file", str(out / f"export.{name}"))
        does("audit", "export", "--format", name)
    does("--ledger", str(out / "replica.db"), "audit", "import", str(out / "export.jsonl"))
    does("ledger", "backup", str(out / "backup.db"))
    does("--ledger", str(out / "restored.db"), "ledger", "restore", str(out / "backup.db"), "-y")
    does("--ledger", str(out / "restored.db"), "ledger", "copy", "--to", str(out / "copied.db"))
    # The end, and a new life.
    does("deploy", "destroy", "-y")
    does("deploy", "restore", code=3)
    does("deploy", "restore", "--kv-file", "-", input=QUOTED.format("JWT_SECRET"))
    does("deploy", "destroy", "-y")
    does("deploy", "destroy", "-y", app="order-service")
    does("deploy", "releases")
    does("audit", "verify")


@pytest.mark.crash
@pytest.mark.parametrize("point", ["applied ConfigMap", "applied Secret", "before ResourcesApplied"])
def test_a_process_that_dies_leaves_it_nowhere(teller: Teller, point: str) -> None:
    teller.does("deploy", "--image", "nginx:alpine")
    teller.does("secret", "create", "--key", "TOKEN", input=f"{CANARY}\n")
    with teller.watched():
        teller.dies("deploy", "restart", at=point)
        teller.dies("secret", "create", "--key", "TOKEN", input=f"{CANARY}2\n", at=point)
        teller.does("deploy", "status")
    assert leaks(CANARY, teller.everything_kept()) == []


# -- Bugs of our own ---------------------------------------------------------------------------------------------------

BUG = """
import importlib, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != {module!r}:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module
        def exec_module(module):
            load(module)
            {change}
        spec.loader.exec_module = exec_module
        return spec
import importlib.util
sys.meta_path.insert(0, Finder())
"""


def with_bug(cli: Cli, directory: Path, module: str, change: str) -> Cli:
    """The user of a program in which a module was changed after it was loaded."""
    directory.mkdir(exist_ok=True)
    (directory / "sitecustomize.py").write_text(BUG.format(module=module, change=change))
    return cli.having(PYTHONPATH=f"{ROOT}{os.pathsep}{directory}")


BROKEN = {
    "sealing": ("ledger.sealing", "module.seal_value = lambda value, *more: value.no_such_thing"),
    "opening": ("ledger.sealing", "module.open_value = lambda *values: {}[values]"),
    "recording": ("ledger.recorder", "module.LedgerRecorder.append = lambda self, *a, **k: k.no_such_thing"),
    "applying": ("effects.sandbox", "module.SandboxCluster.apply = lambda self, manifest, **k: manifest.no_such_thing"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_not_even_a_bug_of_ours_prints_it(teller: Teller, broken: str) -> None:
    teller.does("deploy", "--image", "nginx:alpine")
    teller.does("secret", "create", "--key", "OLDER", input=f"{CANARY}\n")
    cli = with_bug(teller.cli, teller.root / "bug", *BROKEN[broken])
    for args, typed in ((("secret", "create"), QUOTED.format("TOKEN")), (("deploy", "restart"), None)):
        result = cli.run(*args, input=typed)
        assert leaks(CANARY, (result.stdout + result.stderr).encode()) == [], result
        assert files_that_leak(CANARY, *teller.looked_in) == {}
        if broken != "opening" and args != ("deploy", "restart"):
            assert "Traceback" in result.stderr
            assert result.code in (1, 6)


# -- Processes ---------------------------------------------------------------------------------------------------------


def processes_of(pid: int) -> dict[int, bytes]:
    """Of a process and all it has started: arguments, environment, and what lies in files they have open."""
    found = {}
    for each in [pid, *_children(pid)]:
        parts = [Path(f"/proc/{each}/{name}").read_bytes() for name in ("cmdline", "environ")]
        for link in Path(f"/proc/{each}/fd").iterdir():
            if link.stat().st_mode & 0o170000 == 0o100000:  # a regular file, also one that has no name any more
                parts.append(link.read_bytes())
        found[each] = b"\0".join(parts)
    return found


def _children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield int(child)
            yield from _children(int(child))


HOLD = """(
    setattr(module, {name!r}, (lambda real: lambda *a: (
        open({marker!r}, 'w').close(), __import__('time').sleep(60), real(*a))[2])(module.{name})))"""


@pytest.mark.parametrize("function", ["seal_value", "open_value"])
def test_it_is_in_no_argument_environment_or_open_file_of_a_process_that_has_it_in_hand(
    teller: Teller, function: str
) -> None:
    teller.does("deploy", "--image", "nginx:alpine")
    teller.does("secret", "create", "--key", "OLDER", input=f"{CANARY}\n")
    marker = teller.root / "holding"
    change = HOLD.format(name=function, marker=str(marker)).replace("\n", " ")
    cli = with_bug(teller.cli, teller.root / "bug", "ledger.sealing", change)
    child = cli.start("secret", "create", "--key", "TOKEN", stdin=subprocess.PIPE)
    try:
        assert child.stdin is not None
        child.stdin.write(f"{CANARY}\n".encode())
        child.stdin.close()
        child.stdin = None
        deadline = time.monotonic() + 30
        while not marker.exists():
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        seen = processes_of(child.pid)
        assert b"rotate" not in seen[child.pid]
        assert str(teller.root).encode() in seen[child.pid], "its environment is seen"
        assert leaks(CANARY, b"\0".join(seen.values())) == []
        assert leaks(CANARY, teller.everything_kept()) == []
    finally:
        child.kill()
        child.communicate()


def test_a_program_that_is_started_gets_nothing_of_it(teller: Teller) -> None:
    """Beside credential plugins only git is ever started (the next test says so); here it is one that tells what it got."""
    programs, told = teller.root / "programs", teller.root / "told"
    programs.mkdir()
    (programs / "git").write_text(
        f"#!/bin/sh\ntr '\\0' '\\n' < /proc/$$/environ >> {told}\necho \"$@\" >> {told}\n"
        f"case \"$*\" in *rev-parse*) printf '%s\\n' {teller.root} index objects {'0' * 40};; esac\n"
    )
    (programs / "git").chmod(0o755)
    cli = teller.cli.having(PATH=f"{programs}:{os.environ['PATH']}")
    cli.run("deploy", "--image", "nginx:alpine").done()
    cli.run("secret", "create", "--key", "TOKEN", input=f"{CANARY}\n").done()
    cli.run("deploy", "--image", "nginx:2").done()
    content = told.read_bytes()
    assert content.count(b" rev-parse ") == 2
    assert content.count(b" status ") == 2
    assert leaks(CANARY, content) == []


def test_no_other_program_is_ever_started() -> None:
    starts = re.compile(r"\bsubprocess\b|\bos\.(exec|spawn|system|popen|fork|posix_spawn)|\bpty\b|multiprocessing")
    found = {
        str(path.relative_to(ROOT))
        for package in ("ledger", "projections", "effects", "cli")
        for path in (ROOT / package).glob("*.py")
        if starts.search(path.read_text())
    }
    assert found == {"cli/checkout.py", "effects/kubernetes_plugins.py"}, "git, and plugins that a kubeconfig names"


# -- After the end -----------------------------------------------------------------------------------------------------


def test_after_destroy_not_even_the_key_opens_it(teller: Teller) -> None:
    teller.does("deploy", "--image", "nginx:alpine")
    teller.does("secret", "create", "--key", "TOKEN", input=f"{CANARY}\n")
    teller.does("deploy", "restart")
    address = teller.address or str(teller.cli.ledger)
    with closing(open_store(address)) as store:
        ledger = Ledger(store, KeyFiles(teller.cli.home / "keys"), mint_domain=lambda: "")
        life = ledger.app(AppId("sandbox", "default", "user-service")).life
        assert life is not None
        key = store.life_key(life.deployment_id)
        assert key is not None
        sealed = store.sealed(life.deployment_id)
        assert ledger.open_secrets(life, life.secrets) == {"TOKEN": CANARY.encode()}
        teller.does("deploy", "destroy", "-y")
        assert (store.life_key(life.deployment_id), store.sealed(life.deployment_id)) == (None, {})
        with pytest.raises(SealedError, match="shredded"):
            ledger.open_secrets(life, life.secrets)
        assert not ledger.can_open_secrets(life)
        _assert_gone(teller, life, key, sealed)


def _assert_gone(teller: Teller, life: Life, key: LifeKeyRow, sealed: object) -> None:
    """Neither wrapped key nor ciphertext is in what is kept; with them, and only with them, the identity would open it."""
    assert isinstance(sealed, dict)
    tables = dump(teller.address) if teller.address else b""
    files = [path for path in teller.cli.home.rglob("*") if path.is_file()]
    kept = tables + b"".join(path.read_bytes() for path in files)
    for part in (bytes(key.wrapped), *map(bytes, sealed.values())):
        assert part not in kept
        assert part.hex().encode() not in kept
    (path,) = (teller.cli.home / "keys").glob("*.identity.key")
    ledger_id = path.name.partition(".")[0]
    private = KeyFiles(teller.cli.home / "keys").identity_private(ledger_id, key.identity)
    assert private is not None
    life_private = sealing.unwrap(bytes(key.wrapped), life.deployment_id, private)
    opened = sealing.open_value(bytes(sealed["TOKEN", 1]), life.deployment_id, "TOKEN", 1, life_private)
    assert opened == CANARY.encode()
    assert administer(teller.address, "SELECT count(*) FROM sealed_values") == [(0,)] if teller.address else True
