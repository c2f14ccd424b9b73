"""Who asked, and from where: what the environment claims, in the order in which it is believed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

from tests.cli_support import Cli, query


def recorded(cli: Cli) -> Any:
    return cli.run("-o", "json", "audit", "log", "--kind", "Deployed", "--limit", "1").json[0]


def test_the_actor_is_ours_then_the_cis(cli: Cli) -> None:
    deploy = ("deploy", "--image", "nginx")
    cli.run(*deploy, env={"GITHUB_ACTOR": "octocat", "ONECTL_ACTOR": "ana"}).done()
    assert recorded(cli)["actor"] == "ana"
    cli.run(*deploy, env={"GITHUB_ACTOR": "octocat"}).done()
    assert recorded(cli)["actor"] == "octocat"


def git(directory: Path, *args: str) -> str:
    """What git says, as somebody's; it may do everything that the repository's configuration says."""
    named = ("-c", "user.name=ana", "-c", "user.email=ana@example.com", "-c", "protocol.file.allow=always")
    return subprocess.run(
        ["git", *named, *args], cwd=directory, capture_output=True, text=True, check=True
    ).stdout.strip()


def dirty(cli: Cli) -> list[str]:
    """Whether files differed from the commit, of each deploy."""
    states = query(cli.ledger, "SELECT CAST(state AS TEXT) FROM stored_events WHERE topic = 'Deployed' ORDER BY 1")
    return re.findall(r'"dirty": ?(true|false)', "".join(state for (state,) in states))


def test_a_deploy_keeps_the_commit_and_whether_files_differ_from_it(cli: Cli) -> None:
    git(cli.cwd, "init", "-q")
    git(cli.cwd, "add", "satusky.toml")
    git(cli.cwd, "commit", "-qm", "x")
    cli.run("deploy", "--image", "nginx").done()
    release = cli.run("-o", "json", "deploy", "releases").json[0]
    assert release["commit"] == git(cli.cwd, "rev-parse", "HEAD")
    (cli.cwd / "satusky.toml").write_text('[app]\nname = "user-service"\nport = 8082\n')
    cli.run("deploy").done()
    assert sorted(dirty(cli)) == ["false", "true"]


def test_nothing_that_the_repository_names_is_run(cli: Cli, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    inner = tmp_path / "inner"
    inner.mkdir()
    for directory in (inner, cli.cwd):
        git(directory, "init", "-q")
        (directory / "file").write_text("of the archive\n")
        (directory / ".gitattributes").write_text("file filter=evil\n")
    git(inner, "add", ".")
    git(inner, "commit", "-qm", "x")
    git(cli.cwd, "submodule", "add", "-q", str(inner), "below")
    git(cli.cwd, "add", ".")
    git(cli.cwd, "commit", "-qm", "x")
    trap = tmp_path / "trap"
    trap.write_text(f'#!/bin/sh\necho "$0 $*" >> {ran}\ncat\n')
    trap.chmod(0o755)
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "post-index-change").symlink_to(trap)
    for directory in (cli.cwd, cli.cwd / "below"):
        for key in ("core.fsmonitor", "filter.evil.clean", "core.pager", "diff.external", "core.sshCommand"):
            git(directory, "config", key, str(trap))
        git(directory, "config", "core.hooksPath", str(tmp_path / "hooks"))
        (directory / "file").touch()  # so that its content is compared
    (head,) = (cli.cwd / ".git" / "refs" / "heads").iterdir()
    cli.run("deploy", "--image", "nginx").done()
    (cli.cwd / "file").write_text("changed here\n")
    cli.run("deploy", "--image", "nginx").done()
    assert not ran.exists(), ran.read_text()
    assert sorted(dirty(cli)) == ["false", "true"]
    assert {each["commit"].rstrip("+") for each in cli.run("-o", "json", "deploy", "releases").json} == {
        head.read_text().strip()
    }
    git(cli.cwd, "status")
    assert "trap" in ran.read_text(), "the trap does not work"


def test_where_nothing_is_committed_no_commit_is_kept(cli: Cli) -> None:
    git(cli.cwd, "init", "-q")
    cli.run("deploy", "--image", "nginx").done()
    assert cli.run("-o", "json", "deploy", "releases").json[0]["commit"] is None
    assert dirty(cli) == []
