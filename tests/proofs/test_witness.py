"""A witness accepts what continues the kept checkpoint, and nothing else."""

from __future__ import annotations

import json
import os
import threading
from hashlib import sha256
from pathlib import Path
from shutil import copyfile

import pytest

from ledger.checkpoint import (
    COSIGNATURE,
    Checkpoint,
    CheckpointError,
    SigningKey,
    cosigned_at,
    open_note,
    sign,
    unverified,
)
from ledger.errors import OneCtlError
from ledger.proof import Extension, verify_proof
from ledger.proving import checkpoint_now, prove_position, prove_since
from ledger.sqlite_store import SqliteStore
from ledger.verify import verify_chain
from ledger.witness import Witness, WitnessError
from tests.proofs.ledgers import ORIGIN, RealLedger, rewrite

EDIT = "UPDATE stored_events SET topic = 'ResourcesRemoved' WHERE notification_id = 8"
NAME = sha256(ORIGIN.encode()).hexdigest()


class Clock:
    def now_us(self) -> int:
        return 1_800_000_000_000_000


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> RealLedger:
    return RealLedger(tmp_path_factory.mktemp("template"), 40)


@pytest.fixture
def ledger(template: RealLedger, tmp_path: Path) -> RealLedger:
    return template.copy(tmp_path)


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    (tmp_path / "witness").mkdir()
    return Witness(tmp_path / "witness", clock=Clock())


def request(ledger: RealLedger, witness: Witness) -> bytes:
    """What the ledger's side sends: everything since the checkpoint that the witness kept."""
    note = checkpoint_now(ledger.store, ledger.key)
    kept = witness.newest(ORIGIN)
    if kept is None:
        return Extension(old_size=0, path=(), note=note).to_bytes()
    return prove_since(ledger.store, unverified(kept), note)


def reopen(ledger: RealLedger) -> None:
    ledger.store.close()
    ledger.store = SqliteStore(ledger.store.path)


def test_a_growing_ledger_is_accepted_step_by_step(ledger: RealLedger, witness: Witness, tmp_path: Path) -> None:
    assert witness.newest(ORIGIN) is None
    assert witness.history(ORIGIN) == []
    notes = []
    for size in (40, 41, 100, 300):
        ledger.grow(size)
        notes.append(witness.accept(request(ledger, witness), ledger.verifier))
        assert witness.newest(ORIGIN) == notes[-1]
        assert open_note(notes[-1], ledger.verifier).size == size
    assert [(line.result, line.note) for line in witness.history(ORIGIN)] == [("accepted", note) for note in notes]
    assert witness.history(ORIGIN)[0].at == "2027-01-15T08:00:00.000000Z"
    names = {path.name for path in (tmp_path / "witness").iterdir() if ".lock" not in path.name}
    assert names == {f"{NAME}.checkpoint", f"{NAME}.history"}


def test_the_same_checkpoint_may_be_sent_again(ledger: RealLedger, witness: Witness) -> None:
    first = request(ledger, witness)
    note = witness.accept(first, ledger.verifier)
    assert witness.accept(first, ledger.verifier) == witness.accept(request(ledger, witness), ledger.verifier) == note
    assert len(witness.history(ORIGIN)) == 1


def test_an_administrator_who_recomputes_everything_is_found(ledger: RealLedger, witness: Witness) -> None:
    kept = open_note(witness.accept(request(ledger, witness), ledger.verifier), ledger.verifier)
    rewrite(ledger.store.path, EDIT)
    reopen(ledger)
    assert verify_chain(ledger.store).damage is None
    with pytest.raises(OneCtlError, match="does not continue"):
        request(ledger, witness)  # honest software cannot even ask
    forged = Extension(old_size=40, path=(), note=checkpoint_now(ledger.store, ledger.key))
    with pytest.raises(WitnessError, match="two different ledgers") as refused:
        witness.accept(forged.to_bytes(), ledger.verifier)
    assert refused.value.refusal == "forked"
    assert open_note(witness.newest(ORIGIN) or b"", ledger.verifier) == kept
    convicting = witness.history(ORIGIN)[-1]
    assert (convicting.result, convicting.note) == ("forked", forged.note)
    assert open_note(convicting.note, ledger.verifier).size == kept.size


