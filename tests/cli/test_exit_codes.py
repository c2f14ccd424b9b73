"""Exit codes say what is in the ledger; a failure is told on stderr, with a next step, and never as a traceback."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.failure import report
from cli.options import INVOCATION
from effects.cluster import Manifest, Ref
from ledger.errors import LedgerDamagedError, OutcomeUnknownError
from tests.cli_support import Cli, Process, Result, match, tamper, write_toml

FOREIGN_SERVICE: Manifest = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "user-service", "namespace": "default"},
    "spec": {"selector": {"app": "other"}, "ports": [{"port": 80, "protocol": "TCP"}]},
}

EDIT = """
UPDATE stored_events SET state = CAST(replace(CAST(state AS TEXT), 'nginx', 'httpd') AS BLOB) WHERE topic = 'Deployed'
"""

CANNOT_COMMIT = """
import functools, sqlite3, sys

class Ledger(sqlite3.Connection):
    def execute(self, text, *parameters):
        if text == "COMMIT":
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(text, *parameters)

def connect(path, *args, _connect=sqlite3.connect, **options):
    return _connect(path, *args, **options, **({"factory": Ledger} if "ledgers" in str(path) else {}))

sqlite3.connect = connect
from cli.main import main
sys.exit(main())
"""
"""Runs a command on a disk that fails while a ledger is committed."""


def unrecorded(cli: Cli, *args: str, code: int) -> Result:
    """A command that fails and leaves the ledger as it was."""
    before = asked(cli)
    result = cli.run(*args).failed(code)
    assert result.stdout == ""
    assert asked(cli) == before
    return result


def asked(cli: Cli) -> list[str]:
    """What was asked for, without what was seen meanwhile."""
    return [topic for topic in cli.events() if topic not in {"RolloutCompleted", "ResourcesApplied"}]


# 0


def run_script(cli: Cli, script: str, *args: str) -> subprocess.CompletedProcess[str]:
    """A Python program as this user."""
    return subprocess.run(
        [sys.executable, "-c", script, *args],
        cwd=cli.cwd,
        env=cli.environ(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_0_for_what_was_done(cli: Cli) -> None:
    assert cli.run("deploy", "--image", "nginx:alpine").code == 0


def test_0_for_a_no_at_the_prompt(deployed: Cli) -> None:
    assert deployed.run("deploy", "destroy", input="n\n").code == 0


def test_0_for_help_and_version(cli: Cli) -> None:
    assert cli.run("--help").code == 0
    assert cli.run("deploy", "get", "-h").code == 0
    assert cli.run("--version").stdout == "1ctl 0.1.0\n"


# 1


@pytest.mark.parametrize("place", [".", "/"])
def test_1_when_the_ledger_is_a_directory(cli: Cli, place: str) -> None:
    assert f"{place} is a directory, not a ledger" in cli.run("--ledger", place, "deploy", "list").failed(1).error


def test_1_when_the_data_directory_cannot_be_made(cli: Cli) -> None:
    cli.home.write_text("in the way")
    result = cli.run("deploy", "--image", "nginx:alpine").failed(1)
    assert result.stdout == ""


def test_1_when_the_ledger_is_a_database_of_something_else(cli: Cli, tmp_path: Path) -> None:
    import sqlite3

    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE songs (title TEXT)")
    other.close()
    result = cli.run("--ledger", str(tmp_path / "other.db"), "deploy", "list").failed(1)
    assert "not a ledger" in result.error


def test_1_when_the_file_of_profiles_is_none(cli: Cli) -> None:
    cli.home.mkdir()
    (cli.home / "profiles.json").write_text("{")
    cli.run("deploy", "list").failed(1)


def test_1_for_a_bug_without_the_text_of_the_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(INVOCATION, "request_id", None)  # commands of other tests run in this process, too
    assert report(ValueError("hunter2"), json=False) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "hunter2" not in printed.err
    assert "This is a bug" in printed.err


# 2


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["deplyo"], "command \"deplyo\" not found. Did you mean 'deploy'?\nRun '1ctl --help' for usage"),
        (["ledger", "xyz"], "command \"xyz\" not found\nRun '1ctl ledger --help' for usage"),
        (["deploy", "list", "--nope"], "no such option: --nope\nRun '1ctl deploy list --help' for usage"),
        (["deploy", "--port", "http"], "'http' is not a whole number\n"),
        (["audit", "log", "--limit", "abc"], "invalid value for '--limit': 'abc' is not a whole number\n"),
        (["deploy", "--image"], "option '--image' requires an argument"),
        (["deploy", "get", "extra"], "got unexpected extra argument"),
        (["deploy", "scale"], "missing option '--replicas'\nRun '1ctl deploy scale --help' for usage"),
        (["profile", "create", "prod"], "missing option '--context'"),
        (["deploy", "--image", "x", "--wait", "--detach"], "--wait and --detach exclude each other"),
        (["deploy", "--image", "x", "--env-file", "-", "--kv-file", "-"], "would both read stdin"),
        (["deploy", "--image", "x", "--env-file", "-", "--key", "A"], "--env-file - and --key would both read stdin"),
        (["deploy", "--image", "x", "--kv-file", "-", "--key", "A"], "--kv-file - and --key would both read stdin"),
        (["secret", "create", "--kv-file", "-", "--key", "A"], "--kv-file - and --key would both read stdin"),
        (["deploy", "--name", "a", "--deployment-id", "b"], "--name and --deployment-id exclude each other"),
        (["deploy", "--config", "x", "get"], "--config belongs after 'get'\nRun '1ctl deploy --help' for usage"),
        (["deploy", "--request-id", "x", "destroy"], "--request-id belongs after 'destroy'"),
        (["app", "--image", "x", "get"], "--image is an option of '1ctl app' itself, not of 'get'"),
        (["worker", "retry", "shop", "--name", "nosuch"], "APP says which app"),
        (["worker", "retry", "shop", "-d", "123"], "APP says which app"),
        (["env", "create"], "no value given: pass --env KEY=VALUE or --env-file FILE"),
        (["secret", "create"], "no secret given: pass --kv-file FILE, or KEY=VALUE lines on stdin, or --key KEY"),
        (["deploy", "get", "--name", "a", "--config", "x"], "--name and --config exclude each other here"),
        (["env", "list", "-d", "b", "--config", "x"], "--deployment-id and --config exclude each other here"),
        (["deploy", "status", "--check-dns", "--at-release", "1"], "--watch, --wait and --check-dns are about now"),
        (["audit", "prove", "--position", "1", "--name", "a"], "only a --release is one of an app"),
        (["audit", "log", "--since", "today", "--until", "yesterday"], "--since is later than --until"),
        (["ledger", "restore", "x.db", "--accept-change"], "--accept-change is about the ledger that is there"),
        (["ledger", "restore", "--accept-loss", "--new-ledger"], "--new-ledger about a backup"),
        (["-o", "yaml", "deploy", "list"], 'invalid --output "yaml": expected table or json'),
    ],
)
def test_2_for_a_command_line_that_cannot_be_understood(cli: Cli, args: list[str], says: str) -> None:
    result = unrecorded(cli, *args, code=2)
    assert says in result.error
    assert re.search(r"Run '1ctl.* --help' for usage$", result.error.rstrip())
    assert not cli.home.exists()


@pytest.mark.parametrize("group", [(), ("env",)])
def test_2_with_the_document_for_a_group_alone_when_json_is_asked_for(cli: Cli, group: tuple[str, ...]) -> None:
    result = cli.run("-o", "json", *group).failed(2)
    assert result.json["error"]["message"] == "name a command"
    assert result.json["error"]["hint"] == f"Run '{' '.join(('1ctl', *group))} --help' for usage"


@pytest.mark.parametrize("group", [[], ["env"], ["secret"], ["audit"], ["profile"]])
def test_2_and_the_help_on_stderr_for_a_group_alone(cli: Cli, group: list[str]) -> None:
    result = cli.run(*group)
    assert (result.code, result.stdout) == (2, "")
    assert result.stderr == cli.run(*group, "--help").stdout


# 3


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["deploy"], "no image given"),
        (["deploy", "--image", "nginx", "--name", "Shop"], "Example: --name shop"),
        (["deploy", "--image", "nginx", "--port", "0"], "Example: --port 8080"),
        (["deploy", "--image", "a b"], "image 'a b' must not have spaces"),
        (["deploy", "--image", "nginx", "--memory", "512"], "Example: --memory 512Mi"),
        (["deploy", "--image", "nginx", "--env", "A"], "env 'A' must be NAME=VALUE"),
        (
            ["deploy", "--image", "nginx", "--env-file", "none.env"],
            "none.env cannot be read: No such file or directory",
        ),
        (["deploy", "--image", "nginx", "--timeout", "soon"], "Example: --timeout 1m30s"),
        (["deploy", "--image", "nginx", "--reason", ""], "reason '' must not be empty"),
        (["deploy", "--image", "nginx", "--request-id", "a b"], "Example: --request-id ci-4711-deploy"),
        (["deploy", "--image", "nginx", "--config", "staging"], "satusky.staging.toml not found"),
        (["deploy", "get"], 'app "user-service" not found in namespace default'),
        (["deploy", "get", "--deployment-id", "x"], 'no deployment "x" in this ledger'),
        (["deploy", "scale", "--replicas", "2"], "Run '1ctl deploy' first or pass --deployment-id"),
        (["deploy", "restart"], "Run '1ctl deploy' first or pass --deployment-id"),
        (["deploy", "destroy", "-y"], "Run '1ctl deploy' first or pass --deployment-id"),
        (["deploy", "status"], "Run '1ctl deploy' first or pass --deployment-id"),
        (["deploy", "releases"], "Run '1ctl deploy' first or pass --deployment-id"),
        (["env", "create", "--env", "A=b"], "Run '1ctl deploy' first or pass --deployment-id"),
        (["env", "list"], "Run '1ctl deploy' first or pass --deployment-id"),
        (["secret", "list"], "Run '1ctl deploy' first or pass --deployment-id"),
        (["profile", "use", "prod"], 'profile "prod" does not exist'),
        (["-p", "prod", "deploy", "list"], "Make one: 1ctl profile create --help"),
        (["--ledger", "mysql://x/y", "deploy", "list"], 'a ledger at "mysql://" is not supported'),
    ],
)
def test_3_for_what_a_rule_refuses_before_there_is_a_ledger(cli: Cli, args: list[str], says: str) -> None:
    result = unrecorded(cli, *args, code=3)
    assert says in result.error
    assert not cli.ledger.exists()
    assert not (cli.home / "keys").exists()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["deploy", "scale", "--replicas", "-1"], "replicas -1 must be a whole number from 0 to 10000"),
        (["env", "unset", "--key", "A"], 'A is not set in the environment of app "user-service"'),
        (["secret", "unset", "--key", "A"], 'A is not set in the secrets of app "user-service"'),
        (["env", "create", "--env", "A-B=c"], "env name 'A-B' must be"),
        (["env", "create", "--env", "A_B=1", "--env", "a_b=2"], "must not hold both"),
    ],
)
def test_3_for_what_a_rule_refuses_of_an_app_that_is_deployed(deployed: Cli, args: list[str], says: str) -> None:
    assert says in unrecorded(deployed, *args, code=3).error


def test_3_for_a_file_that_is_not_what_it_should_be(deployed: Cli) -> None:
    refused = deployed.run("audit", "verify", "--against", "satusky.toml").failed(3)
    assert refused.error.startswith("❌ satusky.toml is no checkpoint: ")
    assert refused.error.endswith("\nName a file that 'audit checkpoint' wrote.\n")
    assert "there is no file nope" in deployed.run("ledger", "restore", "nope").failed(3).error


def test_3_for_a_first_deploy_over_what_somebody_else_made(cli: Cli) -> None:
    cluster = cli.cluster()
    cluster.apply(FOREIGN_SERVICE, manager="kubectl", expect=None)
    cluster.close()
    unrecorded(cli, "deploy", "--image", "nginx:alpine", code=3)
    assert cli.objects().keys() == {"Service/user-service"}


def test_3_for_a_sandbox_that_is_asked_for_an_unreadable_time(cli: Cli) -> None:
    result = cli.having(ONECTL_SANDBOX_SECONDS="soon").run("deploy", "--image", "nginx").failed(3)
    assert "Example: ONECTL_SANDBOX_SECONDS=0.5" in result.error


# 4 and 5


def test_4_for_pods_that_cannot_start_and_says_why(cli: Cli) -> None:
    result = cli.run("deploy", "--image", "broken:1", "--wait").failed(4)
    assert result.error.startswith("❌ release 1 failed: ImagePullBackOff: ")
    assert "Deployed" in cli.events()


def test_4_names_the_way_back_where_there_is_a_release_to_go_back_to(cli: Cli) -> None:
    back = "go back to a release that did: 1ctl deploy rollback"
    first = cli.run("deploy", "--image", "broken:1", "--wait").failed(4)
    assert first.error.endswith("Deploy an image that works: 1ctl deploy --image IMAGE\n")
    assert back not in cli.run("deploy", "status", "--wait").failed(4).error
    cli.run("deploy", "--image", "nginx:1", "--wait").done()
    assert back in cli.run("deploy", "--image", "broken:2", "--wait").failed(4).error
    assert back in cli.run("deploy", "status", "--wait").failed(4).error


def test_4_says_that_the_earlier_release_goes_on_and_shows_the_crashed_containers_log(cli: Cli) -> None:
    cli.run("deploy", "--image", "nginx:alpine", "--wait").done()
    result = cli.run("deploy", "--image", "crash:1", "--wait").failed(4)
    assert "CrashLoopBackOff" in result.error
    assert "The pods of the earlier release keep running." in result.error
    assert re.search(r"💡 Last lines of pod user-service-\S+:\n  simulated: ", result.stderr)


def test_4_for_a_release_that_another_one_superseded(cli: Cli) -> None:
    with cli.start("deploy", "--image", "held:1", "--wait") as waiting:
        assert waiting.stdout is not None
        read_until(waiting, "Waiting for deployment")
        cli.run("deploy", "--image", "nginx:alpine").done()
        _, stderr = waiting.communicate(timeout=30)
    assert waiting.returncode == 4
    assert "release 1 was superseded" in stderr.decode()


def test_5_for_pods_that_are_not_ready_in_time(cli: Cli) -> None:
    result = cli.run("deploy", "--image", "held:1", "--wait", "--timeout", "0.5s").failed(5)
    assert "the pods were not ready within 0.5 s (0 of 1 ready): Unschedulable" in result.error
    assert "Deployed" in cli.events()


# 6


def test_6_when_the_disk_fails_while_committing_and_the_request_id_settles_it(deployed: Cli) -> None:
    deployed.run("deploy", "--image", "nginx:alpine", "--wait").done()  # so that nothing is observed before
    before = deployed.events()
    args = ["deploy", "scale", "--replicas", "3", "--request-id", "scale-1"]
    done = run_script(deployed, CANNOT_COMMIT, *args)
    result = Result("scale", done.stdout, done.stderr, done.returncode).failed(6)
    assert result.stdout == ""
    assert "may or may not be recorded" in result.error
    assert "Find out: 1ctl audit log --request-id scale-1" in result.error
    deployed.run(*args).done()
    deployed.run(*args).done()
    assert deployed.events()[len(before) :].count("Scaled") == 1


@pytest.mark.parametrize(("request_id", "code"), [(None, 1), ("scale-1", 6)])
def test_6_for_what_nobody_expected_once_there_is_a_request(
    request_id: str | None, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(INVOCATION, "request_id", request_id)
    assert report(ValueError("a secret"), json=False) == code
    said = capsys.readouterr().err
    assert "something unexpected went wrong in 1ctl itself (ValueError)" in said
    assert "a secret" not in said
    assert ("1ctl audit log --request-id scale-1" in said) == (code == 6)


@pytest.mark.parametrize(("error", "code"), [(OutcomeUnknownError("?"), 6), (LedgerDamagedError("!"), 7)])
def test_6_and_7_are_what_their_errors_report(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(INVOCATION, "has_output", False)  # commands of other tests run in this process, too
    assert report(error, json=False) == code
    assert capsys.readouterr() == ("", f"❌ {error}\n")
    assert report(error, json=True) == code
    out, err = capsys.readouterr()
    assert (json.loads(out)["error"]["code"], err) == (code, f"❌ {error}\n")


INTERRUPTED = """
import os, signal, sys
import cli.main, cli.start

