"""The tree: against published vectors, against the RFC's own recursive definition, and against forgeries."""

from __future__ import annotations

from base64 import b64decode
from hashlib import sha256
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import LedgerDamagedError
from ledger.leaf import leaf_of
from ledger.merkle import (
    EMPTY_ROOT,
    Frontier,
    Tree,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from tests.proofs import naive_merkle
from tests.seeds import examples

# The inputs and hashes of the Certificate Transparency reference tests, published with RFC 6962's first logs.
INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
LEAVES = [leaf_of(bytes.fromhex(text)) for text in INPUTS]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
A = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
B = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
C = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
D = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
E = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
F = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
G = "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f"
INCLUSION = {
    (0, 1): [],
    (0, 8): [A, B, C],
    (5, 8): [D, E, ROOTS[4]],
    (2, 3): [ROOTS[2]],
    (1, 5): [ROOTS[1], B, D],
    (7, 8): [G, F, ROOTS[4]],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [A, B, C],
    (6, 8): [F, E, ROOTS[4]],
    (2, 5): [B, D],
    (6, 7): [F, G, ROOTS[4]],
}

# A real entry of a public log (Rekor v2, log2025-1, index 412114), with the proof that the log gave.
REKOR_INDEX, REKOR_SIZE = 412114, 412115
REKOR_ROOT = b64decode("+8vUkEgBK/ansexBUomzocaWoPEmPIzxJC/y+xNMQN4=")
REKOR_ENTRY = (
    b'{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{"hashedRekordV002":{"data":{"algorithm":"SHA2_256",'
    b'"digest":"5dJ2SakUeOXY4ut1hBHPomz+hTn6tc0KTzcGosA+epE="},"signature":{"content":"MEYCIQDcJO82nz1rrtu1DxSpruX1ogJu'
    b'm8dl4IiGBMPz3jYcbgIhAKwQ8wNu1On8pYfhAJCK8OqT0OOGTh/yAQ+An/e3d/dU","verifier":{"keyDetails":"PKIX_ECDSA_P256_SHA_256'
    b'","publicKey":{"rawBytes":"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE0q9Q+tdG195CXKfmUx1YatvZ/mN3rhjpOfm1lvskWprH9Pxpe9Xc'
    b'6LjEJbBcVPhutkfUvBB9RDk+42SNE6/5xg=="}}}}}}'
)
REKOR_PATH = [
    b64decode(text)
    for text in (
        "KIoYVJ0TqmaEkFboP7YWTjSh8vFjVECmokcTOAByfIM=",
        "Umf0h0cK2hegTzNnSgsXszyiA4bp5OvEvP+GrWq3C8w=",
        "vNQeSNBfepYZI2Ez3ViKdCft0JH87ZS8IGKwixxUVjc=",
        "JBAugd5awOqmHXIKgz1MOjlR5f37VqmP0bWoRVcHX5M=",
        "xYH2mAxGxfOgvSOLnItT2LsJt+Z2a2egjf8QJFwK7jA=",
        "PbZWM3NitzChx9A22m/kddDtzh2bAKX5Fy7j76l3z2k=",
        "sKX9Sbsahvw5DiC2oP6pbZsDi1NzuNS1nIULXkCC57o=",
        "pfTCxXHnCM253jwYxVJcuUhmoTTtDxznn92QhN0M4Ws=",
        "cJ8uk2ZvZyfg+HRILKOHcyHu2pvI8Fz3R1MyMvyzWtA=",
    )
]


def some_leaves(count: int, seed: str = "") -> list[bytes]:
    return [leaf_of(f"{seed}{number}".encode()) for number in range(count)]


def tree_of(leaves: list[bytes], level: int = 8) -> Tree:
    tree = Tree(lambda start, stop: leaves[start:stop], level=level)
    tree.grow(len(leaves))
    return tree


def hexes(hashes: list[bytes]) -> list[str]:
    return [value.hex() for value in hashes]


class TestPublishedVectors:
    @pytest.mark.parametrize("size", range(9))
    def test_roots(self, size: int) -> None:
        frontier = Frontier()
        frontier.extend(LEAVES[:size])
        assert frontier.root().hex() == ROOTS[size]
        assert tree_of(LEAVES[:size], level=1).root().hex() == ROOTS[size]
        assert naive_merkle.mth(LEAVES[:size]).hex() == ROOTS[size]

    @pytest.mark.parametrize(("index", "size"), INCLUSION)
    def test_inclusion_paths(self, index: int, size: int) -> None:
        path = tree_of(LEAVES).inclusion_proof(index, size)
        assert hexes(path) == INCLUSION[index, size]
        assert verify_inclusion(LEAVES[index], index, size, path, bytes.fromhex(ROOTS[size]))

    @pytest.mark.parametrize(("old", "size"), CONSISTENCY)
    def test_consistency_paths(self, old: int, size: int) -> None:
        path = tree_of(LEAVES).consistency_proof(old, size)
        assert hexes(path) == CONSISTENCY[old, size]
        assert verify_consistency(old, size, bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[size]), path)

    def test_a_proof_that_a_public_log_gave(self) -> None:
        leaf = leaf_of(REKOR_ENTRY)
        assert verify_inclusion(leaf, REKOR_INDEX, REKOR_SIZE, REKOR_PATH, REKOR_ROOT)
        assert not verify_inclusion(leaf, REKOR_INDEX - 1, REKOR_SIZE, REKOR_PATH, REKOR_ROOT)
        assert not verify_inclusion(leaf, REKOR_INDEX, REKOR_SIZE + 1, REKOR_PATH, REKOR_ROOT)


