"""docs/commands.md, made from the command line itself: what `--help` says, of all commands on one page."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from cli.main import _COMMANDS, app

INTRODUCTION = """\
# Commands

Every command with its arguments and options, in the order of `1ctl --help`. This page is generated from the command line
itself; edits by hand are lost.

Every command takes `-h` or `--help`, and the options of `1ctl` itself before or after its own. What commands print with
`-o json` is in [json.md](json.md), what their exit codes mean in the [README](../README.md#exit-codes), and which
variables stand for options in [configuration.md](configuration.md).
"""


def page() -> str:
    """The whole page."""
    return INTRODUCTION + "".join(_section(path, command) for path, command in commands().items())


def commands() -> dict[tuple[str, ...], Any]:
    """Every command and group by the words it is called with, without aliases; the program itself is ``()``."""

    def walk(path: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
        yield path, command
        for name in command.list_commands(None) if hasattr(command, "list_commands") else ():
            yield from walk((*path, name), command.get_command(None, name))

    return dict(walk((), get_command(app)))


def _section(path: tuple[str, ...], command: Any) -> str:
    marks = "##" if len(path) < 2 else "###"
    parts = [
        f"{marks} {' '.join(('1ctl', *path))}",
        *_prose(path, command),
        *_examples(command),
        _table(_context(path, command), command),
        _contents(path, command),
    ]
    return "".join(f"\n{part}\n" for part in parts if part)


def _context(path: tuple[str, ...], command: Any) -> Any:
    from click import Context

    context: Any = None
    words = ("1ctl", *path)
    for word in words:
        context = Context(command, info_name=word, parent=context)
    return context


def _prose(path: tuple[str, ...], command: Any) -> Iterator[str]:
    """What the command does, one string a paragraph, without its example."""
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if not paragraph.strip().startswith("Example:"):
            yield " ".join(paragraph.split())
    aliases = [name for name, target in _COMMANDS.items() if path and target == _COMMANDS[path[0]] and name != path[0]]
    if len(path) == 1 and aliases:
        yield "Also called " + " and ".join(f"`1ctl {name}`" for name in aliases) + "."


def _contents(path: tuple[str, ...], command: Any) -> str:
    """What a group has, a line for each."""
    names = command.list_commands(None) if hasattr(command, "list_commands") else ()
    lines = [(" ".join(("1ctl", *path, name)), command.get_command(None, name)) for name in names]
    return "\n".join(
        f"* [`{name}`](#{name.replace(' ', '-')}): {next(_prose((*path, '-'), each))}" for name, each in lines
    )


def _examples(command: Any) -> Iterator[str]:
    found = re.findall(
        r"^ *(?:Example:)? +((?:1ctl|\S+=\$\(1ctl).*)$", f"{command.help}\n{command.epilog or ''}", re.MULTILINE
    )
    if found:
        yield "```sh\n" + "\n".join(found) + "\n```"


def _table(context: Any, command: Any) -> str:
    records = [param.get_help_record(context) for param in command.params if param.name != "help"]
    rows = [f"| `{_cell(names)}` | {_cell(said)} |" for names, said in filter(None, records)]
    return "\n".join(["| argument or option | meaning |", "|---|---|", *rows]) if rows else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
