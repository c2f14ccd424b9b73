"""Proof files, consistency proofs, and what is found out about a ledger that was rewritten."""

from __future__ import annotations

import sqlite3
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from shutil import copyfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.checkpoint import COSIGNATURE, Checkpoint, CheckpointError, SigningKey, cosign, open_note, sign
from ledger.codec import encode
from ledger.comparing import Comparison, verify_against
from ledger.errors import LedgerDamagedError, OneCtlError, RefusedError
from ledger.events import LedgerCreated, Redacted
from ledger.leaf import entry as entry_bytes
from ledger.ledger_key import ledger_key
from ledger.merkle import Frontier, Tree
from ledger.proof import Entry, Extension, Proof, ProofError, verify_extension, verify_proof
from ledger.proving import checkpoint_now, prove_position, prove_since
from ledger.redaction import signed
from ledger.sqlite_store import SqliteStore
from ledger.store import NewRow
from ledger.stored_leaves import ledger_leaves, ledger_tree
from ledger.streams import LEDGER_STREAM
from ledger.verify import verify_chain
from tests.proofs.ledgers import APP, LEDGER_ID, ORIGIN, START_US, RealLedger, envelope, rewrite
from tests.seeds import examples

EDIT = (
    'UPDATE stored_events SET state = CAST(replace(CAST(state AS TEXT), \'"N":"7"\', \'"N":"8"\') AS BLOB) '
    "WHERE notification_id = 8"
)
SIZE = 300  # more than one block of leaves


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RealLedger:
    """A ledger that tests only read."""
    return RealLedger(tmp_path_factory.mktemp("ledger"), SIZE)


@pytest.fixture(scope="module")
def note(made: RealLedger) -> bytes:
    return checkpoint_now(made.store, made.key)


@pytest.fixture(scope="module")
def text(made: RealLedger, note: bytes) -> bytes:
    return prove_position(made.store, 8, note)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> RealLedger:
    return RealLedger(tmp_path_factory.mktemp("template"), 40)


@pytest.fixture
def own(template: RealLedger, tmp_path: Path) -> RealLedger:
    """A ledger that the test may change."""
    return template.copy(tmp_path)


def reopened(ledger: RealLedger) -> SqliteStore:
    ledger.store.close()
    ledger.store = SqliteStore(ledger.store.path)
    return ledger.store


