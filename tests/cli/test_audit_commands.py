"""Taking the ledger's word elsewhere: export, checkpoint, proof, witness, as commands."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from cli.version import PROGRAM
from ledger.export import CSV_FIELDS
from ledger.sqlite_database import STORE_VERSION
from ledger.sqlite_store import SqliteStore
from ledger.store import NewRow
from tests.cli_support import ROOT, Cli, query, tamper


@pytest.fixture
def known(deployed: Cli) -> Cli:
    """A user with a deployed app, and the ledger's key in a file whose name could be part of a key."""
    key = deployed.run("-o", "json", "audit", "log", "--kind", "LedgerCreated").json[0]["data"]["verification_key"]
    (deployed.cwd / "our+ledger.key").write_text(key + "\n")
    return deployed


@pytest.mark.parametrize("state", [b"{", b"\xff"])
def test_a_line_that_cannot_be_read_ends_neither_the_log_nor_an_export(known: Cli, state: bytes) -> None:
    with closing(SqliteStore(known.ledger)) as store:
        last = store.positions(store.head().position, limit=1)[0]
        (row,) = store.append([NewRow(last.stream, last.version + 1, "EnvSet", state)], clock_us=last.recorded_us)
    shown = known.run("audit", "log").done().lines[-1]
    assert shown.startswith(str(row.position))
    assert shown.endswith("cannot be read. See: 1ctl audit verify --deep")
    entry = known.run("-o", "json", "audit", "log").done().json[-1]
    assert (entry["position"], entry["kind"], entry["actor"], entry["data"]) == (row.position, "EnvSet", None, None)
    for name in ("jsonl", "csv", "cloudevents"):
        assert len(known.run("audit", "export", "--format", name).done().lines) >= row.position
    exported = json.loads(known.run("audit", "export").done().lines[-1])
    assert exported["state"] == (None if state == b"\xff" else state.decode())


@pytest.mark.parametrize("more", [[], ["--deep"]])
def test_whoever_verifies_is_told_what_a_newer_program_wrote(known: Cli, more: list[str]) -> None:
    assert known.run("-o", "json", "audit", "verify", *more).done().json["newer"] is None
    with closing(SqliteStore(known.ledger)) as store:
        state = b'{"data":{"domain":"x"},"meta":{"schema":2},"schema":1}'
        (row,) = store.append([NewRow(b"q" * 16, 1, "DomainReleased", state)], clock_us=0)
    result = known.run("audit", "verify", *more).done()
    assert f"Position {row.position} was written by a newer 1ctl" in result.stderr
    assert "Upgrade" in result.stderr
    assert ("Every event that this 1ctl knows can be read" in result.stdout) is bool(more)
    assert "Every event can be read" not in result.stdout
    document = known.run("-o", "json", "audit", "verify", *more).done().json
    assert (document["intact"], document["newer"]) == (True, row.position)


def test_an_export_has_every_event_once_in_each_format(known: Cli) -> None:
    count = len(known.events())
    lines = known.run("audit", "export").done().lines
    assert [json.loads(line)["position"] for line in lines] == list(range(1, count + 1))
    known.run("audit", "export", "--format", "csv", "--file", "out.csv").done()
    with (known.cwd / "out.csv").open() as file:
        assert [row["position"] for row in csv.DictReader(file)] == [str(n) for n in range(1, count + 1)]
    assert [
        json.loads(line)["specversion"] for line in known.run("audit", "export", "--format", "cloudevents").lines
    ] == ["1.0"] * count
    known.run("audit", "export", "--format", "xml").failed(2)
    known.run("audit", "export", "--file", "no/such/place").failed(3)
    assert sorted(path.name for path in known.cwd.iterdir()) == ["our+ledger.key", "out.csv", "satusky.toml"]


def test_an_export_goes_into_a_pipe_and_where_a_link_leads(known: Cli) -> None:
    expected = known.run("audit", "export").done().stdout
    os.mkfifo(known.cwd / "pipe")
    with subprocess.Popen(["cat", "pipe"], cwd=known.cwd, stdout=subprocess.PIPE) as reader:
        known.run("audit", "export", "--file", "pipe").done()
        assert reader.stdout is not None
        assert reader.stdout.read().decode() == expected
    assert (known.cwd / "pipe").is_fifo()
    (known.cwd / "link").symlink_to("export.jsonl")
    known.run("audit", "export", "--file", "link").done()
    assert (known.cwd / "link").is_symlink()
    assert (known.cwd / "export.jsonl").read_text() == expected


