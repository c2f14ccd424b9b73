"""Users whose commands are killed, and what must hold once they have repeated them."""

from __future__ import annotations

import shutil
from pathlib import Path

from ledger.events import Deployed, Destroyed, Restarted
from ledger.sqlite_store import SqliteStore
from ledger.verify import verify_chain
from tests.cli_support import Cli, Result, write_toml
from tests.effects.worlds import world_of

NAME = "user-service"
FIRST = ("deploy", "--image", "nginx:alpine", "--env", "GREETING=hello", "--request-id", "the-request")
AGAIN = ("deploy", "--image", "nginx:2", "--env", "GREETING=bye", "--request-id", "the-request")
DESTROY = ("deploy", "destroy", "-y", "--request-id", "the-request")


def newcomer(directory: Path) -> Cli:
    """A user who has deployed nothing yet."""
    app = directory / NAME
    write_toml(app, NAME)
    return Cli(directory / "home", app)


def veteran(directory: Path) -> Cli:
    """A user whose app runs with environment and secrets."""
    cli = newcomer(directory)
    cli.run("deploy", "--image", "nginx:alpine", "--env", "GREETING=hello").done()
    cli.run("secret", "create", input="JWT_SECRET=supersecret-jwt-value\n").done()
    cli.run("deploy", "restart").done()
    return cli


def moved(cli: Cli, directory: Path) -> Cli:
    """The same user on another machine, which was copied from theirs."""
    shutil.copytree(cli.home.parent, directory, dirs_exist_ok=True)
    return Cli(directory / cli.home.name, directory / cli.cwd.name)


def recorded(cli: Cli) -> list[str]:
    """Topics of everything in the ledger, in order."""
    store = SqliteStore(cli.ledger)
    try:
        return [row.topic for row in store.positions(1, limit=1000)]
    finally:
        store.close()


def assert_done_once(cli: Cli, command: tuple[str, ...], repeated: Result) -> None:
    """The request is in the ledger once, in the cluster completely, and the ledger is intact."""
    repeated.done()
    assert "Traceback" not in repeated.stderr
    with world_of(cli, NAME) as world:
        history = world.ledger.history(world.app_id)
        asked = [type(line.event) for line in history if line.envelope.request_id == "the-request"]
        assert asked.count(Destroyed if command is DESTROY else Deployed) == 1
        releases = [line.event.release for line in history if isinstance(line.event, Deployed)]
        assert releases == list(range(1, len(releases) + 1))
        world.assert_equal()
        assert not world.app.dirty
        if world.app.life is not None:
            assert world.generation() == sum(isinstance(line.event, Deployed | Restarted) for line in history)
        result = verify_chain(world.ledger.store)
        assert result.damage is None
        assert result.events == len(recorded(cli))