class TestProofFiles:
    @pytest.mark.parametrize("position", [1, 2, 8, 255, 256, 257, SIZE])
    def test_a_proof_says_what_was_recorded(self, made: RealLedger, note: bytes, position: int) -> None:
        (row,) = made.store.positions(position, position, limit=1)
        text = prove_position(made.store, position, note)
        proven = verify_proof(text, made.verifier, state=row.state)
        assert proven.entry == Entry(
            position, row.stream, row.version, row.recorded_us, row.topic, sha256(row.state).digest()
        )
        assert (proven.checkpoint.origin, proven.checkpoint.size, proven.state_checked) == (ORIGIN, SIZE, True)
        assert not verify_proof(text, made.verifier).state_checked
        assert Proof.parse(text).to_bytes() == text
        assert text.endswith(b"\n\n" + note)

    def test_the_entry_reads_like_a_line_of_the_ledger(self, made: RealLedger, note: bytes) -> None:
        entry = verify_proof(prove_position(made.store, 8, note), made.verifier).entry
        assert (entry.position, entry.stream_id, entry.version, entry.topic) == (8, APP, 7, "EnvSet")
        assert (entry.recorded_us, entry.recorded_at) == (START_US + 1_000_000, "2026-01-31T09:30:01.000000Z")

    def test_a_kept_checkpoint_needs_no_signing_key(self, own: RealLedger) -> None:
        kept = checkpoint_now(own.store, own.key)
        own.grow(70)
        own.key_path.unlink()
        assert verify_proof(prove_position(own.store, 40, kept), own.verifier).checkpoint.size == 40
        with pytest.raises(ProofError, match="covers positions 1 to 40, not 41"):
            prove_position(own.store, 41, kept)

    def test_a_tree_that_was_kept_gives_the_same_proofs(self, made: RealLedger, note: bytes) -> None:
        tree = ledger_tree(made.store)
        tree.grow(270)
        again = Tree.from_bytes(tree.to_bytes(), ledger_leaves(made.store))
        for position in (1, 100, 256, 257, 300):
            assert prove_position(made.store, position, note, tree=again) == prove_position(made.store, position, note)

    def test_a_tree_that_was_tampered_with_proves_nothing(self, made: RealLedger, note: bytes) -> None:
        tree = ledger_tree(made.store)
        tree.grow(SIZE)
        kept = bytearray(tree.to_bytes())
        kept[20] ^= 1
        again = Tree.from_bytes(bytes(kept), ledger_leaves(made.store))
        with pytest.raises(ProofError, match="not what it was"):
            prove_position(made.store, 290, note, tree=again)

    def test_other_event_bytes_are_refused(self, made: RealLedger, note: bytes) -> None:
        (row,) = made.store.positions(8, 8, limit=1)
        text = prove_position(made.store, 8, note)
        for state in (b"", row.state + b"\n", row.state[:-1], row.state.replace(b"7", b"8")):
            with pytest.raises(ProofError, match="not the bytes of the event at position 8"):
                verify_proof(text, made.verifier, state=state)

    def test_each_witness_that_is_named_must_have_cosigned(self, made: RealLedger, note: bytes) -> None:
        one, two, other = (SigningKey.generate(f"w.example/{n}", COSIGNATURE) for n in range(3))
        both = cosign(cosign(note, one, seconds=1_800_000_000), two, seconds=1_800_000_001)
        text = prove_position(made.store, 8, both)
        proven = verify_proof(text, made.verifier, witnesses=[two.verifier, one.verifier])
        assert proven.witnessed == (("w.example/1", 1_800_000_001), ("w.example/0", 1_800_000_000))
        assert proven.unknown == 0
        with pytest.raises(CheckpointError, match=r"not cosigned by the given key of w\.example/2"):
            verify_proof(text, made.verifier, witnesses=[one.verifier, other.verifier])
        namesake = SigningKey.generate(one.name, COSIGNATURE)
        with pytest.raises(CheckpointError, match=r"not cosigned by the given key of w\.example/0"):
            verify_proof(text, made.verifier, witnesses=[namesake.verifier])
        forged = text[:-10] + b"A" * 7 + b"==\n"
        with pytest.raises(OneCtlError):
            verify_proof(forged, made.verifier, witnesses=[two.verifier])

    def test_signatures_that_nobody_asked_about_are_counted(self, made: RealLedger, note: bytes) -> None:
        witness = SigningKey.generate("w.example/0", COSIGNATURE)
        text = prove_position(made.store, 8, cosign(note, witness, seconds=1))
        assert verify_proof(text, made.verifier).unknown == 1
        assert verify_proof(prove_position(made.store, 8, note), made.verifier).unknown == 0

    def test_a_checkpoint_of_another_ledger_or_key_is_refused(
        self, made: RealLedger, note: bytes, tmp_path: Path
    ) -> None:
        stranger = RealLedger(tmp_path, SIZE)
        with pytest.raises(CheckpointError, match="not signed by the given key"):
            prove_position(stranger.store, 8, note)
        with pytest.raises(CheckpointError, match="not signed by the given key"):
            verify_proof(prove_position(made.store, 8, note), stranger.verifier)
        forged = sign(Checkpoint(ORIGIN, 5, bytes(32)), made.key)
        with pytest.raises(ProofError, match="not what it was"):
            prove_position(made.store, 3, forged)


