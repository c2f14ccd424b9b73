"""An option set is one argument of a command and, on the command line, an option for each of its fields."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, NamedTuple

import pytest
import typer
from typer.main import get_command

from cli.lazy import LeafCommand, spread
from cli.options import Which
from tests.cli_support import Cli


class Size(NamedTuple):
    width: Annotated[int, typer.Option(help="How wide.")]
    height: Annotated[int, typer.Option("--height", "-h", help="How high.")] = 3


GIVEN: list[tuple[object, ...]] = []


def draw(
    what: Annotated[str, typer.Argument()],
    fill: Annotated[bool, typer.Option("--fill")] = False,
    *,
    size: Size,
    note: Annotated[str, typer.Option()] = "",
    which: Which,
) -> None:
    """Draw something."""
    GIVEN.append((what, fill, size, note, which))


def run(*args: str) -> Any:
    """What the command was given."""
    app = typer.Typer(add_completion=False)
    app.command(cls=LeafCommand)(spread(draw))
    GIVEN.clear()
    get_command(app).main(list(args), standalone_mode=False)
    return GIVEN.pop()


def test_a_command_is_given_each_set_as_one() -> None:
    given = run("box", "--fill", "--width", "7", "-h", "8", "--note", "n", "-d", "id")
    assert given == ("box", True, Size(7, 8), "n", Which(deployment_id="id"))
    assert isinstance(given[2], Size)


def test_what_is_not_given_is_the_default_of_its_field() -> None:
    assert run("box", "--width", "7") == ("box", False, Size(7, 3), "", Which())


def test_a_field_without_a_default_is_required() -> None:
    with pytest.raises(typer.TyperException, match="width"):
        run("box")


def test_fields_stand_where_their_set_stood() -> None:
    shown = spread(draw)
    assert list(inspect.signature(shown).parameters) == [
        "what", "fill", "width", "height", "note", "name", "deployment_id", "config",
    ]  # fmt: skip
    assert shown.__doc__ == draw.__doc__


def test_a_command_without_sets_is_itself() -> None:
    def plain(what: str) -> None:
        pass

    assert spread(plain) is plain


def test_the_options_of_a_group_that_does_something_itself_are_those_of_its_sets(cli: Cli) -> None:
    done = cli.run("app", "--image", "nginx:1", "--reason", "first", "--request-id", "r-1", "-o", "json").done()
    assert done.json["request_id"] == "r-1"
    refused = cli.run("deploy", "--request-id", "r-2", "get").failed(2)
    assert "--request-id is an option of '1ctl deploy' itself, not of 'get'" in refused.error
