"""`1ctl audit checkpoint|prove|verify-proof|witness`: what an outsider can check, and what it finds."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ledger import checkpoint as notes
from ledger.checkpoint import SigningKey, sign
from ledger.commands import Deploy
from ledger.keys import KeyFiles
from ledger.leaf import GENESIS, chain_hash, leaf_hash
from ledger.ledger import Ledger
from ledger.proof import Proof
from ledger.spec import AppId
from ledger.stores import open_store
from tests.cli import in_process
from tests.cli_support import DROP_GUARDS, ROOT, Result, match, write_toml
from tests.effects.worlds import request


class Auditor:
    """A user with one deployed app, who keeps what they are given."""

    def __init__(self, root: Path) -> None:
        self.root = root
        write_toml(root / "svc", "user-service")
        Path(self.file("w")).mkdir()
        self.run("deploy", "--image", "nginx:1").done()
        log = self.run("-o", "json", "audit", "log", "--kind", "LedgerCreated").done().json
        self.key = log[0]["data"]["verification_key"]

    @property
    def ledger(self) -> Path:
        return self.root / "home" / "ledgers" / "sandbox.db"

    def file(self, name: str) -> str:
        return str(self.root / name)

    def run(self, *args: str, **env: str) -> Result:
        env |= {"ONECTL_HOME": str(self.root / "home"), "ONECTL_SANDBOX_SECONDS": "0.02", "TZ": "UTC"}
        return in_process.run(*args, cwd=self.root / "svc", env=env)


@pytest.fixture
def auditor(tmp_path: Path) -> Auditor:
    return Auditor(tmp_path)


def forge(ledger: Path, *, first: tuple[str, str] = ("", "")) -> None:
    """What an administrator can do: change an event, and a text of the first one; then recompute everything after it."""
    import sqlite3

    connection = sqlite3.connect(ledger)
    for (drop,) in connection.execute(DROP_GUARDS).fetchall():
        connection.execute(drop)
    connection.execute("UPDATE stored_events SET state = replace(state, 'nginx:1', 'nginx:9') WHERE topic = 'Deployed'")
    connection.execute("UPDATE stored_events SET state = replace(state, ?, ?) WHERE notification_id = 1", first)
    chain = GENESIS
    query = "SELECT notification_id, originator_id, originator_version, recorded_us, topic, state FROM stored_events ORDER BY 1"
    for position, stream, version, recorded_us, topic, state in connection.execute(query).fetchall():
        leaf = leaf_hash(
            position, stream, version, recorded_us, topic, bytes(state) if isinstance(state, bytes) else state.encode()
        )
        chain = chain_hash(chain, leaf)
        connection.execute(
            "UPDATE stored_events SET leaf = ?, chain = ?, state = CAST(state AS BLOB) WHERE notification_id = ?",
            (leaf, chain, position),
        )
    connection.execute("UPDATE ledger_head SET chain = ?", (chain,))
    connection.commit()
    connection.close()


def test_a_release_is_proved_to_somebody_who_has_the_file_and_the_key_only(auditor: Auditor, tmp_path: Path) -> None:
    auditor.run("audit", "prove", "--release", "1", "--file", auditor.file("p")).done()
    elsewhere = in_process.run(
        "audit", "verify-proof", auditor.file("p"), "--key", auditor.key,
        cwd=tmp_path, env={"ONECTL_HOME": str(tmp_path / "nobody")},
    )  # fmt: skip
    assert "Deployed was recorded at position 3" in elsewhere.done().stdout
    assert not (tmp_path / "nobody").exists()
    script = [sys.executable, str(ROOT / "docs" / "verify_proof.py"), auditor.file("p"), "--key", auditor.key]
    assert "PROVED" in subprocess.run(script, capture_output=True, text=True, check=True).stdout


def test_a_file_named_like_the_key_does_not_take_its_place(auditor: Auditor, tmp_path: Path) -> None:
    auditor.run("audit", "prove", "--position", "3", "--file", auditor.file("p")).done()
    mallory = SigningKey.generate(auditor.key.split("+")[0])
    signed = Proof.parse(Path(auditor.file("p")).read_bytes())
    forged = replace(signed, note=sign(notes.unverified(signed.note), mallory))
    sent = tmp_path / "sent"
    named = sent / auditor.key
    named.parent.mkdir(parents=True)
    named.write_text(str(mallory.verifier))
    (sent / "p").write_bytes(forged.to_bytes())
    for key in (auditor.key, f" {auditor.key}\n"):
        refused = in_process.run("audit", "verify-proof", "p", "--key", key, cwd=sent, env={})
        assert "is not signed by the given key" in refused.failed(1).error
    (sent / "key").write_text(f"{mallory.verifier}\n")
    in_process.run("audit", "verify-proof", "p", "--key", "key", cwd=sent, env={}).done()


def test_a_proof_with_a_changed_byte_proves_nothing(auditor: Auditor) -> None:
    path = Path(auditor.file("p"))
    auditor.run("audit", "prove", "--position", "3", "--file", str(path)).done()
    text = bytearray(path.read_bytes())
    text[len(text) // 3] ^= 1
    path.write_bytes(text)
    assert auditor.run("audit", "verify-proof", str(path), "--key", auditor.key).code == 1


def test_the_ledger_is_shown_to_have_only_grown(auditor: Auditor) -> None:
    auditor.run("audit", "checkpoint", "--file", auditor.file("c")).done()
    auditor.run("deploy", "--image", "nginx:2").done()
    assert (
        "unchanged since the checkpoint" in auditor.run("audit", "verify", "--against", auditor.file("c")).done().stdout
    )
    auditor.run("audit", "prove", "--since", auditor.file("c"), "--file", auditor.file("e")).done()
    shown = auditor.run("audit", "verify-proof", auditor.file("e"), "--old", auditor.file("c"), "--key", auditor.key)
    assert "The ledger only grew" in shown.done().stdout


def test_a_good_proof_that_is_asked_the_wrong_way_is_not_called_a_bad_one(auditor: Auditor) -> None:
    auditor.run("audit", "checkpoint", "--file", auditor.file("c")).done()
    auditor.run("audit", "prove", "--since", auditor.file("c"), "--file", auditor.file("grew")).done()
    auditor.run("audit", "prove", "--position", "3", "--file", auditor.file("p")).done()
    check = ("audit", "verify-proof", "--key", auditor.key)
    assert auditor.run(*check, auditor.file("grew")).failed(2).error == (
        f"❌ {auditor.file('grew')} is a consistency proof\nName the checkpoint that it continues: --old CHECKPOINT\n"
    )
    other = auditor.run(*check, auditor.file("p"), "--old", auditor.file("c")).failed(2).error
    assert other.endswith("is the proof of one event, which continues no checkpoint\nLeave --old out.\n")


def test_an_administrator_who_recomputes_the_chain_is_found_only_by_a_checkpoint_kept_elsewhere(
    auditor: Auditor,
) -> None:
    auditor.run("audit", "checkpoint", "--file", auditor.file("c")).done()
    auditor.run("audit", "witness", auditor.file("w")).done()
    forge(auditor.ledger)
    assert auditor.run("audit", "verify").code == 0
    found = auditor.run("audit", "verify", "--against", auditor.file("c"))
    assert found.code == 7
    assert "forked" in found.stderr
    assert auditor.run("audit", "witness", auditor.file("w")).code != 0


def test_an_older_file_put_back_is_found(auditor: Auditor) -> None:
    older = auditor.root / "older.db"
    shutil.copy(auditor.ledger, older)
    auditor.run("deploy", "--image", "nginx:2").done()
    auditor.run("audit", "checkpoint", "--file", auditor.file("c")).done()
    auditor.run("audit", "witness", auditor.file("w")).done()
    shutil.copy(older, auditor.ledger)
    found = auditor.run("-o", "json", "audit", "verify", "--against", auditor.file("c"))
    assert found.code == 7
    assert found.json["intact"] is False
    assert found.json["damage"]["fault"] == "rolled back"
    assert auditor.run("audit", "witness", auditor.file("w")).code != 0


def test_a_witness_on_another_machine_takes_a_proof_and_the_key_it_knows(auditor: Auditor, tmp_path: Path) -> None:
    auditor.run("audit", "witness", auditor.file("w")).done()
    kept = next(Path(auditor.file("w")).rglob("*checkpoint*"))
    auditor.run("deploy", "--image", "nginx:2").done()
    auditor.run("audit", "prove", "--since", str(kept), "--file", auditor.file("e")).done()
    accepted = auditor.run("audit", "witness", auditor.file("w"), "--accept", auditor.file("e"), "--key", auditor.key)
    assert "Witnessed" in accepted.done().stdout
    assert auditor.run("audit", "witness", auditor.file("w"), "--accept", auditor.file("e")).code == 2


def test_a_witness_on_another_machine_begins_with_a_checkpoint_alone(auditor: Auditor) -> None:
    there = ("audit", "witness", auditor.file("w"), "--key", auditor.key, "--accept")
    auditor.run("audit", "checkpoint", "--file", auditor.file("first")).done()
    begun = auditor.run(*there, auditor.file("first")).done()
    assert "the first of this ledger here: nothing before it was witnessed" in begun.stdout
    again = auditor.run("-o", "json", *there, auditor.file("first")).done().json
    assert (again["witnessed"], again["first"]) == (True, False)
    auditor.run("deploy", "restart").done()
    auditor.run("audit", "checkpoint", "--file", auditor.file("second")).done()
    refused = auditor.run(*there, auditor.file("second")).failed(3)
    assert f"the one that was kept, of size {again['size']}" in refused.error
    kept = match(r"(?s).*from a copy of (\S+): 1ctl audit prove --since COPY --file FILE\n", refused.error)[1]
    auditor.run("audit", "prove", "--since", kept, "--file", auditor.file("next")).done()
    assert "the first" not in auditor.run(*there, auditor.file("next")).done().stdout


def test_a_proof_that_begins_elsewhere_is_no_damage(auditor: Auditor) -> None:
    there = ("audit", "witness", auditor.file("w"), "--key", auditor.key, "--accept")
    auditor.run("audit", "checkpoint", "--file", auditor.file("first")).done()
    auditor.run("deploy", "restart").done()
    auditor.run("audit", "checkpoint", "--file", auditor.file("second")).done()
    auditor.run("audit", "prove", "--since", auditor.file("first"), "--file", auditor.file("p")).done()
    refused = auditor.run(*there, auditor.file("p")).failed(3)
    assert "no checkpoint of this ledger was kept here" in refused.error
    assert "1ctl audit checkpoint --file" in refused.error
    auditor.run(*there, auditor.file("second")).done()
    auditor.run("deploy", "restart").done()
    auditor.run("audit", "prove", "--since", auditor.file("first"), "--file", auditor.file("p")).done()
    assert "the checkpoint that was kept has size" in auditor.run(*there, auditor.file("p")).failed(3).error
    assert "was accepted before" in auditor.run(*there, auditor.file("first")).failed(7).error


def test_another_ledger_does_not_take_the_watched_ones_place_unnoticed(auditor: Auditor, tmp_path: Path) -> None:
    first = auditor.run("-o", "json", "audit", "witness", auditor.file("w")).done().json
    other = Auditor(tmp_path / "other")
    refused = other.run("audit", "witness", auditor.file("w")).failed(3)
    assert f"none of {other.key.split('+')[0]}" in refused.error
    accepted = other.run("-o", "json", "audit", "witness", auditor.file("w"), "--new-ledger").done()
    assert (first["first"], accepted.json["first"]) == (True, True)
    for each in (auditor, other):
        assert each.run("-o", "json", "audit", "witness", auditor.file("w")).done().json["first"] is False
    third = Auditor(tmp_path / "third")
    third.run("audit", "witness", auditor.file("w"), "--key", third.key).done()


def test_a_witness_whose_directory_is_gone_does_not_begin_anew(auditor: Auditor, tmp_path: Path) -> None:
    auditor.run("audit", "witness", auditor.file("w")).done()
    (tmp_path / "w").rename(tmp_path / "unmounted")
    for more in ((), ("--new-ledger",), ("--accept", "x", "--key", auditor.key)):
        assert auditor.run("audit", "witness", auditor.file("w"), *more).failed(3).error == (
            f"❌ there is no directory {auditor.file('w')}: is it mounted?\n"
            "For a new witness, make the directory first.\n"
        )
    assert not (tmp_path / "w").exists()


@pytest.fixture
def ben(tmp_path: Path) -> Callable[..., Result]:
    """An auditor with another home, who has a key, knows the ledger's and sees only what is sent."""
    (tmp_path / "ben" / "kept").mkdir(parents=True)

    def run(*args: str) -> Result:
        return in_process.run(*args, cwd=tmp_path / "ben", env={"ONECTL_HOME": str(tmp_path / "ben" / "home")})

    return run


