"""A new effects identity: everything can still be opened at any moment, and only with it at the end."""

from __future__ import annotations

import shutil
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from ledger import rotation, sealing
from ledger.commands import Deploy, Destroy, SetSecrets
from ledger.errors import (
    ConflictError,
    LedgerBusyError,
    LedgerEndedError,
    OutcomeUnknownError,
    RefusedError,
    RequestReusedError,
    SealedError,
)
from ledger.events import LedgerMoved, LedgerRestored
from ledger.kept_checkpoints import KeptCheckpoints
from ledger.keys import KeyFileError, KeyFiles
from ledger.ledger import Ledger
from ledger.postgres_migrate import migrate
from ledger.rotation import before_rotation, rotate, standing
from ledger.sealing import identity_fingerprint
from ledger.spec import AppId
from ledger.store import Beside, Rewrapped
from ledger.streams import LEDGER_STREAM
from ledger.verify import verify_chain
from tests.ledger.keeper import APPS, Keeper
from tests.ledger.support import PATIENCE


@pytest.fixture(params=["sqlite", "postgresql"])
def keeper(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Keeper]:
    address = str(tmp_path / "ledger.db")
    if request.param == "postgresql":
        address = request.getfixturevalue("database")
        migrate(address)
    keeper = Keeper(address, tmp_path / "keys")
    with closing(keeper.store):
        yield keeper


@pytest.fixture
def three(keeper: Keeper) -> Keeper:
    """A ledger of three apps that have secrets."""
    for number, app in enumerate(APPS):
        keeper.deploy(app, TOKEN=f"value {number}")
    return keeper


def assert_all_open(keeper: Keeper) -> None:
    assert [keeper.opened(app) for app in APPS] == [{"TOKEN": b"value %d" % number} for number in range(3)]


def stopped_after(step: str, times: int = 1) -> Callable[[str], None]:
    """Ends a rotation when it is told that step for so many times."""
    left = [times]

    def reached(name: str) -> None:
        left[0] -= name == step
        if name == step and left[0] == 0:
            raise KeyboardInterrupt

    return reached


# -- What it does ------------------------------------------------------------------------------------------------------


def test_every_open_life_is_wrapped_for_a_new_identity(three: Keeper) -> None:
    old, path = three.identity(), three.keys.identity_path(three.ledger_id())
    before = path.read_text()
    done = three.rotate()
    assert (done.identity, done.rewrapped, done.left, done.removed, done.shared, done.repeated) == (
        three.identity(), 3, 0, 1, 0, False
    )  # fmt: skip
    assert done.identity != old
    assert three.store.life_key_identities() == {done.identity: 3}
    assert three.keys.identities(three.ledger_id()) == [done.identity]
    assert before.split()[1] not in path.read_text()
    assert_all_open(three)
    assert verify_chain(three.store).damage is None


def test_who_has_the_old_key_only_opens_nothing_any_more(three: Keeper, tmp_path: Path) -> None:
    shutil.copytree(three.directory, tmp_path / "stolen")
    thief = three.another(tmp_path / "stolen")
    assert_all_open(thief)
    three.rotate()
    with closing(thief.store):
        assert not thief.ledger.can_open_secrets(thief.life(APPS[0]))
        with pytest.raises(SealedError, match="does not hold the identity"):
            thief.opened(APPS[0])


def test_new_lives_are_sealed_to_it_and_what_is_set_later_opens(three: Keeper) -> None:
    other = three.another()
    assert other.identity()  # a process that goes on, and knew the old one
    three.rotate()
    with closing(other.store):
        life = other.deploy(AppId("prod", "shop", "late"), TOKEN="late")
        row = three.store.life_key(life.deployment_id)
        assert row is not None
        assert row.identity == three.identity()
        assert other.opened(AppId("prod", "shop", "late")) == {"TOKEN": b"late"}
        assert_all_open(other)
        other.ask(APPS[0], SetSecrets(keys=("TOKEN",)), {"TOKEN": b"newer"})
    assert three.opened(APPS[0]) == {"TOKEN": b"newer"}