def run():
    import interrupted
    {more}
    signal.pause()

cli.main._run = run
sys.exit(cli.start.process())
"""
INTERRUPTED_IMPORT = """
import os, signal

class Field:
    def __set_name__(self, owner, name):
        os.kill(os.getpid(), signal.SIGTERM)

class Made:
    field = Field()

print("imported", flush=True)
"""
IN_A_DESTRUCTOR = "type('Taken', (), {'__del__': lambda self: os.kill(os.getpid(), signal.SIGHUP)})()"


@pytest.mark.parametrize(("more", "code"), [("", 143), (IN_A_DESTRUCTOR, 129)], ids=["", "in a destructor"])
def test_an_end_waits_for_an_import_and_is_not_lost(cli: Cli, more: str, code: int) -> None:
    (cli.cwd / "interrupted.py").write_text(INTERRUPTED_IMPORT if not more else "print('imported', flush=True)")
    done = run_script(cli, INTERRUPTED.format(more=more))
    assert (done.returncode, done.stdout) == (code, "imported\n")
    assert "Nothing was recorded" in done.stderr
    assert "bug" not in done.stderr
    assert "Traceback" not in done.stderr


WHILE_IT = {
    "is closed": "INVOCATION.closing.append(lambda: os.kill(os.getpid(), signal.SIGTERM))",
    "has failed": "raise Failed",
}
ENDS_LATE = """
import os, signal, sys
import cli.main, cli.start, cli.failure
from cli.options import INVOCATION