def test_a_rewritten_ledger_that_grew_is_found(ledger: RealLedger, witness: Witness) -> None:
    witness.accept(request(ledger, witness), ledger.verifier)
    rewrite(ledger.store.path, EDIT)
    reopen(ledger)
    ledger.grow(90)
    note = checkpoint_now(ledger.store, ledger.key)
    honest_path = Extension.parse(prove_since(ledger.store, open_note(note, ledger.verifier), note)).path
    for path in (honest_path, (bytes(32),) * 3):
        with pytest.raises(WitnessError) as refused:
            witness.accept(Extension(old_size=40, path=path, note=note).to_bytes(), ledger.verifier)
        assert refused.value.refusal == "unproved"


def test_an_older_copy_put_back_is_found(ledger: RealLedger, witness: Witness, tmp_path: Path) -> None:
    ledger.store.close()
    copyfile(ledger.store.path, tmp_path / "older.db")
    reopen(ledger)
    ledger.grow(60)
    witness.accept(request(ledger, witness), ledger.verifier)
    ledger.store.close()
    copyfile(tmp_path / "older.db", ledger.store.path)
    reopen(ledger)
    note = checkpoint_now(ledger.store, ledger.key)
    with pytest.raises(WitnessError, match="one of size 60 was accepted before") as refused:
        witness.accept(Extension(old_size=0, path=(), note=note).to_bytes(), ledger.verifier)
    assert refused.value.refusal == "smaller"
    ledger.grow(59)
    other = checkpoint_now(ledger.store, ledger.key)
    ledger.grow(70)
    with pytest.raises(OneCtlError):
        witness.accept(prove_since(ledger.store, open_note(other, ledger.verifier), other), ledger.verifier)


def test_a_proof_from_another_size_is_refused_with_the_kept_size(ledger: RealLedger, witness: Witness) -> None:
    early = open_note(checkpoint_now(ledger.store, ledger.key), ledger.verifier)
    ledger.grow(50)
    witness.accept(request(ledger, witness), ledger.verifier)
    ledger.grow(60)
    text = prove_since(ledger.store, early, checkpoint_now(ledger.store, ledger.key))
    with pytest.raises(WitnessError, match="begins at size 40, the checkpoint that was kept has size 50") as refused:
        witness.accept(text, ledger.verifier)
    assert refused.value.refusal == "other size"


def test_a_checkpoint_alone_begins_and_repeats_and_does_nothing_else(ledger: RealLedger, witness: Witness) -> None:
    note = checkpoint_now(ledger.store, ledger.key)
    assert witness.accept(note, ledger.verifier) == witness.accept(note, ledger.verifier) == note
    ledger.grow(50)
    with pytest.raises(WitnessError, match="without a proof that it continues the one that was kept, of size 40") as no:
        witness.accept(checkpoint_now(ledger.store, ledger.key), ledger.verifier)
    assert no.value.refusal == "other size"
    forged = sign(Checkpoint(ORIGIN, 40, bytes(32)), ledger.key)
    with pytest.raises(WitnessError) as refused:
        witness.accept(forged, ledger.verifier)
    assert refused.value.refusal == "forked"
    with pytest.raises(CheckpointError):
        witness.accept(sign(Checkpoint(ORIGIN, 60, bytes(32)), SigningKey.generate(ORIGIN)), ledger.verifier)
    assert witness.newest(ORIGIN) == note


