"""What this machine keeps of the ledgers it signs for: it only ever goes forward."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from ledger.checkpoint import Checkpoint, CheckpointError, SigningKey, sign, unverified
from ledger.errors import LedgerBusyError, LedgerUnavailableError
from ledger.file_lock import FileLock
from ledger.kept_checkpoints import KeptCheckpoints
from tests.proofs.ledgers import LEDGER_ID, ORIGIN

KEY = SigningKey(ORIGIN, bytes(32))


def note(size: int) -> bytes:
    return sign(Checkpoint(ORIGIN, size, bytes(32)), KEY)


def answer(signed: bytes, _newest: bytes | None) -> bytes:
    return signed


@pytest.fixture
def kept(tmp_path: Path) -> KeptCheckpoints:
    return KeptCheckpoints(tmp_path / "checkpoints")


def test_each_checkpoint_is_signed_after_the_one_before_by_whichever_process(kept: KeptCheckpoints) -> None:
    seen: list[bytes | None] = []

    def larger(newest: bytes | None) -> bytes:
        seen.append(newest)
        return note(9)

    other = threading.Thread(target=kept.keep_next, args=(LEDGER_ID, larger))

    def smaller(newest: bytes | None) -> bytes:
        assert newest is None
        other.start()
        other.join(0.1)  # time in which the other one must not sign
        return note(5)

    assert kept.keep_next(LEDGER_ID, smaller) == (note(5), None)
    other.join()
    assert seen == [note(5)]
    assert kept.newest(LEDGER_ID) == note(9)


def test_a_smaller_checkpoint_does_not_take_a_larger_ones_place(kept: KeptCheckpoints) -> None:
    for signed in (note(9), note(5)):
        assert kept.keep_next(LEDGER_ID, partial(answer, signed)) == (signed, None)
    assert unverified(kept.newest(LEDGER_ID) or b"").size == 9


def test_what_is_refused_is_not_kept_and_keeps_nobody_waiting(kept: KeptCheckpoints) -> None:
    def refuse(_newest: bytes | None) -> bytes:
        raise CheckpointError("no")

    with pytest.raises(CheckpointError):
        kept.keep_next(LEDGER_ID, refuse)
    assert kept.newest(LEDGER_ID) is None
    assert kept.keep_next(LEDGER_ID, lambda _: note(1)) == (note(1), None)


def test_nobody_signs_while_another_process_does(
    kept: KeptCheckpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.kept_checkpoints._LOCK_SECONDS", 0.02)
    kept.keep_next(LEDGER_ID, lambda _: note(1))
    held = FileLock(tmp_path / "checkpoints" / ".lock")
    assert held.acquire(0)
    with pytest.raises(LedgerBusyError, match="another process is signing"):
        kept.keep_next(LEDGER_ID, lambda _: note(2))
    held.release()
    assert kept.newest(LEDGER_ID) == note(1)


def test_where_nothing_can_be_kept_the_checkpoint_comes_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("")
    signed, why = KeptCheckpoints(tmp_path / "checkpoints").keep_next(LEDGER_ID, lambda _: note(1))
    assert signed == note(1)
    assert "cannot be kept" in str(why)


def test_where_the_same_one_is_kept_already_nothing_need_be_written(kept: KeptCheckpoints, tmp_path: Path) -> None:
    kept.keep_next(LEDGER_ID, partial(answer, note(5)))
    lock = tmp_path / "checkpoints" / ".lock"
    lock.unlink()
    lock.mkdir()  # as where nothing can be written
    assert kept.keep_next(LEDGER_ID, partial(answer, note(5))) == (note(5), None)
    assert "cannot be kept" in str(kept.keep_next(LEDGER_ID, partial(answer, note(6)))[1])


def test_an_epoch_comes_after_every_one_that_is_known(kept: KeptCheckpoints) -> None:
    assert kept.epoch(LEDGER_ID) == 0
    assert [kept.next_epoch(LEDGER_ID, known) for known in (0, 0, 7, 2)] == [1, 2, 8, 9]
    assert kept.epoch(LEDGER_ID) == 9


def test_no_epoch_is_given_twice_to_restores_at_once(tmp_path: Path) -> None:
    def take(_: int) -> int:
        return KeptCheckpoints(tmp_path / "checkpoints").next_epoch(LEDGER_ID, 0)

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(take, range(40))) == list(range(1, 41))


@pytest.mark.parametrize("damaged", [b"garb", b"", b"-1\n", b"1 2", b"9" * 5000])
def test_a_damaged_epoch_is_not_taken_for_none(kept: KeptCheckpoints, tmp_path: Path, damaged: bytes) -> None:
    kept.next_epoch(LEDGER_ID, 7)
    (tmp_path / "checkpoints" / f"{LEDGER_ID}.epoch").write_bytes(damaged)
    with pytest.raises(LedgerUnavailableError, match="holds no epoch"):
        kept.next_epoch(LEDGER_ID, 7)
