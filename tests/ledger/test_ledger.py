"""The ledger as its users see it: commands in, facts on disk, the same answer to the same request."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from ledger import sealing
from ledger import values as rules
from ledger.app import App, Life
from ledger.codec import recorded
from ledger.commands import (
    Command,
    Deploy,
    Destroy,
    PurgeSecret,
    Restart,
    RetryApply,
    Scale,
    SetEnv,
    SetSecrets,
    UnsetEnv,
    UnsetSecrets,
)
from ledger.envelope import Source
from ledger.errors import (
    AppNotFoundError,
    ConflictError,
    InvalidValueError,
    LedgerBusyError,
    LedgerDamagedError,
    LedgerUnavailableError,
    OutcomeUnknownError,
    RefusedError,
    RequestReusedError,
    SealedError,
)
from ledger.events import (
    ApplyRefused,
    Deployed,
    DomainReleased,
    LedgerCreated,
    ObservedEvent,
    ResourcesApplied,
    WorkerIdentitySet,
)
from ledger.keys import KeyFiles
from ledger.ledger import Ledger, Outcome
from ledger.request import Request
from ledger.spec import AppId, SecretVersion
from ledger.sqlite_store import SqliteStore
from ledger.streams import LEDGER_STREAM, domain_stream
from tests.canary import CANARY, files_that_leak
from tests.ledger.support import PATIENCE, START_US, assert_sound, every_row, holder

APP = AppId("prod", "shop", "orders")
OTHER = AppId("prod", "shop", "users")
DEPLOYER = Path(__file__).with_name("deployer.py")


class SetClock:
    """Says what it was set to."""

    def __init__(self) -> None:
        self.now = START_US

    def now_us(self) -> int:
        """See `Clock.now_us`."""
        return self.now


class Bench:
    """A ledger in a directory, and short words for what is asked of it."""

    def __init__(self, home: Path, *, keys: KeyFiles | None = None) -> None:
        self.home = home
        self.path = home / "ledger.db"
        self.store = SqliteStore(self.path, lock_timeout=10)
        self.clock = SetClock()
        self.domains = (f"calmotter-{number:07}.example.com" for number in count(1))
        self.ledger = Ledger(
            self.store, keys or KeyFiles(home / "keys"), mint_domain=lambda: next(self.domains), clock=self.clock
        )
        self._requests = count(1)

    def ask(
        self,
        command: Command,
        request_id: str | None = None,
        *,
        app: AppId = APP,
        secrets: Mapping[str, bytes] | None = None,
    ) -> Outcome:
        """Execute a command."""
        return self.ledger.execute(
            app, command, request(request_id or f"r{next(self._requests)}"), secret_values=secrets
        )

    def seal(self, **secrets: str) -> Outcome:
        """Set secrets."""
        given = {key: value.encode() for key, value in secrets.items()}
        return self.ask(SetSecrets(keys=tuple(secrets)), secrets=given)

    def life(self) -> Life:
        """The app's open life."""
        life = self.ledger.app(APP).life
        assert life is not None
        return life

    def open(self, life: Life) -> Mapping[str, bytes]:
        """All secrets of a life."""
        return self.ledger.open_secrets(life, life.secrets)

    def kinds(self) -> list[str]:
        """The whole log, by topic."""
        return [row.topic for row in every_row(self.store)]


def key_files(directory: Path) -> set[str]:
    """Names of the files in a directory of keys, but for its lock."""
    return {path.name for path in directory.iterdir() if not path.name.startswith(".lock")}


def request(request_id: str) -> Request:
    return Request(request_id=request_id, actor="ada", source=Source(program="1ctl test", host="h"), reason="because")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "home")
    yield bench
    bench.store.close()


@pytest.fixture
def running(bench: Bench) -> Bench:
    bench.ask(Deploy(image="orders:1"), "first")
    return bench


# -- The first write -----------------------------------------------------------------------------------------------


