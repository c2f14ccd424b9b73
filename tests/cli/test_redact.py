"""`ledger redact` as its user sees it."""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

import pytest

from tests.cli_support import Cli, query

CANARY = "swordfish-5f2c1a"


def position_of(cli: Cli, kind: str) -> int:
    text = "SELECT max(notification_id) FROM stored_events WHERE topic = '%s'"
    ((position,),) = query(cli.ledger, text % kind)
    return int(position)


@pytest.fixture
def noted(deployed: Cli) -> Cli:
    """A user who put a password where it does not belong."""
    deployed.run("env", "create", "--env", f"NOTE={CANARY}").done()
    return deployed


def redact(cli: Cli, *more: str) -> tuple[str, ...]:
    position = str(position_of(cli, "EnvSet"))
    return ("ledger", "redact", "--position", position, "--field", "values.NOTE", "--reason", "by mistake", *more)


def test_a_dry_run_tells_what_would_change_and_changes_nothing(noted: Cli) -> None:
    before = noted.events()
    shown = noted.run(*redact(noted, "--dry-run")).done()
    said, warned = shown.stderr.splitlines()
    assert said == "💡 Dry run: nothing is recorded, nothing is changed."
    assert warned.startswith("❗️ It is still set: no release or restart is accepted until it is set again")
    assert shown.lines[0] == "Would record: Redacted"
    assert "update  ConfigMap  user-service-environments" in shown.lines
    document = noted.run("-o", "json", *redact(noted, "--dry-run")).done().json
    (event,) = document["events"]
    assert (document["dry_run"], event["kind"], event["data"]["field"]) == (True, "Redacted", "values.NOTE")
    assert CANARY not in shown.stdout + str(document)
    assert noted.events() == before
    assert CANARY in noted.run("env", "list").done().stdout


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--position", "999", "--field", "values.NOTE"], "there is no position 999"),
        (["--position", "1", "--field", "origin"], "only what people or clusters wrote can"),
        (["--position", "3", "--field", "values.NOTE"], "has no text"),
    ],
)
def test_a_dry_run_is_refused_as_the_command_is_and_before_it_asks(noted: Cli, more: list[str], says: str) -> None:
    for last in ("--dry-run", "-y"):
        refused = noted.run("ledger", "redact", "--reason", "x", *more, last).failed(3)
        assert says in refused.error
    assert "[y/N]" not in noted.run("ledger", "redact", "--reason", "x", *more, input="y\n").failed(3).stderr


def test_a_value_that_pods_still_get_is_warned_about(noted: Cli) -> None:
    asked = noted.run(*redact(noted), input="n\n").done()
    assert "❗️ It is still set: no release or restart is accepted until it is set again" in asked.stderr
    noted.run("env", "create", "--env", "NOTE=harmless").done()
    noted.run("deploy", "restart").done()
    ((position,),) = query(noted.ledger, "SELECT min(notification_id) FROM stored_events WHERE topic = 'EnvSet'")
    args = ("ledger", "redact", "--position", str(position), "--field", "values.NOTE", "--reason", "x", "-y")
    assert "❗️" not in noted.run(*args).done().stderr
    assert "NOTE  harmless" in noted.run("env", "list").done().stdout
    for path in noted.home.rglob("*"):
        assert not path.is_file() or path.name == "sandbox.db" or CANARY.encode() not in path.read_bytes(), path


def test_a_value_that_is_blank_may_still_be_guessed_and_this_is_said(noted: Cli) -> None:
    guessed = "A short value may still be guessed from the digests of the objects that were applied"
    told = noted.run(*redact(noted, "-y")).done().stderr
    assert [line.endswith("change the value itself as well.") for line in told.splitlines() if guessed in line] == [
        True
    ]
    noted.run("deploy", "--name", "other", "--image", "nginx:2", "--reason", CANARY, "--detach").done()
    args = (
        "ledger",
        "redact",
        "--position",
        str(position_of(noted, "Deployed")),
        "--field",
        "reason",
        "--reason",
        "x",
        "-y",
    )
    assert guessed not in noted.run(*args).done().stderr, "reasons are in no object"


def test_what_is_asked_of_an_app_whose_pods_read_it_says_what_to_do(noted: Cli) -> None:
    noted.run("deploy", "restart").done()
    noted.run(*redact(noted, "-y")).done()
    for args in (["restart"], ["--image", "nginx:2"]):
        refused = noted.run("deploy", *args).failed(3)
        assert "NOTE" in refused.error
        assert "Set it again first: 1ctl env create --env NOTE=VALUE" in refused.stderr
    waits = noted.run("deploy", "scale", "--replicas", "2").failed(8)
    assert "NOTE was redacted in the ledger while pods" in waits.stderr
    assert "1ctl deploy restart" in waits.stderr
    noted.run("env", "create", "--env", "NOTE=harmless").failed(8)
    noted.run("deploy", "restart").done()
    assert "NOTE  harmless" in noted.run("env", "list").done().stdout
    assert "[redacted]" not in str(noted.objects())