class Failed(Exception):
    def __str__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        return ""

def run():
    INVOCATION.request_id = "the-request"
    {what}
    return 0

def report(error, json):
    str(error)
    return 1

cli.main._run, cli.failure.report = run, report
sys.exit(cli.start.process())
"""


@pytest.mark.parametrize("when", WHILE_IT)
def test_143_for_a_signal_while_the_command_already_ends(cli: Cli, when: str) -> None:
    done = run_script(cli, ENDS_LATE.format(what=WHILE_IT[when]))
    assert done.returncode == 143
    assert "Whether this request was: 1ctl audit log --request-id the-request" in done.stderr
    assert "Traceback" not in done.stderr


def test_of_two_signals_that_come_together_one_ends_the_command(cli: Cli) -> None:
    with cli.start("deploy", "--image", "held:1", "--wait") as waiting:
        assert waiting.stdout is not None
        read_until(waiting, "Waiting for deployment")
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGHUP, signal.SIGCONT):
            waiting.send_signal(number)
        _, stderr = waiting.communicate(timeout=30)
    assert waiting.returncode in (129, 143)
    assert "What was recorded stays recorded" in stderr.decode()
    assert "Traceback" not in stderr.decode()


# 7


def test_7_when_an_event_was_edited(deployed: Cli) -> None:
    tamper(deployed.ledger, EDIT)
    result = deployed.run("audit", "verify").failed(7)
    assert result.stdout == ""
    assert "the ledger is damaged at position 3" in result.error
    assert "Positions 1 to 2 are intact" in result.error


def test_7_with_the_document_when_json_is_asked_for(deployed: Cli) -> None:
    tamper(deployed.ledger, EDIT)
    found = deployed.run("-o", "json", "audit", "verify").failed(7).json
    assert (found["intact"], found["damage"]["position"], found["events"]) == (False, 3, 2)


@pytest.mark.parametrize("read", [["deploy", "get"], ["deploy", "releases"], ["env", "list"]])
def test_7_when_an_event_cannot_be_read(deployed: Cli, read: list[str]) -> None:
    tamper(deployed.ledger, "UPDATE stored_events SET state = x'7b' WHERE topic = 'Deployed'")
    assert deployed.run(*read).failed(7).stdout == ""


def test_7_when_the_file_is_no_database(deployed: Cli) -> None:
    deployed.ledger.write_bytes(b"not a database, " * 1000)
    error = deployed.run("deploy", "list").failed(7).error
    assert "is damaged" in error
    assert "If it never was a ledger, name another file with --ledger." in error


# 8


def test_1_when_the_cluster_is_known_to_be_out_of_reach_and_nothing_is_recorded(deployed: Cli) -> None:
    sound = deployed.cluster_file.read_bytes()
    deployed.cluster_file.write_bytes(b"not a database, " * 1000)
    result = deployed.run("env", "create", "--env", "A=b").failed(1)
    assert "cannot be used: file is not a database" in result.error
    assert "EnvSet" not in deployed.events()
    deployed.cluster_file.write_bytes(sound)
    deployed.run("env", "create", "--env", "A=b").done()


@pytest.fixture
def contended(deployed: Cli) -> Cli:
    """The number of the app's pods belongs to somebody else."""
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "user-service", "namespace": "default"},
        "spec": {"replicas": 1},
    }
    cluster = deployed.cluster()
    seen = cluster.look(Ref("Deployment", "default", "user-service"), ledger_id="")
    cluster.apply(manifest, manager="kubectl", expect=seen)
    cluster.close()
    return deployed


