"""`secret rotate-keys` as its user sees it: killed at any point, on both databases, and what it says."""

from __future__ import annotations

import signal
import time
from base64 import b64decode
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from ledger.commands import Deploy, SetSecrets
from ledger.domains import mint_domain
from ledger.keys import KeyFiles
from ledger.ledger import Ledger
from ledger.rotation import STEPS
from ledger.spec import AppId
from ledger.stores import open_store
from ledger.verify import verify_chain
from tests.cli_support import Cli, write_toml
from tests.effects.worlds import request
from tests.faults import dose
from tests.seeds import seeds

ROTATE = ("secret", "rotate-keys", "-y")
VALUES = {"user-service": b"one", "order-service": b"two"}


class Owner:
    """A user with two apps that have a secret each, and what a test may see of their ledger."""

    def __init__(self, root: Path, address: str | None) -> None:
        self.cli = Cli(root / "home", root / "user-service", {"ONECTL_ACTOR": "ana"})
        self.address = address or str(self.cli.ledger)
        if address:
            self.cli = self.cli.having(ONECTL_LEDGER=address)
        with closing(open_store(self.address)) as store:
            ledger = Ledger(store, KeyFiles(self.cli.home / "keys"), mint_domain=lambda: mint_domain("example.com"))
            for app, value in VALUES.items():
                write_toml(root / app, app)
                app_id = AppId("sandbox", "default", app)
                ledger.execute(app_id, Deploy(image="nginx:1"), replace(request(), actor="ana"))
                ledger.execute(app_id, SetSecrets(keys=("TOKEN",)), request(), secret_values={"TOKEN": value})
        self.cli.run("deploy", "status").done()

    def opened(self) -> dict[str, bytes]:
        """The secret of each app, opened with what is in the home now."""
        with closing(open_store(self.address)) as store:
            ledger = Ledger(store, KeyFiles(self.cli.home / "keys"), mint_domain=lambda: "")
            found = {}
            for app in VALUES:
                life = ledger.app(AppId("sandbox", "default", app)).life
                assert life is not None
                found[app] = ledger.open_secrets(life, life.secrets)["TOKEN"]
            return found

    def identities(self) -> int:
        """How many identities were recorded."""
        with closing(open_store(self.address)) as store:
            assert verify_chain(store).damage is None
            return sum(row.topic == "WorkerIdentitySet" for row in store.positions(1, limit=1000))

    def keys(self) -> list[str]:
        """Lines of the identity's file; there is no other with a key in it but the signing key."""
        (path,) = (self.cli.home / "keys").glob("*.identity.key")
        assert {each.name for each in (self.cli.home / "keys").iterdir()} <= {
            path.name, path.name.replace("identity", "signing"), ".lock", ".lock.queue", f".{path.name}.draft"
        }  # fmt: skip
        return path.read_text().splitlines()

    def drafts(self) -> list[Path]:
        return list((self.cli.home / "keys").glob(".*.draft"))


@pytest.fixture(params=dose.of(few=["sqlite"], short=["sqlite", "postgresql"], long=["sqlite", "postgresql"]))
def owner(request: pytest.FixtureRequest, tmp_path: Path) -> Owner:
    return Owner(tmp_path, None if request.param == "sqlite" else request.getfixturevalue("database"))


def assert_rotated_once(owner: Owner, *, unnamed: int = 0) -> None:
    """With so many keys in the file that were made and never recorded: no other is left."""
    assert owner.opened() == VALUES
    assert owner.identities() == 2
    assert len(owner.keys()) == 1 + unnamed
    assert owner.drafts() == []
    status = owner.cli.run("-o", "json", "ledger", "status").done().json
    assert [(each["newest"], each["held"], each["lives"]) for each in status["identities"]] == [(True, True, 2)]
    owner.cli.run("deploy", "restart").done()


# -- Killed ------------------------------------------------------------------------------------------------------------