class TestAgainstTheDefinition:
    @pytest.mark.parametrize("level", [0, 2, 8])
    def test_every_root_and_proof_of_every_size_up_to_70(self, level: int) -> None:
        leaves = some_leaves(70)
        tree = tree_of(leaves, level)
        roots = [naive_merkle.mth(leaves[:size]) for size in range(71)]
        for size in range(71):
            assert tree.root(size) == roots[size]
            for number in range(size):
                path = tree.inclusion_proof(number, size)
                assert path == naive_merkle.path(number, leaves[:size])
                assert verify_inclusion(leaves[number], number, size, path, roots[size])
                old = number + 1
                proof = tree.consistency_proof(old, size)
                assert proof == naive_merkle.proof(old, leaves[:size])
                assert verify_consistency(old, size, roots[old], roots[size], proof)
            assert verify_consistency(0, size, EMPTY_ROOT, roots[size], tree.consistency_proof(0, size))

    @settings(max_examples=examples(40, short=40), deadline=None)
    @given(st.integers(1, 3000), st.integers(0, 9), st.data())
    def test_bigger_trees(self, size: int, level: int, data: st.DataObject) -> None:
        leaves = some_leaves(size)
        tree = tree_of(leaves, level)
        frontier = Frontier()
        for leaf in leaves:
            frontier.append(leaf)
        root = naive_merkle.mth(leaves)
        index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
        path, proof = tree.inclusion_proof(index), tree.consistency_proof(old)
        assert tree.root() == frontier.root() == root
        assert path == naive_merkle.path(index, leaves)
        assert proof == naive_merkle.proof(old, leaves)
        assert verify_inclusion(leaves[index], index, size, path, root)
        assert verify_consistency(old, size, naive_merkle.mth(leaves[:old]), root, proof)

    @settings(max_examples=examples(50, short=50), deadline=None)
    @given(st.lists(st.integers(0, 40), max_size=12), st.integers(0, 4))
    def test_growing_in_steps_is_growing_at_once(self, steps: list[int], level: int) -> None:
        leaves = some_leaves(sum(steps))
        tree, frontier = Tree(lambda start, stop: leaves[start:stop], level=level), Frontier()
        for step in steps:
            frontier.extend(leaves[frontier.size : frontier.size + step])
            tree.grow(tree.size + step)
            tree = Tree.from_bytes(tree.to_bytes(), lambda start, stop: leaves[start:stop])
        assert tree.size == frontier.size == len(leaves)
        assert tree.root() == frontier.root() == naive_merkle.mth(leaves)


class TestForgeriesAreRefused:
    @settings(max_examples=examples(300, short=300), deadline=None)
    @given(st.integers(2, 70), st.data())
    def test_any_other_question_or_any_other_hash(self, size: int, data: st.DataObject) -> None:
        leaves = some_leaves(size)
        tree = tree_of(leaves, 2)
        index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size - 1))
        path, proof = tree.inclusion_proof(index), tree.consistency_proof(old)
        root, old_root = tree.root(), tree.root(old)
        for bad in damaged(path, data):
            assert not verify_inclusion(leaves[index], index, size, bad, root)
        for bad in damaged(proof, data):
            assert not verify_consistency(old, size, old_root, root, bad)
        other = data.draw(st.integers(-2, size + 2).filter(lambda number: number != index))
        assert not verify_inclusion(leaves[index], other, size, path, root)
        assert not verify_inclusion(leaves[index - 1], index, size, path, root)
        assert not verify_inclusion(leaves[index], index, size, path, old_root)
        assert not verify_consistency(old, size, root, old_root, proof)
        assert not verify_consistency(old, size, EMPTY_ROOT, root, proof)

    def test_wrong_sizes_of_all_kinds(self) -> None:
        leaves = some_leaves(9)
        tree = tree_of(leaves)
        for size in range(-1, 20):
            path, proof, root = tree.inclusion_proof(3), tree.consistency_proof(5), tree.root()
            # For 10 to 16 leaves the same path has the right shape: a root does not say its size, so both are signed.
            if not 9 <= size <= 16:
                assert not verify_inclusion(leaves[3], 3, size, path, root)
            if size != 9:
                assert not verify_consistency(5, size, tree.root(5), root, proof) or 9 < size <= 16

    def test_hashes_of_the_wrong_length(self) -> None:
        assert not verify_inclusion(b"", 0, 1, [], b"")
        assert not verify_inclusion(LEAVES[0], 0, 2, [b"short"], node_hash(LEAVES[0], b"short"))
        assert not verify_consistency(1, 1, b"", b"", [])
        assert not verify_consistency(1, 2, LEAVES[0], node_hash(LEAVES[0], b"short"), [b"short"])

    def test_degenerate_consistency(self) -> None:
        one, two = LEAVES[0], node_hash(*LEAVES[:2])
        assert verify_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
        assert not verify_consistency(0, 1, one, one, [])
        assert not verify_consistency(0, 1, EMPTY_ROOT, one, [one])
        assert not verify_consistency(1, 1, one, two, [])
        assert not verify_consistency(1, 1, one, one, [one])
        assert not verify_consistency(2, 1, two, one, [])
        assert not verify_consistency(-1, 1, one, one, [])
        assert not verify_consistency(1, 2, one, two, [])

    def test_a_path_that_goes_on_above_the_root(self) -> None:
        leaf, above = LEAVES[0], LEAVES[1]
        for root in (node_hash(above, leaf), node_hash(leaf, above)):
            assert not verify_inclusion(leaf, 0, 1, [above], root)
        two = node_hash(LEAVES[0], LEAVES[1])
        for side in (node_hash(above, two), node_hash(two, above)):
            assert not verify_consistency(1, 2, leaf, side, [LEAVES[1], above])
            assert not verify_consistency(1, 2, node_hash(above, leaf), side, [LEAVES[1], above])

    def test_an_inner_node_is_no_leaf(self) -> None:
        inner = node_hash(LEAVES[0], LEAVES[1])
        path = tree_of(LEAVES).inclusion_proof(0, 8)
        assert not verify_inclusion(inner, 0, 8, path[1:], bytes.fromhex(ROOTS[8]))