@pytest.mark.parametrize("file", ["our+ledger.key", None])
def test_a_proof_is_checked_without_a_ledger(known: Cli, tmp_path: Path, file: str | None) -> None:
    known.run("audit", "prove", "--release", "1", "--file", "proof").done()
    key = file or (known.cwd / "our+ledger.key").read_text().strip()
    nobody = Cli(tmp_path / "nobody", known.cwd)
    assert (
        "✅ Deployed was recorded at position 3"
        in nobody.run("audit", "verify-proof", "proof", "--key", key).done().stdout
    )
    assert not nobody.home.exists()
    proof = known.cwd / "proof"
    proof.write_bytes(proof.read_bytes().replace(b"index 2", b"index 3"))
    assert nobody.run("audit", "verify-proof", "proof", "--key", key).code != 0


def test_a_check_that_could_not_be_made_is_not_left_out(known: Cli) -> None:
    known.run("audit", "checkpoint", "--file", "then").done()
    known.run("audit", "prove", "--since", "then", "--file", "grew").done()
    both = ("audit", "verify-proof", "grew", "--key", "our+ledger.key", "--old", "then", "--event", "nowhere")
    assert "--event and --old exclude each other" in known.run(*both).failed(2).error
    assert "--key needs --against" in known.run("audit", "verify", "--key", "our+ledger.key").failed(2).error


def test_one_thing_is_proved_at_a_time(known: Cli) -> None:
    known.run("audit", "prove").failed(2)
    known.run("audit", "prove", "--release", "1", "--position", "1").failed(2)
    assert "there is no release 7" in known.run("audit", "prove", "--release", "7").failed(3).error


def test_a_witness_accepts_what_continues_and_no_rewrite(known: Cli, tmp_path: Path) -> None:
    known.run("audit", "checkpoint", "--file", "then").done()
    (tmp_path / "witness").mkdir()
    known.run("audit", "witness", str(tmp_path / "witness")).done()
    known.run("deploy", "restart").done()
    known.run("audit", "witness", str(tmp_path / "witness")).done()
    assert "are unchanged since the checkpoint" in known.run("audit", "verify", "--against", "then").done().stdout
    known.run("audit", "prove", "--since", "then", "--file", "grew").done()
    known.run("audit", "verify-proof", "grew", "--old", "then", "--key", "our+ledger.key").done()
    (before,) = query(known.ledger, "SELECT max(notification_id) FROM stored_events")[0]
    tamper(known.ledger, f"DELETE FROM stored_events WHERE notification_id = {before}")
    assert known.run("audit", "witness", str(tmp_path / "witness")).code == 7


def test_a_long_text_is_cut_in_a_table_and_whole_in_json(known: Cli) -> None:
    reason = "x" * 100
    known.run("env", "create", "--env", "A=b", "--reason", reason).done()
    shown = known.run("audit", "log", "--kind", "EnvSet").done().stdout
    assert f'reason "{"x" * 59}…"' in shown
    assert known.run("-o", "json", "audit", "log", "--kind", "EnvSet").done().json[0]["reason"] == reason


def test_a_kind_that_does_not_exist_is_refused_instead_of_finding_nothing(known: Cli) -> None:
    refused = known.run("audit", "log", "--kind", "Deploy").failed(2)
    assert refused.error.startswith('❌ there is no kind of event "Deploy"\nDid you mean Deployed?')
    assert "LedgerCreated" in known.run("audit", "log", "--kind", "x").failed(2).error


def test_the_log_names_an_identity_as_other_commands_do(known: Cli) -> None:
    shown = known.run("audit", "log", "--kind", "WorkerIdentitySet").done().lines[-1]
    (identity,) = known.run("-o", "json", "ledger", "status").done().json["identities"]
    assert shown.endswith(f"  identity={identity['identity']}")


def test_a_replica_says_that_it_is_one_before_anything_else(known: Cli, tmp_path: Path) -> None:
    known.run("secret", "create", "--kv", "TOKEN=value").done()
    known.run("audit", "export", "--file", str(tmp_path / "ledger.jsonl")).done()
    replica = ("--ledger", str(tmp_path / "replica.db"))
    known.run(*replica, "audit", "import", str(tmp_path / "ledger.jsonl")).done()
    writes = ("deploy restart", "deploy --image nginx:9", "deploy rollback --version 1 -y", "env create --env A=b")
    for write in (*writes, "ledger redact --position 3 --field reason --reason x -y", "secret rotate-keys -y"):
        assert "this ledger is a read-only replica of " in known.run(*replica, *write.split()).failed(3).error, write


