"""A story of two apps, with every answer that was given on the way: what must be answered again whatever happens."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli import in_process
from tests.cli_support import Result, write_toml

READS = (("deploy", "get"), ("deploy", "releases"), ("env", "list"), ("secret", "list"))
LISTS = (("deploy", "list"), ("deploy", "list", "--all"), ("env", "list", "--all"), ("secret", "list", "--all"))


class Story:
    """Two apps over three lives and twelve releases, with every answer that was given on the way."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.answers: dict[int, dict[tuple[str, ...], tuple[int, str]]] = {}
        self.domains: dict[str, list[str]] = {"user-service": [], "order-service": []}
        for app in self.domains:
            write_toml(root / app, app)

    def run(self, app: str, *args: str, stdin: str = "") -> Result:
        env = {
            "ONECTL_HOME": str(self.root / "home"),
            "ONECTL_SANDBOX_SECONDS": "0.02",
            "ONECTL_ACTOR": "ann",
            "TZ": "UTC",
        }
        return in_process.run(*args, cwd=self.root / app, env=env, stdin=stdin)

    def does(self, app: str, *args: str, stdin: str = "") -> None:
        """A command of the story, and then every question."""
        result = self.run(app, *args, stdin=stdin)
        assert result.code in (0, 4), result.stderr
        self.answers[self.position()] = {
            (app_, *read): self.ask(app_, *read) for app_ in self.domains for read in (*READS, *LISTS)
        }

    def ask(self, app: str, *read: str) -> tuple[int, str]:
        return self.run(app, "-o", "json", *read).answer

    def position(self) -> int:
        return int(json.loads(self.run("user-service", "-o", "json", "audit", "verify").stdout)["events"])


def told(root: Path) -> Story:
    """The story, told in a directory."""
    story = Story(root)
    user, order = "user-service", "order-service"
    story.does(user, "deploy", "--image", "user:1", "--wait")  # life 1
    story.does(order, "deploy", "--image", "order:1", "--env", "A=1", "--wait")
    story.does(order, "env", "create", "--env", "URL=https://one.example.com", "--env", "A=2")
    story.does(user, "secret", "create", stdin="JWT=one\nKEY2=x\n")
    story.does(user, "deploy", "--image", "user:2", "--machine", "m-1", "--reason", "faster", "--wait")
    story.does(order, "deploy", "restart")
    story.does(user, "deploy", "scale", "--replicas", "2")
    story.does(user, "deploy", "--image", "broken:3", "--wait")
    story.does(user, "deploy", "rollback", "-y", "--wait")  # release 4
    story.does(user, "secret", "create", stdin="JWT=two\n")
    story.does(order, "deploy", "--image", "order:2", "--wait")
    story.does(order, "env", "unset", "--key", "A")
    story.does(order, "deploy", "--image", "order:3", "--wait")
    story.does(user, "deploy", "mark-bad", "2", "--reason", "slow")
    story.does(user, "deploy", "destroy", "-y", "--reason", "rewrite")
    story.does(user, "deploy", "--image", "user:5", "--wait")  # life 2
    story.does(order, "deploy", "--image", "order:4", "--wait")
    story.does(order, "deploy", "rollback", "--version", "1", "-y", "--wait")
    story.does(user, "deploy", "--image", "user:6", "--wait")
    story.does(user, "secret", "rotate-keys", "-y", "--reason", "ben left")
    story.does(user, "deploy", "--image", "user:7", "--wait")
    return story