class TestDamagedProofFiles:
    def test_every_changed_byte_is_refused(self, made: RealLedger, text: bytes) -> None:
        key = made.verifier
        for at, byte in enumerate(text):
            for other in (byte ^ 1, byte ^ 0x20, 10 if byte != 10 else 32, byte ^ 0x80):
                with pytest.raises(OneCtlError):
                    verify_proof(text[:at] + bytes([other]) + text[at + 1 :], key)

    def test_every_truncation_and_every_lost_or_doubled_line_is_refused(self, made: RealLedger, text: bytes) -> None:
        key = made.verifier
        for at in range(len(text)):
            for bad in (text[:at], text[at + 1 :] if at == 0 else text[:at] + text[at + 1 :]):
                with pytest.raises(OneCtlError):
                    verify_proof(bad, key)
        lines = text.splitlines(keepends=True)
        for at, line in enumerate(lines):
            for bad_lines in (lines[:at] + lines[at + 1 :], [*lines[:at], line, line, *lines[at + 1 :]]):
                if line.startswith("\u2014".encode()) and len(bad_lines) > len(lines):
                    continue  # the same signature twice is the same signature
                with pytest.raises(OneCtlError):
                    verify_proof(b"".join(bad_lines), key)

    def test_swapped_hashes_and_other_indexes_are_refused(self, made: RealLedger, text: bytes) -> None:
        proof = Proof.parse(text)
        first, second, *rest = proof.path
        changed = [replace(proof, path=(second, first, *rest)), replace(proof, path=proof.path[::-1])]
        changed += [replace(proof, index=index) for index in (0, 6, 8, SIZE - 1, SIZE, 2**62)]
        for position in (7, 9, 2**63):
            moved = entry_bytes(position, APP.bytes, 7, START_US, "EnvSet", bytes(32))
            changed += [replace(proof, entry=moved, index=position - 1), replace(proof, entry=moved)]
        for bad in changed:
            with pytest.raises(ProofError):
                verify_proof(bad.to_bytes(), made.verifier)

    def test_proofs_of_another_position_do_not_fit(self, made: RealLedger, note: bytes, text: bytes) -> None:
        proof, other = Proof.parse(text), Proof.parse(prove_position(made.store, 9, note))
        for bad in (replace(proof, entry=other.entry), replace(proof, path=other.path), replace(proof, index=8)):
            with pytest.raises(ProofError):
                verify_proof(bad.to_bytes(), made.verifier)

    def test_a_checkpoint_by_another_key_does_not_fit(self, made: RealLedger, text: bytes) -> None:
        proof = Proof.parse(text)
        mallory = SigningKey.generate(ORIGIN)
        signed = sign(open_note(proof.note, made.verifier), mallory)
        with pytest.raises(CheckpointError, match="not signed by the given key"):
            verify_proof(replace(proof, note=signed).to_bytes(), made.verifier)

    @pytest.mark.parametrize(
        "entry",
        [
            b"",
            b"x" * 41,
            b"x" * 500,
            entry_bytes(8, APP.bytes, 7, START_US, "", bytes(32)),
            entry_bytes(8, APP.bytes, 7, 2**63 - 1, "EnvSet", bytes(32)),
            entry_bytes(8, APP.bytes, 7, START_US, "EnvSet", bytes(31)),
            entry_bytes(8, APP.bytes, 7, START_US, "EnvSet", bytes(33)),
            entry_bytes(8, APP.bytes, 7, START_US, "EnvSet", bytes(32)).replace(b"EnvSet", b"EnvS\xff\xff"),
        ],
    )
    def test_entries_that_are_none_are_refused(self, made: RealLedger, text: bytes, entry: bytes) -> None:
        with pytest.raises(OneCtlError):
            verify_proof(replace(Proof.parse(text), entry=entry).to_bytes(), made.verifier)

    @settings(max_examples=examples(200, short=200), deadline=None)
    @given(st.binary(max_size=100), st.integers(0, 2000))
    def test_noise_is_refused(self, noise: bytes, at: int) -> None:
        key = SigningKey(ORIGIN, bytes(32)).verifier
        proof = Proof(entry=b"entry", index=7, path=(bytes(32),), note=sign(Checkpoint(ORIGIN, 9, bytes(32)), MALLORY))
        text = proof.to_bytes()
        for bad in (noise, text[:at] + noise + text[at:]):
            with pytest.raises(OneCtlError):
                verify_proof(bad, key)
            with pytest.raises(OneCtlError):
                verify_extension(bad, Checkpoint(ORIGIN, 9, bytes(32)), key)

    def test_too_much_is_refused(self, made: RealLedger, text: bytes) -> None:
        proof = Proof.parse(text)
        with pytest.raises(ProofError, match="at most 63"):
            verify_proof(replace(proof, path=(bytes(32),) * 64).to_bytes(), made.verifier)
        with pytest.raises(ProofError, match="larger"):
            verify_proof(text * 3000, made.verifier)