def test_the_status_of_a_ledger_tells_versions_and_who_may_write(known: Cli) -> None:
    status = known.run("-o", "json", "ledger", "status").done().json
    assert (status["program"], status["tables_version"], status["writable"]) == (PROGRAM, STORE_VERSION, True)
    shown = known.run("ledger", "status").done().stdout
    assert re.search(rf"^Versions: +{PROGRAM}, tables {STORE_VERSION}$", shown, re.MULTILINE)
    assert re.search(r"^Goes on: +here$", shown, re.MULTILINE)


def test_a_bad_value_is_told_with_the_option_that_sets_it(known: Cli) -> None:
    assert "Example: --prefix onectl\n" in known.run("ledger", "roles", "--prefix", "a b").failed(3).error
    refused = known.run("--ledger", "postgresql://x:y@z@host/db", "deploy", "get").failed(3).error
    assert "Example: --ledger postgresql://user@host/database\n" in refused


def test_cloudevents_are_as_version_1_0_of_the_specification_says(known: Cli) -> None:
    events = [json.loads(line) for line in known.run("audit", "export", "--format", "cloudevents").done().lines]
    assert len({(each["source"], each["id"]) for each in events}) == len(events) == len(known.events())
    for each in events:
        for name, value in each.items():
            assert re.fullmatch(r"[a-z0-9]{1,20}", name)
            assert name == "data" or (isinstance(value, str) and value), "a string that is not empty"
        assert each["specversion"] == "1.0"
        # URI-reference, and URI, of RFC 3986
        assert re.fullmatch(r"[A-Za-z0-9._~/-]+", each["source"])
        assert ":" not in each["source"].split("/")[0]
        assert re.fullmatch(r"https://[a-z0-9.]+/[a-z/-]+/\d+", each["dataschema"])
        assert re.fullmatch(r"dev\.1ctl\.[A-Za-z]+", each["type"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", each["time"])  # RFC 3339
        assert each["datacontenttype"] == "application/json"
    about = {each["type"]: each.get("subject") for each in events}
    assert about["dev.1ctl.LedgerCreated"] is None
    assert about["dev.1ctl.Deployed"] == "sandbox/default/user-service"


def test_the_document_tells_every_field_that_there_is(known: Cli) -> None:
    text = (ROOT / "docs" / "audit-log.md").read_text()
    told = {
        name for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for name in re.findall(r"`([a-z_]+)`", row)
    }
    fields = list(known.run("-o", "json", "audit", "log", "--limit", "1").json[0])
    assert fields == list(CSV_FIELDS)
    assert re.findall(r"`([a-z_]+)`", text.split("| field | what |")[1].split("Filters")[0])[: len(fields)] == fields
    line = json.loads(known.run("audit", "export").lines[0])
    event = json.loads(known.run("audit", "export", "--format", "cloudevents").lines[-1])
    assert {*fields, *line, *event} - {"schema", "origin"} == told
    assert (line["schema"], event["dataschema"].rsplit("/", 1)[1]) == (1, "1")
    assert [name in line for name in ("schema", "origin")] == [True, True]


@pytest.mark.parametrize("how", ["option", "variable", "profile"])
@pytest.mark.parametrize("command", ["verify", "export", "export --file out.jsonl"])
def test_a_ledger_that_was_named_and_is_not_there_is_no_intact_one(cli: Cli, how: str, command: str) -> None:
    there = str(cli.cwd / "gone" / "x.db")
    user, args = cli, ["audit", *command.split()]
    if how == "option":
        args = ["--ledger", there, *args]
    elif how == "variable":
        user = cli.having(ONECTL_LEDGER=there)
    else:
        cli.run("profile", "create", "p", "--context", "c", "--namespace", "n", "--ledger", there).done()
        args = ["-p", "p", *args]
    refused = user.run("-o", "json", *args).failed(3)
    assert refused.stdout == "" if command == "export" else refused.json["error"]["name"] == "REFUSED"
    assert f"there is no ledger at {there}" in refused.error
    assert "profile current" in refused.error
    assert not (cli.cwd / "out.jsonl").exists()


def test_of_a_ledger_that_nobody_named_and_that_is_not_there_yet_nobody_knows_whether_it_is_intact(cli: Cli) -> None:
    assert "Nothing is recorded yet" in cli.run("audit", "verify").done().stdout
    found = cli.run("-o", "json", "audit", "verify").done().json
    assert (found["events"], found["intact"], found["damage"]) == (0, None, None)
    assert cli.run("-o", "json", "audit", "export", "--file", "out.jsonl").done().json["events"] == 0


@pytest.mark.parametrize("more", [["checkpoint"], ["witness", "."], ["prove", "--since", "satusky.toml"]])
def test_of_an_empty_ledger_nothing_can_be_signed_or_proved(cli: Cli, more: list[str]) -> None:
    assert "nothing is recorded in the ledger yet" in cli.run("audit", *more).failed(3).error


def test_an_empty_ledger_has_no_backup(cli: Cli) -> None:
    assert "nothing is recorded in the ledger yet" in cli.run("ledger", "backup", "b.db").failed(3).error
    assert not (cli.cwd / "b.db").exists()


@pytest.mark.parametrize("key", [(), ("--key", "our+ledger.key")], ids=["", "with its key"])
@pytest.mark.parametrize("named", [False, True], ids=["", "named"])
def test_a_ledger_that_is_gone_was_rolled_back_beside_a_checkpoint(
    known: Cli, *, named: bool, key: tuple[str, ...]
) -> None:
    known.run("audit", "checkpoint", "--file", "then").done()
    known.ledger.unlink()
    user = known.having(ONECTL_LEDGER=str(known.ledger)) if named else known
    gone = user.run("-o", "json", "audit", "verify", "--against", "then", *key).failed(7)
    assert gone.json["intact"] is False
    assert (gone.json["damage"]["fault"], gone.json["against"]["verdict"]) == ("rolled back", "rolled back")
    assert "1ctl ledger restore FILE" in gone.error


def test_the_table_says_what_is_older_than_its_rows_and_how_to_see_it(known: Cli) -> None:
    count = len(known.events())
    told = "💡 {} not shown. See more: add --limit N   (all of them: -o json)\n"
    assert known.run("audit", "log").done().stderr == ""
    assert known.run("audit", "log", "--limit", str(count)).done().stderr == ""
    assert known.run("audit", "log", "--limit", str(count - 1)).done().stderr == told.format("1 older event is")
    assert known.run("audit", "log", "--limit", "2").done().stderr == told.format(f"{count - 2} older events are")
    unsure = told.format("Older events, if there are any, are")
    assert known.run("audit", "log", "--limit", "1", "--kind", "Deployed").done().stderr == unsure
    assert known.run("deploy", "events", "--limit", "2").done().stderr == unsure
    assert known.run("deploy", "events").done().stderr == ""


def test_environment_values_are_shown_as_recorded_and_secrets_by_their_keys(known: Cli) -> None:
    known.run("env", "create", "--env", "X=2", "--env", f"LONG={'y' * 100}").done()
    known.run("secret", "create", "--kv", "TOKEN=hush").done()
    set_env, set_secret = (
        known.run("audit", "log", "--kind", kind).done().lines[-1] for kind in ("EnvSet", "SecretSet")
    )
    assert set_env.endswith(f"  LONG={'y' * 54}…, X=2")
    assert set_secret.endswith("secrets=TOKEN")
    assert "hush" not in known.run("audit", "log").done().stdout


@pytest.mark.parametrize(
    "command",
    [
        "audit log",
        "-o json audit log",
        "deploy list",
        "-o json deploy list --all",
        "deploy get",
        "deploy status",
        "env list --all",
        "secret list --all",
        "ledger orphans",
        "ledger rebuild",
        "worker disable -y",
        "worker status",
    ],
)
def test_nothing_is_not_said_of_a_ledger_that_was_named_and_is_not_there(known: Cli, command: str) -> None:
    refused = known.run("--ledger", "nope.db", *command.split()).failed(3)
    assert "there is no ledger at nope.db" in refused.error
    known.run(*command.split()).done()


def test_nobody_follows_a_ledger_that_is_not_there(known: Cli) -> None:
    assert "there is no ledger at nope.db" in known.run("--ledger", "nope.db", "audit", "log", "-f").failed(3).error
