"""The program of one file, run as a user runs it, and compared with the library on the same files."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from base64 import b64decode, b64encode
from dataclasses import replace
from pathlib import Path
from random import Random
from types import ModuleType

import pytest

from ledger.checkpoint import COSIGNATURE, Checkpoint, SigningKey, cosign, sign
from ledger.errors import OneCtlError
from ledger.leaf import entry as entry_bytes
from ledger.leaf import leaf_of
from ledger.merkle import Tree
from ledger.proof import Entry, Proof, verify_proof
from ledger.proving import checkpoint_now, prove_position
from tests.proofs.ledgers import APP, ORIGIN, START_US, RealLedger

PROGRAM = Path(__file__).parents[2] / "docs" / "verify_proof.py"
SIZE = 300


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("standalone_verify_proof", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> RealLedger:
    return RealLedger(tmp_path_factory.mktemp("ledger"), SIZE)


@pytest.fixture(scope="module")
def text(ledger: RealLedger) -> bytes:
    return prove_position(ledger.store, 8, checkpoint_now(ledger.store, ledger.key))


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As a user would, outside the project: nothing of it can be imported."""
    return subprocess.run(
        [sys.executable, "-I", str(PROGRAM), *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def verdicts(
    program: ModuleType, text: bytes, vkey: str, state: bytes | None = None, witness: str | None = None
) -> tuple[bool, bool]:
    """What the library and the program say; anything but a clean answer is an error."""
    from ledger.checkpoint import VerifierKey

    named = [witness] if witness is not None else []
    try:
        verify_proof(text, VerifierKey.parse(vkey), state=state, witnesses=[VerifierKey.parse(each) for each in named])
        library = True
    except OneCtlError:
        library = False
    try:
        program.check(text, program.read_key(vkey), state)
        for each in named:
            program.cosigned_at(text, program.read_key(each, program.WITNESS))
        standalone = True
    except program.NotProvedError:
        standalone = False
    return library, standalone


def test_it_says_what_is_proved(ledger: RealLedger, text: bytes, tmp_path: Path) -> None:
    (row,) = ledger.store.positions(8, 8, limit=1)
    (tmp_path / "8.tlog-proof").write_bytes(text)
    (tmp_path / "event").write_bytes(row.state)
    done = run(tmp_path, "8.tlog-proof", "--key", str(ledger.verifier), "--event", "event")
    assert (done.returncode, done.stderr) == (0, "")
    for part in ("PROVED", "position 8", ORIGIN, "300 events", "EnvSet", str(APP), "2026-01-31T09:30:01+00:00"):
        assert part in done.stdout
    assert "holds exactly the bytes" in done.stdout
    done = run(tmp_path, "8.tlog-proof", "--key", str(ledger.verifier))
    assert done.returncode == 0
    assert "NOT CHECKED: what the event says" in done.stdout


def test_it_says_what_is_not_proved(ledger: RealLedger, text: bytes, tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(text)
    (tmp_path / "bad").write_bytes(text.replace(b"index 7", b"index 6"))
    stranger = SigningKey.generate(ORIGIN).verifier
    for arguments in (
        ("bad", "--key", str(ledger.verifier)),
        ("good", "--key", str(stranger)),
        ("good", "--key", str(ledger.verifier), "--event", "bad"),
        ("none", "--key", str(ledger.verifier)),
        ("good", "--key", str(ledger.verifier), "--event", "none"),
    ):
        done = run(tmp_path, *arguments)
        assert (done.returncode, done.stderr) == (1, ""), arguments
        assert done.stdout.startswith("NOT PROVED: ")
        assert "\nPROVED" not in done.stdout


def test_a_file_in_the_place_of_a_key_is_a_mistake_of_the_command_line(
    ledger: RealLedger, text: bytes, tmp_path: Path
) -> None:
    (tmp_path / "good").write_bytes(text)
    (tmp_path / "ledger.key").write_text(f"{ledger.verifier}\n")
    key = str(ledger.verifier)
    for option, given in (("--key", ("ledger.key",)), ("--witness", (key, "--witness", "ledger.key"))):
        done = run(tmp_path, "good", "--key", *given)
        assert (done.returncode, done.stdout) == (2, "")
        assert (
            f'{option} takes the key itself, which reads NAME+8 hex digits+BASE64, not a file: {option} "$('
            in done.stderr
        )


def test_it_needs_nothing_of_the_project() -> None:
    tree = ast.parse(PROGRAM.read_text())
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {name.split(".")[0] for name in names} <= {*sys.stdlib_module_names, "cryptography"}


def test_both_accept_every_position(program: ModuleType, ledger: RealLedger) -> None:
    note = checkpoint_now(ledger.store, ledger.key)
    for row in ledger.store.positions(1, limit=SIZE)[::7]:
        text = prove_position(ledger.store, row.position, note)
        assert verdicts(program, text, str(ledger.verifier), row.state) == (True, True)
        event, size, origin = program.check(text, program.read_key(str(ledger.verifier)), row.state)
        entry = verify_proof(text, ledger.verifier).entry
        assert (event.position, event.stream, event.version, event.topic, event.digest) == (
            entry.position, entry.stream_id, entry.version, entry.topic, entry.state_digest,
        )  # fmt: skip
        assert (size, origin) == (SIZE, ORIGIN)


def test_both_accept_every_size_and_index_of_small_trees(program: ModuleType) -> None:
    key = SigningKey(ORIGIN, bytes(32))
    entries = [entry_bytes(at, APP.bytes, at, START_US, "EnvSet", bytes(32)) for at in range(1, 21)]
    leaves = [leaf_of(entry) for entry in entries]
    for size in range(1, 21):
        whole = Tree(lambda start, stop: leaves[start:stop], level=3)
        whole.extend(leaves[:size])
        note = sign(Checkpoint(ORIGIN, size, whole.root()), key)
        for index in range(size):
            path = tuple(whole.inclusion_proof(index))
            good = Proof(entry=entries[index], index=index, path=path, note=note)
            assert verdicts(program, good.to_bytes(), str(key.verifier)) == (True, True)
            bad = replace(good, path=(*path, bytes(32)))
            assert verdicts(program, bad.to_bytes(), str(key.verifier)) == (False, False)
            if path:
                bad = replace(good, path=path[1:])
                assert verdicts(program, bad.to_bytes(), str(key.verifier)) == (False, False)


def test_both_refuse_an_entry_that_stands_at_another_position_than_it_says(program: ModuleType) -> None:
    key = SigningKey(ORIGIN, bytes(32))
    entry = entry_bytes(5, APP.bytes, 1, START_US, "EnvSet", bytes(32))
    note = sign(Checkpoint(ORIGIN, 1, leaf_of(entry)), key)
    bad = Proof(entry=entry, index=0, path=(), note=note).to_bytes()
    assert verdicts(program, bad, str(key.verifier)) == (False, False)


def signed_alone(topic: str, key: SigningKey) -> bytes:
    """A proof of a ledger of one event, by whoever holds its key."""
    entry = entry_bytes(1, APP.bytes, 1, START_US, topic, bytes(32))
    note = sign(Checkpoint(key.name, 1, leaf_of(entry)), key)
    return Proof(entry=entry, index=0, path=(), note=note).to_bytes()


@pytest.mark.parametrize("topic", ["EnvSet", "x", "X9" * 32])
def test_both_accept_names_of_events(program: ModuleType, topic: str) -> None:
    key = SigningKey(ORIGIN, bytes(32))
    assert verdicts(program, signed_alone(topic, key), str(key.verifier)) == (True, True)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "Deployed\nPROVED: more",
        "Deployed by the board",
        "\x1b[2JDeployed",
        "Deployed\n",
        "9",
        "É",
        "\u202eX",
        "X" * 65,
    ],
)
def test_both_refuse_an_event_whose_name_says_more_than_a_name(program: ModuleType, topic: str) -> None:
    key = SigningKey(ORIGIN, bytes(32))
    assert verdicts(program, signed_alone(topic, key), str(key.verifier)) == (False, False)


@pytest.mark.parametrize("char", ["\x7f", "\x9b", "\u202e", "\u2028"])
def test_both_refuse_an_origin_that_cannot_be_shown_before_they_show_it(program: ModuleType, char: str) -> None:
    key, other = SigningKey(f"ledger{char}of", bytes(32)), SigningKey(ORIGIN, bytes(32)).verifier
    text = signed_alone("EnvSet", key)
    with pytest.raises(OneCtlError) as refused:
        verify_proof(text, other)
    with pytest.raises(program.NotProvedError) as not_proved:
        program.check(text, program.read_key(str(other)), None)
    assert char not in f"{refused.value.message}{not_proved.value}"


def test_both_refuse_every_changed_byte(program: ModuleType, ledger: RealLedger, text: bytes) -> None:
    vkey = str(ledger.verifier)
    for at, byte in enumerate(text):
        for other in (byte ^ 1, byte ^ 0x20, 10 if byte != 10 else 32, byte ^ 0x80):
            bad = text[:at] + bytes([other]) + text[at + 1 :]
            assert verdicts(program, bad, vkey) == (False, False), at


def test_both_refuse_every_truncation_and_every_lost_byte(program: ModuleType, ledger: RealLedger, text: bytes) -> None:
    for at in range(len(text)):
        assert verdicts(program, text[:at], str(ledger.verifier)) == (False, False)
        assert verdicts(program, text[:at] + text[at + 1 :], str(ledger.verifier)) == (False, False)


def test_both_say_the_same_about_signatures_by_others(program: ModuleType, ledger: RealLedger, text: bytes) -> None:
    proof = Proof.parse(text)
    witness = SigningKey.generate("witness.example/w1", COSIGNATURE)
    body = proof.note.split(b"\n\n")[0] + b"\n"
    signatures = {
        True: [
            cosign(proof.note, witness, seconds=1),
            proof.note + SigningKey.generate(ORIGIN).signature_line(b"other"),
            proof.note + ledger.key.signature_line(body),
        ],
        False: [
            proof.note + ledger.key.signature_line(b"other"),
            proof.note + b"\xe2\x80\x94 a+b AAAAAAA=\n",
            proof.note + "\u2014 a\u2003b AAAAAAA=\n".encode(),
            proof.note + b"\xe2\x80\x94 a AAAA\n" * 3,
            proof.note + b"- a AAAAAAA=\n",
            proof.note + ledger.key.signature_line(body) * 100,
        ],
    }
    for expected, notes in signatures.items():
        for note in notes:
            bad = replace(proof, note=note).to_bytes()
            assert verdicts(program, bad, str(ledger.verifier)) == (expected, expected), note


def cosignature(note: bytes, key: SigningKey, seconds: int, *, over: int | None = None) -> bytes:
    """A note with a cosignature of a time, which may say that it was made at another."""
    made, stamp = cosign(note, key, seconds=seconds if over is None else over), seconds.to_bytes(8, "big")
    line = made.splitlines(keepends=True)[-1]
    head, _, value = line.rpartition(b" ")
    signature = b64decode(value)
    return note + head + b" " + b64encode(signature[:4] + stamp + signature[12:]) + b"\n"


def test_both_say_the_same_about_cosignatures(program: ModuleType, ledger: RealLedger, text: bytes) -> None:
    proof, vkey = Proof.parse(text), str(ledger.verifier)
    witness = SigningKey.generate("witness.example/w1", COSIGNATURE)
    namesake = SigningKey.generate("witness.example/w1", COSIGNATURE)
    once = cosign(proof.note, witness, seconds=1_679_315_147)
    notes = {
        True: [
            once,
            cosignature(once, witness, 1_679_315_148),
            cosign(once, namesake, seconds=5),
            cosign(proof.note, witness, seconds=0),
            cosign(proof.note, witness, seconds=253_402_300_799),
        ],
        False: [
            proof.note,
            cosign(proof.note, namesake, seconds=1_679_315_147),
            cosignature(proof.note, witness, 5, over=6),
            cosignature(once, witness, 5, over=6),
            cosign(proof.note, witness, seconds=253_402_300_800),
            cosign(proof.note, witness, seconds=1 << 63),
            proof.note + witness.signature_line(b"short"),
            proof.note + SigningKey(witness.name, witness.seed).signature_line(proof.note),
        ],
    }
    for expected, cosigned in notes.items():
        for note in cosigned:
            sent = replace(proof, note=note).to_bytes()
            assert verdicts(program, sent, vkey, witness=str(witness.verifier)) == (expected, expected), note
            assert program.unknown(sent, [program.read_key(vkey)]) == verify_proof(sent, ledger.verifier).unknown
    twice = replace(proof, note=notes[True][1]).to_bytes()
    newest = program.cosigned_at(twice, program.read_key(str(witness.verifier), program.WITNESS))
    assert newest.timestamp() == 1_679_315_148
    sent = replace(proof, note=once).to_bytes()
    for wrong in (vkey, str(SigningKey.generate("witness.example/w1").verifier), "nonsense"):
        assert verdicts(program, sent, vkey, witness=wrong) == (False, False)
    for at, byte in enumerate(sent):
        bad = sent[:at] + bytes([byte ^ 1]) + sent[at + 1 :]
        assert verdicts(program, bad, vkey, witness=str(witness.verifier)) == (False, False), at


def test_it_says_who_cosigned_and_what_was_not_checked(ledger: RealLedger, text: bytes, tmp_path: Path) -> None:
    proof, witness = Proof.parse(text), SigningKey.generate("witness.example/w1", COSIGNATURE)
    (tmp_path / "p").write_bytes(replace(proof, note=cosign(proof.note, witness, seconds=1_679_315_147)).to_bytes())
    known = run(tmp_path, "p", "--key", str(ledger.verifier), "--witness", str(witness.verifier))
    assert (known.returncode, known.stderr) == (0, "")
    assert "PROVED: witness.example/w1 cosigned the checkpoint at 2023-03-20T12:25:47+00:00" in known.stdout
    assert "did not sign another ledger" not in known.stdout
    assert "signatures by keys that were not given" not in known.stdout
    unasked = run(tmp_path, "p", "--key", str(ledger.verifier))
    assert "NOT CHECKED: signatures by keys that were not given: 1." in unasked.stdout
    assert "NOT PROVED: that its key holder did not sign another ledger of the same name" in unasked.stdout
    (tmp_path / "p").write_bytes(text)
    missing = run(tmp_path, "p", "--key", str(ledger.verifier), "--witness", str(witness.verifier))
    assert (missing.returncode, missing.stdout[:12]) == (1, "NOT PROVED: ")


def test_both_say_the_same_about_random_damage(program: ModuleType, ledger: RealLedger, text: bytes) -> None:
    random, vkey = Random(9162), str(ledger.verifier)
    lines = text.splitlines(keepends=True)
    for _ in range(600):
        shuffled = lines[:]
        for _ in range(random.randint(1, 3)):
            at = random.randrange(len(shuffled))
            match random.randrange(4):
                case 0:
                    del shuffled[at]
                case 1:
                    shuffled.insert(at, random.choice(lines))
                case 2:
                    shuffled[at] = bytes(random.choices(b"AZaz09+/= \n\xe2", k=random.randint(0, 45)))
                case _:
                    shuffled[at], shuffled[0] = shuffled[0], shuffled[at]
            shuffled = shuffled or lines[:]
        library, standalone = verdicts(program, b"".join(shuffled), vkey)
        assert library == standalone, b"".join(shuffled)


@pytest.mark.parametrize(
    "vkey",
    ["", "a", "a+b+c", "\udcff+00000000+AAAA", "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"],
)
def test_both_refuse_keys_that_are_none(program: ModuleType, text: bytes, vkey: str) -> None:
    assert verdicts(program, text, vkey) == (False, False)


def test_both_read_the_same_time_before_and_after_1970(program: ModuleType) -> None:
    for micros in (-1, 0, START_US, -(10**15)):
        entry = entry_bytes(1, APP.bytes, 1, micros, "EnvSet", bytes(32))
        recorded = program.read_entry(entry).recorded.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        assert recorded == Entry.parse(entry).recorded_at


def test_the_example_in_the_document_is_one(program: ModuleType) -> None:
    text, vkey, state = re.findall(
        r"^```text\n(.*?)^```$", (PROGRAM.parent / "proof.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert verdicts(program, text.encode(), vkey.strip(), state.strip().encode()) == (True, True)
    assert verdicts(program, text.encode(), vkey.strip(), b"{}") == (False, False)
