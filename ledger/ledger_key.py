"""The key of a ledger and its name in checkpoints, as its first line says."""

from __future__ import annotations

from dataclasses import replace

from ledger.checkpoint import CheckpointError, SigningKey, VerifierKey
from ledger.errors import LedgerDamagedError, RefusedError
from ledger.founding import founding
from ledger.store import Store


def ledger_key(store: Store) -> VerifierKey:
    """The key that position 1 of the ledger names. It says who ought to sign, not that the ledger is authentic.

    Raises:
        RefusedError: The ledger is empty.
        LedgerDamagedError: It does not begin as a ledger does, or its key has the name of another one: then what was
            signed for it is looked for under a wrong name, and not found.
    """
    first = founding(store)
    if first is None:
        raise RefusedError("nothing is recorded in the ledger yet", hint="There is nothing to sign or to prove.")
    try:
        key = VerifierKey.parse(first.verification_key)
    except CheckpointError as error:
        raise LedgerDamagedError(f"position 1 of the ledger holds no key of a ledger: {error.message}") from error
    if key.name != first.origin:
        raise LedgerDamagedError(
            f"position 1 of the ledger contradicts itself: it is called {first.origin}, with a key of {key.name}",
            hint="It was changed. Put the ledger back from a backup: 1ctl ledger restore FILE",
        )
    return key


def own_key(store: Store, key: SigningKey) -> SigningKey:
    """A signing key under the ledger's own name: one key file may serve several ledgers.

    Raises:
        RefusedError: The ledger is empty.
        CheckpointError: It names another key.
    """
    ours = ledger_key(store)
    key = replace(key, name=ours.name)
    if key.verifier != ours:
        raise CheckpointError(
            f"the signing key is not the one that the ledger names at position 1 ({ours.name})",
            hint="Point ONECTL_SIGNING_KEY to the key file of this ledger.",
        )
    return key
