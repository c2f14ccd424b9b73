"""Checkpoints and keys: against what other implementations wrote, and against whatever is not exactly right."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.checkpoint import (
    COSIGNATURE,
    ED25519,
    MAX_SIGNATURES,
    Checkpoint,
    CheckpointError,
    SigningKey,
    VerifierKey,
    cosign,
    cosigned_at,
    load_signing_key,
    open_note,
    sign,
    unverified,
)
from ledger.keys import KeyFiles
from tests.seeds import examples

# The example of Go's golang.org/x/mod/sumdb/note.
GO_PRIVATE = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = b"If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_LINE = (
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)

# Two checkpoints of a public log and its key (Rekor v2).
REKOR_KEY = "log2025-1.rekor.sigstore.dev+cf119915+AbfK5adZJxsI323FwGD2AJJ9F4i89cfDuLdGJBIYntuO"
REKOR_SIGNED = {
    34356369: (
        "dA9mMr0smTXgo7nGsE01Zdc5KOOqTs2/zYfdSqxO+ks=",
        "zxGZFQZgTebN28s0D7vKP5gX8R+CsXCved700HCQAHgDHbdkaH3tfx7+DMPkccNhzsnSy7LijLzWMa+evZduylLs0wc=",
    ),
    412115: (
        "+8vUkEgBK/ansexBUomzocaWoPEmPIzxJC/y+xNMQN4=",
        "zxGZFahCZ/+MqTjH4rC5MWcdLDWbpetE5l30RZfQc4BQkRjWSoKipEUPjvHENeZDHIlAsuezJcLzUVvItpNjaSRoMAs=",
    ),
}

# A cosignature made by github.com/transparency-dev/formats.
COSIGNER = "vec.example/cosigv10+c12688da+BLMSTPoQj0PojM8eKiPf9xUT8g6b0OuMyvYb5sSu9JH5"
COSIGNED = (
    "vec.example/cosigv10\n42\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\u2014 vec.example/cosigv10 "
    "wSaI2gAAAABqbL5Q3HjbTCJeqMg3tmpdYGAg05ijTi7k0pyreJSULmtv3g+yXH+G/Ko87JG+QkLF6af9+GVVNlEIgf6T0bw0wQyMDw==\n"
).encode()

ORIGIN = "example.com/log"
KEY = SigningKey(ORIGIN, bytes(range(32)))
OTHER = SigningKey(ORIGIN, bytes(range(1, 33)))
WITNESS = SigningKey("witness.example/w1", bytes(range(2, 34)), COSIGNATURE)
CHECKPOINT = Checkpoint(ORIGIN, 42, bytes(range(32)))
NOTE = sign(CHECKPOINT, KEY)


class TestOtherImplementations:
    def test_gos_key_gives_gos_signature(self) -> None:
        key = SigningKey.parse(GO_PRIVATE)
        assert str(key.verifier) == GO_PUBLIC
        assert key.signature_line(GO_TEXT).decode() == GO_LINE
        assert key.to_text() == f"{GO_PRIVATE}\n"

    @pytest.mark.parametrize("size", REKOR_SIGNED)
    def test_a_public_logs_checkpoint_verifies(self, size: int) -> None:
        key = VerifierKey.parse(REKOR_KEY)
        root, signature = REKOR_SIGNED[size]
        body = f"{key.name}\n{size}\n{root}\n"
        checkpoint = open_note(f"{body}\n\u2014 {key.name} {signature}\n".encode(), key)
        assert (checkpoint.origin, checkpoint.size, checkpoint.body()) == (key.name, size, body.encode())

    def test_a_cosignature_of_another_implementation_verifies(self) -> None:
        assert cosigned_at(COSIGNED, VerifierKey.parse(COSIGNER)) == 0x6A6CBE50
        with pytest.raises(CheckpointError, match="wrong"):
            cosigned_at(COSIGNED.replace(b"\n42\n", b"\n43\n"), VerifierKey.parse(COSIGNER))


class TestNotes:
    def test_what_was_signed_comes_back(self) -> None:
        assert open_note(NOTE, KEY.verifier) == unverified(NOTE) == CHECKPOINT
        assert NOTE.startswith(b"example.com/log\n42\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\n\xe2\x80\x94 ")

    def test_signatures_by_others_are_passed_over(self) -> None:
        body = CHECKPOINT.body()
        lines = [SigningKey(f"other.example/{n}", bytes([n]) * 32).signature_line(body) for n in range(20)]
        lines += [OTHER.signature_line(b"something else"), "\u2014 stranger AAAAAAA=\n".encode()]
        assert open_note(body + b"\n" + b"".join(lines) + KEY.signature_line(body), KEY.verifier) == CHECKPOINT
        with pytest.raises(CheckpointError, match="not signed by the given key"):
            open_note(body + b"\n" + b"".join(lines), KEY.verifier)

    def test_a_wrong_signature_by_the_key_refuses_the_note_even_beside_a_right_one(self) -> None:
        wrong = KEY.signature_line(b"something else")
        for note in (NOTE + wrong, CHECKPOINT.body() + b"\n" + wrong + KEY.signature_line(CHECKPOINT.body())):
            with pytest.raises(CheckpointError, match="changed after it was signed"):
                open_note(note, KEY.verifier)

    def test_the_key_must_be_the_origins(self) -> None:
        stranger = SigningKey("example.com/other", KEY.seed)
        with pytest.raises(CheckpointError, match="belongs to"):
            open_note(NOTE, stranger.verifier)
        with pytest.raises(CheckpointError, match="does not sign for"):
            sign(CHECKPOINT, stranger)
        with pytest.raises(CheckpointError, match="not signed by the given key"):
            open_note(NOTE, OTHER.verifier)

    def test_every_changed_byte_is_refused(self) -> None:
        for at, byte in enumerate(NOTE):
            for other in {byte ^ 1, byte ^ 0x20, byte ^ 0x80, 0, 10, 13, 32} - {byte}:
                with pytest.raises(CheckpointError):
                    open_note(NOTE[:at] + bytes([other]) + NOTE[at + 1 :], KEY.verifier)

    def test_everything_cut_off_or_added_is_refused(self) -> None:
        for at in range(len(NOTE)):
            with pytest.raises(CheckpointError):
                open_note(NOTE[:at], KEY.verifier)
        for note in (b"\n" + NOTE, NOTE + b"\n", NOTE + b"x", NOTE + NOTE, NOTE.replace(b"\n", b"\r\n")):
            with pytest.raises(CheckpointError):
                open_note(note, KEY.verifier)

    @pytest.mark.parametrize(
        "size", ["042", "+42", "-1", "4_2", " 42", "0x2a", "", "\u0664\u0662", str(1 << 63), "9" * 20]
    )
    def test_sizes_that_are_not_decimal_are_refused_though_signed(self, size: str) -> None:
        root = b64encode(bytes(32)).decode()
        with pytest.raises(CheckpointError):
            open_note(signed(f"{ORIGIN}\n{size}\n{root}\n"), KEY.verifier)

    @pytest.mark.parametrize("root", ["", "AAAA", "A" * 43, "A" * 42 + "B=", "A" * 44, "!" * 44, " " + "A" * 43 + "="])
    def test_roots_that_are_not_hashes_are_refused_though_signed(self, root: str) -> None:
        with pytest.raises(CheckpointError):
            open_note(signed(f"{ORIGIN}\n42\n{root}\n"), KEY.verifier)

    def test_extension_lines_are_kept(self) -> None:
        root = b64encode(bytes(32)).decode()
        note = signed(f"{ORIGIN}\n42\n{root}\nmore\n\u00e9\n")
        assert open_note(note, KEY.verifier).extensions == ("more", "\u00e9")
        assert open_note(note, KEY.verifier).body() == note.split(b"\n\n")[0] + b"\n"
        with pytest.raises(CheckpointError):
            open_note(signed(f"{ORIGIN}\n42\n{root}\n\nmore\n"), KEY.verifier)

    def test_too_much_is_refused(self) -> None:
        with pytest.raises(CheckpointError, match="more than 100"):
            open_note(NOTE + KEY.signature_line(CHECKPOINT.body()) * 100, KEY.verifier)
        with pytest.raises(CheckpointError, match="larger"):
            open_note(NOTE * 10_000, KEY.verifier)

    @settings(max_examples=examples(200, short=200), deadline=None)
    @given(st.binary(max_size=200))
    def test_noise_is_refused(self, noise: bytes) -> None:
        for text in (noise, NOTE + noise, noise + NOTE, NOTE[:40] + noise + NOTE[40:]):
            if text != NOTE:
                with pytest.raises(CheckpointError):
                    open_note(text, KEY.verifier)


class TestCosignatures:
    def test_a_witness_says_when(self) -> None:
        note = cosign(NOTE, WITNESS, seconds=1_679_315_147)
        assert note.startswith(NOTE)
        assert cosigned_at(note, WITNESS.verifier) == 1_679_315_147
        assert cosigned_at(NOTE, WITNESS.verifier) is None
        assert open_note(note, KEY.verifier) == CHECKPOINT
        assert cosign(note, WITNESS, seconds=1_679_315_148) == cosign(NOTE, WITNESS, seconds=1_679_315_148)

    def test_a_changed_cosignature_is_refused_and_not_passed_over(self) -> None:
        note = cosign(NOTE, WITNESS, seconds=1_679_315_147)
        wrong = note.replace(b"\n42\n", b"\n43\n")
        short = NOTE + WITNESS.signature_line(b"", stamp=b"")
        future = NOTE + WITNESS.signature_line(b"", stamp=b"\xff" * 8)
        for bad in (wrong, short, future):
            with pytest.raises(CheckpointError, match="cosignature"):
                cosigned_at(bad, WITNESS.verifier)

    def test_a_time_that_is_no_date_is_refused(self) -> None:
        last, later = 253_402_300_799, 253_402_300_800
        assert cosigned_at(cosign(NOTE, WITNESS, seconds=last), WITNESS.verifier) == last
        with pytest.raises(CheckpointError, match="cosignature"):
            cosigned_at(cosign(NOTE, WITNESS, seconds=later), WITNESS.verifier)

    def test_a_note_that_leaves_no_room_is_not_cosigned(self) -> None:
        full = NOTE + NOTE.splitlines(keepends=True)[-1] * (MAX_SIGNATURES - 1)
        with pytest.raises(CheckpointError, match="more than 100 signatures"):
            cosign(full, WITNESS, seconds=1)

    def test_kinds_of_keys_are_not_mixed(self) -> None:
        with pytest.raises(CheckpointError, match="a witness signs with a key of its own"):
            cosign(NOTE, KEY, seconds=0)
        with pytest.raises(CheckpointError, match="a witness signs with a key of its own"):
            cosigned_at(NOTE, KEY.verifier)
        with pytest.raises(CheckpointError, match="signed by its ledger"):
            open_note(NOTE, VerifierKey(ORIGIN, KEY.verifier.public, COSIGNATURE))
        with pytest.raises(CheckpointError):
            sign(CHECKPOINT, SigningKey(ORIGIN, KEY.seed, COSIGNATURE))


class TestKeys:
    @pytest.mark.parametrize("algorithm", [ED25519, COSIGNATURE])
    def test_text_and_back(self, algorithm: int) -> None:
        key = SigningKey.generate("a.example/b", algorithm)
        assert SigningKey.parse(key.to_text().strip()) == key
        assert VerifierKey.parse(str(key.verifier)) == key.verifier

    @pytest.mark.parametrize("text", [GO_PUBLIC, GO_PRIVATE])
    def test_every_changed_character_is_refused(self, text: str) -> None:
        parse = SigningKey.parse if text == GO_PRIVATE else VerifierKey.parse
        changed = [text[:at] + chr(ord(text[at]) + 1) + text[at + 1 :] for at in range(len(text))]
        cut = [text[start:stop] for start in range(len(text)) for stop in range(start, len(text)) if stop - start]
        more = ["", text + "=", f"{text}\n", f" {text}", text.replace("+", "++", 1), text.replace("c74f", "C74F")]
        for bad in (*changed, *cut[:: len(cut) // 500], *more):
            with pytest.raises(CheckpointError):
                parse(bad)

    @pytest.mark.parametrize(
        "text",
        [
            "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
            "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "\udcff+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "a b+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "a+173116ae+\u00e9",
        ],
    )
    def test_keys_that_are_none_are_refused(self, text: str) -> None:
        with pytest.raises(CheckpointError):
            VerifierKey.parse(text)

    def test_the_key_file_of_a_ledger_is_loaded(self, tmp_path: Path) -> None:
        files = KeyFiles(tmp_path)
        public = files.make_signing_key("id", ORIGIN)
        key = load_signing_key(files.signing_path("id"))
        assert str(key.verifier) == public
        assert open_note(sign(CHECKPOINT, key), VerifierKey.parse(public)) == CHECKPOINT

    @pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"PRIVATE+KEY+", b"1CTL-IDENTITY-1 AAAA", b"x" * 5000])
    def test_other_files_are_refused_and_not_shown(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "key"
        path.write_bytes(content)
        with pytest.raises(CheckpointError) as refused:
            load_signing_key(path)
        assert not content or content.decode("latin-1") not in str(refused.value)

    def test_a_file_that_is_not_there_or_not_readable_is_said_so(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="there is no signing key"):
            load_signing_key(tmp_path / "none")
        with pytest.raises(CheckpointError, match="cannot be read"):
            load_signing_key(tmp_path)

    def test_no_error_and_no_repr_shows_the_private_key(self) -> None:
        secret = GO_PRIVATE.rsplit("+", 1)[1]
        assert secret not in repr(SigningKey.parse(GO_PRIVATE))
        for bad in (GO_PRIVATE[:-1], GO_PRIVATE.replace("c74f", "c74e"), GO_PRIVATE.replace("PRIVATE", "P")):
            with pytest.raises(CheckpointError) as refused:
                SigningKey.parse(bad)
            assert secret[:20] not in repr(refused.value) + repr(vars(refused.value)) + repr(refused.value.__context__)


def signed(body: str) -> bytes:
    return body.encode() + b"\n" + KEY.signature_line(body.encode())