def test_the_first_checkpoint_comes_without_a_proof(ledger: RealLedger, witness: Witness) -> None:
    note = checkpoint_now(ledger.store, ledger.key)
    for bad in (Extension(old_size=0, path=(bytes(32),), note=note), Extension(old_size=40, path=(), note=note)):
        with pytest.raises(WitnessError):
            witness.accept(bad.to_bytes(), ledger.verifier)
    assert witness.newest(ORIGIN) is None


def test_what_the_ledgers_key_did_not_sign_leaves_no_trace(
    ledger: RealLedger, witness: Witness, tmp_path: Path
) -> None:
    mallory = SigningKey.generate(ORIGIN)
    note = sign(Checkpoint(ORIGIN, 40, bytes(32)), mallory)
    for text in (b"", b"old 0\n\n", note, Extension(old_size=0, path=(), note=note).to_bytes()):
        with pytest.raises(OneCtlError):
            witness.accept(text, ledger.verifier)
    assert list((tmp_path / "witness").iterdir()) == []


def test_a_kept_checkpoint_that_was_changed_is_found(ledger: RealLedger, witness: Witness, tmp_path: Path) -> None:
    first = request(ledger, witness)
    witness.accept(first, ledger.verifier)
    kept = tmp_path / "witness" / f"{NAME}.checkpoint"
    kept.write_bytes(kept.read_bytes().replace(b"\n40\n", b"\n39\n"))
    with pytest.raises(WitnessError, match="not good itself"):
        witness.accept(first, ledger.verifier)


def test_ledgers_do_not_meet(ledger: RealLedger, witness: Witness) -> None:
    other = SigningKey.generate("example.com/other")
    note = sign(Checkpoint("example.com/other", 3, bytes(32)), other)
    witness.accept(request(ledger, witness), ledger.verifier)
    witness.accept(Extension(old_size=0, path=(), note=note).to_bytes(), other.verifier)
    assert witness.newest("example.com/other") == note
    assert unverified(witness.newest(ORIGIN) or b"").size == 40
    with pytest.raises(CheckpointError):
        witness.accept(Extension(old_size=0, path=(), note=note).to_bytes(), ledger.verifier)


def test_a_cosigning_witness_shows_in_proofs(ledger: RealLedger, tmp_path: Path) -> None:
    key = SigningKey.generate("witness.example/w1", COSIGNATURE)
    (tmp_path / "witness").mkdir()
    witness = Witness(tmp_path / "witness", cosigner=key, clock=Clock())
    note = witness.accept(request(ledger, witness), ledger.verifier)
    assert witness.accept(request(ledger, witness), ledger.verifier) == note
    assert cosigned_at(note, key.verifier) == 1_800_000_000
    proven = verify_proof(prove_position(ledger.store, 8, note), ledger.verifier, witnesses=[key.verifier])
    assert proven.witnessed == (("witness.example/w1", 1_800_000_000),)
    assert len(witness.history(ORIGIN)) == 1


def test_a_history_line_cut_off_by_a_crash_costs_only_itself(
    ledger: RealLedger, witness: Witness, tmp_path: Path
) -> None:
    witness.accept(request(ledger, witness), ledger.verifier)
    path = tmp_path / "witness" / f"{NAME}.history"
    for torn in (b'\n{"at": "2027', b"\n[]", b'\n{"at": 1, "result": 2, "checkpoint": 3}', b"\n\xff"):
        with path.open("ab") as file:
            file.write(torn)
    ledger.grow(50)
    witness.accept(request(ledger, witness), ledger.verifier)
    assert [unverified(line.note).size for line in witness.history(ORIGIN)] == [40, 50]
    assert json.loads(path.read_bytes().splitlines()[-1])["result"] == "accepted"


def test_a_draft_left_by_a_crash_is_no_checkpoint(ledger: RealLedger, witness: Witness, tmp_path: Path) -> None:
    note = witness.accept(request(ledger, witness), ledger.verifier)
    draft = tmp_path / "witness" / f".{NAME}.checkpoint.draft"
    draft.write_bytes(b"half of")
    assert witness.newest(ORIGIN) == note
    ledger.grow(50)
    witness.accept(request(ledger, witness), ledger.verifier)
    assert not draft.exists()


