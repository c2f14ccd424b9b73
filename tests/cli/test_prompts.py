"""Questions: asked on stderr, answered on stdin; only a yes is a yes."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest

from tests.cli.test_exit_codes import read_until
from tests.cli_support import ID, Cli, match

QUESTION = (
    rf'(?:💡 Sandbox: [^\n]*\n)?Destroy app "user-service" \(deployment {ID}\) in sandbox/default\? This will delete its '
    r"pods, service, public route, configuration and secrets\. Its secrets and its domain cannot be brought back; the rest "
    r"can: deploy restore\. \[y/N\]: "
)


def _take_terminal() -> None:
    """Its controlling terminal; and Ctrl-C counts there, even if whoever started these tests ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.close(os.open(os.ttyname(0), os.O_RDWR))


class Tty:
    """A command on a terminal of its own; what it writes there is read as one text."""

    def __init__(self, cli: Cli, *args: str) -> None:
        self.master, slave = pty.openpty()
        environ = {**cli.environ(), "TERM": "xterm"}
        self.process = subprocess.Popen(
            cli.argv(*args),
            cwd=cli.cwd,
            env=environ,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - it takes no lock
        )
        os.close(slave)
        self.text = ""

    def until(self, text: str) -> None:
        """Reads until this was written."""
        deadline = time.monotonic() + 30
        while text not in self.text:
            assert time.monotonic() < deadline, self.text
            if not self._read():
                break
        assert text in self.text

    def type(self, text: str) -> None:
        """Writes what a user types."""
        os.write(self.master, text.encode())

    def end(self) -> int:
        """Reads what is left; the exit code."""
        while self._read():
            pass
        os.close(self.master)
        return self.process.wait(30)

    def _read(self) -> bool:
        select.select([self.master], [], [], 30)
        try:
            read = os.read(self.master, 4096)
        except OSError:  # how Linux says that the other side is closed
            return False
        self.text += read.decode(errors="replace")
        return bool(read)


@pytest.mark.parametrize("answer", ["y\n", "Y\n", "yes\n", "YES\n", " yes \n", "y"])
def test_a_yes_destroys(deployed: Cli, answer: str) -> None:
    result = deployed.run("deploy", "destroy", input=answer).done()
    match(QUESTION + r"\n?", result.stderr)
    assert result.lines[-1].endswith("destroyed successfully")
    assert "Destroyed" in deployed.events()


@pytest.mark.parametrize("answer", ["n\n", "\n", "n", "no\n", "yeah\n", "yy\n", "j\n", "\x00\n", "y n\n"])
def test_anything_else_does_not(deployed: Cli, answer: str) -> None:
    result = deployed.run("deploy", "destroy", input=answer)
    assert result.code == 0
    assert result.stdout == "💡 Aborted.\n"
    match(QUESTION + r"\n?", result.stderr)
    assert "Destroyed" not in deployed.events()
    assert deployed.objects()


def test_where_nobody_can_answer_it_is_no_success(deployed: Cli) -> None:
    asked = deployed.run("deploy", "destroy").failed(2)
    question, error = asked.stderr.split("❌ ")
    match(QUESTION + r"\n", question)
    assert error.startswith("nobody is there to answer\n")
    assert "-y/--yes" in error
    assert asked.stdout == ""
    assert "Destroyed" not in deployed.events()
    assert deployed.objects()


@pytest.mark.parametrize(
    "args",
    [
        ("deploy", "rollback"),
        ("secret", "purge", "TOKEN"),
        ("secret", "rotate-keys"),
        ("ledger", "redact", "--position", "4", "--field", "reason", "--reason", "oops"),
        ("ledger", "restore", "--accept-loss"),
    ],
    ids=" ".join,
)
def test_nothing_that_asks_is_done_without_an_answer(deployed: Cli, args: tuple[str, ...]) -> None:
    deployed.run("secret", "create", input="TOKEN=x\n").done()
    for image in ("nginx:2", "nginx:3"):
        deployed.run("deploy", "--image", image, "--reason", "because", "--wait").done()
    position = deployed.run("-o", "json", "audit", "log", "--kind", "Deployed").json[-1]["position"]
    before = deployed.events()
    named = [str(position) if each == "4" else each for each in args]
    assert "nobody is there to answer" in deployed.run(*named).failed(2).error
    assert deployed.events() == before
    assert deployed.run(*named, input="n\n").done().stdout.endswith("💡 Aborted.\n")