def test_the_first_write_creates_the_ledger_before_its_own_events(running: Bench) -> None:
    rows = [recorded(row) for row in every_row(running.store)]
    created, identity = rows[0], rows[1]
    assert isinstance(created.event, LedgerCreated)
    assert isinstance(identity.event, WorkerIdentitySet)
    assert [row.kind for row in rows[2:]] == ["Deployed", "DomainAssigned", "DomainClaimed"]
    assert [(row.stream, row.version) for row in rows[:2]] == [(LEDGER_STREAM, 1), (LEDGER_STREAM, 2)]
    assert running.ledger.ledger_id() == created.event.ledger_id
    assert created.event.origin == f"1ctl.dev/ledger/{created.event.ledger_id}"
    assert_sound(running.store)


def test_the_first_write_makes_key_files_that_only_the_owner_may_read(running: Bench) -> None:
    keys = running.home / "keys"
    created, identity = (recorded(row).event for row in every_row(running.store)[:2])
    assert isinstance(created, LedgerCreated)
    assert isinstance(identity, WorkerIdentitySet)
    assert key_files(keys) == {f"{created.ledger_id}.identity.key", f"{created.ledger_id}.signing.key"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in keys.iterdir()} == {0o600}
    private = KeyFiles(keys).identity_private(created.ledger_id, identity.public_key)
    assert private is not None
    assert sealing.public_half(private) == identity.public_key


def test_the_second_write_creates_nothing_again(running: Bench) -> None:
    running.ask(Deploy(image="users:1"), app=OTHER)
    assert running.kinds().count("LedgerCreated") == 1
    assert running.kinds().count("WorkerIdentitySet") == 1
    assert len(key_files(running.home / "keys")) == 2


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (Deploy(), RefusedError),
        (Deploy(image="Not An Image"), InvalidValueError),
        (Deploy(image="a", env={"A-B": "1"}), InvalidValueError),
        (SetEnv(values={"A": "1"}), AppNotFoundError),
        (UnsetEnv(keys=("A",)), AppNotFoundError),
        (SetSecrets(keys=("A",)), AppNotFoundError),
        (UnsetSecrets(keys=("A",)), AppNotFoundError),
        (Scale(replicas=1), AppNotFoundError),
        (Restart(), AppNotFoundError),
        (Destroy(), AppNotFoundError),
    ],
)
def test_a_refused_command_creates_neither_ledger_nor_keys(
    bench: Bench, command: Command, error: type[RefusedError]
) -> None:
    with pytest.raises(error):
        bench.ask(command, secrets={"A": b"1"})
    assert not bench.home.exists()


def test_reading_creates_neither_ledger_nor_keys(bench: Bench) -> None:
    assert bench.ledger.app(APP) == App(id=APP)
    assert bench.ledger.history(APP) == []
    assert bench.ledger.find("no such life") is None
    assert bench.ledger.ledger_id() is None
    assert not bench.home.exists()


def test_a_first_write_that_cannot_be_recorded_leaves_no_key(bench: Bench) -> None:
    bench.home.mkdir()
    bench.store = SqliteStore(bench.path, lock_timeout=0.1)
    bench.ledger.store = bench.store
    with holder(bench.path), pytest.raises(LedgerBusyError):
        bench.ask(Deploy(image="orders:1"))
    assert key_files(bench.home / "keys") == set()
    bench.ask(Deploy(image="orders:1"))
    assert len(key_files(bench.home / "keys")) == 2


def test_a_ledger_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    bench = Bench(tmp_path / "file", keys=KeyFiles(tmp_path / "keys"))
    with pytest.raises(LedgerUnavailableError, match="cannot be written"):
        bench.ask(Deploy(image="orders:1"))


# -- Envelopes -----------------------------------------------------------------------------------------------------


