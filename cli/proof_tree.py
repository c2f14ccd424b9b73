"""The tree that proofs are made from, kept between commands: a proof need not cost the whole ledger each time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from ledger.errors import LedgerDamagedError, LedgerUnavailableError
from ledger.merkle import Tree
from ledger.proof import ProofError
from ledger.stored_leaves import ledger_leaves, ledger_tree

if TYPE_CHECKING:
    from cli.session import Session
    from ledger.kept_checkpoints import KeptCheckpoints


def with_kept_tree(session: Session, kept: KeptCheckpoints, make: Callable[[Tree], bytes]) -> bytes:
    """What is proved with the kept tree if that will do, or else with a new one.

    The root that is signed shows whether it does, so a tree that somebody changed proves nothing wrong.

    Args:
        session: Whose ledger.
        kept: Where the tree is kept.
        make: Makes a proof with a tree, for which it grows as far as need be.

    Raises:
        ProofError, CheckpointError, LedgerDamagedError: As `make` with a new tree.
    """
    known = _kept_tree(session, kept)
    if known is not None:
        with suppress(ProofError, LedgerDamagedError):  # of another history, or damaged
            size = known.size
            proof = make(known)
            if known.size > size:
                keep_tree(session, kept, known)
            return proof
    tree = ledger_tree(session.store)
    proof = make(tree)
    keep_tree(session, kept, tree)
    return proof


def keep_tree(session: Session, kept: KeptCheckpoints, tree: Tree) -> None:
    """Keep a tree for the next proof, if it can be written: it only saves time."""
    with suppress(LedgerUnavailableError):
        kept.keep_tree(session.reader.ledger_id() or "", tree.to_bytes())


def _kept_tree(session: Session, kept: KeptCheckpoints) -> Tree | None:
    ledger_id = session.reader.ledger_id()
    content = kept.tree(ledger_id) if ledger_id else None
    if content is None:
        return None
    try:
        return Tree.from_bytes(content, ledger_leaves(session.store))
    except ValueError:
        return None