def test_8_when_somebody_else_holds_a_field(contended: Cli) -> None:
    result = contended.run("deploy", "scale", "--replicas", "2").failed(8)
    assert "recorded, but not applied: the cluster refused" in result.error
    assert "kubectl" in result.error
    assert "Scaled" in contended.events()


def test_8_says_how_to_repeat_without_recording_once_more(contended: Cli) -> None:
    scale = ("deploy", "scale", "--replicas", "2")
    said = contended.run(*scale).failed(8).error
    assert "It is recorded. 1ctl deploy status applies it" in said
    told = re.search(r"only with (--request-id) (\S+): without, it is recorded once more", said)
    assert told is not None
    assert "epeat" not in said

    contended.run(*scale, *told.groups()).failed(8)

    assert contended.events().count("Scaled") == 1


def test_8_of_a_command_that_only_applies_names_no_request(contended: Cli) -> None:
    contended.run("deploy", "scale", "--replicas", "2").failed(8)

    assert "--request-id" not in contended.run("deploy", "status").failed(8).error


# 129, 130, 141 and 143


def read_until(process: Process, text: str, stream: str = "stdout") -> bytes:
    """What came up to and with the text; fails if the stream ends before."""
    read, pipe = b"", getattr(process, stream)
    while text.encode() not in read:
        byte = pipe.read(1)
        assert byte, read.decode()
        read += byte
    return read