MALLORY = SigningKey(ORIGIN, bytes(32))


class TestCheckpointNow:
    def test_it_covers_everything_and_needs_the_ledgers_own_key(self, made: RealLedger, note: bytes) -> None:
        checkpoint = open_note(note, made.verifier)
        frontier = Frontier()
        frontier.extend(row.leaf for row in made.store.positions(1, limit=1000))
        assert checkpoint == Checkpoint(ORIGIN, SIZE, frontier.root())
        with pytest.raises(CheckpointError, match="not the one that the ledger names"):
            checkpoint_now(made.store, SigningKey.generate(ORIGIN))

    def test_one_key_file_may_serve_another_origin(self, made: RealLedger, note: bytes) -> None:
        assert checkpoint_now(made.store, SigningKey("other", made.key.seed)) == note

    def test_an_empty_ledger_has_nothing_to_sign(self, made: RealLedger, tmp_path: Path) -> None:
        with pytest.raises(RefusedError, match="nothing is recorded in the ledger yet"):
            checkpoint_now(SqliteStore(tmp_path / "none.db"), made.key)

    def test_a_tree_that_is_kept_grows_with_the_ledger(self, own: RealLedger) -> None:
        tree = ledger_tree(own.store)
        for size in (41, 100, 400):
            own.grow(size)
            assert checkpoint_now(own.store, own.key, tree=tree) == checkpoint_now(own.store, own.key)
        rewrite(own.store.path, "DELETE FROM stored_events WHERE notification_id > 300")
        with pytest.raises(LedgerDamagedError, match="it was cut"):
            checkpoint_now(reopened(own), own.key, tree=tree)

    @pytest.mark.parametrize("statement", [EDIT, "DELETE FROM stored_events WHERE notification_id = 8"])
    def test_a_damaged_ledger_is_not_signed(self, own: RealLedger, statement: str) -> None:
        rewrite(own.store.path, statement, rehash=False)
        with pytest.raises(LedgerDamagedError, match="position 8"):
            checkpoint_now(reopened(own), own.key)

    def test_a_ledger_that_lost_its_end_is_not_signed(self, own: RealLedger) -> None:
        rewrite(own.store.path, "DELETE FROM stored_events WHERE notification_id > 30", rehash=False)
        with pytest.raises(LedgerDamagedError, match="position 31"):
            checkpoint_now(reopened(own), own.key)

    def test_what_contradicts_the_newest_checkpoint_is_not_signed(self, own: RealLedger) -> None:
        previous = open_note(checkpoint_now(own.store, own.key), own.verifier)
        own.grow(50)
        newer = open_note(checkpoint_now(own.store, own.key, previous=previous), own.verifier)
        rewrite(own.store.path, EDIT)
        with pytest.raises(LedgerDamagedError, match="nothing was signed"):
            checkpoint_now(reopened(own), own.key, previous=newer)


