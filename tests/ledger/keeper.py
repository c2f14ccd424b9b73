"""Machines that work with one ledger, each with its keys."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from pathlib import Path

from ledger.app import Life
from ledger.commands import Command, Deploy, SetSecrets
from ledger.envelope import Source
from ledger.keys import KeyFiles
from ledger.ledger import Ledger
from ledger.request import Request
from ledger.rotation import Rotated, rotate
from ledger.spec import AppId
from ledger.store import ModelStore
from ledger.stores import open_store

APPS = [AppId("prod", "shop", name) for name in ("orders", "users", "carts")]


class Keeper:
    """A machine that works with a ledger, and short words for what is asked of it."""

    _numbers = count(1)

    def __init__(self, address: str, keys: Path, *, host: str = "laptop") -> None:
        self.address = address
        self.store: ModelStore = open_store(address)
        self.directory = keys
        self.keys = KeyFiles(keys)
        self.host = host
        self.ledger = Ledger(
            self.store, self.keys, mint_domain=lambda: f"calmotter-{next(self._numbers):07}.example.com"
        )

    def another(self, keys: Path | None = None, *, host: str = "laptop") -> Keeper:
        """Another process: on this machine, or where the keys are in another directory."""
        return Keeper(self.address, keys or self.directory, host=host)

    def request(self, request_id: str | None = None) -> Request:
        source = Source(program="1ctl test", host=self.host)
        return Request(request_id=request_id or f"r{next(self._numbers)}", actor="ada", source=source)

    def ask(self, app: AppId, command: Command, secrets: Mapping[str, bytes] | None = None) -> None:
        self.ledger.execute(app, command, self.request(), secret_values=secrets)

    def deploy(self, app: AppId, **secrets: str) -> Life:
        self.ask(app, Deploy(image="orders:1"))
        if secrets:
            given = {key: value.encode() for key, value in secrets.items()}
            self.ask(app, SetSecrets(keys=tuple(secrets)), given)
        return self.life(app)

    def life(self, app: AppId) -> Life:
        life = self.ledger.app(app).life
        assert life is not None
        return life

    def opened(self, app: AppId) -> Mapping[str, bytes]:
        life = self.life(app)
        return self.ledger.open_secrets(life, life.secrets)

    def rotate(self, request_id: str | None = None, *, accept_loss: bool = False) -> Rotated:
        return rotate(self.ledger, self.keys, self.request(request_id), accept_loss=accept_loss)

    def identity(self) -> str:
        found = self.ledger.identity()
        assert found is not None
        return found.public_key

    def ledger_id(self) -> str:
        ledger_id = self.ledger.ledger_id()
        assert ledger_id is not None
        return ledger_id

    def kinds(self) -> list[str]:
        return [row.topic for row in self.store.positions(1, limit=10_000)]

    def identities(self) -> int:
        return self.kinds().count("WorkerIdentitySet")