def test_130_when_interrupted_while_waiting(cli: Cli) -> None:
    with cli.start("deploy", "--image", "held:1", "--wait") as process:
        read_until(process, "NotReady (0 pct)")
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    *_, ended, find_out = stderr.decode().splitlines()
    assert ended.startswith("Interrupted. What was recorded stays recorded")
    (asked,) = match(r"Whether this request was: (1ctl audit log --request-id \S+)", find_out).groups()
    assert "Deployed" in cli.run(*asked.split()[1:]).done().stdout
    assert "Traceback" not in stderr.decode()
    assert "Deployed" in cli.events()


def test_130_when_interrupted_at_the_prompt_and_nothing_is_destroyed(deployed: Cli) -> None:
    with deployed.start("deploy", "destroy", stdin=subprocess.PIPE) as process:
        read_until(process, "[y/N]: ", "stderr")
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (130, b"")
    assert stderr.decode() == "\nInterrupted. Nothing was recorded.\n"
    assert "Destroyed" not in deployed.events()


@pytest.mark.parametrize(("number", "ended"), [(signal.SIGINT, "Interrupted"), (signal.SIGTERM, "Terminated")])
def test_a_named_request_that_is_ended_at_the_prompt_may_have_been_recorded_before(
    deployed: Cli, number: int, ended: str
) -> None:
    with deployed.start("deploy", "destroy", "--request-id", "r-1", stdin=subprocess.PIPE) as process:
        read_until(process, "[y/N]: ", "stderr")
        process.send_signal(number)
        _, stderr = process.communicate(timeout=30)
    assert stderr.decode().splitlines()[1:] == [
        f"{ended}. Nothing was recorded now.",
        "Whether it was before: 1ctl audit log --request-id r-1",
    ]