class TestConsistencyProofs:
    def test_a_newer_checkpoint_continues_an_older_one(self, own: RealLedger) -> None:
        notes = []
        for size in (40, 41, 64, 300, 300):
            own.grow(size)
            notes.append(checkpoint_now(own.store, own.key))
        for at, older in enumerate(notes):
            old = open_note(older, own.verifier)
            for newer in notes[at:]:
                text = prove_since(own.store, old, newer)
                assert verify_extension(text, old, own.verifier) == open_note(newer, own.verifier)
                assert Extension.parse(text).to_bytes() == text
                assert text.startswith(b"old %d\n" % old.size)

    def test_there_is_no_proof_of_what_is_not_so(self, own: RealLedger) -> None:
        old = open_note(checkpoint_now(own.store, own.key), own.verifier)
        rewrite(own.store.path, EDIT)
        own.grow(60)
        newer = checkpoint_now(reopened(own), own.key)
        with pytest.raises(ProofError, match="does not continue the checkpoint of size 40"):
            prove_since(own.store, old, newer)
        tree = ledger_tree(own.store)
        tree.grow(60)
        forged = Extension(old_size=40, path=tuple(tree.consistency_proof(40)), note=newer).to_bytes()
        with pytest.raises(ProofError, match="not a continuation"):
            verify_extension(forged, old, own.verifier)

    def test_damaged_consistency_proofs_are_refused(self, own: RealLedger) -> None:
        old = open_note(checkpoint_now(own.store, own.key), own.verifier)
        own.grow(60)
        text = prove_since(own.store, old, checkpoint_now(own.store, own.key))
        key = own.verifier
        for at, byte in enumerate(text):
            for bad in (text[:at], text[:at] + bytes([byte ^ 1]) + text[at + 1 :], text[:at] + text[at + 1 :]):
                with pytest.raises(OneCtlError):
                    verify_extension(bad, old, key)
        for wrong in (replace(old, size=39), replace(old, root=bytes(32)), replace(old, origin="other")):
            with pytest.raises(ProofError):
                verify_extension(text, wrong, key)


