"""The Merkle tree over the ledger's leaves: roots, inclusion proofs, consistency proofs (RFC 6962, section 2.1).

Everything here is arithmetic on 32-byte hashes: no store, no keys, no files. Leaves come in as RFC 6962 leaf hashes
(`ledger.leaf`); index 0 is the ledger's position 1. What is verified is checked as RFC 9162 prescribes, and a proof
with a hash too many or too few is refused.

* `Frontier` finds the root of any number of leaves in one pass and keeps one hash for each bit of their number.
* `Tree` keeps one hash for every 256 leaves and those above, which is enough to prove anything about 10^6 leaves
  while reading a few hundred of them. It is a cache: what it says is worth what the root it ends in is worth.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from itertools import islice
from typing import Self

from ledger.errors import LedgerDamagedError

HASH_SIZE = 32
EMPTY_ROOT = sha256(b"").digest()
"""The root of no leaves at all (RFC 6962, section 2.1)."""

HashOf = Callable[[int, int], bytes]
"""The root of the leaves from one index up to, not including, another; those that the tree's own splits produce."""

ReadLeaves = Callable[[int, int], Iterable[bytes]]
"""The leaf hashes from one index up to, not including, another, in order."""

_TREE_HEAD = struct.Struct(">BQ")


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node (RFC 6962, section 2.1)."""
    return sha256(b"\1" + left + right).digest()


class Frontier:
    """The root of a growing tree, in memory for one hash per bit of its size.

    It holds the roots of the largest complete subtrees from left to right: their sizes are the binary digits of the
    number of leaves.
    """

    def __init__(self) -> None:
        self.size = 0
        self._roots: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes, in order."""
        roots, size = self._roots, self.size
        for leaf in leaves:
            node, carry = leaf, size
            while carry & 1:  # adding a leaf joins complete subtrees as adding one carries bits
                node = sha256(b"\1" + roots.pop() + node).digest()
                carry >>= 1
            roots.append(node)
            size += 1
        self.size = size

    def root(self) -> bytes:
        """The root of all leaves so far."""
        return _join(self._roots)


class Tree:
    """A tree that can prove: complete-subtree hashes from blocks of leaves upwards; the leaves stay where they are.

    Args:
        read: Reads leaves back: to grow, and those of a block when a proof ends in it. Without it, nothing can be
            proved that needs the leaves of a complete block.
        level: A block is ``2**level`` leaves. At 8, the hashes of 10^6 leaves take 250 kB, kept 125 kB.
    """

    def __init__(self, read: ReadLeaves | None = None, *, level: int = 8) -> None:
        self._read = read or _no_leaves
        self.level = level
        self._nodes: list[list[bytes]] = [[]]  # by level from `level` up, then from left to right
        self._tail: list[bytes] = []  # the leaves that do not fill a block yet
        self._last: tuple[int, list[bytes]] = (-1, [])  # the block read last; both ends of a proof are often in it

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return (len(self._nodes[0]) << self.level) + len(self._tail)

    @property
    def block_size(self) -> int:
        """How many leaves make a block."""
        return 1 << self.level

    def grow(self, size: int) -> None:
        """Read leaves until there are this many; nothing to do if there are."""
        if size > self.size:
            self.extend(self._read(self.size, size))

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes, in order."""
        coming = iter(leaves)
        while taken := list(islice(coming, self.block_size - len(self._tail))):
            self._tail += taken
            if len(self._tail) == self.block_size:
                self._push(_complete(self._tail))
                self._tail = []

    def root(self, size: int | None = None) -> bytes:
        """The root of the first `size` leaves, or of all.

        Raises:
            ValueError: There are not that many.
        """
        return self._hash_of(0, self._known(size))

    def inclusion_proof(self, index: int, size: int | None = None) -> list[bytes]:
        """Proof that the leaf at `index` is in the tree of the first `size` leaves; see `inclusion_proof`."""
        return inclusion_proof(index, self._known(size), self._hash_of)

    def consistency_proof(self, old_size: int, size: int | None = None) -> list[bytes]:
        """Proof that the first `size` leaves begin with the first `old_size`; see `consistency_proof`."""
        return consistency_proof(old_size, self._known(size), self._hash_of)

    def leaves_of(self, block: int) -> list[bytes]:
        """The leaves of a block, which may be the unfinished last one.

        Raises:
            LedgerDamagedError: The leaves are not those that the tree was made of.
            ValueError: The tree has nowhere to read them from.
        """
        if block == len(self._nodes[0]):
            return self._tail
        if self._last[0] != block:
            start = block << self.level
            leaves = list(self._read(start, start + self.block_size))
            if len(leaves) != self.block_size or _complete(leaves) != self._nodes[0][block]:
                last = start + self.block_size
                raise LedgerDamagedError(
                    f"positions {start + 1} to {last} are not what they were when they were hashed"
                )
            self._last = (block, leaves)
        return self._last[1]

    def to_bytes(self) -> bytes:
        """A form to keep: level as u8 and size as big-endian u64, the block hashes, the leaves of the last block."""
        return _TREE_HEAD.pack(self.level, self.size) + b"".join(self._nodes[0]) + b"".join(self._tail)

    @classmethod
    def from_bytes(cls, kept: bytes, read: ReadLeaves | None = None) -> Self:
        """What `to_bytes` gave. It is not authentic: compare its root with a signed one.

        Raises:
            ValueError: It is something else.
        """
        if len(kept) < _TREE_HEAD.size:
            raise ValueError("too short for a tree")
        level, size = _TREE_HEAD.unpack_from(kept)
        hashes = _hashes(kept[_TREE_HEAD.size :])
        blocks, tail = size >> level, size & ((1 << level) - 1)
        if level > 32 or len(hashes) != blocks + tail:
            raise ValueError("not as many hashes as the tree's size needs")
        tree = cls(read, level=level)
        for block in hashes[:blocks]:
            tree._push(block)
        tree._tail = hashes[blocks:]
        return tree

    def _push(self, node: bytes) -> None:
        for nodes in self._nodes:
            nodes.append(node)
            if len(nodes) & 1:
                return
            node = node_hash(nodes[-2], node)
        self._nodes.append([node])

    def _known(self, size: int | None) -> int:
        if size is None:
            return self.size
        if not 0 <= size <= self.size:
            raise ValueError(f"the tree has {self.size} leaves, not {size}")
        return size

    def _hash_of(self, start: int, stop: int) -> bytes:
        roots = []
        while start < stop:
            level = (stop - start).bit_length() - 1
            roots.append(self._subtree(level, start >> level))
            start += 1 << level
        return _join(roots)

    def _subtree(self, level: int, index: int) -> bytes:
        if level >= self.level:
            return self._nodes[level - self.level][index]
        block, offset = divmod(index << level, self.block_size)
        return _complete(self.leaves_of(block)[offset : offset + (1 << level)])


def inclusion_proof(index: int, size: int, hash_of: HashOf) -> list[bytes]:
    """The audit path of one leaf, from its sibling to the root's child (RFC 6962, section 2.1.1).

    Raises:
        ValueError: There is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no index {index}")
    start, stop, path = 0, size, []
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            path.append(hash_of(middle, stop))
            stop = middle
        else:
            path.append(hash_of(start, middle))
            start = middle
    return path[::-1]