@pytest.mark.crash
@pytest.mark.parametrize("step", STEPS)
def test_one_that_died_is_finished_by_running_it_again(owner: Owner, step: str) -> None:
    died = owner.cli.run(*ROTATE, "--request-id", "once", env={"ONECTL_CRASH_AT": step})
    assert died.code == -signal.SIGKILL, f"{step} was not reached: {died}"
    assert owner.opened() == VALUES, "meanwhile everything can be opened"
    owner.cli.run("deploy", "restart").done()
    owner.cli.run(*ROTATE, "--request-id", "once").done()
    assert_rotated_once(owner, unnamed=step == "key made")


@pytest.mark.crash
@pytest.mark.parametrize("step", STEPS)
def test_without_a_request_id_running_it_again_makes_another_and_leaves_nothing_unsaid(owner: Owner, step: str) -> None:
    owner.cli.run(*ROTATE, env={"ONECTL_CRASH_AT": step})
    document = owner.cli.run("-o", "json", *ROTATE).done().json
    assert (document["rewrapped"], document["repeated"]) == (2, False)
    assert owner.opened() == VALUES
    assert len(document["kept"]) == (step == "key made")
    assert len(owner.keys()) == 1 + len(document["kept"])
    assert owner.drafts() == []
    assert owner.identities() == (2 if step == "key made" else 3)


@pytest.mark.crash
@pytest.mark.parametrize("seed", seeds(1, short=4))
def test_one_that_is_killed_at_any_moment_loses_nothing(tmp_path: Path, seed: int) -> None:
    owner = Owner(tmp_path, None)
    for number in range(4):
        child = owner.cli.start(*ROTATE, "--request-id", "once")
        # Most of a run is the interpreter's start; the seeds spread over what comes after.
        time.sleep(0.15 + 0.02 * ((seed * 7 + number * 3) % 20))
        child.kill()
        child.communicate(timeout=60)
        assert owner.opened() == VALUES
    kept = owner.cli.run("-o", "json", *ROTATE, "--request-id", "once").done().json["kept"]
    assert_rotated_once(owner, unnamed=len(kept))


# -- What it says ------------------------------------------------------------------------------------------------------


def test_it_asks_says_what_it_did_and_what_is_left_to_do(owner: Owner) -> None:
    (path,) = (owner.cli.home / "keys").glob("*.identity.key")
    before = path.read_text()
    no = owner.cli.run("secret", "rotate-keys", input="n\n").done()
    assert no.stderr.startswith(
        f"Make a new identity and wrap the keys of 2 lives for it? The old key is then removed from {path}, and backups"
        " made until now need it. [y/N]: "
    )
    assert no.stdout == "💡 Aborted.\n"
    assert path.read_text() == before
    yes = owner.cli.run("secret", "rotate-keys", "--reason", "ben left", input="y\n").done()
    (key,) = [row["public_key"] for row in owner.cli.run("-o", "json", "ledger", "status").json["identities"]]
    name = sha256(b64decode(key)).hexdigest()[:16]
    assert yes.stdout == f"✅ The identity is now {name}; keys of 2 lives rewrapped\n"
    assert yes.stderr.partition("[y/N]: ")[2].splitlines() == [
        f"💡 The old key is removed from {path}; backups made until now need a copy of it.",
        f"💡 Other machines that open secrets need {path}",
    ]
    (event,) = owner.cli.run("-o", "json", "audit", "log", "--kind", "WorkerIdentitySet").done().json[1:]
    assert (event["actor"], event["reason"], event["app"]) == ("ana", "ben left", None)
    assert event["data"] == {"public_key": key}
    assert f"Identity:            {name}, opens the secrets of 2 lives; its key is here" in (
        owner.cli.run("ledger", "status").done().lines
    )


def test_a_dry_run_counts_and_changes_nothing(owner: Owner) -> None:
    lines = owner.keys()
    shown = owner.cli.run("secret", "rotate-keys", "--dry-run").done()
    assert shown.lines[:2] == ["Would record: WorkerIdentitySet", "Would rewrap: keys of 2 lives"]
    document = owner.cli.run("-o", "json", "secret", "rotate-keys", "--dry-run").done().json
    assert [each["kind"] for each in document["events"]] == ["WorkerIdentitySet"]
    assert (document["dry_run"], document["objects"], document["rewrapped"], document["left"]) == (True, [], 2, 0)
    assert (owner.keys(), owner.identities()) == (lines, 1)