class TestVerifyAgainst:
    def check(self, ledger: RealLedger, note: bytes) -> Comparison:
        return verify_against(reopened(ledger), note, ledger.key.verifier)

    def test_a_ledger_that_grew_is_consistent(self, own: RealLedger) -> None:
        kept = checkpoint_now(own.store, own.key)
        own.grow(90)
        found = self.check(own, kept)
        assert (found.verdict, found.size, found.blame) == ("consistent", 40, None)

    def test_an_edit_with_everything_recomputed_is_found(self, own: RealLedger) -> None:
        kept = checkpoint_now(own.store, own.key)
        rewrite(own.store.path, EDIT)
        assert verify_chain(reopened(own)).damage is None  # alone, the ledger looks sound
        found = self.check(own, kept)
        assert (found.verdict, found.blame) == ("forked", None)
        assert "cannot tell where" in found.detail

    def test_an_edit_that_left_the_leaf_hashes_is_located_exactly(self, own: RealLedger) -> None:
        kept = checkpoint_now(own.store, own.key)
        rewrite(own.store.path, EDIT, rehash=False)
        found = self.check(own, kept)
        assert found.verdict == "forked"
        assert found.blame is not None
        assert found.blame.position == 8

    def test_an_older_copy_put_back_is_found(self, own: RealLedger, tmp_path: Path) -> None:
        own.store.close()
        copyfile(own.store.path, tmp_path / "older.db")
        reopened(own).positions(1, limit=1)
        own.grow(60)
        kept = checkpoint_now(own.store, own.key)
        own.store.close()
        copyfile(tmp_path / "older.db", own.store.path)
        assert verify_chain(reopened(own)).damage is None
        found = self.check(own, kept)
        assert (found.verdict, found.size, found.blame) == ("rolled back", 40, None)
        assert "ends at position 40, the checkpoint at 60" in found.detail

    def test_a_cut_ledger_that_was_edited_besides_is_found(self, own: RealLedger) -> None:
        own.grow(700)
        kept = checkpoint_now(own.store, own.key)
        rewrite(own.store.path, "DELETE FROM stored_events WHERE notification_id > 600")
        rewrite(own.store.path, EDIT)
        found = self.check(own, kept)
        assert (found.verdict, found.size, found.blame) == ("rolled back", 600, None)

    @pytest.mark.parametrize(
        ("statement", "how"),
        [
            ("DELETE FROM stored_events WHERE notification_id = 8", "missing"),
            ("UPDATE stored_events SET state = 'text' WHERE notification_id = 8", "no event can hold"),
            ("UPDATE stored_events SET originator_id = x'00' WHERE notification_id = 8", "no event can hold"),
            ("UPDATE stored_events SET originator_version = -1 WHERE notification_id = 8", "no event can hold"),
        ],
    )
    def test_lines_that_are_missing_or_senseless_are_located(self, own: RealLedger, statement: str, how: str) -> None:
        kept = checkpoint_now(own.store, own.key)
        rewrite(own.store.path, statement, rehash=False)
        found = self.check(own, kept)
        assert found.verdict == "forked"
        assert found.blame is not None
        assert found.blame.position == 8
        assert how in found.detail

    def test_leaf_hashes_that_are_none_are_not_used(self, own: RealLedger) -> None:
        kept = checkpoint_now(own.store, own.key)
        rewrite(own.store.path, EDIT, rehash=False)
        rewrite(own.store.path, "UPDATE stored_events SET leaf = 'x' WHERE notification_id = 3", rehash=False)
        assert self.check(own, kept).verdict == "forked"

    def test_a_ledger_emptied_or_gone_is_rolled_back(self, own: RealLedger) -> None:
        kept = checkpoint_now(own.store, own.key)
        own.store.close()
        own.store.path.unlink()
        found = self.check(own, kept)
        assert (found.verdict, found.size) == ("rolled back", 0)

    def test_another_ledger_is_named(self, own: RealLedger) -> None:
        kept = checkpoint_now(own.store, own.key)
        other = LEDGER_ID.replace("5e2c", "0000")
        rewrite(
            own.store.path,
            "UPDATE stored_events SET state = CAST(replace(CAST(state AS TEXT), ?, ?) AS BLOB) WHERE notification_id = 1",
            LEDGER_ID,
            other,
        )
        # The key's hash covers its name, so the forger needs a key of that name too.
        key = replace(own.key, name=ORIGIN.replace(LEDGER_ID, other))
        connection = sqlite3.connect(own.store.path)
        (state,) = connection.execute("SELECT state FROM stored_events WHERE notification_id = 1").fetchone()
        connection.close()
        old_key = str(own.key.verifier).replace(LEDGER_ID, other).encode()
        rewrite(
            own.store.path,
            "UPDATE stored_events SET state = ? WHERE notification_id = 1",
            state.replace(old_key, str(key.verifier).encode()),
        )
        found = self.check(own, kept)
        assert found.verdict == "forked"
        assert found.blame is not None
        assert found.blame.position == 1
        assert "names the ledger" in found.detail

    def test_a_checkpoint_by_another_key_says_nothing(self, own: RealLedger) -> None:
        forged = sign(Checkpoint(ORIGIN, 40, bytes(32)), MALLORY)
        with pytest.raises(CheckpointError):
            verify_against(own.store, forged, own.verifier)
        with pytest.raises(CheckpointError):
            verify_against(own.store, b"", own.verifier)


