"""Every invariant of the ledger is broken once on purpose, and the harness says so."""

from __future__ import annotations

import random
import signal
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from ledger import verify
from ledger.codec import encode
from ledger.envelope import Envelope, Recorded, Subject
from ledger.events import AppEvent, Deployed, DomainAssigned, DomainClaimed, DomainReleased
from ledger.sqlite_store import SqliteStore
from ledger.store import NewRow, Row
from ledger.streams import domain_stream
from tests.cli_support import Result
from tests.faults import dose, power, test_power_lost, test_tampered
from tests.faults import ledger_invariants as invariants
from tests.faults.canary import CANARY, encodings
from tests.faults.ledger_invariants import Violation
from tests.faults.scenes import AGAIN, ENV, SECRET, SQLITE, Command, Scene
from tests.faults.test_power_lost import Film, film

__all__ = ["film"]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def scene(prepared: Callable[..., Scene], tmp_path: Path) -> Scene:
    """A user to whom nothing has happened."""
    return prepared(SQLITE, AGAIN).moved(tmp_path)


def defective(scene: Scene, name: str) -> Scene:
    """The same user with a defective program."""
    return replace(scene, cli=replace(scene.cli, change=f"tests.faults.defects:{name}"))


def test_a_sound_ledger_breaks_none(scene: Scene) -> None:
    scene.settle(AGAIN, scene.run(AGAIN))


# -- Defective programs --------------------------------------------------------------------------------------------

