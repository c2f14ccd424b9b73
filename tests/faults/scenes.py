"""Users to whom faults happen: with a ledger in a file or in a database, a cluster, a past, and a secret."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from effects.sandbox import SandboxCluster
from ledger.keys import KeyFiles
from ledger.ledger import Ledger
from ledger.spec import AppId
from ledger.store import ModelStore
from ledger.stores import open_store
from tests.cli import in_process
from tests.cli_support import SECONDS, Cli, Result, write_toml
from tests.effects.worlds import World
from tests.faults import ledger_invariants as invariants
from tests.faults.canary import CANARY
from tests.faults.ledger_invariants import NO_PAST, Past
from tests.faults.straced import injected
from tests.forks import forks, usable
from tests.postgres_support import Server, administer, name_of

NAME = "user-service"
Kind = Literal["SQLite", "SQLite WAL", "PostgreSQL"]
SQLITE: Kind = "SQLite"
WAL: Kind = "SQLite WAL"
POSTGRES: Kind = "PostgreSQL"
_CHANGES = {WAL: "tests.faults.changes:write_ahead_log"}

PATIENCE = 120.0
"""Seconds that a command may take; one that waits 60 for a worker is to say itself that it waited in vain."""

READS = (("deploy", "get"), ("deploy", "releases"), ("env", "list"), ("secret", "list"), ("deploy", "list", "--all"))


@dataclass(frozen=True, slots=True)
class Command:
    """What a user asks for, with a request id of its own.

    Attributes:
        name: What it is called in the name of a test.
        args: As typed.
        typed: On stdin.
        request_id: The request's; empty for what is not recorded.
    """

    name: str
    args: tuple[str, ...]
    typed: str = ""
    request_id: str = "the-request"

    @property
    def words(self) -> tuple[str, ...]:
        """The whole command line."""
        return (*self.args, "--request-id", self.request_id) if self.request_id else self.args

    def named(self, request_id: str) -> Command:
        """The same, asked for anew."""
        return replace(self, request_id=request_id)


FIRST = Command("first deploy", ("deploy", "--image", "nginx:alpine", "--env", "GREETING=hello"))
AGAIN = Command("redeploy", ("deploy", "--image", "nginx:2", "--env", "GREETING=bye"))
ENV = Command("env", ("env", "create", "--env", "COLOUR=blue"))
SECRET = Command("secret", ("secret", "create"), typed=f"JWT_SECRET={CANARY}2\n")
SCALE = Command("scale", ("deploy", "scale", "--replicas", "2"))
RESTART = Command("restart", ("deploy", "restart"))
ROLLBACK = Command("rollback", ("deploy", "rollback", "--version", "1", "-y"))
DESTROY = Command("destroy", ("deploy", "destroy", "-y"))
COMMANDS = (FIRST, AGAIN, ENV, SECRET, DESTROY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A user, their files, and what they were told so far.

    Attributes:
        cli: Runs commands as this user.
        kind: Where the ledger is.
        server: The database server, where there is one.
        past: What was answered so far.
        acknowledged: Request ids of what was acknowledged.
        sent: Request ids of all that was asked for.
        heard: Every result, for what must not be in it.
    """

    cli: Cli
    kind: Kind
    server: Server | None = None
    past: Past = NO_PAST
    acknowledged: set[str] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)
    heard: list[Result] = field(default_factory=list)

    # -- Who they are

    @property
    def address(self) -> str:
        """Of the ledger."""
        return self.cli.env.get("ONECTL_LEDGER", str(self.cli.ledger))

    @property
    def keys(self) -> KeyFiles:
        """Their key files."""
        return KeyFiles(self.cli.home / "keys")

    @contextmanager
    def store(self) -> Iterator[ModelStore]:
        """The ledger, opened."""
        store = open_store(Path(self.address) if self.server is None else self.address)
        try:
            yield store
        finally:
            store.close()

    def moved(self, directory: Path) -> Scene:
        """The same user on another machine, with copies of all files and of the database."""
        root = self.cli.home.parent
        shutil.copytree(root, directory, dirs_exist_ok=True)
        cli = replace(self.cli, home=directory / self.cli.home.name, cwd=directory / self.cli.cwd.name)
        if self.server is not None:
            self.wait_alone()
            cli = cli.having(ONECTL_LEDGER=self.server.new_database(f"TEMPLATE {self.database}"))
        return replace(
            self, cli=cli, acknowledged=set(self.acknowledged), sent=set(self.sent), heard=[], past=self.past
        )

    def gone(self) -> None:
        """Give the files and the database back."""
        shutil.rmtree(self.cli.home.parent)
        if self.server is not None:
            self.server.drop(self.address)

    @property
    def database(self) -> str:
        """Name of the database."""
        return name_of(self.address)

    def wait_alone(self) -> None:
        """Until the server has noticed that a killed command is gone: what it was asked to do it may still do."""
        if self.server is None:
            return
        others = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        deadline = time.monotonic() + 30
        while administer(self.address, others):
            assert time.monotonic() < deadline, "another connection stays open"
            time.sleep(0.002)

    # -- What they do

    def run(
        self,
        command: Command,
        *injections: str,
        stdout: int | None = None,
        before: Callable[[int], None] | None = None,
    ) -> Result:
        """Run a command, with what `strace` is told to do to its system calls; what was acknowledged is remembered.

        Args:
            command: What to run.
            injections: Options of `strace`.
            stdout: Descriptor to print on instead.
            before: Called with its process id before it begins.
        """
        self.sent.add(command.request_id)
        over: Callable[[], None] = _nothing
        if injections:
            before, over = injected(*injections)
        environ = self.cli.environ()
        if usable(environ):
            code, out, err = forks(postgres=self.server is not None, environ=environ).run(
                command.words,
                cwd=self.cli.cwd,
                environ=environ,
                stdin=command.typed.encode(),
                timeout=PATIENCE,
                change=self.cli.change,
                before=before,
                stdout=stdout,
            )
            over()
            result = Result(" ".join(command.words), out.decode(), err.decode(), code)
        else:
            assert before is None, "only copied processes can be traced; see tests/forks.py"
            assert stdout is None
            result = self.cli.run(*command.words, input=command.typed)
        self.heard.append(result)
        told = result.code in {0, *invariants.RECORDED} or invariants.says_done(result)
        if command.request_id and told and not invariants.says_another_did(result):
            self.acknowledged.add(command.request_id)
        return result

    def recorded(self, command: Command) -> bool:
        """Whether the ledger has the request."""
        with self.store() as store:
            return store.request(command.request_id) is not None

    def ask(self, *args: str) -> Result:
        """A question, answered in this process."""
        return in_process.run(*args, cwd=self.cli.cwd, env=self.cli.environ())

    def remembering(self) -> Scene:
        """The same user, who has asked about every release so far."""
        with self.store() as store:
            rows = tuple(store.positions(1, limit=invariants.ALL))
            note = invariants.proofs_verify(store, self.keys)
        positions = sorted({len(rows) * part // 4 for part in range(1, 5)})
        questions = [("-o", "json", *read, "--at-position", str(position)) for position in positions for read in READS]
        answers = [(each, self.ask(*each)) for each in questions]
        return replace(self, past=Past(rows, tuple((each, said.answer) for each, said in answers), note))

    # -- What must hold

    def settle(self, command: Command, result: Result, *, number: int = 0) -> None:
        """After a fault that is over: what was said is true, and the same request again records it once, with no help.

        Args:
            command: What was asked for when the fault happened.
            result: How it ended.
            number: Of the case; chooses which question about the past is asked again.
        """
        self.wait_alone()
        with self.store() as store:
            before = store.positions(1, limit=invariants.ALL)
            was_recorded = store.request(command.request_id) is not None
        invariants.end_is_true(result, was_recorded=was_recorded)
        again = self.run(command)
        invariants.hold(again.code == 0, f"7: repeated, it did not end well: {again}")
        invariants.end_is_true(again, was_recorded=self.recorded(command))
        with self.store() as store:
            after = store.positions(1, len(before), limit=invariants.ALL) if before else []
        invariants.hold(after == before, "3: repeating changed lines that were there")
        asked = len(self.past.answers)
        self.check(only=[number % asked] if asked else None)
        self.check_cluster()

    def check(self, *, only: Sequence[int] | None = None) -> None:
        """Every invariant of the ledger, and that no secret is anywhere.

        Args:
            only: Numbers of the questions about the past to ask again; all of them if None.
        """
        with self.store() as store:
            invariants.ledger_is_whole(store, self.keys, self.past)
            invariants.requests_are_recorded_once(store, sent=self.sent, acknowledged=self.acknowledged)
            invariants.the_past_is_unchanged(store, self.past, self.ask, only=only)
        self.check_secrets()

    def check_secrets(self) -> None:
        """6. The secret is in no file and in nothing that was printed."""
        texts = {f"{number}, {each.command}": each.stdout + each.stderr for number, each in enumerate(self.heard)}
        if self.server is not None:
            texts["the database"] = self.dumped()
        invariants.canary_is_nowhere(CANARY, files=[self.cli.home], texts=texts)

    def dumped(self) -> str:
        """Every row of the database as text."""
        tables = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = 'onectl'"
        found = " UNION ALL ".join(f"SELECT t::text FROM {table} t" for (table,) in administer(self.address, tables))
        return "\n".join(row[0] for row in administer(self.address, found))

    def check_cluster(self) -> None:
        """4. The cluster is what the ledger asks for, nothing is left over, and no pod was replaced for nothing."""
        cluster = SandboxCluster.open(self.cli.cluster_file, startup_seconds=float(SECONDS))
        try:
            with self.store() as store:
                ledger = Ledger(store, self.keys, mint_domain=lambda: "never.example.com")
                for app in self.apps(store):
                    world = World(cluster, "default", ledger, lambda: cluster.objects("default"), app)
                    invariants.hold(not world.difference(), f"4: {app.name}: {world.difference()}")
        finally:
            cluster.close()

    @staticmethod
    def apps(store: ModelStore) -> list[AppId]:
        """Every app that was ever deployed."""
        lives = store.ask("ledger.lives_page", {"after": "", "limit": invariants.ALL})
        return sorted({AppId(*row[1:4]) for row in lives}, key=lambda app: app.name)


def _nothing() -> None:
    pass


def newcomer(directory: Path, kind: Kind, server: Server | None = None) -> Scene:
    """A user who has deployed nothing yet."""
    write_toml(directory / NAME, NAME)
    cli = Cli(directory / "home", directory / NAME, change=_CHANGES.get(kind))
    if kind == POSTGRES:
        assert server is not None
        cli = cli.having(ONECTL_LEDGER=server.new_database())
        cli.run("ledger", "migrate").done()
        return Scene(cli=cli, kind=kind, server=server)
    return Scene(cli=cli, kind=kind)


def veteran(directory: Path, kind: Kind, server: Server | None = None) -> Scene:
    """A user whose app runs with environment and secrets, who has destroyed another app, and remembers all of it."""
    scene = newcomer(directory, kind, server)
    other = replace(scene, cli=scene.cli.within(directory / "order-service"))
    write_toml(other.cli.cwd, "order-service")
    story: list[tuple[Scene, Command]] = [
        (scene, Command("", ("deploy", "--image", "nginx:alpine", "--env", "GREETING=hello"))),
        (other, Command("", ("deploy", "--image", "nginx:alpine"))),
        (scene, Command("", ("secret", "create"), typed=f"JWT_SECRET={CANARY}\n")),
        (other, Command("", ("deploy", "destroy", "-y"))),
        (scene, Command("", ("deploy", "restart"))),
    ]
    for number, (who, command) in enumerate(story):
        who.run(command.named(f"story-{number}")).done()
    return scene.remembering()