def test_a_witness_elsewhere_cosigns_and_those_who_trust_it_need_not_ask_it(
    auditor: Auditor, ben: Callable[..., Result], tmp_path: Path
) -> None:
    made = ben("audit", "witness-key", "ben.key", "--name", "witness.example.com/ben").done().stdout
    assert (tmp_path / "ben" / "ben.key").stat().st_mode & 0o777 == 0o600
    accept = ("audit", "witness", "kept", "--key", auditor.key, "--cosign", "ben.key", "--file", auditor.file("co"))
    auditor.run("audit", "checkpoint", "--file", auditor.file("c")).done()
    assert "Cosigned as witness.example.com/ben" in ben(*accept, "--accept", auditor.file("c")).done().stdout
    auditor.run("deploy", "restart").done()
    auditor.run("audit", "prove", "--since", auditor.file("co"), "--file", auditor.file("next")).done()
    ben(*accept, "--accept", auditor.file("next")).done()
    auditor.run(
        "audit", "prove", "--position", "3", "--checkpoint", auditor.file("co"), "--file", auditor.file("p")
    ).done()
    auditor.run("audit", "prove", "--since", auditor.file("c"), "--checkpoint", auditor.file("co"), "--file",
                auditor.file("grew")).done()  # fmt: skip
    check = ("audit", "verify-proof", auditor.file("p"), "--key", auditor.key)
    grew = ("audit", "verify-proof", auditor.file("grew"), "--key", auditor.key, "--old", auditor.file("c"))
    for asked in (check, grew):
        seen = ben(*asked, "--witness", made.strip()).done().stdout
        match(
            r"(?s).*\n✅ witness\.example\.com/ben cosigned it at \S+Z, and had seen no other ledger of that name\n",
            seen,
        )
        assert "Signatures by keys that were not named: 1" in ben(*asked).done().stderr
    script = [sys.executable, str(ROOT / "docs" / "verify_proof.py"), *check[2:], "--witness", made.strip()]
    assert (
        "PROVED: witness.example.com/ben" in subprocess.run(script, capture_output=True, text=True, check=True).stdout
    )