@pytest.mark.parametrize(
    ("args", "question"),
    [
        (("deploy", "destroy"), "Destroy {}? This will"),
        (("deploy", "rollback", "--version", "1"), "Roll back image, settings and values of {} to version 1? "),
        (("secret", "purge", "TOKEN"), "Delete every value that TOKEN of {} ever had? "),
    ],
)
def test_a_question_names_the_app_its_deployment_and_where_that_is(
    deployed: Cli, args: tuple[str, ...], question: str
) -> None:
    deployment_id = deployed.run("-o", "json", "deploy", "get").done().json["deployment_id"]
    deployed.run("secret", "create", "--kv", "TOKEN=x").done()
    deployed.run("deploy", "--image", "nginx:2").done()
    asked = deployed.run(*args, input="n\n").done().stderr
    assert question.format(f'app "user-service" (deployment {deployment_id}) in sandbox/default') in asked


@pytest.mark.parametrize("flag", ["-y", "--yes"])
def test_yes_is_not_asked(deployed: Cli, flag: str) -> None:
    assert "[y/N]" not in deployed.run("deploy", "destroy", flag).done().stderr


def test_nothing_is_asked_about_an_app_that_is_not_there(cli: Cli) -> None:
    assert "[y/N]" not in cli.run("deploy", "destroy").failed(3).stderr


def test_nothing_is_asked_about_a_secret_that_never_was(deployed: Cli) -> None:
    refused = deployed.run("secret", "purge", "TOKEN").failed(3)
    assert "[y/N]" not in refused.stderr
    assert "TOKEN was never a secret" in refused.error


def test_a_plan_to_purge_is_not_asked_about(deployed: Cli) -> None:
    deployed.run("secret", "create", input="TOKEN=x\n").done()
    assert "[y/N]" not in deployed.run("secret", "purge", "TOKEN", "--dry-run").done().stderr


@pytest.mark.parametrize(
    "args",
    [
        ("deploy", "rollback", "--version", "1"),
        ("secret", "purge", "TOKEN"),
        ("ledger", "redact", "--position", "3", "--field", "reason", "--reason", "oops"),
        ("deploy", "destroy"),
    ],
    ids=" ".join,
)
def test_a_request_that_was_recorded_before_is_not_asked_about(deployed: Cli, args: tuple[str, ...]) -> None:
    deployed.run("secret", "create", input="TOKEN=x\n").done()
    deployed.run("deploy", "--image", "nginx:2", "--reason", "because", "--wait").done()
    position = deployed.run("-o", "json", "audit", "log", "--kind", "Deployed").json[-1]["position"]
    named = [str(position) if each == "3" else each for each in args]
    deployed.run(*named, "--request-id", "r-1", input="y\n").done()
    before = deployed.events()
    repeated = deployed.run(*named, "--request-id", "r-1").done()
    assert "[y/N]" not in repeated.stderr
    assert "was recorded before" in repeated.stderr
    # By then pods may have been seen to be ready, and a value that they read to be what it is.
    assert [
        kind for kind in deployed.events()[len(before) :] if kind not in ("RolloutCompleted", "ResourcesApplied")
    ] == []


@pytest.mark.parametrize(
    "args",
    [("deploy", "destroy"), ("secret", "purge", "TOKEN"), ("deploy", "rollback", "--version", "1")],
    ids=" ".join,
)
def test_a_yes_is_never_taken_for_a_deployment_that_was_not_asked_about(deployed: Cli, args: tuple[str, ...]) -> None:
    deployed.run("secret", "create", "--kv", "TOKEN=old").done()
    old = deployed.run("-o", "json", "deploy", "--image", "nginx:2").done().json["deployment_id"]
    with deployed.start("-o", "json", *args, stdin=subprocess.PIPE) as asked:
        read_until(asked, "[y/N]: ", "stderr")
        deployed.run("deploy", "destroy", "-y").done()
        deployed.run("deploy", "restore", "--key", "TOKEN", input="new\n").done()
        deployed.run("deploy", "--image", "nginx:3", "--wait").done()
        before = deployed.events()
        out, err = asked.communicate(b"y\n", timeout=30)
    assert asked.returncode == 3
    assert f'deployment "{old}" of app "user-service" was destroyed' in err.decode()
    assert f"Its history is still there: 1ctl deploy releases --deployment-id {old}" in err.decode()
    assert json.loads(out)["error"]["name"] == "REFUSED"
    assert deployed.events() == before
    assert "TOKEN" in deployed.run("secret", "list").done().stdout


