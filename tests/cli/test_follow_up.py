"""Commands that messages name: whoever pastes one means the place and the app that this run was about."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from cli.follow_up import OF_AN_APP, completed, naming
from cli.main import app
from cli.options import INVOCATION
from tests.cli_support import Cli, commands, write_toml


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Says what the command line of this run was given."""

    def give(**values: str) -> None:
        for name in ("profile", "ledger", "deployment_id", "config"):
            monkeypatch.setattr(INVOCATION, name, values.get(name))

    give()
    return give


def pasted(text: str) -> list[str]:
    """The words of the command that a message ends with."""
    found = re.search(r"1ctl ([^'\n]*)", text)
    assert found is not None, text
    return shlex.split(found[1])


def test_what_is_said_about_one_of_many_apps_names_it_in_each_command(given: Any) -> None:
    given(profile="prod")
    said = "Set the value again: 1ctl env create, then 1ctl deploy restart"
    named = "Set the value again: 1ctl -p prod env create -d 42, then 1ctl -p prod deploy restart -d 42"
    assert naming(said, "-d 42") == named
    assert completed(named) == named


def test_a_command_stays_as_it_is_where_nothing_was_given(given: Any) -> None:
    assert completed("See them: 1ctl deploy releases") == "See them: 1ctl deploy releases"


@pytest.mark.parametrize(
    ("plain", "with_all"),
    [
        ("See them: 1ctl deploy releases", "See them: 1ctl -p prod deploy releases -d 42"),
        ("Run '1ctl deploy' first", "Run '1ctl -p prod deploy -d 42' first"),
        ("1ctl deploy --image nginx", "1ctl -p prod deploy -d 42 --image nginx"),
        ("1ctl deploy status applies it", "1ctl -p prod deploy status -d 42 applies it"),
        (
            "Name one: 1ctl deploy rollback --version N   (1ctl deploy releases --wide shows)",
            "Name one: 1ctl -p prod deploy rollback -d 42 --version N   (1ctl -p prod deploy releases -d 42 --wide shows)",
        ),
        ("1ctl env unset --key A", "1ctl -p prod env unset -d 42 --key A"),
        ("See all: 1ctl deploy list --all", "See all: 1ctl -p prod deploy list --all"),
        ("1ctl -o json audit log", "1ctl -p prod -o json audit log"),
        ("When that is fixed: 1ctl worker retry shop", "When that is fixed: 1ctl -p prod worker retry shop"),
        ("When that is fixed: 1ctl worker retry, or", "When that is fixed: 1ctl -p prod worker retry -d 42, or"),
        ("Use '1ctl deploy status --deployment-id 7' to", "Use '1ctl -p prod deploy status --deployment-id 7' to"),
        ("Run '1ctl deploy --help' for usage",) * 2,
        ("Choose its profile: 1ctl -p NAME ...",) * 2,
        ("Upgrade this one: 1ctl --version",) * 2,
        ("Make one: 1ctl profile create --help",) * 2,
        ("Better: 1ctl secret create --kv-file FILE", "Better: 1ctl -p prod secret create -d 42 --kv-file FILE"),
    ],
)
def test_a_command_is_completed_with_what_was_given(given: Any, plain: str, with_all: str) -> None:
    given(profile="prod", deployment_id="42")

    shown = completed(plain)

    assert shown == with_all
    assert completed(shown) == shown


def test_a_ledger_is_named_without_its_password(given: Any) -> None:
    given(ledger="postgresql://ana:s3cret@db/team")

    assert completed("See: 1ctl audit verify") == "See: 1ctl --ledger 'postgresql://ana:***@db/team' audit verify"
    own = "Name a database: 1ctl ledger migrate --ledger postgresql://host/name"
    assert completed(own) == own


def test_a_file_that_names_the_app_is_quoted_as_a_shell_needs_it(given: Any) -> None:
    given(config="my apps/satusky.toml")

    assert completed("1ctl deploy restart") == "1ctl deploy restart --config 'my apps/satusky.toml'"


def test_the_commands_of_an_app_are_those_that_take_its_deployment_id() -> None:
    taking = set()
    for path in commands():
        command: Any = get_command(app)
        for name in path:
            command = command.get_command(None, name)
        if any(param.name == "deployment_id" for param in command.params):
            taking.add(path)

    assert taking == {("deploy",)} | {
        (group, name) for group, names in OF_AN_APP.items() for name in names.split() if name != "delete"
    }


def test_a_pasted_hint_changes_the_ledger_and_the_app_that_were_meant(cli: Cli, tmp_path: Path) -> None:
    elsewhere = ("--ledger", str(tmp_path / "other.db"))
    cli.run("deploy", "--image", "nginx:1").done()
    write_toml(tmp_path / "order-service", "order-service")
    order = ("--config", str(tmp_path / "order-service" / "satusky.toml"))
    cli.run(*elsewhere, "deploy", "--image", "nginx:1", "--detach", *order).done()
    before = cli.events()

    said = cli.run(*elsewhere, "env", "create", "--env", "A=1", *order).done().stderr
    cli.run(*pasted(said.split("restart: ")[1])).done()

    assert cli.events() == before
    assert cli.events(tmp_path / "other.db")[-2:] == ["Restarted", "ResourcesApplied"]


def test_a_pasted_hint_of_an_error_asks_about_the_app_that_was_meant(cli: Cli) -> None:
    made = cli.run("-o", "json", "deploy", "--image", "nginx:1", "--name", "order-service").done()
    named = made.json["deployment_id"]

    refused = cli.run("deploy", "rollback", "--version", "7", "-y", "-d", named).failed(3)

    assert cli.run("-o", "json", *pasted(refused.error)).done().json[0]["deployment_id"] == named


def test_an_app_without_a_file_is_named_by_its_deployment_id(cli: Cli, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()
    there = cli.within(nowhere)

    said = there.run("deploy", "--image", "nginx:1", "--name", "shop", "--detach").done().stderr

    there.run(*pasted(said)).done()