def test_a_history_that_the_witness_did_not_see_is_not_proved_to_those_who_trust_it(
    auditor: Auditor, ben: Callable[..., Result]
) -> None:
    public = ben("audit", "witness-key", "ben.key", "--name", "witness.example.com/ben").done().stdout.strip()
    accept = ("audit", "witness", "kept", "--key", auditor.key, "--cosign", "ben.key", "--file", auditor.file("co"))
    auditor.run("audit", "checkpoint", "--file", auditor.file("c")).done()
    ben(*accept, "--accept", auditor.file("c")).done()
    forge(auditor.ledger)
    shutil.rmtree(auditor.root / "home" / "checkpoints")  # so nothing here keeps the key from signing
    auditor.run("audit", "checkpoint", "--file", auditor.file("forged")).done()
    assert "two different ledgers" in ben(*accept, "--accept", auditor.file("forged")).failed(7).error
    prove = ("audit", "prove", "--position", "3", "--file", auditor.file("p"), "--checkpoint")
    assert "is not what it was" in auditor.run(*prove, auditor.file("co")).failed(1).error
    auditor.run(*prove, auditor.file("forged")).done()
    check = ("audit", "verify-proof", auditor.file("p"), "--key", auditor.key)
    ben(*check).done()  # without a witness, a split view looks like the truth
    refused = ben(*check, "--witness", public).failed(1)
    assert "not cosigned by the given key of witness.example.com/ben" in refused.error
    assert refused.stdout == ""