def test_what_follows_an_answer_may_be_recorded(cli: Cli) -> None:
    cli.run("deploy", "--image", "nginx:1", "--wait").done()
    cli.run("deploy", "--image", "held:2", "--detach").done()
    slow = cli.having(ONECTL_SANDBOX_SECONDS="60")
    with slow.start("deploy", "rollback", "--version", "1", "--wait", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"y\n")
        process.stdin.flush()
        read_until(process, "Waiting for deployment")
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Interrupted. What was recorded stays recorded" in stderr.decode()


@pytest.mark.parametrize(
    "args", [["deploy", "list"], ["-o", "json", "deploy", "list"], ["deploy", "get"], ["--help"], ["deploy", "--help"]]
)
def test_141_without_a_word_when_the_reader_went_away(deployed: Cli, args: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with deployed.start(*args, stdout=writer) as process:
        os.close(writer)
        _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (141, b"")


def test_141_in_the_middle_of_many_rows(deployed: Cli, tmp_path: Path) -> None:
    for number in range(3):
        write_toml(tmp_path / f"app-{number}", f"app-{number}")
        deployed.within(tmp_path / f"app-{number}").run("deploy", "--image", "nginx", "--detach").done()
    with deployed.start("deploy", "list") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(30) in {0, 141}  # all rows may have been in the pipe by then


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_a_closed_stream_is_no_failure(deployed: Cli, closed: str) -> None:
    argv = deployed.argv("deploy", "list")
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *argv],
        cwd=deployed.cwd,
        env=deployed.environ(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