def test_a_rollback_goes_to_the_release_that_was_asked_about(deployed: Cli) -> None:
    back = ("deploy", "rollback", "--request-id", "r-1")
    deployed.run("deploy", "status", "--wait").done()
    deployed.run("deploy", "--image", "nginx:2", "--wait").done()
    with deployed.start(*back, stdin=subprocess.PIPE) as asked:
        assert b"to version 1? [y/N]: " in read_until(asked, "[y/N]: ", "stderr")
        deployed.run("deploy", "--image", "nginx:3", "--wait").done()
        out, err = asked.communicate(b"y\n", timeout=30)
    assert asked.returncode == 0, err
    assert "Rollback to version 1 initiated" in out.decode()
    assert deployed.run("-o", "json", "deploy", "get").done().json["image"] == "nginx:alpine"

    assert "Rollback to version 1 initiated" in deployed.run(*back).done().stdout, "it is known by what was asked for"
    other = deployed.run(*back, "--version", "1", "-y").failed(3)
    assert 'request id "r-1" was used for another request' in other.error
    assert deployed.events().count("RolledBack") == 1


def test_a_terminal_shows_question_answer_and_colour(deployed: Cli) -> None:
    tty = Tty(deployed, "deploy", "destroy")
    tty.until("[y/N]: ")
    tty.type("y\n")
    assert tty.end() == 0
    assert re.search(rf"\x1b\[32m✅ Deployment {ID} destroyed successfully\x1b\[0m\r\n", tty.text)


def test_the_end_of_input_on_a_terminal_means_no(deployed: Cli) -> None:
    tty = Tty(deployed, "deploy", "destroy")
    tty.until("[y/N]: ")
    tty.type("\x04")
    assert tty.end() == 0
    assert "Aborted." in tty.text
    assert "Destroyed" not in deployed.events()


def test_no_color_holds_on_a_terminal(deployed: Cli) -> None:
    tty = Tty(deployed.having(NO_COLOR="1"), "deploy", "destroy", "-y")
    assert tty.end() == 0
    assert "\x1b" not in tty.text


def test_a_secret_is_asked_for_and_not_echoed(deployed: Cli) -> None:
    tty = Tty(deployed, "secret", "create", "--key", "TOKEN")
    tty.until("TOKEN: ")
    tty.type("hunter2\n")
    assert tty.end() == 0
    assert "Secret user-service created successfully" in tty.text
    assert "hunter2" not in tty.text


@pytest.mark.parametrize(("key", "code"), [("\x03", 130), ("\x04", 3)])
def test_a_question_for_a_secret_can_be_left(deployed: Cli, key: str, code: int) -> None:
    before = deployed.events()
    tty = Tty(deployed, "secret", "create", "--key", "TOKEN")
    tty.until("TOKEN: ")
    tty.type(key)
    assert tty.end() == code
    assert "Traceback" not in tty.text
    assert "bug" not in tty.text
    assert deployed.events() == before


def test_a_restore_that_is_left_at_a_question_for_a_secret_recorded_nothing(deployed: Cli) -> None:
    deployed.run("secret", "create", "--kv", "TOKEN=x").done()
    deployed.run("deploy", "destroy", "-y").done()
    tty = Tty(deployed, "deploy", "restore", "--key", "TOKEN")
    tty.until("TOKEN: ")
    tty.type("\x03")
    assert tty.end() == 130
    assert "Interrupted. Nothing was recorded.\r\n" in tty.text


def test_an_answer_that_is_empty_is_refused(deployed: Cli) -> None:
    tty = Tty(deployed, "secret", "create", "--key", "TOKEN")
    tty.until("TOKEN: ")
    tty.type("\n")
    assert tty.end() == 3
    assert "no value given for TOKEN" in tty.text
    assert "SecretSet" not in deployed.events()