def test_a_value_that_only_pods_still_read_is_warned_about(noted: Cli) -> None:
    noted.run("deploy", "restart").done()
    args = redact(noted, "-y")
    noted.run("env", "create", "--env", "NOTE=harmless").done()
    warned = noted.run(*args).done().stderr
    assert "❗️ Pods still read it: nothing of the app is applied until they are replaced" in warned
    noted.run("deploy", "restart").done()
    assert "[redacted]" not in str(noted.objects())


def test_a_repeated_request_is_answered_and_not_recorded_again(noted: Cli) -> None:
    args = redact(noted, "-y", "--request-id", "once")
    first = noted.run("-o", "json", *args).done().json
    again = noted.run("-o", "json", *args).done()
    assert again.json == {**first, "repeated": True, "also_in": None}
    assert "Where else the text stands cannot be told any more" in again.stderr
    assert noted.run("-o", "json", *redact(noted, "--request-id", "once", "--dry-run")).done().json["events"] == []
    assert 'Request "once" was recorded before' in again.stderr
    assert noted.events().count("Redacted") == 1
    noted.run("env", "create", "--env", "NOTE=more").done()
    refused = noted.run(*redact(noted, "-y", "--request-id", "once")).failed(3)
    assert 'request id "once" was used for another request' in refused.error


def lose_the_ledger_once_it_is_redacted() -> None:
    """In another process: whatever is asked of the ledger after a redaction finds it busy."""
    from ledger.envelope import Recorded
    from ledger.errors import LedgerBusyError
    from ledger.ledger import Ledger
    from ledger.request import Request
    from ledger.sqlite_store import SqliteStore

    redact = Ledger.redact

    def busy(self: SqliteStore, *_: object, **__: object) -> NoReturn:
        raise LedgerBusyError("the ledger is busy")

    def last(self: Ledger, position: int, field: str, request: Request) -> Recorded:
        done = redact(self, position, field, request)
        SqliteStore.query = SqliteStore.change = busy  # type: ignore[assignment, method-assign]
        return done

    Ledger.redact = last  # type: ignore[assignment, method-assign]


def test_once_it_is_recorded_nothing_fails_any_more(noted: Cli) -> None:
    unlucky = replace(noted, change=f"{__name__}:{lose_the_ledger_once_it_is_redacted.__name__}")
    done = unlucky.run("-o", "json", *redact(noted, "-y")).done()
    assert done.json["redacted"] is True
    assert noted.events().count("Redacted") == 1


def test_a_reason_is_blanked_and_changes_nothing_in_the_cluster(deployed: Cli) -> None:
    deployed.run("deploy", "--image", "nginx:2", "--reason", f"password is {CANARY}").done()
    args = ("ledger", "redact", "--position", str(position_of(deployed, "Deployed")), "--field", "reason")
    document = deployed.run("-o", "json", *args, "--reason", "x", "--dry-run").done().json
    assert document["objects"] == []
    assert "❗️" not in deployed.run(*args, "--reason", "x", "-y").done().stderr
    assert CANARY not in deployed.run("-o", "json", "audit", "log").done().stdout
    assert "Ledger is intact" in deployed.run("audit", "verify").done().stdout


def test_where_the_text_stands_as_well_is_said_so_that_it_can_be_redacted_there(noted: Cli) -> None:
    noted.run("deploy", "--image", "nginx:2").done()
    noted.run("deploy", "--image", "nginx:3").done()
    noted.run("deploy", "rollback", "--version", "2", "-y").done()
    position = position_of(noted, "RolledBack")
    told = noted.run(*redact(noted, "--dry-run")).done()
    assert f"The same text is also in env.NOTE at position {position}." in told.stderr
    blanked = noted.run("-o", "json", *redact(noted, "-y")).done()
    assert blanked.json["also_in"] == [{"position": position, "field": "env.NOTE"}]
    there = ("--position", str(position), "--field", "env.NOTE", "--reason", "there, too", "-y")
    assert noted.run("-o", "json", "ledger", "redact", *there).done().json["also_in"] == []
    assert CANARY.encode() not in noted.ledger.read_bytes()
    assert noted.run("-o", "json", "audit", "verify").done().json["redacted"] == sorted(
        [position_of(noted, "EnvSet"), position]
    )