def consistency_proof(old_size: int, size: int, hash_of: HashOf) -> list[bytes]:
    """Proof that a tree is the beginning of another (RFC 6962, section 2.1.2); empty from size 0 or if both are equal.

    Raises:
        ValueError: The old tree is not the smaller one.
    """
    if not 0 <= old_size <= size:
        raise ValueError(f"a tree of {old_size} leaves is not the beginning of one of {size}")
    if old_size in {0, size}:
        return []
    start, stop, path = 0, size, []
    while stop != old_size:
        middle = start + _split(stop - start)
        if old_size <= middle:
            path.append(hash_of(middle, stop))
            stop = middle
        else:
            path.append(hash_of(start, middle))
            start = middle
    if start:  # otherwise the last piece is the old root, which the verifier has
        path.append(hash_of(start, stop))
    return path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether the path leads from this leaf at this index to that root (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size or not _well_formed(leaf, root, *path):
        return False
    here, last, node = index, size - 1, leaf
    for sibling in path:
        if not last:
            return False  # the path goes on above the root
        if here & 1 or here == last:
            node = node_hash(sibling, node)
            shift = _trailing_zeros(here)
            here, last = here >> shift, last >> shift
        else:
            node = node_hash(node, sibling)
        here, last = here >> 1, last >> 1
    return not last and node == root


def verify_consistency(old_size: int, size: int, old_root: bytes, root: bytes, path: Sequence[bytes]) -> bool:
    """Whether the path shows that the tree begins with the old one (RFC 9162, section 2.1.4.2).

    From an old size of 0 the proof is empty (C2SP tlog-witness), which shows only that both sides start from nothing.
    """
    if not 0 <= old_size <= size or not _well_formed(old_root, root, *path):
        return False
    if old_size == size:
        return not path and old_root == root
    if not old_size:
        return not path and old_root == EMPTY_ROOT
    if not path:
        return False
    hashes = [old_root, *path] if old_size.bit_count() == 1 else path
    shift = _trailing_zeros(old_size)
    here, last = (old_size - 1) >> shift, (size - 1) >> shift
    old_node = node = hashes[0]
    for sibling in hashes[1:]:
        if not last:
            return False  # the path goes on above the root
        if here & 1 or here == last:
            old_node, node = node_hash(sibling, old_node), node_hash(sibling, node)
            shift = _trailing_zeros(here)
            here, last = here >> shift, last >> shift
        else:
            node = node_hash(node, sibling)
        here, last = here >> 1, last >> 1
    return not last and old_node == old_root and node == root


def _no_leaves(start: int, stop: int) -> Iterable[bytes]:
    raise ValueError(f"the leaves {start} to {stop} of this tree are not at hand")


def _split(size: int) -> int:
    """The largest power of two smaller than the size."""
    return 1 << ((size - 1).bit_length() - 1)


def _trailing_zeros(number: int) -> int:
    return (number & -number).bit_length() - 1 if number else 0


def _join(roots: Sequence[bytes]) -> bytes:
    """The root over complete subtrees of falling size."""
    if not roots:
        return EMPTY_ROOT
    node = roots[-1]
    for left in reversed(roots[:-1]):
        node = node_hash(left, node)
    return node


def _complete(leaves: Sequence[bytes]) -> bytes:
    """The root of a power of two of leaves; a level at a time, which is twice as fast as a leaf at a time."""
    level = leaves
    while len(level) > 1:
        pairs = iter(level)
        level = [sha256(b"\1" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
    return level[0]


def _well_formed(*hashes: bytes) -> bool:
    return all(len(value) == HASH_SIZE for value in hashes)


def _hashes(joined: bytes) -> list[bytes]:
    if len(joined) % HASH_SIZE:
        raise ValueError("not a whole number of hashes")
    return [joined[start : start + HASH_SIZE] for start in range(0, len(joined), HASH_SIZE)]