def test_destroyed_lives_stay_shredded(three: Keeper) -> None:
    life = three.life(APPS[0])
    three.ask(APPS[0], Destroy())
    assert three.rotate().rewrapped == 2
    assert three.store.life_key(life.deployment_id) is None
    with pytest.raises(SealedError, match="shredded"):
        three.ledger.open_secrets(life, life.secrets)


def test_equal_values_have_the_same_fingerprint_before_and_after(three: Keeper) -> None:
    life = three.life(APPS[0])
    before = three.ledger.fingerprints(life, {"TOKEN": b"x"})
    three.rotate()
    assert three.ledger.fingerprints(life, {"TOKEN": b"x"}) == before


def test_it_can_be_done_again_and_again(three: Keeper) -> None:
    identities = [three.identity(), *(three.rotate().identity for _ in range(3))]
    assert len(set(identities)) == 4
    assert three.identities() == 4
    assert_all_open(three)


def test_more_lives_than_a_page_has(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "PAGE", 3)
    apps = [AppId("prod", "shop", f"app-{number}") for number in range(7)]
    for app in apps:
        keeper.deploy(app, NAME=app.name)
    told: list[tuple[int, int]] = []
    done = rotate(keeper.ledger, keeper.keys, keeper.request(), told=lambda *progress: told.append(progress))
    assert (done.rewrapped, told) == (7, [(3, 7), (6, 7), (7, 7)])
    assert [keeper.opened(app)["NAME"].decode() for app in apps] == [app.name for app in apps]


def test_a_ledger_without_apps_gets_a_new_identity_too(three: Keeper) -> None:
    for app in APPS:
        three.ask(app, Destroy())
    assert three.rotate().rewrapped == 0
    three.deploy(APPS[0], TOKEN="again")
    assert three.opened(APPS[0]) == {"TOKEN": b"again"}


def test_a_key_from_before_ledgers_had_their_own_stays_for_the_others(tmp_path: Path) -> None:
    private, public = sealing.generate()
    keeper = Keeper(str(tmp_path / "ledger.db"), tmp_path / "keys")
    for app in APPS:
        keeper.deploy(app, TOKEN="x")
    _wrap_by_hand(keeper, public)
    (tmp_path / "keys" / "identity.key").write_text(f"1CTL-IDENTITY-1 {b64encode(private).decode()}\n")
    done = keeper.rotate()
    assert (done.rewrapped, done.removed, done.shared) == (3, 1, 1)
    assert keeper.keys.identities(keeper.ledger_id()) == [public, done.identity]
    assert keeper.opened(APPS[0]) == {"TOKEN": b"x"}
    keeper.store.close()


def _wrap_by_hand(keeper: Keeper, public: str) -> None:
    """As in a ledger whose identity is from before."""
    current = keeper.ledger.identity()
    assert current is not None
    own = keeper.keys.identity_private(keeper.ledger_id(), current.public_key)
    assert own is not None
    keeper.ledger.set_identity(public, keeper.request(), version=current.version)
    for row in keeper.store.life_keys_except(public, after="", limit=100):
        life = sealing.unwrap(row.wrapped, row.deployment_id, own)
        wrapped = sealing.wrap(life, row.deployment_id, public)
        keeper.store.rewrap([Rewrapped(row.deployment_id, row.identity, public, wrapped)])


def test_ledgers_that_share_a_file_are_rotated_one_by_one(tmp_path: Path) -> None:
    shared = KeyFiles(tmp_path / "none", identity=tmp_path / "shared.key")
    keepers = [Keeper(str(tmp_path / f"{name}.db"), tmp_path / "unused") for name in "ab"]
    for keeper in keepers:
        keeper.keys = shared
        keeper.ledger = Ledger(keeper.store, shared, mint_domain=lambda: "calmotter-0000001.example.com")
        keeper.deploy(APPS[0], TOKEN="x")
    keepers[0].rotate()
    assert [keeper.opened(APPS[0]) for keeper in keepers] == [{"TOKEN": b"x"}] * 2
    assert len((tmp_path / "shared.key").read_text().splitlines()) == 2
    for keeper in keepers:
        keeper.store.close()