@pytest.mark.crash
def test_what_an_interrupted_one_left_is_shown(owner: Owner) -> None:
    owner.cli.run(*ROTATE, "--request-id", "once", env={"ONECTL_CRASH_AT": "identity recorded"})
    shown = owner.cli.run("secret", "rotate-keys", "--dry-run").done()
    assert shown.lines[:2] == ["Would record: WorkerIdentitySet", "Would rewrap: keys of 2 lives"]
    assert [line.split()[1:] for line in shown.lines[4:]] == [["yes", "yes", "0"], ["no", "yes", "2"]]
    status = owner.cli.run("ledger", "status").done().stdout
    assert "opens the secrets of 0 lives; its key is here" in status
    assert "Older identity" in status
    owner.cli.run(*ROTATE, "--request-id", "once").done()
    assert_rotated_once(owner)


def test_a_repeated_request_is_answered_and_not_done_again(owner: Owner) -> None:
    first = owner.cli.run("-o", "json", *ROTATE, "--request-id", "once").done().json
    again = owner.cli.run("-o", "json", *ROTATE, "--request-id", "once").done()
    assert (again.json["identity"], again.json["position"]) == (first["identity"], first["position"])
    assert (first["repeated"], again.json["repeated"]) == (False, True)
    assert 'Request "once" was recorded before; it is not recorded again.' in again.stderr
    assert_rotated_once(owner)


def test_a_repeated_request_needs_no_answer_and_would_record_nothing(owner: Owner) -> None:
    owner.cli.run(*ROTATE, "--request-id", "once").done()
    owner.cli.run("secret", "rotate-keys", "--request-id", "once").done()
    planned = owner.cli.run("-o", "json", "secret", "rotate-keys", "--dry-run", "--request-id", "once").done()
    assert planned.json["events"] == []
    assert 'Request "once" was recorded before' in planned.stderr
    shown = owner.cli.run("secret", "rotate-keys", "--dry-run", "--request-id", "once").done()
    assert shown.lines[0] == "Would rewrap: keys of 0 lives"
    assert_rotated_once(owner)


def test_an_id_that_stands_for_another_request_is_refused_before_anything_is_asked(owner: Owner) -> None:
    owner.cli.run("deploy", "--name", "other", "--image", "nginx:1", "--request-id", "d1").done()
    for more in ((), ("--dry-run",)):
        refused = owner.cli.run("secret", "rotate-keys", "--request-id", "d1", *more).failed(3)
        assert "[y/N]" not in refused.stderr
        assert 'request id "d1"' in refused.error


def test_a_machine_without_the_key_is_refused_and_told_where_to_go(owner: Owner, tmp_path: Path) -> None:
    aside = (owner.cli.home / "keys").rename(tmp_path / "elsewhere")
    for more in ((), ("--dry-run",)):
        refused = owner.cli.run(*ROTATE, *more).failed(3)
        assert "the keys of 2 of 2 lives are wrapped for an identity that this machine does not hold" in refused.error
        assert "Run it where that identity is: ana made it on " in refused.error
    assert "its key is not here" in owner.cli.run("ledger", "status").done().stdout
    assert not (owner.cli.home / "keys").exists()
    assert owner.identities() == 1
    (path,) = aside.glob("*.identity.key")
    owner.cli.run(*ROTATE, env={"ONECTL_IDENTITY": str(path)}).done()
    aside.rename(owner.cli.home / "keys")
    assert_rotated_once(owner)


def test_nothing_recorded_yet_is_refused(cli: Cli) -> None:
    assert cli.run(*ROTATE).failed(3).error == (
        "❌ nothing is recorded in the ledger yet\nIts identity is made by the first deploy.\n"
    )
    assert not (cli.home / "keys").exists()


def test_a_replica_is_refused(owner: Owner, tmp_path: Path) -> None:
    owner.cli.run("audit", "export", "--file", str(tmp_path / "ledger.jsonl")).done()
    replica = ("--ledger", str(tmp_path / "replica.db"))
    owner.cli.run(*replica, "audit", "import", str(tmp_path / "ledger.jsonl")).done()
    assert "read-only replica" in owner.cli.run(*replica, *ROTATE).failed(3).error