class TestRedaction:
    def redact(self, ledger: RealLedger, old_digest: str, new_digest: str, key: SigningKey | None = None) -> None:
        event = Redacted(position=8, field="values.N", old_digest=old_digest, new_digest=new_digest, signature="")
        event = signed(event, key or ledger.key)
        row = NewRow(LEDGER_STREAM.bytes, 2, "Redacted", encode(event, envelope(99)))
        ledger.store.append([row], clock_us=START_US)

    def test_an_event_whose_bytes_were_blanked_keeps_its_place(self, own: RealLedger) -> None:
        kept = checkpoint_now(own.store, own.key)
        tree = ledger_tree(own.store)
        tree.grow(40)
        digest = self.state(own)
        rewrite(own.store.path, EDIT, rehash=False)
        reopened(own)
        self.redact(own, digest, self.state(own))
        found = verify_against(own.store, kept, own.verifier)
        assert (found.verdict, found.redacted) == ("consistent", (8,))
        assert "redacted content at 8" in found.detail
        text = prove_position(own.store, 8, kept)
        assert prove_position(own.store, 8, kept, tree=tree) == text
        assert verify_proof(text, own.verifier).entry.state_digest.hex() == digest
        (row,) = own.store.positions(8, 8, limit=1)
        with pytest.raises(ProofError, match="not the bytes"):
            verify_proof(text, own.verifier, state=row.state)
        newer = checkpoint_now(own.store, own.key, previous=open_note(kept, own.verifier))
        assert verify_extension(prove_since(own.store, open_note(kept, own.verifier), newer),
                                open_note(kept, own.verifier), own.verifier).size == 41  # fmt: skip

    @pytest.mark.parametrize("digests", [("00" * 32, None), (None, "00" * 32), ("zz", None), ("00", None)])
    def test_a_made_up_redaction_excuses_nothing(self, own: RealLedger, digests: tuple[str | None, str | None]) -> None:
        kept = checkpoint_now(own.store, own.key)
        original = self.state(own)
        rewrite(own.store.path, EDIT, rehash=False)
        reopened(own)
        old, new = digests
        self.redact(own, old or original, new or self.state(own))
        assert verify_against(own.store, kept, own.verifier).verdict == "forked"
        with pytest.raises(OneCtlError):
            prove_position(own.store, 8, kept)
        with pytest.raises(OneCtlError):
            checkpoint_now(own.store, own.key)

    def test_nobody_but_the_ledgers_key_vouches_for_other_bytes(self, own: RealLedger) -> None:
        kept = checkpoint_now(own.store, own.key)
        original = self.state(own)
        rewrite(own.store.path, EDIT, rehash=False)
        reopened(own)
        self.redact(own, original, self.state(own), replace(MALLORY, name=own.key.name))
        assert verify_against(own.store, kept, own.verifier).verdict == "forked"
        damage = verify_chain(own.store).damage
        assert damage is not None
        assert (damage.position, damage.fault) == (8, "edited")
        with pytest.raises(OneCtlError):
            prove_position(own.store, 8, kept)

    def state(self, ledger: RealLedger) -> str:
        (row,) = ledger.store.positions(8, 8, limit=1)
        return sha256(row.state).hexdigest()


@pytest.mark.parametrize("state", [b"{}", b'{"data":{},"meta":{},"schema":1}', b"[]", b"\xff"])
def test_a_ledger_without_a_beginning_has_no_key(own: RealLedger, state: bytes) -> None:
    rewrite(own.store.path, "UPDATE stored_events SET state = ? WHERE notification_id = 1", state)
    with pytest.raises(OneCtlError):
        ledger_key(reopened(own))


def test_a_key_in_the_ledger_that_is_no_text_is_refused(own: RealLedger) -> None:
    event = LedgerCreated(ledger_id=LEDGER_ID, origin=ORIGIN, verification_key=7)  # type: ignore[arg-type]
    rewrite(own.store.path, "UPDATE stored_events SET state = ? WHERE notification_id = 1", encode(event, envelope(0)))
    with pytest.raises(LedgerDamagedError):
        ledger_key(reopened(own))


def test_the_extra_line_is_the_entry_in_base64(made: RealLedger, note: bytes) -> None:
    (row,) = made.store.positions(8, 8, limit=1)
    entry = entry_bytes(8, row.stream, row.version, row.recorded_us, row.topic, sha256(row.state).digest())
    lines = prove_position(made.store, 8, note).split(b"\n")
    assert lines[:3] == [b"c2sp.org/tlog-proof@v1", b"extra " + b64encode(entry), b"index 7"]
