"""docs/commands.md says what the command line says; see `tests.docs.command_reference`."""

from __future__ import annotations

from tests.cli_support import ROOT, compare_golden
from tests.docs.command_reference import page


def test_the_page_of_commands_is_made_from_the_command_line() -> None:
    compare_golden(ROOT / "docs" / "commands.md", page())
