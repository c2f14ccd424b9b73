"""Help: short, with an example, and frozen in golden files at 80 columns."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.cli import in_process
from tests.cli_support import GOLDEN, commands, compare_golden

FOLDER = GOLDEN / "help"
COMMANDS = commands()


def names(path: tuple[str, ...]) -> str:
    return "-".join(("1ctl", *path))


@pytest.fixture(scope="module")
def texts() -> dict[tuple[str, ...], str]:
    """The help of every command, as printed in 80 columns."""
    here = Path.cwd()
    return {path: in_process.run(*path, "--help", cwd=here, env={"COLUMNS": "80"}).done().stdout for path in COMMANDS}


@pytest.mark.parametrize("path", COMMANDS, ids=names)
def test_the_help_of_a_command_is_that_of_its_golden_file(
    texts: dict[tuple[str, ...], str], path: tuple[str, ...]
) -> None:
    compare_golden(FOLDER / f"{names(path)}.txt", texts[path])


def test_every_golden_file_has_its_command() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == {names(path) for path in COMMANDS}


@pytest.mark.parametrize("path", COMMANDS, ids=names)
def test_help_fits_a_screen(texts: dict[tuple[str, ...], str], path: tuple[str, ...]) -> None:
    lines = texts[path].splitlines()
    assert len(lines) <= 45
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("path", COMMANDS, ids=names)
def test_first_sentences_fit_their_list(texts: dict[tuple[str, ...], str], path: tuple[str, ...]) -> None:
    _, found, listed = texts[path].partition("\nCommands:\n")
    if found:
        assert not [line for line in listed.splitlines() if line.endswith("...")]


@pytest.mark.parametrize("path", COMMANDS, ids=names)
def test_every_command_shows_an_example_of_itself(texts: dict[tuple[str, ...], str], path: tuple[str, ...]) -> None:
    example = texts[path].partition("Example")[2]
    assert re.search(r"1ctl (-o json )?" + " ".join(path), example)


@pytest.mark.parametrize("path", COMMANDS, ids=names)
def test_an_example_can_be_copied(texts: dict[tuple[str, ...], str], path: tuple[str, ...]) -> None:
    """It is one line, however narrow the screen; where there are several, each."""
    _, one, rest = texts[path].partition("\n  Example:  ")
    if one:
        assert rest.split("\n")[1] == "", "it is broken"
        shlex.split(rest.split("\n")[0])
    for line in texts[path].partition("Examples:\n")[2].splitlines():
        assert line.startswith(("    1ctl ", "  -o, ")) or not line


@pytest.mark.parametrize("path", COMMANDS, ids=names)
def test_options_are_explained(texts: dict[tuple[str, ...], str], path: tuple[str, ...]) -> None:
    for line in texts[path].splitlines():
        assert not re.fullmatch(r"  (-\w, )?--[a-z-]+( [A-Z|/=a-z]+)?", line), line