def test_two_forks_sent_at_once_are_not_both_accepted(ledger: RealLedger, witness: Witness, tmp_path: Path) -> None:
    first = witness.accept(request(ledger, witness), ledger.verifier)
    ledger.store.close()
    copyfile(ledger.store.path, tmp_path / "fork.db")
    reopen(ledger)
    ledger.grow(50)
    texts = [request(ledger, witness)]
    ledger.store = SqliteStore(tmp_path / "fork.db")
    ledger.grow(60)
    rewrite(tmp_path / "fork.db", "UPDATE stored_events SET recorded_us = recorded_us + 1 WHERE notification_id > 40")
    reopen(ledger)
    texts.append(prove_since(ledger.store, unverified(first), checkpoint_now(ledger.store, ledger.key)))
    results: list[object] = []

    def send(text: bytes) -> None:
        try:
            results.append(witness.accept(text, ledger.key.verifier))
        except WitnessError as error:
            results.append(error.refusal)

    threads = [threading.Thread(target=send, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(result, bytes) for result in results) == 1


def test_a_directory_that_is_not_there_is_not_made(ledger: RealLedger, tmp_path: Path) -> None:
    witness = Witness(tmp_path / "witness")
    with pytest.raises(WitnessError, match="cannot be used: No such file"):
        witness.accept(request(ledger, witness), ledger.verifier)
    assert not (tmp_path / "witness").exists()


def test_a_directory_that_cannot_be_used_is_said_so(ledger: RealLedger, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    witness = Witness(tmp_path / "file")
    with pytest.raises(WitnessError, match="cannot be used"):
        witness.accept(Extension(old_size=0, path=(), note=checkpoint_now(ledger.store, ledger.key)).to_bytes(),
                       ledger.verifier)  # fmt: skip
    with pytest.raises(WitnessError, match="cannot be used"):
        witness.newest(ORIGIN)


@pytest.mark.parametrize("name", ["checkpoint", "history", "lock", "lock.queue"])
@pytest.mark.parametrize("to", ["a file", "nothing"])
def test_a_link_in_the_directory_leads_to_nothing_of_the_operators(
    ledger: RealLedger, witness: Witness, tmp_path: Path, name: str, to: str
) -> None:
    """The directory belongs to somebody else, who must not choose what is read or written outside of it."""
    mine = tmp_path / "identity.key"
    if to == "a file":
        mine.write_text("1CTL-IDENTITY-1 mine\n")
    (tmp_path / "witness" / f"{NAME}.{name}").symlink_to(mine)
    with pytest.raises(WitnessError, match=rf"{NAME}\.{name} is a link or a device, not a file"):
        witness.accept(request(ledger, witness), ledger.verifier)
    assert (mine.read_text() if mine.exists() else "") == ("1CTL-IDENTITY-1 mine\n" if to == "a file" else "")
    assert mine.exists() == (to == "a file")


def test_a_draft_that_is_a_link_is_replaced(ledger: RealLedger, witness: Witness, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (tmp_path / "witness" / f".{NAME}.checkpoint.draft").symlink_to(mine)
    note = witness.accept(request(ledger, witness), ledger.verifier)
    assert (witness.newest(ORIGIN), mine.read_text()) == (note, "mine")


@pytest.mark.parametrize("name", ["checkpoint", "history", "lock", "lock.queue"])
def test_a_pipe_in_the_directory_is_not_waited_for(
    ledger: RealLedger, witness: Witness, tmp_path: Path, name: str
) -> None:
    os.mkfifo(tmp_path / "witness" / f"{NAME}.{name}")
    with pytest.raises(WitnessError, match="cannot be used"):
        witness.accept(request(ledger, witness), ledger.verifier)
