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


# -- The effects identity ------------------------------------------------------------------------------------------


def test_looking_for_an_identity_makes_nothing(home: Path) -> None:
    assert KeyFiles(home).identity_private() is None
    assert not home.parent.exists()


def test_an_identity_is_made_once_and_then_kept(home: Path) -> None:
    public = KeyFiles(home).make_identity()
    private = KeyFiles(home).identity_private()
    assert private is not None
    assert sealing.public_half(private) == public
    assert KeyFiles(home).make_identity() == public
    assert [entry.name for entry in home.iterdir()] == ["identity.key"], "and no draft is left"


def test_only_the_owner_may_read_keys(home: Path) -> None:
    previous = os.umask(0)
    try:
        KeyFiles(home).make_identity()
        KeyFiles(home).make_signing_key("l-1", ORIGIN)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert {stat.S_IMODE(entry.stat().st_mode) for entry in home.iterdir()} == {0o600}


def test_an_identity_may_lie_elsewhere(home: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "mounted" / "identity"
    public = KeyFiles(home, identity=elsewhere).make_identity()
    assert not home.exists()
    assert KeyFiles(tmp_path / "other", identity=elsewhere).make_identity() == public


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
    ],
)
def test_a_file_that_is_no_identity_is_refused_kept_and_not_shown(home: Path, content: bytes, says: str) -> None:
    home.mkdir(parents=True)
    path = home / "identity.key"
    path.write_bytes(content)
    for ask in (KeyFiles(home).identity_private, KeyFiles(home).make_identity):
        with pytest.raises(KeyFileError, match=says) as caught:
            ask()
        assert str(path) in caught.value.message
        assert "hush" not in caught.value.message
    assert path.read_bytes() == content


def test_what_cannot_be_read_or_made_is_an_error_of_ours(home: Path, tmp_path: Path) -> None:
    (home / "identity.key").mkdir(parents=True)
    with pytest.raises(KeyFileError, match="cannot be read"):
        KeyFiles(home).identity_private()
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileError, match="cannot be"):
        KeyFiles(tmp_path / "file" / "keys").make_identity()
    with pytest.raises(KeyFileError, match="cannot be made"):
        KeyFiles(tmp_path / "file" / "keys").make_signing_key("l-1", ORIGIN)


def test_processes_that_make_the_identity_at_once_get_the_same(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from ledger.keys import KeyFiles; from ledger import sealing\n"
        "sealing.generate(); print('ready', flush=True)\n"
        "for name in sys.stdin.readline().split(): print(KeyFiles(Path(name)).make_identity(), flush=True)"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    homes = [tmp_path / f"home-{number}" for number in range(40)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write(" ".join(map(str, homes)) + "\n")
        child.stdin.flush()
    answers = [child.communicate(timeout=PATIENCE)[0].split() for child in children]
    assert answers[0] == answers[1]
    assert len(set(answers[0])) == len(homes)
    assert answers[0] == [KeyFiles(home).make_identity() for home in homes]
    assert all(len(list(home.iterdir())) == 1 for home in homes)


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