DEFECTS: dict[str, tuple[Command, str]] = {
    "appends_twice": (ENV, "5: Damage.*does not say that .* answers 'the-request'"),
    "forgets_requests": (ENV, "7: it said that it was done, and nothing is recorded"),
    "swallows_what_goes_wrong": (ENV, "7: it said that it was done, and nothing is recorded"),
    "fails_after_recording": (ENV, "7: it says that it is not recorded, and it is"),
    "prints_what_it_seals": (SECRET, "6: .* holds the secret .*base64"),
    "ends_with_a_traceback": (ENV, "7: a traceback"),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_caught(name: str, scene: Scene) -> None:
    command, violation = DEFECTS[name]
    result = defective(scene, name).run(command)
    with pytest.raises(Violation, match=violation):
        scene.settle(command, result)


def test_a_lock_that_outlives_its_owner_is_caught(scene: Scene) -> None:
    broken = defective(scene, "locks_by_a_file")
    call = ("-e", "trace=fdatasync", "-e", "inject=fdatasync:signal=SIGKILL:when=2", "-o", "/dev/null")
    died = broken.run(AGAIN, *call)
    assert died.code == -signal.SIGKILL
    with pytest.raises(Violation, match="7: repeated, it did not end well"):
        broken.settle(AGAIN, died)


def test_effects_that_are_recorded_before_they_are_applied_are_caught(scene: Scene) -> None:
    broken = defective(scene, "records_before_applying")
    dying = replace(broken, cli=broken.cli.having(ONECTL_CRASH_AT="applied ConfigMap"))
    died = dying.run(AGAIN)
    assert died.code == -signal.SIGKILL
    with pytest.raises(Violation, match="4: user-service: "):
        broken.settle(AGAIN, died)


@dose.not_few("a command is filmed")
def test_an_acknowledgement_before_the_disk_has_it_is_caught(film: Callable[..., Film], tmp_path: Path) -> None:
    filmed = film(SQLITE, AGAIN, "tests.faults.defects:acknowledges_before_syncing")
    caught = []
    for number in range(len(filmed.steps) + 1):
        contents = filmed.disk(number).after_power_loss("dropped", random.Random(number))
        user = replace(filmed.scene, cli=replace(filmed.scene.cli, home=tmp_path / str(number) / "home"))
        power.put(contents, filmed.home, user.cli.home)
        try:
            test_power_lost.check(user, AGAIN, acknowledged=filmed.acknowledged(number), where=str(number))
        except Violation as violation:
            caught.append(str(violation))
    assert any("1: the-request was acknowledged and is not in the ledger" in each for each in caught)


# -- What no program writes ----------------------------------------------------------------------------------------


def newest(scene: Scene) -> tuple[SqliteStore, Recorded]:
    """The ledger and the newest event that a user asked for."""
    store = SqliteStore(Path(scene.address))
    lines = invariants.lines_of(store)
    return store, [line for line in lines if not isinstance(line.event, invariants.OBSERVED)][-1]


def put(scene: Scene, event: AppEvent | DomainClaimed | DomainReleased, **changes: object) -> None:
    """Record an event that no decision leads to, properly chained."""
    store, like = newest(scene)
    envelope = replace_envelope(like.envelope, **changes)
    stream = domain_stream(event.domain) if isinstance(event, DomainClaimed | DomainReleased) else like.stream
    with closing(store):
        version = store.stream_version(stream.bytes) + 1
        state = encode(event, envelope)
        store.append([NewRow(stream.bytes, version, type(event).__name__, state)], clock_us=like.recorded_us)


def replace_envelope(envelope: Envelope, **changes: object) -> Envelope:
    """A copy with other fields."""
    names = Envelope.__annotations__
    return Envelope(**{**{name: getattr(envelope, name) for name in names}, **changes})


def release(scene: Scene) -> Deployed:
    """The app's newest release."""
    with scene.store() as store:
        return next(line.event for line in invariants.lines_of(store) if isinstance(line.event, Deployed))


def domain(scene: Scene) -> str:
    """The app's host name."""
    with scene.store() as store:
        return next(line.event.domain for line in invariants.lines_of(store) if isinstance(line.event, DomainAssigned))


def another_life(scene: Scene) -> Subject:
    """One that never was."""
    _, like = newest(scene)
    assert like.envelope.subject is not None
    here = like.envelope.subject
    return Subject(cluster=here.cluster, namespace=here.namespace, app=here.app, deployment_id="another")


def changed(event: Deployed, **changes: object) -> Deployed:
    """A copy with other fields."""
    return Deployed(**{**{name: getattr(event, name) for name in Deployed.__annotations__}, **changes})


def check_events(scene: Scene) -> None:
    with scene.store() as store:
        lines = invariants.lines_of(store)
        invariants.releases_are_consecutive(lines)
        invariants.domains_belong_to_one_app(lines)


@pytest.mark.parametrize("number", [1, 3])
def test_release_numbers_that_repeat_or_jump_are_caught(scene: Scene, number: int) -> None:
    check_events(scene)
    put(scene, changed(release(scene), release=number), request_id="another")
    with pytest.raises(Violation, match=r"2: life .* has the releases"):
        check_events(scene)


def test_a_host_name_that_two_lives_claim_is_caught(scene: Scene) -> None:
    put(scene, DomainClaimed(domain=domain(scene)), subject=another_life(scene))
    with pytest.raises(Violation, match=r"2: .* was claimed again"):
        check_events(scene)


def test_a_host_name_that_another_life_releases_is_caught(scene: Scene) -> None:
    put(scene, DomainReleased(domain=domain(scene)), subject=another_life(scene))
    with pytest.raises(Violation, match=r"2: .* was released .* by another"):
        check_events(scene)


def test_a_host_name_that_does_not_survive_a_redeploy_is_caught(scene: Scene) -> None:
    put(scene, DomainAssigned(domain="other.example.com"))
    with pytest.raises(Violation, match=r"2: life .* got another domain"):
        check_events(scene)


def test_a_request_that_nobody_sent_is_caught(scene: Scene) -> None:
    put(scene, changed(release(scene), release=2), request_id="nobody's")
    with scene.store() as store, pytest.raises(Violation, match="1: nobody's was recorded, and nobody sent it"):
        invariants.requests_are_recorded_once(store, sent=scene.sent, acknowledged=scene.acknowledged)


def test_a_request_that_is_gone_is_caught(scene: Scene) -> None:
    with (
        scene.store() as store,
        pytest.raises(Violation, match="1: promised was acknowledged and is not in the ledger"),
    ):
        invariants.requests_are_recorded_once(store, sent=scene.sent, acknowledged={*scene.acknowledged, "promised"})


def tamper(scene: Scene, *statements: str) -> None:
    """Change what is stored, past every guard."""
    with closing(sqlite3.connect(scene.address)) as file, file:
        for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            file.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            file.execute(statement)


STORED = {
    "a gap": ("UPDATE stored_events SET notification_id = 100 WHERE notification_id = 4", "1: positions have a gap"),
    "a head that is behind": (
        """UPDATE ledger_head SET (position, recorded_us, chain) =
        (SELECT notification_id, recorded_us, chain FROM stored_events WHERE notification_id = position - 1)""",
        "1: the head says",
    ),
    "a head that is ahead": ("UPDATE ledger_head SET position = position + 1", "1: the head says"),
    "a head that is another line": ("UPDATE ledger_head SET recorded_us = recorded_us - 1", "1: the head of"),
    "a line that was changed": ("UPDATE stored_events SET state = '{}' WHERE notification_id = 2", "5: Damage"),
    "a list that is wrong": ("UPDATE app_list SET release = 9", "3: the list was"),
    "a request that is forgotten": ("DELETE FROM requests WHERE request_id = 'story-2'", "5: Damage.*'story-2'"),
    "a request at another place": (
        "UPDATE requests SET first_position = 1 WHERE request_id = 'story-2'",
        "5: Damage.*'story-2'",
    ),
}


@pytest.mark.parametrize("what", STORED)
def test_what_is_stored_wrongly_is_caught(what: str, scene: Scene) -> None:
    statement, violation = STORED[what]
    scene.cli.run("deploy", "list").done()
    tamper(scene, statement)
    with pytest.raises(Violation, match=violation):
        scene.check()


def record_meanwhile(scene: Scene) -> None:
    """One more line, as a worker records it that goes on."""
    put(scene, changed(release(scene), release=2), request_id="meanwhile")


class Growing(SqliteStore):
    """A ledger in which somebody records one more line right after, or right before, all of them are read."""

    def __init__(self, scene: Scene, when: str) -> None:
        super().__init__(Path(scene.address))
        self._scene = scene
        self._when = when

    def positions(self, start: int, stop: int | None = None, *, limit: int) -> Sequence[Row]:
        """See `SqliteStore.positions`."""
        if self._when == "before":
            record_meanwhile(self._scene)
        rows = super().positions(start, stop, limit=limit)
        if self._when == "after":
            record_meanwhile(self._scene)
        return rows


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_is_recorded_while_the_lines_are_read_is_no_violation(when: str, scene: Scene) -> None:
    with closing(Growing(scene, when)) as store:
        lines = store.head().position
        rows = invariants.positions_have_no_gap(store)
        assert len(rows) == lines + (when == "before")
        assert store.head().position == lines + 1


def test_another_past_is_caught(scene: Scene) -> None:
    first, *others = scene.past.rows
    with scene.store() as store:
        other = replace(scene.past, rows=(first._replace(state=b"{}"), *others))
        with pytest.raises(Violation, match="3: lines that were there are others now"):
            invariants.the_past_is_unchanged(store, other, scene.ask)
        (question, (code, told)), *rest = scene.past.answers
        other = replace(scene.past, answers=((question, (code, told.replace("1", "2"))), *rest))
        with pytest.raises(Violation, match=r"3: -o json deploy get .* now answers"):
            invariants.the_past_is_unchanged(store, other, scene.ask)


def test_a_history_that_does_not_continue_what_was_signed_is_caught(scene: Scene, tmp_path: Path) -> None:
    assert scene.past.note is not None
    cut = scene.moved(tmp_path / "cut")
    tamper(
        cut,
        "DELETE FROM stored_events WHERE notification_id > 10",
        "UPDATE ledger_head SET position = 10, chain = (SELECT chain FROM stored_events WHERE notification_id = 10),"
        " recorded_us = (SELECT recorded_us FROM stored_events WHERE notification_id = 10)",
    )
    with cut.store() as store:
        assert verify.verify_chain(store, beside=False).damage is None
        with pytest.raises(Violation, match=r"5: .*does not continue the checkpoint"):
            invariants.proofs_verify(store, cut.keys, before=cut.past.note)


def test_a_verification_that_sees_nothing_is_caught(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "_check", lambda *_: None)
    monkeypatch.setattr(verify, "BesideCheck", lambda *_, **__: None)
    tamper(scene, "UPDATE stored_events SET state = '{}' WHERE notification_id = 4")
    with scene.store() as store, pytest.raises(Violation, match="5: an edit: nothing was found"):
        test_tampered.assert_found(store, test_tampered.Found(4), scene, "an edit")


@pytest.mark.parametrize("encoding", encodings(CANARY))
def test_a_secret_is_found_in_every_encoding(encoding: str, tmp_path: Path) -> None:
    written = b"before " + encodings(CANARY)[encoding] + b" after"
    with pytest.raises(Violation, match="6: a log holds the secret"):
        invariants.canary_is_nowhere(CANARY, files=[], texts={"a log": written})
    (tmp_path / "core").write_bytes(b"\0" * 100 + written)
    with pytest.raises(Violation, match=r"6: .*core holds the secret"):
        invariants.canary_is_nowhere(CANARY, files=[tmp_path], texts={})
    invariants.canary_is_nowhere(CANARY, files=[], texts={"a log": sha256(CANARY.encode()).hexdigest()})


ENDS = {
    "done, and it is not": (Result("c", "✅ done\n", "", 0), False, "7: it said that it was done"),
    "not recorded, and it is": (Result("c", "", "❌ no\n", 1), True, "7: it says that it is not recorded, and it is"),
    "not applied, and not recorded": (Result("c", "", "❌ no\n", 8), False, "7: it says that it is recorded"),
    "unknown, and no way to find out": (Result("c", "", "❌ broken\n", 6), True, "7: it does not say how to find out"),
    "nothing recorded, and it is": (
        Result("c", "", "Ended. Nothing was recorded.\n", 130),
        True,
        "7: it says that noth",
    ),
    "a code of its own": (Result("c", "", "", 77), False, "7: an exit code that is not in the contract"),
    "a traceback": (Result("c", "", "Traceback (most recent call last):\n", 1), False, "7: a traceback"),
    "killed after it said done": (Result("c", "Step 2/5: x ✓\n", "", -9), False, "7: it said that it was done"),
}


@pytest.mark.parametrize("what", ENDS)
def test_an_end_that_is_not_true_is_caught(what: str) -> None:
    result, was_recorded, violation = ENDS[what]
    with pytest.raises(Violation, match=violation):
        invariants.end_is_true(result, was_recorded=was_recorded)
