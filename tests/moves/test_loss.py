"""A ledger that lost its newest lines: nothing is applied from it until somebody says that it shall go on as it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ledger.events import LedgerRestored
from tests.moves.support import User, flip_within, rows

ACCEPT = ("ledger", "restore", "--accept-loss")


@pytest.fixture
def older(user: User, tmp_path: Path) -> Path:
    """What the ledger was, before it was applied and signed further, and was put back by hand."""
    user.run("deploy", "status").done()
    copy = tmp_path / "older.db"
    shutil.copy(user.ledger, copy)
    for number in (9, 10):
        user.run("deploy", "--image", f"user:{number}").done()
    user.run("audit", "checkpoint").done()
    shutil.copy(copy, user.ledger)
    return copy


def test_what_the_cluster_reflects_is_not_taken_back_unasked(user: User, older: Path) -> None:
    refused = user.run("deploy", "restart").failed(8)
    assert "which ends before it" in refused.error
    assert "To go on with the ledger as it is: 1ctl ledger restore --accept-loss" in refused.error
    user.run("audit", "checkpoint").failed(7)


def test_once_the_loss_is_accepted_the_ledger_goes_on_and_says_so(user: User, older: Path) -> None:
    before = rows(user.ledger)
    result = user.run(*ACCEPT, "-y", "--reason", "an old copy").done()
    assert f" The ledger ends at position {len(before)}, the checkpoint at" in result.stderr
    assert f"The ledger goes on with its {len(before)} events, epoch 1" in result.stdout
    assert rows(user.ledger)[:-1] == before
    marked = user.json("audit", "log")[-1]
    assert (marked["kind"], marked["reason"]) == (LedgerRestored.__name__, "an old copy")
    assert marked["data"] == {"through": len(before), "epoch": 1}
    user.run("deploy", "restart").done()
    user.run("audit", "checkpoint").done()
    assert user.json("audit", "verify")["intact"]


def test_it_is_asked_about_first(user: User, older: Path) -> None:
    before = rows(user.ledger)
    asked = user.run(*ACCEPT, stdin="n\n").done()
    assert "Give up what is lost" in asked.stderr
    assert rows(user.ledger) == before
    assert "epoch 1" in user.run(*ACCEPT, stdin="y\n").done().stdout


def test_a_checkpoint_that_was_kept_elsewhere_shows_the_loss_too(user: User, older: Path) -> None:
    kept = next(user.cli.home.glob("checkpoints/*.checkpoint"))
    elsewhere = kept.rename(user.root / "elsewhere")
    assert "No checkpoint that is known here shows" in user.run(*ACCEPT, stdin="n\n").done().stderr
    shown = user.run(*ACCEPT, "--checkpoint", str(elsewhere), stdin="n\n").done().stderr
    assert "it was cut or replaced by an older copy" in shown
    assert "cannot be read" in user.run(*ACCEPT, "--checkpoint", "none").failed(3).error


def test_other_lines_in_place_of_signed_ones_are_accepted_by_who_says_so_only(user: User, older: Path) -> None:
    for number in range(20, 24):
        user.run("deploy", "--image", f"user:{number}")
    before = rows(user.ledger)
    refused = user.run(*ACCEPT, "-y").failed(7)
    assert "this is not the ledger that was signed" in refused.error
    assert "--accept-change" in refused.error
    assert rows(user.ledger) == before
    done = user.run(*ACCEPT, "--accept-change", "-y").done()
    assert "The checkpoint that says otherwise is kept as" in done.stderr
    user.run("audit", "checkpoint").done()


def test_without_a_backup_nor_the_loss_accepted_nothing_is_done(user: User) -> None:
    assert "--accept-loss" in user.run("ledger", "restore").failed(2).error


def test_where_there_is_no_ledger_there_is_none_to_go_on_with(user: User, tmp_path: Path) -> None:
    assert "there is no ledger here" in user.run(*ACCEPT, "-y", ledger=tmp_path / "none.db").failed(3).error


def test_a_damaged_ledger_does_not_go_on(user: User) -> None:
    flip_within(user.ledger, b"user:7")
    user.run(*ACCEPT, "-y").failed(7)