def test_a_witness_key_is_made_once_and_is_nothing_else(auditor: Auditor, ben: Callable[..., Result]) -> None:
    assert "1ctl audit witness-key FILE --name NAME" in ben("audit", "witness-key", "b.key").failed(3).error
    made = ben("audit", "witness-key", "b.key", "--name", "w.example/b").done().stdout
    assert ben("audit", "witness-key", "b.key").done().stdout == made
    assert ben("audit", "witness-key", "b.key", "--name", "w.example/b").done().stdout == made
    assert "is the key of w.example/b" in ben("audit", "witness-key", "b.key", "--name", "c").failed(3).error
    for name in ("", "a b", "a+b", "a\nb"):
        assert "cannot be the name of a key" in ben("audit", "witness-key", "other", "--name", name).failed(3).error
    (signing,) = (auditor.root / "home" / "keys").glob("*.signing.key")
    assert "the key of a ledger" in ben("audit", "witness-key", str(signing)).failed(3).error
    accept = ("audit", "witness", "kept", "--key", auditor.key, "--accept", auditor.file("c"))
    assert "the key of a ledger" in ben(*accept, "--cosign", str(signing)).failed(3).error
    auditor.run("audit", "witness", auditor.file("w"), "--cosign", "b.key").failed(2)


@pytest.mark.parametrize("args", [("--release", "9"), ("--position", "999"), ()])
def test_what_is_not_there_cannot_be_proved(auditor: Auditor, args: tuple[str, ...]) -> None:
    result = auditor.run("audit", "prove", *args)
    assert result.code in (1, 2, 3)
    assert result.stdout == ""


