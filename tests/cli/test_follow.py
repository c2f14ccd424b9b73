"""What goes on while a command runs: the log that is followed, and the line that tells how far long work is."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from effects.cluster import Ref
from tests.cli_support import Cli, write_toml
from tests.effects.worlds import eventually
from tests.faults import dose
from tests.moves.support import grow


@pytest.fixture(params=["sqlite", "postgresql"])
def user(request: pytest.FixtureRequest, tmp_path: Path) -> Cli:
    """A user with a deployed app, and a ledger in each kind of store."""
    write_toml(tmp_path / "user-service", "user-service")
    cli = Cli(tmp_path / "home", tmp_path / "user-service")
    if request.param == "postgresql":
        cli = cli.having(ONECTL_LEDGER=request.getfixturevalue("database"))
    cli.run("deploy", "--image", "nginx:1", "--env", "A=0").done()
    return cli


@contextmanager
def following(cli: Cli, *args: str, noted: str = "") -> Iterator[Callable[[], list[str]]]:
    """A command that follows; what it has printed so far. It ends well when it is interrupted, having noted no more."""
    path = cli.home.parent / "followed"
    with path.open("wb") as out:
        child = cli.start(*args, stdout=out)
    try:
        yield lambda: path.read_text().splitlines()
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=30)
        assert (child.returncode, err.decode()) == (0, noted)
    finally:
        child.kill()
        child.communicate()


def set_a(cli: Cli, value: str) -> None:
    cli.run("env", "create", "--env", f"A={value}", "--reason", f"set {value}").done()


def test_a_log_that_is_followed_shows_what_there_is_and_then_what_comes(user: Cli) -> None:
    with following(user, "audit", "log", "--follow", "--kind", "EnvSet") as printed:
        eventually(lambda: len(printed()) == 1)
        for value in ("1", "2"):
            set_a(user, value)
            eventually(lambda: f'reason "set {value}"' in printed()[-1])  # noqa: B023 - asked at once
        assert len(printed()) == 3
        assert all("  EnvSet  " in line for line in printed())


def test_a_status_that_is_watched_looks_again_at_what_it_applied_before(deployed: Cli) -> None:
    deployed.run("deploy", "--image", "nginx:2", "--detach").done()
    service = Ref("Service", "default", "user-service")
    noted = "💡 Sandbox: a simulated cluster on this machine. For a real one: 1ctl profile create --help\n"
    with following(deployed, "deploy", "status", "--watch", noted=noted) as printed:
        for release in (2, 3):
            eventually(lambda: any(f"release {release}  Running" in line for line in printed()))  # noqa: B023 - asked at once
            cluster = deployed.cluster()
            assert cluster.read(service) is not None
            cluster.delete(service, uid=None)
            cluster.close()
            deployed.run("deploy", "--image", f"nginx:{release + 1}", "--detach").done()


def test_in_json_each_entry_is_a_line(user: Cli) -> None:
    with following(user, "-o", "json", "deploy", "events", "--follow", "--limit", "1") as printed:
        eventually(lambda: len(printed()) == 1)
        set_a(user, "1")
        everything = user.run("-o", "json", "audit", "log").done().json
        eventually(lambda: json.loads(printed()[-1]) == everything[-1])
        entries = [json.loads(line) for line in printed()]
    assert "EnvSet" in [entry["kind"] for entry in entries]
    assert entries == everything[-len(entries) :]


FOLLOWING = [["deploy", "status", "--watch"], ["deploy", "events", "--follow"], ["audit", "log", "--follow"]]


@pytest.mark.parametrize("args", FOLLOWING, ids=" ".join)
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 0)], ids=["TERM", "HUP", "INT"]
)
def test_only_an_interrupt_is_the_good_end_of_what_is_followed(
    deployed: Cli, args: list[str], number: signal.Signals, code: int
) -> None:
    child = deployed.start(*args)
    try:
        assert child.stdout is not None
        assert child.stdout.readline()
        child.send_signal(number)
        child.communicate(timeout=30)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == code


@pytest.mark.parametrize(
    "args",
    [
        ["audit", "log", "--follow", "--until", "1h ago"],
        ["audit", "log", "--follow", "--at-position", "1"],
        ["deploy", "status", "--watch", "--at-release", "1"],
        ["deploy", "status", "--watch", "--as-of", "1h ago"],
        ["deploy", "status", "--watch", "--at-position", "1"],
    ],
    ids=" ".join,
)
def test_nobody_follows_the_past(deployed: Cli, args: list[str]) -> None:
    assert re.search(r"Run '1ctl \w+ \w+ --help' for usage", deployed.run(*args).failed(2).error)


def seen_on_a_terminal(cli: Cli, *args: str) -> str:
    """All that a command wrote to a terminal."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        cli.argv(*args), cwd=cli.cwd, env=cli.environ(), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen = b""
    try:
        while part := os.read(ours, 65536):
            seen += part
    except OSError:  # Linux's way to say that nobody is at the other end any more
        pass
    assert child.wait(60) == 0
    os.close(ours)
    return seen.decode()


@dose.not_few("a large ledger is made")
@pytest.mark.parametrize(
    ("args", "doing"),
    [(("audit", "verify"), "Verifying"), (("ledger", "rebuild"), "Rebuilding app_list")],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_long_work_tells_a_terminal_how_far_it_is_and_a_pipe_nothing(
    tmp_path: Path, args: tuple[str, ...], doing: str
) -> None:
    cli = Cli(tmp_path / "home", tmp_path, {"ONECTL_LEDGER": str(tmp_path / "ledger.db")})
    cli.run("deploy", "--name", "one", "--image", "nginx:1", "--detach").done()
    grow(tmp_path / "ledger.db", 40_000)
    seen = seen_on_a_terminal(cli, *args)
    assert f"\r{doing} [" in seen
    assert "% " in seen
    assert re.search(r"/4000\d\b", seen)
    last = seen.rindex(doing)
    assert "\r\x1b[K" in seen[last:], "the line is gone at the end"
    assert seen.index("✅") > last
    piped = cli.run(*args).done()
    assert piped.stderr == ""
    assert doing not in piped.stdout
