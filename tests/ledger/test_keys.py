"""Key files."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger import sealing
from ledger.checkpoint import COSIGNATURE, SigningKey
from ledger.errors import LedgerDamagedError
from ledger.keys import KeyFileError, KeyFiles
from tests.ledger.support import PATIENCE

ROOT = Path(__file__).parent.parent.parent
ORIGIN = "1ctl.dev/ledger/l-1"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home" / "keys"


def private_of(path: Path) -> bytes:
    """The Ed25519 key in a signing key file."""
    decoded = b64decode(_parts(path)[3])
    assert decoded[:1] == b"\x01"
    return decoded[1:]


def _parts(path: Path) -> tuple[str, str, str, str]:
    private, key, origin, key_hash, text = path.read_text().strip().split("+", 4)
    return f"{private}+{key}", origin, key_hash, text


def key_files(directory: Path) -> list[str]:
    """Names of the files in a directory of keys, but for its lock."""
    return sorted(entry.name for entry in directory.iterdir() if not entry.name.startswith(".lock"))


def from_before(home: Path) -> str:
    """A file as it was before ledgers had identities of their own; its public half."""
    private, public = sealing.generate()
    home.mkdir(parents=True)
    (home / "identity.key").write_text(f"1CTL-IDENTITY-1 {b64encode(private).decode()}\n")
    return public


# -- The effects identity ------------------------------------------------------------------------------------------


def test_looking_for_an_identity_makes_nothing(home: Path) -> None:
    keys = KeyFiles(home)
    assert (keys.identities("l-1"), keys.own_identities("l-1"), keys.identity_private("l-1", "x")) == ([], [], None)
    assert keys.forget_identities("l-1", []) == []
    assert not home.parent.exists()


def test_an_identity_is_in_a_file_of_its_ledger(home: Path) -> None:
    public = KeyFiles(home).make_identity("l-1")
    private = KeyFiles(home).identity_private("l-1", public)
    assert private is not None
    assert sealing.public_half(private) == public
    assert key_files(home) == ["l-1.identity.key"], "and no draft is left"
    assert (home / "l-1.identity.key").read_text() == f"1CTL-IDENTITY-1 {b64encode(private).decode()} l-1\n"
    assert KeyFiles(home).identity_path("l-1") == home / "l-1.identity.key"


def test_ledgers_have_nothing_to_do_with_each_others_identities(home: Path, tmp_path: Path) -> None:
    for keys in (KeyFiles(home), KeyFiles(home, identity=tmp_path / "shared")):
        one, other = keys.make_identity("l-1"), keys.make_identity("l-2")
        assert one != other
        assert (keys.identities("l-1"), keys.identities("l-2"), keys.identities("l-3")) == ([one], [other], [])
        assert keys.identity_private("l-2", one) is None
        assert keys.forget_identities("l-1", [one, other]) == [one]
        assert keys.identities("l-2") == [other]


def test_a_ledger_may_have_several_the_newest_last(home: Path) -> None:
    made = [KeyFiles(home).make_identity("l-1") for _ in range(3)]
    assert KeyFiles(home).identities("l-1") == KeyFiles(home).own_identities("l-1") == made
    assert KeyFiles(home).forget_identities("l-1", [made[0], made[2], "of nobody"]) == [made[0], made[2]]
    assert KeyFiles(home).identities("l-1") == [made[1]]
    assert KeyFiles(home).forget_identities("l-1", [made[0]]) == []


def test_a_key_is_on_the_line_that_an_editor_shows(home: Path) -> None:
    keys = KeyFiles(home)
    assert keys.identity_lines("l-1") == {}
    made = [keys.make_identity("l-1") for _ in range(2)]
    path = keys.identity_path("l-1")
    path.write_text("\n" + path.read_text().replace("\n", "\n\n", 1))
    assert keys.identity_lines("l-1") == {made[0]: 2, made[1]: 4}
    assert keys.identity_lines("l-2") == {}


def test_a_file_with_no_identity_left_is_removed(home: Path) -> None:
    public = KeyFiles(home).make_identity("l-1")
    KeyFiles(home).forget_identities("l-1", [public])
    assert key_files(home) == []


def test_an_identity_from_before_counts_for_every_ledger_and_stays(home: Path) -> None:
    old = from_before(home)
    keys = KeyFiles(home)
    new = keys.make_identity("l-1")
    assert (keys.identities("l-1"), keys.identities("l-2")) == ([old, new], [old])
    assert keys.own_identities("l-1") == [new]
    assert keys.forget_identities("l-1", [old]) == []
    assert keys.identity_private("l-2", old) is not None


def test_an_identity_from_before_in_a_named_file_stays_beside_new_ones(home: Path) -> None:
    old = from_before(home)
    keys = KeyFiles(home / "none", identity=home / "identity.key")
    new = keys.make_identity("l-1")
    assert keys.identities("l-1") == [old, new]
    assert keys.forget_identities("l-1", [old, new]) == [new]
    assert keys.identities("l-1") == [old]


def test_a_replaced_file_is_noticed_at_once(home: Path, tmp_path: Path) -> None:
    keys = KeyFiles(home)
    first = keys.make_identity("l-1")
    assert keys.identity_private("l-1", first) is not None
    elsewhere = KeyFiles(tmp_path / "elsewhere")
    second = elsewhere.make_identity("l-1")
    elsewhere.identity_path("l-1").replace(keys.identity_path("l-1"))
    assert keys.identity_private("l-1", first) is None
    assert keys.identity_private("l-1", second) is not None


def test_only_the_owner_may_read_keys(home: Path) -> None:
    previous = os.umask(0)
    try:
        KeyFiles(home).make_identity("l-1")
        KeyFiles(home).make_identity("l-1")
        KeyFiles(home).make_signing_key("l-1", ORIGIN)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert {stat.S_IMODE(entry.stat().st_mode) for entry in home.iterdir()} == {0o600}


def test_an_identity_may_lie_elsewhere_also_behind_a_link(home: Path, tmp_path: Path) -> None:
    elsewhere, link = tmp_path / "mounted" / "identity", tmp_path / "link"
    link.symlink_to(elsewhere)
    public = KeyFiles(home, identity=link).make_identity("l-1")
    assert not home.exists()
    assert link.is_symlink()
    assert KeyFiles(tmp_path / "other", identity=elsewhere).identities("l-1") == [public]


def test_a_draft_that_a_killed_process_left_is_removed(home: Path) -> None:
    KeyFiles(home).make_identity("l-1")
    (home / ".l-1.identity.key.draft").write_text("a private key, half written")
    KeyFiles(home).make_identity("l-1")
    assert key_files(home) == ["l-1.identity.key"]


@pytest.mark.parametrize("ledger_id", ["../l-1", "a/b", "", "l 1", "l\n1"])
def test_an_id_that_is_no_file_name_leads_nowhere(home: Path, ledger_id: str) -> None:
    for ask in (KeyFiles(home).identities, KeyFiles(home).make_identity, KeyFiles(home).signing_path):
        with pytest.raises(LedgerDamagedError):
            ask(ledger_id)
    assert not home.exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not an effects identity"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nhush\n", "not an effects identity"),
        (b"PRIVATE+KEY+origin+0a1b2c3d+hush", "not an effects identity"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"1CTL-IDENTITY-1", "damaged"),
        (b"1CTL-IDENTITY-1 hush", "damaged"),
        (b"1CTL-IDENTITY-1 hush*hush=", "damaged"),
        ("1CTL-IDENTITY-1 hüsh".encode(), "damaged"),
        (b"1CTL-IDENTITY-1 " + b64encode(b"hush" * 7), "damaged"),
        (b"1CTL-IDENTITY-1 " + b64encode(b"hush" * 9), "damaged"),
        (b"1CTL-IDENTITY-1 " + b64encode(b"hush" * 8) + b" l-1 more", "damaged"),
        (b"1CTL-IDENTITY-1 " + b64encode(b"hush" * 8) + b" l-1\nhush l-2", "not an effects identity"),
    ],
)
def test_a_file_that_is_no_identity_is_refused_kept_and_not_shown(home: Path, content: bytes, says: str) -> None:
    home.mkdir(parents=True)
    path = home / "l-1.identity.key"
    path.write_bytes(content)
    for ask in (KeyFiles(home).identities, KeyFiles(home).make_identity):
        with pytest.raises(KeyFileError, match=says) as caught:
            ask("l-1")
        assert str(path) in caught.value.message
        assert "hush" not in caught.value.message
    assert path.read_bytes() == content


def test_what_cannot_be_read_or_made_is_an_error_of_ours(home: Path, tmp_path: Path) -> None:
    (home / "l-1.identity.key").mkdir(parents=True)
    with pytest.raises(KeyFileError, match="cannot be read"):
        KeyFiles(home).identities("l-1")
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileError, match="cannot be"):
        KeyFiles(tmp_path / "file" / "keys").make_identity("l-1")
    with pytest.raises(KeyFileError, match="cannot be made"):
        KeyFiles(tmp_path / "file" / "keys").make_signing_key("l-1", ORIGIN)


def test_processes_that_change_one_file_at_once_lose_nothing(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from ledger.keys import KeyFiles; from ledger import sealing\n"
        "sealing.generate(); print('ready', flush=True)\n"
        "keys = KeyFiles(Path('none'), identity=Path(sys.argv[1]))\n"
        "for name in sys.stdin.readline().split(): print(keys.make_identity(name), flush=True)"
    )
    path = tmp_path / "shared.key"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script, path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    ledgers = [[f"l-{start + number}" for number in range(40)] for start in (0, 100)]
    for child, names in zip(children, ledgers, strict=True):
        assert child.stdin is not None
        child.stdin.write(" ".join(names) + "\n")
        child.stdin.flush()
    answers = [child.communicate(timeout=PATIENCE)[0].split() for child in children]
    keys = KeyFiles(tmp_path / "none", identity=path)
    for names, made in zip(ledgers, answers, strict=True):
        assert [keys.identities(name) for name in names] == [[public] for public in made]
    assert len(path.read_text().splitlines()) == 80


# -- The signing key -----------------------------------------------------------------------------------------------


def test_the_signing_key_and_its_verifier_key_are_as_in_c2sp_signed_note(home: Path) -> None:
    verifier = KeyFiles(home).make_signing_key("l-1", ORIGIN)
    path = home / "l-1.signing.key"
    assert KeyFiles(home).signing_path("l-1") == path
    public = b"\x01" + Ed25519PrivateKey.from_private_bytes(private_of(path)).public_key().public_bytes_raw()
    key_hash = sha256(ORIGIN.encode() + b"\n" + public).digest()[:4].hex()
    assert verifier == f"{ORIGIN}+{key_hash}+{b64encode(public).decode()}"
    assert _parts(path)[:3] == ("PRIVATE+KEY", ORIGIN, key_hash)


def test_every_ledger_has_a_signing_key_of_its_own(home: Path) -> None:
    one = KeyFiles(home).make_signing_key("l-1", ORIGIN)
    other = KeyFiles(home).make_signing_key("l-2", ORIGIN)
    assert one != other


def test_a_signing_key_can_be_forgotten_more_than_once(home: Path) -> None:
    keys = KeyFiles(home)
    keys.make_signing_key("l-1", ORIGIN)
    keys.make_signing_key("l-2", ORIGIN)
    keys.forget_signing_key("l-1")
    keys.forget_signing_key("l-1")
    assert [entry.name for entry in home.iterdir()] == ["l-2.signing.key"]


def test_a_named_signing_key_that_is_there_is_the_one_that_is_used(home: Path, tmp_path: Path) -> None:
    named = tmp_path / "signing.key"
    KeyFiles(home, signing=named).make_signing_key("l-1", ORIGIN)
    content = named.read_text()
    verifier = KeyFiles(home, signing=named).make_signing_key("l-2", "1ctl.dev/ledger/l-2")
    assert named.read_text() == content
    public = b"\x01" + Ed25519PrivateKey.from_private_bytes(private_of(named)).public_key().public_bytes_raw()
    assert verifier.startswith("1ctl.dev/ledger/l-2+")
    assert verifier.endswith(f"+{b64encode(public).decode()}"), "what nobody can sign with must not be recorded"


def test_a_named_signing_key_is_never_forgotten(home: Path, tmp_path: Path) -> None:
    named = tmp_path / "signing.key"
    keys = KeyFiles(home, signing=named)
    keys.make_signing_key("l-1", ORIGIN)
    keys.forget_signing_key("l-1")
    assert named.exists(), "it may be the key of a ledger that another process made"


@pytest.mark.parametrize("content", ["", "notes", "PRIVATE+KEY+x+y+hush", "PRIVATE+KEY+hush", "1CTL-IDENTITY-1 hush"])
def test_a_named_file_that_is_no_signing_key_is_refused_and_kept(home: Path, tmp_path: Path, content: str) -> None:
    named = tmp_path / "signing.key"
    named.write_text(content)
    with pytest.raises(KeyFileError) as caught:
        KeyFiles(home, signing=named).make_signing_key("l-1", ORIGIN)
    assert "hush" not in caught.value.message
    assert named.read_text() == content


def test_a_named_key_that_was_damaged_founds_no_ledger(home: Path, tmp_path: Path) -> None:
    named = tmp_path / "signing.key"
    kept = SigningKey.generate("example.com/before").to_text()
    damaged = SigningKey(name="example.com/before", seed=b"other" * 6 + b"!!").to_text()
    named.write_text("+".join([*kept.split("+")[:4], damaged.split("+", 4)[4]]))
    with pytest.raises(KeyFileError, match="its hash does not fit"):
        KeyFiles(home, signing=named).make_signing_key("l-1", ORIGIN)


def test_the_key_of_a_witness_founds_no_ledger(home: Path, tmp_path: Path) -> None:
    named = tmp_path / "signing.key"
    named.write_text(SigningKey.generate("example.com/witness", COSIGNATURE).to_text())
    with pytest.raises(KeyFileError, match="it is the key of a witness"):
        KeyFiles(home, signing=named).make_signing_key("l-1", ORIGIN)
