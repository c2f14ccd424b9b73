"""Completion: commands and options that are built only when they are asked for are there when Tab is pressed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli import offers as cli_offers
from tests.cli.test_startup import HEAVY, state
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


# Values


@pytest.fixture
def busy(cli: Cli) -> Cli:
    """A user with a profile, and an app of two releases that has everything set."""
    cli.run("profile", "create", "prod", "--context", "ctx", "--namespace", "shop").done()
    cli.run("deploy", "--image", "nginx:1", "--env", "LOG_LEVEL=info", "--env", "PORT=1").done()
    cli.run("deploy", "--image", "nginx:2", "--key", "TOKEN", input="not-shown\n").done()
    return cli


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("1ctl -o ", {"table", "json"}),
        ("1ctl deploy get -o j", {"json"}),
        ("1ctl -p ", {"prod", "sandbox"}),
        ("1ctl deploy get --profile pr", {"prod"}),
        ("1ctl profile use ", {"prod", "sandbox"}),
        ("1ctl deploy rollback --only ", {"code", "config"}),
        ("1ctl deploy rollback --version ", {"1", "2"}),
        ("1ctl deploy get --at-release ", {"1", "2"}),
        ("1ctl deploy mark-bad 2", {"2"}),
        ("1ctl env unset --key ", {"LOG_LEVEL", "PORT"}),
        ("1ctl env unset --key L", {"LOG_LEVEL"}),
        ("1ctl secret unset --key ", {"TOKEN"}),
        ("1ctl secret purge ", {"TOKEN"}),
        ("1ctl audit export --format ", {"jsonl", "csv", "cloudevents"}),
        ("1ctl audit log --kind Dep", {"Deployed"}),
        ("1ctl audit log --app u", {"user-service"}),
        ("1ctl worker retry u", {"user-service"}),
        ("1ctl worker run --drift ", {"heal", "report"}),
        ("1ctl ledger rebuild ", {"app_list", "snapshots"}),
        ("1ctl deploy diff 1 ", {"1", "2", "live"}),
        ("1ctl deploy blame T", {"TOKEN"}),
        ("1ctl deploy blame m", {"machines", "memory"}),
        ("1ctl secret create -k T", {"TOKEN"}),
        ("1ctl completion ", {"bash", "zsh", "fish"}),
    ],
)
def test_values_are_completed(busy: Cli, line: str, offered: set[str]) -> None:
    assert bash(busy, line) == offered


def test_deployment_ids_are_those_of_this_place(busy: Cli, tmp_path: Path) -> None:
    here = busy.run("-o", "json", "deploy", "get").json["deployment_id"]

    assert bash(busy, "1ctl deploy get -d ") == {here}
    assert bash(busy, "1ctl -p prod deploy get -d ") == set()
    assert bash(busy, f"1ctl --ledger {tmp_path}/none.db deploy get -d ") == set()


def test_releases_are_those_of_the_app_that_is_named(busy: Cli) -> None:
    other = busy.run("-o", "json", "deploy", "--image", "nginx", "--name", "shop").done().json["deployment_id"]

    assert bash(busy, f"1ctl deploy rollback -d {other} --version ") == {"1"}


@pytest.mark.parametrize(
    "line", ["1ctl -p ", "1ctl deploy get -d ", "1ctl env unset --key ", "1ctl --ledger  deploy get -d "]
)
def test_whatever_goes_wrong_nothing_is_offered_and_nothing_is_said(cli: Cli, line: str) -> None:
    cli.home.mkdir()
    (cli.home / "profiles.json").write_text("{")
    words = line.split(" ")
    env = {"_1CTL_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}

    result = cli.run(env=env).done()

    assert (result.stdout.strip(), result.stderr) == ("", "")


def test_a_ledger_in_a_database_is_not_asked(busy: Cli) -> None:
    assert bash(busy, "1ctl --ledger postgresql://nowhere.invalid/x deploy get -d ") == set()


@pytest.mark.parametrize(
    "forged", ["$(touch gone)", "\\$(touch gone)", "`id`", "A;id", "A B", "'", "-x", "A\nB", "*", "ü", ""]
)
def test_what_a_shell_would_run_is_not_offered(forged: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [("KEY", "about it"), (forged, ""), ("user-service", "$(id)")]
    monkeypatch.setattr(cli_offers, "_FOUND", {"environment": lambda: found})
    assert cli_offers.offers("environment") == [("KEY", "about it"), ("user-service", "")]


def test_completing_values_imports_no_heavy_library_and_writes_no_file(busy: Cli) -> None:
    before = state(busy.home)
    code = "import sys; from cli.offers import offers; print(offers(sys.argv[1]), *sys.modules, sep='\\n')"
    for of in ("deployments", "releases", "secrets", "profiles"):
        done = subprocess.run(
            [sys.executable, "-c", code, of],
            cwd=busy.cwd,
            env=busy.environ(),
            capture_output=True,
            text=True,
            check=True,
        )
        found, *modules = done.stdout.splitlines()
        assert found != "[]"
        assert {name for name in modules if name in HEAVY or name.split(".")[0] in (*HEAVY, "effects")} == set()
    assert state(busy.home) == before


# The scripts


@pytest.fixture
def programs(cli: Cli) -> Path:
    """A directory for PATH, with `1ctl` in it."""
    directory = cli.cwd / "bin"
    directory.mkdir()
    program = directory / "1ctl"
    program.write_text("#!/bin/sh\nexec " + " ".join(f'"{word}"' for word in cli.argv()) + ' "$@"\n')
    program.chmod(0o755)
    return directory


def press_tab(cli: Cli, programs: Path, script: str, *words: str) -> list[str]:
    """What a real bash offers for the last of these words, after it was given the script."""
    typed = f"""
{script}
COMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1}
_1ctl_completion 1ctl
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    environ = cli.environ({"PATH": f"{programs}:{os.environ['PATH']}"})
    done = subprocess.run(["bash", "-c", typed], env=environ, cwd=cli.cwd, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(("shell", "says"), [("bash", "complete "), ("zsh", "#compdef 1ctl"), ("fish", "complete ")])
def test_the_script_of_a_shell_is_printed_whatever_shell_asks(cli: Cli, shell: str, says: str) -> None:
    script = cli.run("completion", shell).done().stdout
    assert says in script
    assert "_1CTL_COMPLETE" in script


def test_there_is_no_script_for_a_shell_that_is_not_known(cli: Cli) -> None:
    assert "Choose: bash, zsh, fish" in cli.run("completion", "tcsh").failed(2).error


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_and_values_by_the_script(busy: Cli, programs: Path) -> None:
    script = busy.run("completion", "bash").done().stdout

    assert press_tab(busy, programs, script, "1ctl", "deploy", "rest") == ["restart", "restore"]
    assert press_tab(busy, programs, script, "1ctl", "deploy", "rollback", "--version", "''") == ["2", "1"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_script_for_bash_is_shown_and_works(cli: Cli, programs: Path) -> None:
    # The shell is told from the process that asks, so it is bash that has to ask.
    asked = ["bash", "-c", f"'{programs / '1ctl'}' --show-completion; true"]
    script = subprocess.run(asked, env=cli.environ(), capture_output=True, text=True, check=True, timeout=60).stdout
    assert "_1CTL_COMPLETE" in script
    assert "restart" in press_tab(cli, programs, script, "1ctl", "deploy", "rest")
