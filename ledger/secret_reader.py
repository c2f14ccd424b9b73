"""The ledger for a holder of an identity: what was sealed in it, opened again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING

from ledger import sealing
from ledger.errors import LedgerDeniedError, SealedError
from ledger.reader import LedgerReader

if TYPE_CHECKING:
    from ledger.app import Life
    from ledger.keys import KeyFiles
    from ledger.spec import SecretVersion
    from ledger.store import LifeKeyRow, ModelStore


class SecretReader(LedgerReader):
    """Answers what `LedgerReader` does, and opens sealed values.

    Args:
        store: Where the ledger is kept.
        keys: The key files of this machine.
    """

    def __init__(self, store: ModelStore, keys: KeyFiles) -> None:
        super().__init__(store)
        self._keys = keys

    def holds_identity(self) -> bool:
        """Whether this machine holds the identity that new lives are sealed to; True for a ledger without any."""
        ledger_id, set_identity = self.ledger_id(), self.identity()
        if ledger_id is None or set_identity is None:
            return True
        return self._keys.identity_private(ledger_id, set_identity.public_key) is not None

    def can_open_secrets(self, life: Life) -> bool:
        """Whether this machine holds the identity that the life's key is wrapped for, and may read that key."""
        try:
            _, private = self._wrapped(life)
        except LedgerDeniedError:
            return False
        return private is not None

    def open_secrets(self, life: Life, secrets: Mapping[str, SecretVersion]) -> Mapping[str, bytes]:
        """The values of these secrets of a life.

        Raises:
            SealedError: This machine does not hold the identity, or a value was shredded or does not fit its event.
        """
        if not secrets:
            return {}
        life_private = self._life_private(life)
        stored = self.store.sealed(life.deployment_id)
        return {key: _opened(life, key, secret, stored, life_private) for key, secret in secrets.items()}

    def fingerprints(self, life: Life, values: Mapping[str, bytes]) -> Mapping[str, str]:
        """By key, what tells equal values of this life apart from others, without saying what they are.

        Raises:
            SealedError: This machine does not hold the identity.
        """
        life_private = self._life_private(life)
        return {key: sealing.fingerprint(value, life_private) for key, value in values.items()}

    def _life_private(self, life: Life) -> bytes:
        try:
            row, private = self._wrapped(life)
        except LedgerDeniedError as error:
            raise SealedError(
                "this user of the ledger may not read what is sealed in it",
                hint="Be one with the worker's role (1ctl ledger roles), or let a worker apply: 1ctl worker run",
            ) from error
        if row is None:
            raise SealedError("the secrets of this life were shredded when it was destroyed")
        if private is None:
            raise SealedError(
                # Recorded by a worker, and read elsewhere.
                f"{os.uname().nodename} does not hold the identity that opens the app's secrets",
                hint="Run the command where it is, or point ONECTL_IDENTITY to it.",
            )
        return sealing.unwrap(row.wrapped, life.deployment_id, private)

    def _wrapped(self, life: Life) -> tuple[LifeKeyRow | None, bytes | None]:
        """A life's wrapped key, and the private half of the identity that it is wrapped for, if it is here."""
        ledger_id = self.ledger_id() or ""
        row = self.store.life_key(life.deployment_id)
        while row is not None:
            private = self._keys.identity_private(ledger_id, row.identity)
            if private is not None:
                return row, private
            again = self.store.life_key(life.deployment_id)
            if again is not None and again.identity == row.identity:
                break
            row = again  # rewrapped between the two looks, and the old identity was removed
        return row, None


def _opened(
    life: Life, key: str, secret: SecretVersion, stored: Mapping[tuple[str, int], bytes], life_private: bytes
) -> bytes:
    ciphertext = stored.get((key, secret.version))
    if ciphertext is None or sha256(ciphertext).hexdigest() != secret.digest:
        raise SealedError(f"the sealed value of {key} is missing or is not the one that was recorded")
    return sealing.open_value(ciphertext, life.deployment_id, key, secret.version, life_private)