# -- With another copy of the ledger -----------------------------------------------------------------------------------


def test_a_ledger_that_was_restored_keeps_its_old_keys_and_says_which(three: Keeper) -> None:
    first = three.identity()
    three.ledger.mark(LedgerRestored(through=1, epoch=1), three.request())
    second, third = three.rotate(), three.rotate()
    assert (second.removed, third.removed) == (0, 0)
    assert [(each.identity, each.line, each.named) for each in third.kept] == [
        (second.identity, 2, True), (first, 1, True)
    ]  # fmt: skip
    assert three.keys.identities(three.ledger_id()) == [first, second.identity, third.identity]
    assert (third.shared, three.store.life_key_identities()) == (0, {third.identity: 3})


def test_a_ledger_of_which_another_copy_was_restored_keeps_its_old_key(three: Keeper) -> None:
    first = three.identity()
    done = rotate(three.ledger, three.keys, three.request(), epoch=lambda: 1)
    assert (done.removed, [each.identity for each in done.kept]) == (0, [first])


def test_a_ledger_that_is_restored_elsewhere_while_keys_are_rewrapped_keeps_its_old_key(
    three: Keeper, tmp_path: Path
) -> None:
    first, kept, name = three.identity(), KeptCheckpoints(tmp_path / "kept"), three.ledger_id()

    def meanwhile(step: str) -> None:
        if step == rotation.STEPS[2]:
            kept.next_epoch(name, 0)

    done = rotate(three.ledger, three.keys, three.request(), epoch=lambda: kept.epoch(name), reached=meanwhile)
    assert (done.removed, done.restored, [each.identity for each in done.kept]) == (0, True, [first])


def test_a_ledger_that_was_moved_keeps_the_key_that_it_had_when_it_left_and_removes_later_ones(three: Keeper) -> None:
    first = three.identity()
    three.ledger.mark(LedgerMoved(target="here"), three.request())  # as it stands in the target
    second, third = three.rotate(), three.rotate()
    assert (second.removed, third.removed) == (0, 1)
    assert [(each.identity, each.line, each.named) for each in third.kept] == [(first, 1, True)]
    assert not third.restored
    assert three.keys.identities(three.ledger_id()) == [first, third.identity]
    assert_all_open(three)


# -- Interrupted, and run again ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", rotation.STEPS)
def test_whoever_stops_after_a_step_loses_nothing_and_finishes_it_by_running_it_again(
    three: Keeper, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "PAGE", 1)
    with pytest.raises(KeyboardInterrupt):
        rotate(three.ledger, three.keys, three.request("once"), reached=stopped_after(step, 2 if "keys" in step else 1))
    assert_all_open(three)
    done = three.rotate("once")
    assert three.identities() == 2
    assert done.repeated is (step != rotation.STEPS[0])
    assert three.store.life_key_identities() == {three.identity(): 3}
    kept = [each.identity for each in done.kept]
    assert len(kept) == (step == rotation.STEPS[0])
    assert three.keys.identities(three.ledger_id()) == [*kept, three.identity()]
    assert_all_open(three)


def test_another_request_finishes_it_as_well(three: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "PAGE", 1)
    with pytest.raises(KeyboardInterrupt):
        rotate(three.ledger, three.keys, three.request(), reached=stopped_after("keys rewrapped"))
    done = three.rotate()
    assert (done.repeated, done.rewrapped, done.removed, three.identities()) == (False, 3, 2, 3)
    assert three.keys.identities(three.ledger_id()) == [three.identity()]
    assert_all_open(three)


