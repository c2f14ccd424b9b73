"""Completion: commands and options that are built only when they are asked for are there when Tab is pressed."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.cli_support import Cli


def bash(cli: Cli, line: str) -> set[str]:
    """What bash offers for the last word of a line."""
    words = line.split(" ")
    env = {"_1CTL_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    return set(cli.run(env=env).done().stdout.split())


def zsh(cli: Cli, line: str) -> str:
    env = {"_1CTL_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": line}
    return cli.run(env=env).done().stdout


def test_bash_completes_commands(cli: Cli) -> None:
    assert {"deploy", "env", "secret", "audit", "profile"} <= bash(cli, "1ctl ")
    assert bash(cli, "1ctl dep") == {"deploy"}


def test_bash_completes_subcommands(cli: Cli) -> None:
    assert {"get", "list", "releases", "status", "scale", "restart", "destroy"} <= bash(cli, "1ctl deploy ")
    assert bash(cli, "1ctl deploy rel") == {"releases"}


def test_bash_completes_options(cli: Cli) -> None:
    assert bash(cli, "1ctl deploy --ima") == {"--image"}
    assert bash(cli, "1ctl deploy destroy --y") == {"--yes"}
    assert bash(cli, "1ctl --pro") == {"--profile"}


def test_bash_completes_below_an_alias(cli: Cli) -> None:
    assert bash(cli, "1ctl config cr") == {"create"}
    assert bash(cli, "1ctl app ge") == {"get"}


def test_bash_completes_after_a_global_option(cli: Cli) -> None:
    assert bash(cli, "1ctl -o json deploy li") == {"list"}


def test_zsh_completes_with_first_sentences(cli: Cli) -> None:
    assert '"deploy":"Deploy an app' in zsh(cli, "1ctl de")
    assert '"releases"' in zsh(cli, "1ctl deploy rel")
    assert '"--image"' in zsh(cli, "1ctl deploy --im")


def test_completing_asks_nothing_and_makes_nothing(cli: Cli) -> None:
    bash(cli, "1ctl deploy get --deployment-id ")
    assert not cli.home.exists()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_script_for_bash_is_shown_and_works(cli: Cli) -> None:
    programs = cli.cwd / "bin"
    programs.mkdir()
    program = programs / "1ctl"
    program.write_text("#!/bin/sh\nexec " + " ".join(f'"{word}"' for word in cli.argv()) + ' "$@"\n')
    program.chmod(0o755)
    # The shell is told from the process that asks, so it is bash that has to ask.
    asked = ["bash", "-c", f"'{program}' --show-completion; true"]
    script = subprocess.run(asked, env=cli.environ(), capture_output=True, text=True, check=True, timeout=60).stdout
    assert "_1CTL_COMPLETE" in script
    press_tab = f"""
{script}
COMP_WORDS=(1ctl deploy rest); COMP_CWORD=2
_1ctl_completion 1ctl
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    environ = cli.environ({"PATH": f"{programs}:{os.environ['PATH']}"})
    done = subprocess.run(
        ["bash", "-c", press_tab], env=environ, capture_output=True, text=True, check=False, timeout=60
    )
    assert "restart" in done.stdout.split(), done.stderr
