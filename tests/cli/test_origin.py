"""Who asked, and from where: what the environment claims, in the order in which it is believed."""

from __future__ import annotations

import re
import subprocess
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


def test_a_deploy_keeps_the_commit_and_whether_files_differ_from_it(cli: Cli) -> None:
    def git(*args: str) -> str:
        named = ("-c", "user.name=ana", "-c", "user.email=ana@example.com")
        return subprocess.run(
            ["git", *named, *args], cwd=cli.cwd, capture_output=True, text=True, check=True
        ).stdout.strip()

    git("init", "-q")
    git("add", "satusky.toml")
    git("commit", "-qm", "x")
    cli.run("deploy", "--image", "nginx").done()
    release = cli.run("-o", "json", "deploy", "releases").json[0]
    assert release["commit"] == git("rev-parse", "HEAD")
    (cli.cwd / "satusky.toml").write_text('[app]\nname = "user-service"\nport = 8082\n')
    cli.run("deploy").done()
    states = query(cli.ledger, "SELECT CAST(state AS TEXT) FROM stored_events WHERE topic = 'Deployed'")
    assert sorted(re.findall(r'"dirty": ?(true|false)', "".join(state for (state,) in states))) == ["false", "true"]