def test_a_key_that_was_made_and_not_recorded_is_never_used(three: Keeper) -> None:
    """Who saw the file since must not have the next identity."""
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            rotate(three.ledger, three.keys, three.request(), reached=stopped_after("key made"))
    assert three.identities() == 1
    _, *made = three.keys.identities(three.ledger_id())
    assert len(made) == 2
    done = three.rotate()
    assert done.identity not in made
    # Nobody can tell here whether another copy of the ledger recorded them.
    assert three.keys.identities(three.ledger_id()) == [*made, three.identity()]
    assert [(each.identity, each.line, each.named) for each in done.kept] == [(made[1], 2, False), (made[0], 1, False)]


def test_a_request_id_of_something_else_is_refused(three: Keeper) -> None:
    three.ledger.execute(APPS[0], Deploy(image="orders:2"), three.request("taken"))
    with pytest.raises(RequestReusedError):
        three.rotate("taken")
    assert three.identities() == 1


def test_an_unknown_outcome_keeps_the_key_and_says_how_to_find_out(
    three: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> object:
        real(*_, **__)  # type: ignore[arg-type]
        raise OutcomeUnknownError("the connection broke")

    real = three.store.append
    monkeypatch.setattr(three.store, "append", broken)
    with pytest.raises(OutcomeUnknownError) as caught:
        three.rotate("r-unknown")
    assert "audit log --request-id r-unknown" in str(caught.value.hint)
    monkeypatch.undo()
    assert three.rotate("r-unknown").repeated
    assert three.identities() == 2
    assert_all_open(three)


# -- With others at work -----------------------------------------------------------------------------------------------


def test_a_life_that_opens_meanwhile_is_never_left_with_the_old_identity(three: Keeper) -> None:
    """Its key is wrapped for the identity that it knew, then somebody rotates, then it is appended."""
    late, other = AppId("prod", "shop", "late"), three.another()
    real, appends = three.store.append, []

    def append(*arguments: object, **more: object) -> object:
        appends.append(1)
        if len(appends) == 1:
            other.rotate()
        return real(*arguments, **more)  # type: ignore[arg-type]

    with closing(other.store), pytest.MonkeyPatch.context() as patch:
        patch.setattr(three.store, "append", append)
        three.deploy(late, TOKEN="late")
    assert len(appends) == 3, "the first was refused, and begun again"
    assert three.store.life_key_identities() == {three.identity(): 4}
    assert three.opened(late) == {"TOKEN": b"late"}


def test_a_secret_that_is_opened_meanwhile_is_opened(three: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its key is read, then somebody rotates and removes the old identity, then the identity is read."""
    real, looked = three.keys.identity_private, []

    def identity_private(ledger_id: str, public: str) -> bytes | None:
        looked.append(public)
        if len(looked) == 1:
            with closing(other.store):
                other.rotate()
        return real(ledger_id, public)

    other = three.another()
    monkeypatch.setattr(three.keys, "identity_private", identity_private)
    assert three.opened(APPS[0]) == {"TOKEN": b"value 0"}
    assert len(looked) == 2


def test_two_that_rotate_at_once_leave_everything_to_open(three: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "PAGE", 1)
    others, barrier, failed = [three.another() for _ in range(3)], threading.Barrier(3), list[BaseException]()

    def work(keeper: Keeper) -> None:
        barrier.wait(PATIENCE)
        try:
            for _ in range(3):
                keeper.rotate()
        except BaseException as error:  # noqa: BLE001 - told by the test
            failed.append(error)

    threads = [threading.Thread(target=work, args=(other,)) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert failed == []
    assert_all_open(three)
    three.rotate()
    assert_all_open(three)
    assert three.store.life_key_identities() == {three.identity(): 3}
    assert three.keys.identities(three.ledger_id()) == [three.identity()]
    for other in others:
        other.store.close()


def test_a_key_that_another_one_removes_between_two_looks_is_not_missing(
    three: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast, identities, left = three.another(), three.keys.identities, [2]

    def slowly(ledger_id: str) -> Sequence[str]:
        left[0] -= 1
        if left[0] >= 0:
            fast.rotate()
        return identities(ledger_id)

    monkeypatch.setattr(three.keys, "identities", slowly)
    assert three.rotate().rewrapped == 3
    assert_all_open(three)
    fast.store.close()


def test_an_identity_that_a_slower_one_may_still_wrap_for_is_not_removed(three: Keeper) -> None:
    """Two others have recorded theirs, and wrapped nothing yet, when the first one comes to its end."""
    slow, fast = three.another(), three.another()
    recorded = list[str]()

    def meanwhile(step: str) -> None:
        if step == rotation.STEPS[2] and not recorded:
            for other in (slow, fast):
                with pytest.raises(KeyboardInterrupt):
                    rotate(other.ledger, other.keys, other.request(), reached=stopped_after(rotation.STEPS[1]))
                recorded.append(three.identity())

    rotate(three.ledger, three.keys, three.request(), reached=meanwhile)
    rotation._rewrap(slow.ledger, slow.keys, recorded[0], lambda _: None, lambda _done, _total: None)
    assert three.store.life_key_identities() == {recorded[0]: 3}
    assert_all_open(three)
    fast.rotate()
    assert three.keys.identities(three.ledger_id()) == [three.identity()]
    assert_all_open(three)
    for other in (slow, fast):
        other.store.close()


def test_one_that_is_slow_never_wraps_for_an_older_identity_again(three: Keeper) -> None:
    fast = three.another()

    def reached(name: str) -> None:
        if name == "identity recorded":
            fast.rotate()

    with closing(fast.store):
        done = rotate(three.ledger, three.keys, three.request(), reached=reached)
    assert done.rewrapped == 0
    assert three.store.life_key_identities() == {three.identity(): 3}
    assert done.identity != three.identity()
    assert three.keys.identities(three.ledger_id()) == [three.identity()]
    assert_all_open(three)


def test_a_life_that_is_destroyed_meanwhile_does_no_harm(three: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    real = three.store.rewrap

    def rewrap(rows: list[Rewrapped]) -> int:
        if three.ledger.app(APPS[0]).life is not None:
            three.ask(APPS[0], Destroy())
        return real(rows)

    monkeypatch.setattr(three.store, "rewrap", rewrap)
    done = three.rotate()
    assert (done.rewrapped, done.left) == (2, 0)


# -- Refused -----------------------------------------------------------------------------------------------------------


def test_a_machine_without_the_key_is_told_where_it_is(three: Keeper, tmp_path: Path) -> None:
    stranger = three.another(tmp_path / "stranger", host="desktop")
    with closing(stranger.store), pytest.raises(RefusedError, match="3 of 3 lives") as caught:
        stranger.rotate()
    assert "ada made it on laptop" in str(caught.value.hint)
    assert "ONECTL_IDENTITY" in str(caught.value.hint)
    assert three.identities() == 1
    assert not (tmp_path / "stranger").exists()
    assert_all_open(three)


def test_a_lost_key_does_not_keep_new_lives_from_having_secrets(three: Keeper) -> None:
    ledger_id, lost = three.ledger_id(), three.identity()
    aside = three.keys.identity_path(ledger_id).rename(three.directory / "found-later")
    done = three.rotate(accept_loss=True)
    assert (done.rewrapped, done.left, done.removed) == (0, 3, 0)
    assert three.store.life_key_identities() == {lost: 3}
    late = AppId("prod", "shop", "late")
    three.deploy(late, TOKEN="late")
    assert three.opened(late) == {"TOKEN": b"late"}
    with three.keys.identity_path(ledger_id).open("a") as file:
        file.write(aside.read_text())
    assert_all_open(three)
    assert three.rotate().rewrapped == 4, "what was found again is rewrapped"
    assert_all_open(three)


def test_nothing_to_rotate_is_refused_and_makes_nothing(keeper: Keeper) -> None:
    with pytest.raises(RefusedError, match="nothing is recorded"):
        keeper.rotate()
    assert not keeper.directory.exists()


def test_a_ledger_that_went_on_elsewhere_is_left_as_it_is(three: Keeper) -> None:
    version = three.store.stream_version(LEDGER_STREAM.bytes)
    assert version == 2
    identity = three.identity()
    with pytest.raises(KeyboardInterrupt):
        rotate(three.ledger, three.keys, three.request(), reached=stopped_after("identity recorded"))
    three.store.append([], clock_us=0, beside=Beside())
    _end(three)
    with pytest.raises(LedgerEndedError, match="elsewhere"):
        three.rotate()
    assert three.store.life_key_identities() == {identity: 3}
    assert len(three.keys.identities(three.ledger_id())) == 2, "the place where it goes on needs both"


def _end(keeper: Keeper) -> None:
    from ledger.events import LedgerMoved

    keeper.ledger.mark(LedgerMoved(target="x"), keeper.request(), beside=Beside(moved=("x", "elsewhere")))


def test_a_file_that_cannot_be_written_is_an_error_before_anything_is_recorded(three: Keeper, tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    shutil.copy(three.keys.identity_path(three.ledger_id()), mounted / "identity")
    (mounted / ".identity.draft").mkdir()  # stands for a mount that cannot be written, which root always can
    (mounted / ".identity.draft" / "x").touch()
    with pytest.raises(KeyFileError, match="cannot be made"):
        rotate(three.ledger, KeyFiles(tmp_path, identity=mounted / "identity"), three.request())
    assert three.identities() == 1


def test_a_key_that_was_tampered_with_is_named_and_keeps_no_other_from_being_rewrapped(three: Keeper) -> None:
    victim = three.life(APPS[1]).deployment_id
    old = three.identity()
    three.store.rewrap([Rewrapped(victim, old, old, b"broken" * 20)])
    done = three.rotate()
    assert (done.rewrapped, done.left, done.damaged) == (2, 1, [victim])
    assert set(three.keys.identities(three.ledger_id())) == {old, done.identity}, "its key stays, in case"
    assert [three.opened(app) for app in (APPS[0], APPS[2])] == [{"TOKEN": b"value 0"}, {"TOKEN": b"value 2"}]
    assert three.rotate().identity != done.identity, "nor for ever from being rotated"
    three.ask(APPS[1], Destroy())
    # The one between the two also stayed: a slow rotation to it might still have wrapped that life's key for it.
    assert (three.rotate().removed, three.store.life_key_identities()) == (3, {three.identity(): 2})


def test_others_that_are_always_first_end_it_with_nothing_recorded(
    three: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first(*_: object, **__: object) -> object:
        raise ConflictError("another writer was first")

    monkeypatch.setattr(three.ledger, "set_identity", first)
    with pytest.raises(ConflictError, match="always first"):
        three.rotate()
    assert three.keys.identities(three.ledger_id()) == [three.identity()], "no key is left of so many"


def test_one_that_cannot_be_recorded_leaves_no_key(three: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object, **__: object) -> object:
        raise LedgerBusyError("locked")

    monkeypatch.setattr(three.ledger, "set_identity", busy)
    with pytest.raises(LedgerBusyError):
        three.rotate()
    assert three.keys.identities(three.ledger_id()) == [three.identity()]


# -- How it stands -----------------------------------------------------------------------------------------------------


def test_how_identities_stand_is_told_without_changing_anything(three: Keeper, tmp_path: Path) -> None:
    found = before_rotation(three.ledger, three.keys)
    head, files = three.store.head(), sorted(path.name for path in three.directory.iterdir())
    assert (found.lives, found.missing, found.behind, found.unnamed, found.rewrappable) == (
        {three.identity(): 3}, {}, 0, [], 3
    )  # fmt: skip
    assert (three.store.head(), sorted(path.name for path in three.directory.iterdir())) == (head, files)
    stranger = standing(three.ledger, KeyFiles(tmp_path / "stranger"))
    assert stranger is not None
    assert (stranger.held, stranger.missing, stranger.rewrappable) == ([], {three.identity(): 3}, 0)


def test_a_fingerprint_is_short_and_of_the_public_key() -> None:
    assert identity_fingerprint(b64encode(bytes(32)).decode()) == "66687aadf862bd77"