def test_every_line_says_who_why_and_about_what(running: Bench) -> None:
    for line in running.ledger.history(APP):
        envelope = line.envelope
        assert (envelope.actor, envelope.reason, envelope.request_id) == ("ada", "because", "first")
        assert (envelope.correlation_id, envelope.causation) == ("first", None)
        assert envelope.clock == "2026-01-01T00:00:00.000000Z"
        assert line.at.isoformat() == "2026-01-01T00:00:00+00:00"
        assert envelope.subject is not None
        assert envelope.subject.app_id == APP
        assert envelope.subject.deployment_id == running.life().deployment_id
    salts = [line.envelope.salt for line in running.ledger.history(APP)]
    assert len(set(salts)) == len(salts)
    assert all(len(bytes.fromhex(salt)) == 16 for salt in salts)


def test_a_clock_that_is_behind_is_reported_and_kept_beside_the_time_recorded(running: Bench) -> None:
    running.clock.now = START_US - 600_000_000
    outcome = running.ask(Restart())
    assert outcome.clock_behind_us == 600_000_000
    assert outcome.recorded[0].recorded_us == START_US
    assert outcome.recorded[0].envelope.clock == "2025-12-31T23:50:00.000000Z"
    running.clock.now = START_US + 1
    assert running.ask(Restart()).clock_behind_us == 0


# -- Requests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        Deploy(image="orders:2", env={"A": "1"}),
        SetEnv(values={"A": "1"}),
        Scale(replicas=3),
        Restart(),
        Destroy(),
    ],
)
def test_a_repeated_request_gets_its_first_answer_and_records_nothing(running: Bench, command: Command) -> None:
    first = running.ask(command, "again")
    head = running.store.head()
    if not isinstance(command, Destroy):
        running.ask(Restart(), "meanwhile")
        head = running.store.head()
    second = running.ask(command, "again")
    assert (first.repeated, second.repeated) == (False, True)
    assert second.recorded == first.recorded
    assert len(first.recorded) > 0
    assert second.app == running.ledger.app(APP), "the app is shown as it is now"
    assert running.store.head() == head


def test_a_repeated_first_deploy_is_not_answered_with_the_ledgers_own_events(running: Bench) -> None:
    again = running.ask(Deploy(image="orders:1"), "first")
    assert [line.kind for line in again.recorded] == ["Deployed", "DomainAssigned"]


@pytest.mark.parametrize(
    ("command", "app"),
    [
        (Deploy(image="orders:2"), APP),
        (Deploy(image="orders:1", port=1), APP),
        (Deploy(image="orders:1"), OTHER),
        (Restart(), APP),
        (SetEnv(values={"A": "1"}), APP),
    ],
)
def test_a_request_id_cannot_stand_for_another_request(running: Bench, command: Command, app: AppId) -> None:
    head = running.store.head()
    with pytest.raises(RequestReusedError, match='"first" was used for another request'):
        running.ask(command, "first", app=app)
    assert running.store.head() == head


@pytest.mark.parametrize("redeployed", [False, True])
@pytest.mark.parametrize("command", [Destroy(), PurgeSecret(key="K"), Scale(replicas=3), Deploy(image="orders:3")])
def test_what_is_asked_of_a_life_is_never_done_to_the_next_one(
    running: Bench, command: Command, redeployed: bool
) -> None:
    old = running.life().deployment_id
    running.ask(Destroy())
    if redeployed:
        running.ask(Deploy(image="orders:2", secret_keys=("K",)), secrets={"K": b"value"})
    head = running.store.head()
    with pytest.raises(AppNotFoundError, match=f'deployment "{old}" of app "orders" was destroyed'):
        running.ledger.execute(APP, command, request("late"), life=old)
    assert running.store.head() == head


def test_a_request_is_known_again_whatever_life_is_meant(running: Bench) -> None:
    old = running.life().deployment_id
    first = running.ledger.execute(APP, Destroy(), request("end"), life=old)
    running.ask(Deploy(image="orders:2"))
    for life in (None, old, running.life().deployment_id):
        assert running.ledger.execute(APP, Destroy(), request("end"), life=life).recorded == first.recorded