class TestTheTreeAsACache:
    def test_a_proof_reads_few_leaves(self) -> None:
        leaves, reads = some_leaves(5000), []

        def read(start: int, stop: int) -> list[bytes]:
            reads.append(stop - start)
            return leaves[start:stop]

        tree = Tree(read)
        tree.grow(5000)
        reads.clear()
        tree.inclusion_proof(1234)
        tree.consistency_proof(4321)
        assert sum(reads) <= 4 * 256

    def test_leaves_that_changed_meanwhile_are_found(self) -> None:
        leaves = some_leaves(600)
        tree = tree_of(leaves)
        leaves[7] = leaves[8]
        with pytest.raises(LedgerDamagedError, match="positions 1 to 256"):
            tree.inclusion_proof(3)

    def test_a_tree_without_leaves_proves_what_its_blocks_can(self) -> None:
        leaves = some_leaves(1000)
        tree = Tree.from_bytes(tree_of(leaves).to_bytes())
        assert tree.root() == naive_merkle.mth(leaves)
        assert tree.consistency_proof(512) == naive_merkle.proof(512, leaves)
        assert tree.inclusion_proof(999) == naive_merkle.path(999, leaves)
        with pytest.raises(ValueError, match="not at hand"):
            tree.inclusion_proof(3)

    @pytest.mark.parametrize("size", [0, 1, 255, 256, 300])
    def test_other_bytes_are_no_tree(self, size: int) -> None:
        kept = tree_of(some_leaves(size)).to_bytes()
        for bad in (b"", kept[:-1], kept + b"x", kept + bytes(32), bytes([255]) * 9 + kept[9:]):
            with pytest.raises(ValueError):
                Tree.from_bytes(bad)

    def test_questions_about_leaves_that_are_not_there(self) -> None:
        tree = tree_of(LEAVES)
        for ask in (
            lambda: tree.root(9),
            lambda: tree.root(-1),
            lambda: tree.inclusion_proof(8),
            lambda: tree.inclusion_proof(-1),
            lambda: tree.inclusion_proof(0, 9),
            lambda: tree.consistency_proof(9),
            lambda: tree.consistency_proof(5, 4),
        ):
            with pytest.raises(ValueError):
                ask()

    def test_a_million_leaves_need_twenty_hashes(self) -> None:
        # The shape of a proof does not depend on the hashes, so none need to be made.
        from ledger.merkle import consistency_proof, inclusion_proof

        random = Random(6962)
        for _ in range(200):
            index = random.randrange(10**6)
            assert len(inclusion_proof(index, 10**6, lambda start, stop: b"")) <= 20
            assert len(consistency_proof(index + 1, 10**6, lambda start, stop: b"")) <= 21


def damaged(path: list[bytes], data: st.DataObject) -> list[list[bytes]]:
    """The path with a hash changed, missing, doubled, added, two swapped."""
    extra = sha256(b"extra").digest()
    found = [[*path, extra], [extra, *path], [*path, *path[-1:], extra]]
    if path:
        at = data.draw(st.integers(0, len(path) - 1))
        found += [path[:at] + path[at + 1 :], [*path[:at], extra, *path[at + 1 :]], [*path[: at + 1], *path[at:]]]
        found += [[*path[:at], path[at][:-1], *path[at + 1 :]]]
        if at and path[at] != path[at - 1]:
            found.append([*path[: at - 1], path[at], path[at - 1], *path[at + 1 :]])
    return found