def test_who_has_no_signing_key_proves_in_a_checkpoint_that_was_signed_elsewhere(auditor: Auditor) -> None:
    auditor.run("audit", "checkpoint", "--file", auditor.file("c")).done()
    shutil.rmtree(auditor.root / "home" / "keys")
    refused = auditor.run("audit", "prove", "--position", "3").failed(1)
    assert "signed where that key is: --checkpoint FILE" in refused.error
    auditor.run("audit", "prove", "--position", "3", "--checkpoint", auditor.file("c")).done()


def test_a_position_that_is_not_there_cannot_be_proved(auditor: Auditor) -> None:
    refused = auditor.run("audit", "prove", "--position", "9999").failed(3)
    assert "there is no position 9999; the ledger has " in refused.error


def test_a_comparison_is_in_the_document_whatever_it_says(auditor: Auditor) -> None:
    auditor.run("audit", "checkpoint", "--file", auditor.file("then")).done()
    auditor.run("deploy", "restart").done()
    sound = auditor.run("-o", "json", "audit", "verify", "--against", auditor.file("then")).done().json
    assert (sound["intact"], sound["against"]["verdict"]) == (True, "consistent")
    assert sound["against"]["detail"] == f"positions 1 to {sound['against']['size']} are unchanged since the checkpoint"
    assert auditor.run("-o", "json", "audit", "verify").done().json["against"] is None
    forge(auditor.ledger)
    forged = auditor.run("-o", "json", "audit", "verify", "--against", auditor.file("then"))
    assert (forged.code, forged.json["against"]["verdict"]) == (7, "forked")