def test_an_answer_whose_events_are_missing_is_damage(running: Bench) -> None:
    running.ask(SetEnv(values={"A": "1"}), "twice")
    with closing(sqlite3.connect(running.path)) as connection, connection:
        connection.execute("DROP TRIGGER stored_events_no_delete")
        connection.execute("DELETE FROM stored_events WHERE topic = 'EnvSet'")
    with pytest.raises(LedgerDamagedError, match="there is no event at position"):
        running.ask(SetEnv(values={"A": "1"}), "twice")


def test_the_order_of_environment_values_does_not_make_another_request(running: Bench) -> None:
    running.ask(SetEnv(values={"A": "1", "B": "2"}), "env")
    assert running.ask(SetEnv(values={"B": "2", "A": "1"}), "env").repeated


def test_a_repeated_secret_with_another_value_is_the_same_request(running: Bench) -> None:
    command = SetSecrets(keys=("A", "B"))
    first = running.ask(command, "secret", secrets={"A": b"one", "B": b"two"})
    again = running.ask(SetSecrets(keys=("B", "A")), "secret", secrets={"A": b"other", "B": b"other"})
    assert again.repeated
    assert again.recorded == first.recorded
    assert running.open(running.life()) == {"A": b"one", "B": b"two"}
    with pytest.raises(RequestReusedError):
        running.ask(SetSecrets(keys=("A",)), "secret", secrets={"A": b"one"})


def test_a_refused_request_leaves_its_id_free(running: Bench) -> None:
    with pytest.raises(RefusedError):
        running.ask(UnsetEnv(keys=("A",)), "mine")
    assert not running.ask(Restart(), "mine").repeated


def test_a_request_that_changes_nothing_records_nothing(running: Bench) -> None:
    head = running.store.head()
    outcome = running.ask(Scale(replicas=1), "same")
    assert (outcome.recorded, outcome.repeated, outcome.app) == ((), False, running.ledger.app(APP))
    assert running.store.head() == head


def test_a_digest_says_nothing_without_its_salt(running: Bench) -> None:
    running.ask(Restart(), "a")
    running.ask(Restart(), "b")
    one, other = running.store.request("a"), running.store.request("b")
    assert one is not None
    assert other is not None
    assert (one.digest, one.salt) != (other.digest, other.salt)
    assert one.digest != other.digest


# -- Races ---------------------------------------------------------------------------------------------------------


