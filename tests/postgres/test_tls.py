"""A database elsewhere is reached through TLS, and only if it is the one that was named."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ledger.errors import LedgerUnavailableError
from ledger.postgres_address import Address
from ledger.postgres_connection import Database
from ledger.postgres_patience import PatientConnection
from ledger.postgres_store import PostgresStore
from ledger.postgres_tls import tls_parameters

TLS = {"sslmode", "sslrootcert"}
ELSEWHERE = [
    "db.example.com",
    "10.0.0.7",
    "[2001:db8::1]",
    "localhost.example.com",
    "a,/run/pg",
    "127.0.0.1,b",
    "127.1",
]
HERE = ["", "localhost", "LOCALHOST.", "127.0.0.1", "127.8.9.10", "[::1]", "localhost,127.0.0.1:5433", "%2Frun%2Fpg"]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, str]]:
    """What the driver is given, while it reaches nobody."""
    given: list[dict[str, str]] = []

    def connect(**parameters: Any) -> None:
        given.append(parameters)
        raise psycopg.OperationalError("nobody is there")

    monkeypatch.setattr(PatientConnection, "connect", staticmethod(connect))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("PGHOST", "PGHOSTADDR", "PGSSLMODE", "PGSSLROOTCERT", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    return given


def asked(sent: list[dict[str, str]], url: str) -> dict[str, str]:
    """What is asked of TLS, by the pool and by a connection outside of it."""
    database = Database(Address(url), lock_timeout=1)
    with pytest.raises(LedgerUnavailableError), database.connection():
        pass
    with pytest.raises(psycopg.OperationalError):
        database.connect({"application_name": "x"}, patience=10.0)
    pooled, outside = ({name: each[name] for name in each if name in TLS} for each in sent[-2:])
    assert pooled == outside
    return pooled


@pytest.mark.parametrize("host", ELSEWHERE)
def test_a_server_elsewhere_must_be_the_one_that_was_named(sent: list[dict[str, str]], host: str) -> None:
    found = asked(sent, f"postgresql://u@{host.replace('/', '%2F')}/db")
    assert found["sslmode"] == "verify-full"
    assert found["sslrootcert"] == "system" or Path(found["sslrootcert"]).exists()


@pytest.mark.parametrize("host", HERE)
def test_nothing_is_asked_of_this_machine(sent: list[dict[str, str]], host: str) -> None:
    assert asked(sent, f"postgresql://u@{host}/db") == {}


def test_the_environment_names_a_host_as_well(sent: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.example.com")
    assert asked(sent, "postgresql://u@/db")["sslmode"] == "verify-full"
    assert asked(sent, "postgresql://u@localhost/db") == {}
    monkeypatch.setenv("PGHOSTADDR", "10.0.0.7")
    assert asked(sent, "postgresql://u@localhost/db")["sslmode"] == "verify-full"
    assert asked(sent, "postgresql://u@db/db?hostaddr=127.0.0.1") == {}


@pytest.mark.parametrize("mode", ["disable", "prefer", "require", "verify-ca", "verify-full"])
def test_what_the_user_says_holds(sent: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    assert asked(sent, f"postgresql://u@db.example.com/db?sslmode={mode}") == {"sslmode": mode}
    assert asked(sent, f"postgresql://u@db.example.com/db?sslmode={mode}&sslrootcert=/ca") == {
        "sslmode": mode,
        "sslrootcert": "/ca",
    }
    monkeypatch.setenv("PGSSLMODE", mode)
    assert asked(sent, "postgresql://u@db.example.com/db") == {}


def test_an_authority_of_the_users_own_is_taken_for_the_systems(
    sent: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = "postgresql://u@db.example.com/db"
    assert asked(sent, f"{url}?sslrootcert=/ca") == {"sslmode": "verify-full", "sslrootcert": "/ca"}
    with monkeypatch.context() as changed:
        changed.setenv("PGSSLROOTCERT", "/ca")
        assert asked(sent, url) == {"sslmode": "verify-full"}
    (tmp_path / ".postgresql").mkdir()
    (tmp_path / ".postgresql" / "root.crt").touch()
    assert asked(sent, url) == {"sslmode": "verify-full"}


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "services.conf"
    file.write_text(
        "[said]\nhost=db.example.com\nsslmode=require\n[unsaid]\nhost=db.example.com\nsslrootcert=/ca\n"
        "[here]\nhost=localhost\n[other]\nconnect_timeout=3\n[preferred]\nhost=db.example.com\nsslmode=prefer\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(file))


@pytest.mark.usefixtures("services")
def test_what_a_service_file_says_holds_and_what_it_leaves_out_is_asked_for(
    sent: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked(sent, "postgresql:///?service=said") == {}
    assert asked(sent, "postgresql:///?service=unsaid") == {"sslmode": "verify-full"}
    assert asked(sent, "postgresql:///?service=here") == {}
    assert asked(sent, "postgresql:///?service=gone") == {}
    assert asked(sent, "postgresql://db.example.com/?service=other")["sslmode"] == "verify-full"
    assert asked(sent, "postgresql:///?service=preferred")["sslmode"] == "verify-full"
    monkeypatch.setenv("PGSERVICE", "other")
    assert asked(sent, "postgresql://db.example.com/db")["sslmode"] == "verify-full"
    assert os.environ["PGSERVICE"] == "other"
    monkeypatch.setenv("PGSERVICE", "said")
    assert asked(sent, "postgresql://db.example.com/db") == {}
    monkeypatch.setenv("PGSSLMODE", "disable")
    assert asked(sent, "postgresql:///?service=unsaid") == {}


def test_without_a_home_nothing_is_looked_for() -> None:
    assert tls_parameters({"host": "db"}, {})["sslmode"] == "verify-full"


def test_nothing_is_said_to_a_server_that_speaks_plain_text_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGSSLMODE", "PGSSLROOTCERT", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                heard.append(connection.recv(1024))
                connection.sendall(b"N")  # TLS is not spoken here
                heard.append(connection.recv(1024))

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        # To libpq an address of this machine, and to us a name like any other.
        store = PostgresStore(f"postgresql://ann:c4n4ry@127.1:{server.getsockname()[1]}/db?gssencmode=disable")
        with pytest.raises(LedgerUnavailableError, match="SSL") as refused:
            store.head()
        store.close()
        thread.join(10)
    assert "?sslrootcert=FILE" in (refused.value.hint or "")
    assert heard == [b"\x00\x00\x00\x08\x04\xd2\x16\x2f", b""]  # the request for TLS, and the end