def test_an_older_file_put_back_is_neither_signed_nor_witnessed(auditor: Auditor) -> None:
    shutil.copy(auditor.ledger, auditor.file("yesterday.db"))
    auditor.run("deploy", "restart").done()
    auditor.run("audit", "witness", auditor.file("w")).done()
    shutil.copy(auditor.file("yesterday.db"), auditor.ledger)
    for args in (("checkpoint",), ("witness", auditor.file("w")), ("prove", "--position", "3")):
        refused = auditor.run("audit", *args).failed(7)
        assert "does not continue the checkpoint" in refused.error
        assert "an older copy was put back" in refused.error


@pytest.mark.parametrize("names_itself", ["as before", "otherwise"])
def test_one_key_does_not_sign_two_histories_whatever_the_ledger_calls_itself(
    auditor: Auditor, names_itself: str
) -> None:
    ledger_id = auditor.key.split("+")[0].removeprefix("1ctl.dev/ledger/")
    key = auditor.root / "home" / "keys" / f"{ledger_id}.signing.key"
    auditor.run("audit", "checkpoint", "--file", auditor.file("honest")).done()
    named = f'"ledger_id":"{ledger_id}"'
    other = named.replace(ledger_id[:8], "22222222") if names_itself == "otherwise" else named
    forge(auditor.ledger, first=(named, other))
    backup = str(auditor.root / "b.db")
    for args in (("audit", "checkpoint"), ("audit", "witness", auditor.file("w")), ("ledger", "backup", backup)):
        refused = auditor.run(*args, ONECTL_SIGNING_KEY=str(key)).failed(7)
        why = "gives it two names" if names_itself == "otherwise" else "does not continue the checkpoint"
        assert why in refused.error
        assert refused.stdout == ""
    if names_itself == "otherwise":  # at position 1, so nothing before it is intact
        assert "are intact" not in auditor.run("audit", "verify").failed(7).error


def keys_of_a_forger(auditor: Auditor) -> dict[str, tuple[str, str]]:
    """What a forger may write over the ledger's key at position 1."""
    origin = auditor.key.split("+")[0]
    other_id = "22222222-2222-4222-8222-222222222222"
    others = SigningKey.generate(f"1ctl.dev/ledger/{other_id}").verifier
    return {
        "a key of the forger's": (auditor.key, str(SigningKey.generate(origin).verifier)),
        "no key": (auditor.key, "junk"),
        "a witness's key": (auditor.key, str(SigningKey.generate(origin, notes.COSIGNATURE).verifier)),
        "the key of another ledger": (auditor.key, str(others)),
    }


@pytest.mark.parametrize("key", ["a key of the forger's", "no key", "a witness's key", "the key of another ledger"])
def test_a_forger_who_replaces_the_ledgers_key_as_well_is_no_less_alarming(auditor: Auditor, key: str) -> None:
    auditor.run("audit", "checkpoint", "--file", auditor.file("c")).done()
    auditor.run("audit", "witness", auditor.file("w")).done()
    forge(auditor.ledger, first=keys_of_a_forger(auditor)[key])
    assert "position 1" in auditor.run("audit", "verify", "--against", auditor.file("c")).failed(7).error
    auditor.run("audit", "verify", "--against", auditor.file("c"), "--key", auditor.key).failed(7)
    auditor.run("audit", "witness", auditor.file("w")).failed(7)