def test_two_processes_that_deploy_a_new_app_at_once_share_one_life(tmp_path: Path) -> None:
    rounds = 10
    children = [
        subprocess.Popen([sys.executable, DEPLOYER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for number in range(rounds):
        answers = []
        for index, child in enumerate(children):
            assert child.stdin is not None
            child.stdin.write(f"{tmp_path / str(number)} orders request-{index}\n")
            child.stdin.flush()
        for child in children:
            assert child.stdout is not None
            answers.append(child.stdout.readline().split())
        assert sorted(release for release, _ in answers) == ["1", "2"]
        assert answers[0][1] == answers[1][1]
        with closing(SqliteStore(tmp_path / str(number) / "ledger.db")) as store:
            kinds = [row.topic for row in every_row(store)]
            assert_sound(store)
            assert store.query("SELECT count(*) FROM lives", {})[0][0] == 1
            assert store.query("SELECT count(*) FROM life_keys", {})[0][0] == 1
        assert kinds == [
            "LedgerCreated", "WorkerIdentitySet", "Deployed", "DomainAssigned", "DomainClaimed", "Deployed"
        ]  # fmt: skip
        assert len(key_files(tmp_path / str(number) / "keys")) == 2, "the loser's keys are gone"
    for child in children:
        child.communicate(timeout=PATIENCE)
        assert child.returncode == 0


def test_who_loses_a_race_decides_again_on_what_is_there_now(running: Bench) -> None:
    failures: list[BaseException] = []

    def work(name: int) -> None:
        other = Ledger(running.store, KeyFiles(running.home / "keys"), mint_domain=lambda: "x.example.com")
        try:
            for turn in range(5):
                other.execute(APP, Deploy(image=f"orders:{name}-{turn}"), request(f"{name}-{turn}"))
        except BaseException as error:  # noqa: BLE001 - told to the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert failures == []
    deployed = [line.event for line in running.ledger.history(APP) if isinstance(line.event, Deployed)]
    assert [event.release for event in deployed] == list(range(1, 22))
    assert {event.deployment_id for event in deployed} == {running.life().deployment_id}
    assert_sound(running.store)


def test_the_same_request_at_once_is_recorded_once(running: Bench) -> None:
    outcomes: list[Outcome] = []
    start = threading.Barrier(4)

    def work() -> None:
        other = Ledger(running.store, KeyFiles(running.home / "keys"), mint_domain=lambda: "x.example.com")
        start.wait()
        outcomes.append(other.execute(APP, Restart(), request("one and only")))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert running.kinds().count("Restarted") == 1
    assert sorted(outcome.repeated for outcome in outcomes) == [False, True, True, True]
    assert len({tuple(line.position for line in outcome.recorded) for outcome in outcomes}) == 1


def test_a_command_gives_up_when_others_are_always_first(running: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(*_rows: object, **_more: object) -> None:
        raise ConflictError("another writer was first")

    monkeypatch.setattr(running.store, "append", taken)
    with pytest.raises(ConflictError, match="50 times") as caught:
        running.ask(Restart())
    assert "Nothing was recorded" in str(caught.value.hint)


# -- Domains and lives ---------------------------------------------------------------------------------------------


def test_a_life_claims_its_domain_and_releases_it_at_its_end(running: Bench) -> None:
    domain = running.life().domain
    assert domain == "calmotter-0000001.example.com"
    stream = domain_stream(domain)
    assert [row.topic for row in running.store.stream(stream.bytes)] == ["DomainClaimed"]
    running.ask(Destroy())
    claims = [recorded(row) for row in running.store.stream(stream.bytes)]
    assert [(claim.version, claim.kind) for claim in claims] == [(1, "DomainClaimed"), (2, "DomainReleased")]
    assert claims[1].event == DomainReleased(domain=domain)


def test_a_redeploy_keeps_the_domain_and_claims_nothing(running: Bench) -> None:
    running.ask(Deploy(image="orders:2"))
    assert running.life().domain == "calmotter-0000001.example.com"
    assert running.kinds().count("DomainClaimed") == 1


@pytest.mark.parametrize("destroyed", [False, True])
def test_a_domain_is_never_given_out_twice(running: Bench, destroyed: bool) -> None:
    taken = running.life().domain
    assert taken is not None
    if destroyed:
        running.ask(Destroy())
    running.domains = (name for name in [taken, taken, "newotter-0000009.example.com"])
    outcome = running.ask(Deploy(image="users:1"), app=OTHER)
    assert outcome.app.life is not None
    assert outcome.app.life.domain == "newotter-0000009.example.com"


def test_a_domain_that_two_apps_drew_at_once_goes_to_the_first(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.ask(Deploy(image="users:1"), app=OTHER)
    drawn = iter(["calmotter-0000001.example.com", "newotter-0000009.example.com"])
    monkeypatch.setattr("ledger.minting._free_domain", lambda *_: next(drawn))
    outcome = bench.ask(Deploy(image="orders:1"))
    assert outcome.app.life is not None
    assert outcome.app.life.domain == "newotter-0000009.example.com"
    assert_sound(bench.store)


def test_a_new_life_has_a_new_id_domain_and_key_in_the_same_stream(running: Bench) -> None:
    old = running.life()
    running.ask(Destroy())
    running.ask(Deploy(image="orders:2"))
    new = running.life()
    assert new.deployment_id != old.deployment_id
    assert new.domain != old.domain
    assert new.life_key != old.life_key
    assert new.release == 1
    history = running.ledger.history(APP)
    assert [line.version for line in history] == [1, 2, 3, 4, 5]
    assert len({line.stream for line in history}) == 1
    assert running.ledger.app(APP).lives == 2


def test_every_life_is_found_by_its_id_also_when_it_is_over(running: Bench) -> None:
    old = running.life().deployment_id
    running.ask(Destroy())
    running.ask(Deploy(image="orders:2"))
    assert running.ledger.find(old) == APP
    assert running.ledger.find(running.life().deployment_id) == APP


def test_the_past_is_answered_up_to_a_position(running: Bench) -> None:
    head = running.store.head().position
    before = running.ledger.app(APP)
    running.ask(Scale(replicas=9))
    assert running.ledger.app(APP, upto=head) == before
    assert running.ledger.app(APP) != before
    assert running.ledger.app(APP, upto=0) == App(id=APP)


def test_what_a_command_answers_is_what_a_reader_finds(running: Bench) -> None:
    for command in (Deploy(image="b", env={"A": "1"}), Scale(replicas=3), Restart(), UnsetEnv(keys=("A",)), Destroy()):
        outcome = running.ask(command)
        assert outcome.app == running.ledger.app(APP)
        assert list(outcome.recorded) == running.ledger.history(APP)[-len(outcome.recorded) :]


# -- Secrets -------------------------------------------------------------------------------------------------------


def test_what_was_sealed_can_be_opened_where_the_identity_is(running: Bench) -> None:
    running.seal(A="one", B="zwei ü")
    running.seal(B="drei")
    life = running.life()
    assert running.ledger.can_open_secrets(life)
    assert running.open(life) == {"A": b"one", "B": b"drei"}
    assert life.secrets["B"].version == 2
    assert running.ledger.open_secrets(life, {}) == {}


def test_an_older_value_can_be_opened_as_long_as_the_life_lasts(running: Bench) -> None:
    running.seal(A="one")
    before = running.life().secrets
    running.seal(A="two")
    running.ask(UnsetSecrets(keys=("A",)))
    assert running.ledger.open_secrets(running.life(), before) == {"A": b"one"}


def test_a_secret_set_again_after_it_was_unset_gets_a_version_never_used(running: Bench) -> None:
    running.seal(A="one")
    running.ask(UnsetSecrets(keys=("A",)))
    running.seal(A="two")
    assert running.life().secrets["A"].version == 2


def test_a_key_named_twice_is_sealed_once(running: Bench) -> None:
    running.ask(SetSecrets(keys=("A", "A")), secrets={"A": b"one"})
    assert running.life().secrets["A"].version == 1
    assert running.open(running.life()) == {"A": b"one"}


def test_more_secrets_than_one_object_holds_are_refused(running: Bench) -> None:
    half = "x" * (rules.MAX_OBJECT_BYTES // 2 - 1)
    running.seal(A=half)
    running.seal(B=half)
    with pytest.raises(InvalidValueError, match="1 MiB") as caught:
        running.seal(C="y")
    assert "xx" not in str(caught.value)
    running.seal(B="x")
    running.seal(C="y")
    assert running.life().secrets["C"].version == 1


def test_who_does_not_hold_the_identity_may_seal_but_not_open(running: Bench, tmp_path: Path) -> None:
    running.seal(A="one")
    stranger = Bench(running.home, keys=KeyFiles(tmp_path / "stranger"))
    assert not stranger.ledger.can_open_secrets(stranger.life())
    with pytest.raises(SealedError, match="does not hold the identity"):
        stranger.open(stranger.life())
    KeyFiles(tmp_path / "stranger").make_identity(stranger.ledger.ledger_id() or "")
    assert not stranger.ledger.can_open_secrets(stranger.life())
    with pytest.raises(SealedError, match="does not hold the identity"):
        stranger.open(stranger.life())
    stranger.ask(SetSecrets(keys=("B",)), "theirs", secrets={"B": b"from afar"})
    assert running.open(running.life())["B"] == b"from afar"
    stranger.store.close()


def test_after_destroy_nothing_is_left_to_open_even_with_all_keys(running: Bench) -> None:
    running.seal(A="one")
    life = running.life()
    running.ask(Destroy())
    assert running.store.life_key(life.deployment_id) is None
    assert running.store.sealed(life.deployment_id) == {}
    assert not running.ledger.can_open_secrets(life)
    with pytest.raises(SealedError, match="shredded"):
        running.open(life)


def test_a_wrapped_key_that_was_kept_opens_nothing_without_the_rows(running: Bench) -> None:
    running.seal(A="one")
    life = running.life()
    row = running.store.life_key(life.deployment_id)
    assert row is not None
    running.ask(Destroy())
    _sql(running, "INSERT INTO life_keys VALUES (?, ?, ?)", *row)
    with pytest.raises(SealedError, match="missing"):
        running.open(life)


def test_a_life_key_wrapped_for_another_life_is_not_taken(running: Bench) -> None:
    running.seal(A="one")
    running.ask(Deploy(image="users:1"), app=OTHER)
    other = running.ledger.app(OTHER).life
    assert other is not None
    row = running.store.life_key(other.deployment_id)
    assert row is not None
    _sql(running, "UPDATE life_keys SET wrapped = ? WHERE deployment_id = ?", row.wrapped, running.life().deployment_id)
    with pytest.raises(SealedError):
        running.open(running.life())


def _sql(bench: Bench, statement: str, *parameters: object) -> None:
    with closing(sqlite3.connect(bench.path)) as connection, connection:
        connection.execute(statement, parameters)


def test_ciphertexts_swapped_between_keys_do_not_open(running: Bench) -> None:
    running.seal(A="one", B="two")
    stored = running.store.sealed(running.life().deployment_id)
    for key, other in (("A", "B"), ("B", "A")):
        _sql(running, "UPDATE sealed_values SET ciphertext = ? WHERE key = ?", stored[other, 1], key)
    with pytest.raises(SealedError, match="not the one that was recorded"):
        running.open(running.life())
    life = running.life()
    swapped = {"A": life.secrets["B"], "B": life.secrets["A"]}
    with pytest.raises(SealedError):
        running.ledger.open_secrets(life, swapped)


def test_an_older_ciphertext_put_back_as_the_newest_does_not_open(running: Bench) -> None:
    running.seal(A="one")
    running.seal(A="two")
    life = running.life()
    old = running.store.sealed(life.deployment_id)["A", 1]
    _sql(running, "UPDATE sealed_values SET ciphertext = ? WHERE version = 2", old)
    with pytest.raises(SealedError, match="not the one that was recorded"):
        running.open(life)
    forged = {"A": SecretVersion(2, running.ledger.app(APP, upto=6).life.secrets["A"].digest)}  # type: ignore[union-attr]
    with pytest.raises(SealedError):
        running.ledger.open_secrets(life, forged)


def _files(bench: Bench) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in bench.home.rglob("*") if file.is_file()}


def test_the_value_of_a_secret_is_in_no_file(running: Bench) -> None:
    running.ask(SetEnv(values={"PLAIN": "visible-canary"}))
    running.seal(TOKEN=CANARY, OTHER=CANARY * 200)
    assert any(b"visible-canary" in content for content in _files(running).values()), "the search would find it"
    assert any(b"TOKEN" in content for content in _files(running).values())
    for step in (lambda: None, lambda: running.seal(TOKEN=CANARY + "2"), lambda: running.ask(Destroy())):
        step()
        assert files_that_leak(CANARY, running.home) == {}
    running.store.close()
    assert files_that_leak(CANARY, running.home) == {}


def test_after_destroy_neither_ciphertext_nor_wrapped_key_is_in_any_file(running: Bench) -> None:
    running.seal(TOKEN=CANARY)
    life = running.life()
    key = running.store.life_key(life.deployment_id)
    assert key is not None
    gone = [*running.store.sealed(life.deployment_id).values(), key.wrapped]
    assert all(any(part in content for content in _files(running).values()) for part in gone)
    running.ask(Destroy())
    running.store.close()
    assert not [part for content in _files(running).values() for part in gone if part in content]


# -- What was observed ---------------------------------------------------------------------------------------------


def applied(app: App) -> tuple[str, ObservedEvent, int] | None:
    """News as long as the app is dirty."""
    life = app.life
    if life is None or not life.dirty:
        return None
    return life.deployment_id, ResourcesApplied(release=life.release, through=life.changed, objects=()), life.changed


def refused(life: Life | None) -> tuple[str, ObservedEvent, int]:
    """What is recorded when the cluster refuses what a life asks for."""
    assert life is not None
    fact = ApplyRefused(release=life.release, through=life.changed, reason="Forbidden", message="no")
    return life.deployment_id, fact, life.changed


def test_a_fact_is_recorded_in_the_second_stream_with_its_cause(running: Bench) -> None:
    before = running.ledger.app(APP)
    after = running.ledger.observe(APP, request("first"), applied)
    assert after == running.ledger.app(APP)
    assert (after.version, after.observed_version) == (before.version, 1)
    line = running.ledger.history(APP)[-1]
    assert (line.stream, line.version) == (before.observed, 1)
    assert (line.envelope.causation, line.envelope.correlation_id) == (before.head, "first")
    assert line.envelope.subject is not None
    assert line.envelope.subject.deployment_id == running.life().deployment_id


def test_what_is_no_news_is_not_recorded(running: Bench) -> None:
    running.ledger.observe(APP, request("first"), applied)
    head = running.store.head()
    assert running.ledger.observe(APP, request("first"), applied) == running.ledger.app(APP)
    assert running.store.head() == head


def test_a_fact_that_may_be_recorded_puts_no_request_in_doubt(running: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OutcomeUnknownError("the disk failed: it is gone")

    with monkeypatch.context() as broken:
        broken.setattr(running.ledger.store, "append", fails)
        with pytest.raises(LedgerUnavailableError) as caught:
            running.ledger.observe(APP, request("first"), applied)
    assert (
        caught.value.message
        == 'what was observed of app "orders" may or may not be recorded: the disk failed: it is gone'
    )
    running.ledger.observe(APP, request("first"), applied)
    assert running.ledger.app(APP).observed_version == 1


def test_observers_at_once_record_a_fact_once(running: Bench) -> None:
    start = threading.Barrier(6)

    def work() -> None:
        other = Ledger(running.store, KeyFiles(running.home / "keys"), mint_domain=lambda: "x.example.com")
        start.wait()
        other.observe(APP, request("first"), applied)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert running.kinds().count("ResourcesApplied") == 1
    assert_sound(running.store)


def test_a_fact_observed_does_not_make_a_command_begin_again(running: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., object] = running.store.append
    appends: list[int] = []

    def between(*arguments: object, **more: object) -> object:
        appends.append(1)
        if len(appends) == 1:
            running.ledger.observe(APP, request("first"), applied)
        return real(*arguments, **more)

    monkeypatch.setattr(running.store, "append", between)
    running.ask(Restart())
    assert len(appends) == 2
    assert running.kinds()[-2:] == ["ResourcesApplied", "Restarted"]


def test_a_removal_that_was_refused_is_tried_again_also_behind_a_new_life(running: Bench) -> None:
    running.ask(Destroy())
    running.ledger.observe(APP, request("first"), lambda app: refused(app.leaving))
    running.ask(Deploy(image="orders:2"))
    running.ledger.observe(APP, request("first"), lambda app: refused(app.life))
    (removal,) = running.ask(RetryApply()).recorded
    tried = running.ledger.app(APP)
    assert tried.leaving is not None
    assert (tried.leaving.parked, tried.leaving.changed) == (None, removal.position)
    assert running.life().parked is not None
    running.ask(RetryApply())
    assert running.life().parked is None
    assert running.ask(RetryApply()).recorded == ()
