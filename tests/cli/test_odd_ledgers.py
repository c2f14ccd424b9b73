"""Commands on ledgers that somebody changed by hand: 7, what is damaged, and what to do; never an error of Python."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli_support import DROP_GUARDS, Cli, newcomer


def change(cli: Cli, *statements: str) -> None:
    with closing(sqlite3.connect(cli.ledger)) as connection, connection:
        for (drop,) in connection.execute(DROP_GUARDS).fetchall():
            connection.execute(drop)
        for statement in statements:
            connection.execute(statement)


@pytest.fixture(scope="module")
def files_of_known(files_of_deployed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("known")
    shutil.copytree(files_of_deployed, root, dirs_exist_ok=True)
    user = newcomer(root)
    user.run("secret", "create", "--kv", "TOKEN=value", "--request-id", "r1").done()
    user.run("deploy", "--image", "nginx:2").done()
    user.run("deploy", "list").done()
    return root


@pytest.fixture
def known(cli: Cli, files_of_known: Path, tmp_path: Path) -> Cli:
    """A user with an app that has a second release, a secret, and a read model."""
    shutil.copytree(files_of_known, tmp_path, dirs_exist_ok=True)
    return cli


# -- What the database may not do to its readers ------------------------------------------------------------------------

EVENTS = "UPDATE stored_events SET"
DAMAGE = {
    f"{EVENTS} topic = x'ff' WHERE notification_id = 4": ("audit log", "audit export", "deploy get"),
    f"{EVENTS} recorded_us = 'x' WHERE notification_id = 4": ("audit log", "audit export", "deploy get"),
    f"{EVENTS} recorded_us = {2**63 - 1} WHERE notification_id = 4": ("audit verify",),
    f"{EVENTS} recorded_us = {-(2**63)} WHERE notification_id = 4": ("audit verify",),
    f"{EVENTS} originator_id = 'abc' WHERE notification_id = 4": ("audit verify",),
    f"{EVENTS} leaf = 'x' WHERE notification_id = 4": ("audit export",),
    f"{EVENTS} state = '{{}}' WHERE notification_id = 4": ("audit verify",),
    f"{EVENTS} state = CAST('7' AS blob) WHERE notification_id = 4": ("audit verify",),
    f"{EVENTS} state = CAST('{{\"meta\":7}}' AS blob) WHERE notification_id = 4": ("audit verify",),
    "DELETE FROM ledger_head": ("audit log", "audit verify", "deploy list", "ledger backup b.db", "ledger status"),
    "UPDATE ledger_head SET position = 5": ("deploy releases --wide",),
    "UPDATE requests SET first_position = 'abc'": ("secret create --kv TOKEN=value --request-id r1",),
    "UPDATE requests SET salt = 'x'": ("secret create --kv TOKEN=value --request-id r1",),
    "UPDATE requests SET first_position = 1, last_position = 1": ("secret create --kv TOKEN=value --request-id r1",),
    "UPDATE life_keys SET identity = 'zzz'": ("ledger status", "secret rotate-keys -y"),
    "UPDATE life_keys SET wrapped = 'text'": ("secret rotate-keys -y",),
    "UPDATE ledger_instance SET writer = x'ff'": ("ledger backup b.db", "deploy restart", "secret rotate-keys -y"),
    "UPDATE app_list SET hostnames = '{{'": ("deploy list",),
    "DELETE FROM app_list_past": ("deploy list --as-of 4",),
    "UPDATE app_list_past SET content = x'00'": ("deploy list --as-of 4",),
    "UPDATE projection_checkpoints SET version = 9999": ("deploy list",),
    "UPDATE projection_checkpoints SET position = 1000000": ("deploy list",),
    "INSERT INTO worker_leases VALUES ('sandbox', 'h', 1, 0, 0, 0, 0, x'ff')": ("worker status",),
    f"INSERT INTO worker_leases VALUES ('sandbox', 'h', {2**63 - 1}, 0, 0, 0, 0, '')": (
        "worker status",
        "worker run --once --listen none",
    ),
    "PRAGMA user_version = 0": ("audit verify", "audit export", "deploy get", "deploy restart", "deploy list"),
    "UPDATE lives SET app = 'x'": ("deploy rollback --version 1 -y", "deploy rollback -y"),
    f"UPDATE lives SET opened = {2**62}": ("deploy rollback --version 1 -y",),
    f"UPDATE OR IGNORE stored_events SET originator_version = {2**63 - 1}": ("deploy rollback --version 1 -y",),
    f"{EVENTS} recorded_us = x'ff' WHERE notification_id = 5": ("deploy list --at-position 5",),
    "DROP TABLE lives": ("audit verify", "deploy get"),
    "DROP TABLE ledger_head": ("audit verify",),
    "DROP TABLE requests": ("audit verify",),
    "DROP TABLE sealed_values": ("audit verify",),
    "DROP TABLE life_keys": ("audit verify",),
    "DROP TABLE ledger_instance": ("audit verify",),
    "ALTER TABLE stored_events RENAME COLUMN leaf TO leaf2": ("audit verify",),
}


@pytest.mark.parametrize("statement", DAMAGE)
def test_what_is_damaged_is_told_with_7(known: Cli, statement: str) -> None:
    change(known, statement)
    for command in DAMAGE[statement]:
        args = command.replace("--as-of", "--at-position").split()
        assert "\n" in known.run(*args).failed(7).error.strip(), "with what to do"


def test_a_file_that_lost_its_version_is_told_and_put_back(known: Cli) -> None:
    known.run("ledger", "backup", "b.db").done()
    change(known, "PRAGMA user_version = 0")
    told = known.run("audit", "verify").failed(7).error
    assert "it has lost the version of its tables (user_version is 0)" in told
    assert "1ctl ledger restore FILE" in told
    known.run("ledger", "restore", "b.db", "-y").failed(3)
    known.run("ledger", "restore", "b.db", "-y", "--accept-loss").done()
    known.run("audit", "verify").done()


# -- Read models -------------------------------------------------------------------------------------------------------


def test_what_the_lists_say_is_compared_with_the_events_if_that_is_asked_for(known: Cli) -> None:
    assert "the lists are what they add up to" in known.run("audit", "verify", "--deep").done().stdout
    assert known.run("-o", "json", "audit", "verify", "--deep").done().json["lists"] is True
    change(known, "UPDATE app_list SET image = 'evil:1', release = 9")
    assert "evil:1" in str(known.run("-o", "json", "deploy", "list").done().json)
    found = known.run("-o", "json", "audit", "verify", "--deep").failed(7)
    assert (found.json["intact"], found.json["lists"], found.json["damage"]["fault"]) == (False, False, "list")
    assert "the read model app_list is damaged" in found.error
    assert "1ctl ledger rebuild app_list" in found.error
    assert known.run("-o", "json", "audit", "verify").done().json["lists"] is None
    known.run("ledger", "rebuild", "app_list").done()
    known.run("audit", "verify", "--deep").done()


def test_a_past_that_lies_is_found(known: Cli) -> None:
    lie = "replace(CAST(content AS text), 'nginx', 'evil')"
    change(known, f"UPDATE app_list_past SET content = CAST({lie} AS blob)")
    known.run("audit", "verify").done()
    assert "what it says of the past" in known.run("audit", "verify", "--deep").failed(7).error


@pytest.mark.parametrize("odd", ["position = 1000000", "version = 9999", "position = 'x'"])
def test_a_checkpoint_that_is_none_is_replaced_by_a_rebuild(known: Cli, odd: str) -> None:
    before = known.run("deploy", "list").done().stdout
    change(known, f"UPDATE projection_checkpoints SET {odd}")
    assert "1ctl ledger rebuild app_list" in known.run("deploy", "list").failed(7).error
    known.run("audit", "verify", "--deep").failed(7)
    known.run("ledger", "rebuild", "app_list").done()
    assert known.run("deploy", "list").done().stdout == before


def test_a_checkpoint_beyond_the_ledger_is_no_negative_lag(known: Cli) -> None:
    change(known, "UPDATE projection_checkpoints SET position = 1000000")
    assert "damaged; make it again: 1ctl ledger rebuild app_list" in known.run("ledger", "status").done().stdout
    (model,) = known.run("-o", "json", "ledger", "status").done().json["read_models"]
    assert model == {"name": "app_list", "position": None, "lag": None}


# -- Checkpoints -------------------------------------------------------------------------------------------------------


def test_a_forged_checkpoint_is_blamed_and_not_the_ledger_by_the_key_that_is_known(known: Cli) -> None:
    known.run("audit", "checkpoint", "--file", "then").done()
    key = known.run("-o", "json", "audit", "log", "--kind", "LedgerCreated").done().json[0]["data"]["verification_key"]
    path = known.cwd / "then"
    origin, size, _root, *rest = path.read_text().split("\n")
    path.write_text("\n".join([origin, size, "A" * 43 + "=", *rest]))
    for command in (["prove", "--since", "then"], ["verify", "--against", "then", "--key", key]):
        assert "the signature is wrong" in known.run("audit", *command).failed(1).error
    # The ledger's own key proves neither: whoever replaced it could have made one of the same four bytes of an id.
    unsure = known.run("audit", "verify", "--against", "then").failed(7).error
    assert "did not sign the checkpoint as it is" in unsure
    assert "changed the checkpoint. The key that you know tells: --key KEY" in unsure


def test_a_file_that_a_witness_kept_is_named_when_it_is_none(known: Cli, tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    known.run("audit", "witness", str(tmp_path / "w")).done()
    (kept,) = (tmp_path / "w").glob("*.checkpoint")
    kept.write_bytes(b"\xff\xfe")
    assert str(kept) in known.run("audit", "witness", str(tmp_path / "w")).failed(1).error