def test_a_key_that_did_not_sign_the_checkpoint_is_in_the_document(auditor: Auditor) -> None:
    auditor.run("audit", "checkpoint", "--file", auditor.file("c")).done()
    forge(auditor.ledger, first=keys_of_a_forger(auditor)["a key of the forger's"])
    found = auditor.run("-o", "json", "audit", "verify", "--against", auditor.file("c"))
    assert (found.code, found.json["against"]["verdict"], found.json["damage"]["position"]) == (7, "forked", 1)


def test_a_backup_that_names_another_key_is_not_the_ledger_of_its_checkpoint(auditor: Auditor) -> None:
    auditor.run("ledger", "backup", auditor.file("b.db")).done()
    forge(Path(auditor.file("b.db")), first=keys_of_a_forger(auditor)["a key of the forger's"])
    refused = auditor.run("ledger", "restore", auditor.file("b.db"), "--accept-loss", "-y").failed(7)
    assert "the backup is not the ledger of the checkpoint" in refused.error


def test_a_rewritten_ledger_is_not_witnessed_by_a_machine_that_kept_nothing(auditor: Auditor) -> None:
    auditor.run("audit", "witness", auditor.file("w")).done()
    shutil.rmtree(auditor.root / "home" / "checkpoints")
    forge(auditor.ledger)
    assert "does not continue the checkpoint" in auditor.run("audit", "witness", auditor.file("w")).failed(7).error


# What a proof begins with


def tree_of(auditor: Auditor) -> Path:
    (tree,) = (auditor.root / "home" / "checkpoints").glob("*.tree")
    return tree


@pytest.fixture
def proved(auditor: Auditor) -> Auditor:
    """One who has a checkpoint of a few hundred events and has proved one of them."""
    with closing(open_store(str(auditor.ledger))) as store:
        ledger = Ledger(store, KeyFiles(auditor.root / "home" / "keys"), mint_domain=lambda: "")
        for number in range(2, 150):
            ledger.execute(AppId("sandbox", "default", "user-service"), Deploy(image=f"nginx:{number}"), request())
    auditor.run("audit", "checkpoint", "--file", auditor.file("c")).done()
    auditor.run(
        "audit", "prove", "--position", "5", "--checkpoint", auditor.file("c"), "--file", auditor.file("p")
    ).done()
    return auditor


def test_a_second_proof_begins_with_what_the_first_one_hashed(proved: Auditor, monkeypatch: pytest.MonkeyPatch) -> None:
    from ledger.merkle import Tree

    grown: list[int] = []
    grow = Tree.grow

    def counted(tree: Tree, size: int) -> None:
        grown.append(size - tree.size)
        grow(tree, size)

    monkeypatch.setattr(Tree, "grow", counted)
    prove = ("audit", "prove", "--position", "5", "--checkpoint", proved.file("c"))
    again = proved.run(*prove).done().stdout
    assert again == Path(proved.file("p")).read_text()
    assert grown == [0]


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "of another ledger"])
def test_a_tree_that_will_not_do_is_made_anew(proved: Auditor, damage: str, tmp_path: Path) -> None:
    tree, content = tree_of(proved), tree_of(proved).read_bytes()
    match damage:
        case "cut":
            tree.write_bytes(content[:-7])
        case "changed":
            tree.write_bytes(content[:20] + bytes([content[20] ^ 1]) + content[21:])
        case "gone":
            tree.unlink()
        case _:
            other = Auditor(tmp_path / "other")
            other.run("audit", "prove", "--position", "2", "--file", other.file("p")).done()
            shutil.copy(tree_of(other), tree)
    prove = ("audit", "prove", "--position", "5", "--checkpoint", proved.file("c"))
    assert proved.run(*prove).done().stdout == Path(proved.file("p")).read_text()
    assert tree.read_bytes() == content


def test_an_event_that_was_changed_is_not_proved_with_a_kept_tree_either(proved: Auditor) -> None:
    forge(proved.ledger)
    prove = ("audit", "prove", "--position", "3", "--checkpoint", proved.file("c"))
    assert "is not what it was when the checkpoint" in proved.run(*prove).failed(1).error
