"""The loop that makes a cluster equal to the ledger: what it does, leaves alone, and survives."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from effects.cluster import (
    API_VERSIONS,
    LEDGER_LABEL,
    LIFE_LABEL,
    POSITION_ANNOTATION,
    ChangedMeanwhileError,
    ClusterUnreachableError,
    NotOursError,
    Ref,
)
from effects.desired import Surroundings, desired, named_objects, owner
from effects.placing import LedgerBehindError
from effects.reconcile import ParkedError
from ledger.app import App
from ledger.commands import Destroy, PurgeSecret, Restart, Scale, SetEnv, UnsetEnv, UnsetSecrets
from ledger.errors import SealedError
from ledger.events import (
    ApplyRefused,
    Deployed,
    ResourcesApplied,
    ResourcesRemoved,
    Restarted,
    RolloutFailed,
    SecretsFingerprinted,
)
from ledger.sqlite_files import copy_database, making
from ledger.sqlite_store import SqliteStore
from projections.app_list import app_list
from tests.effects.worlds import (
    GATEWAY,
    Counter,
    Killed,
    Meddled,
    World,
    eventually,
    image,
    killed,
    unreachable,
    writes,
)

BROKEN = image("nginx:does-not-exist")
each_kind = pytest.mark.parametrize("kind", sorted(API_VERSIONS))


def with_everything(world: World) -> None:
    """An app whose pods run with environment and secrets."""
    world.ask(image(env={"GREETING": "hello"}))
    world.ask_secrets(JWT_SECRET="first", DATABASE_URL="postgres://user:pw@host/orders")
    world.do(Restart())
    assert world.settle().verdict == "completed"
    world.reconcile()


def kinds(world: World, *types: type) -> list[type]:
    return [type(line.event) for line in world.ledger.history(world.app_id) if isinstance(line.event, types)]


# Applying


def test_everything_is_applied_in_order_and_told_as_it_becomes_true(world: World) -> None:
    world.ask(image(env={"GREETING": "hello"}))
    world.ask_secrets(JWT_SECRET="x")
    world.ask(Restart())
    meddled, told = Meddled(world.cluster), list[Ref]()
    app = world.reconciler(meddled).reconcile(world.app_id, told.append)
    assert app.life is not None
    wanted = [
        entry.ref
        for entry in desired(app, app.life, Surroundings(ledger_id=world.ledger.ledger_id() or "", gateway=GATEWAY))
    ]
    assert told == wanted
    assert writes(meddled.calls) == [("apply", ref) for ref in wanted]
    assert not app.dirty
    world.assert_equal()


def test_a_second_reconcile_writes_nothing_and_records_nothing(world: World) -> None:
    with_everything(world)
    eventually(lambda: len(world.rollout().pods) == 1)
    head, versions, meddled = world.app.head, world.versions(), Meddled(world.cluster)
    world.reconcile(meddled)
    assert not writes(meddled.calls)
    assert len(meddled.calls) >= len(versions)
    assert world.versions() == versions
    assert world.app.head == head


def test_only_what_changed_is_sent(world: World) -> None:
    with_everything(world)
    meddled = Meddled(world.cluster)
    world.ask(SetEnv(values={"GREETING": "bye"}))
    world.reconcile(meddled)
    assert writes(meddled.calls) == [("apply", world.named("ConfigMap", "-environments"))]
    world.assert_equal()


@pytest.mark.parametrize("which", range(7))
def test_an_object_that_was_deleted_by_hand_is_made_again(world: World, which: int) -> None:
    with_everything(world)
    ref = sorted(world.objects())[which]
    world.cluster.delete(ref, uid=None)
    eventually(lambda: ref not in world.objects())
    world.reconcile()
    if ref == owner(world.app_id.name, world.namespace) and world.cluster.kind == "kubernetes":
        equal_once_collected(world)
    world.assert_equal()


def equal_once_collected(world: World) -> None:
    """Reconcile until all is there: a cluster takes what belonged to the old owner in its own time, also after a look."""

    def is_equal() -> bool:
        world.reconcile()
        return not world.difference()

    eventually(is_equal)


def test_there_are_seven_objects_that_could_be_deleted_by_hand(world: World) -> None:
    with_everything(world)
    assert len(world.objects()) == 7


def test_what_belonged_to_an_owner_that_was_deleted_belongs_to_the_new_one(world: World) -> None:
    with_everything(world)
    world.cluster.delete(owner(world.app_id.name, world.namespace), uid=None)
    equal_once_collected(world)


def test_values_reach_the_secret_under_the_keys_of_the_cluster(world: World) -> None:
    with_everything(world)
    data = world.secret_data(world.named("Secret", "-secrets"))
    if world.cluster.kind == "kubernetes":
        assert data == {"jwt-secret": b"first", "database-url": b"postgres://user:pw@host/orders"}
    else:
        assert data.keys() == {"jwt-secret", "database-url"}


def test_the_position_annotation_never_goes_back_and_names_the_newest_event_sent(world: World) -> None:
    with_everything(world)
    before = world.objects()
    world.do(Scale(replicas=2))
    after = world.objects()
    for ref, each in after.items():
        old, new = (
            int(found["metadata"]["annotations"][POSITION_ANNOTATION].removeprefix("0."))
            for found in (before[ref], each)
        )
        assert new > old if ref.kind == "Deployment" else new == old


# What is not ours


@each_kind
def test_someone_elses_object_is_refused_before_anything_is_recorded(world: World, kind: str) -> None:
    ref = world.foreign(kind)
    before = world.content(ref)
    with pytest.raises(NotOursError) as caught:
        world.reconciler().refuse_foreign_objects(world.app_id)
    assert caught.value.ref == ref
    assert caught.value.hint is not None
    assert world.content(ref) == before
    assert world.ledger.ledger_id() is None


@each_kind
def test_another_ledgers_object_is_refused_too(world: World, kind: str) -> None:
    world.do(image())
    other = replace(world.app_id, name=f"{world.app_id.name}-2")
    world.reconciler().refuse_foreign_objects(other)
    world.app_id = other
    ref = world.foreign(kind)
    with pytest.raises(NotOursError) as caught:
        world.reconciler().refuse_foreign_objects(other)
    assert caught.value.ref == ref


def test_our_own_objects_are_not_refused(world: World) -> None:
    with_everything(world)
    world.reconciler().refuse_foreign_objects(world.app_id)


@each_kind
def test_someone_elses_object_that_appears_after_the_append_parks_the_app_once(world: World, kind: str) -> None:
    world.ask(image())
    world.ask_secrets(JWT_SECRET="x")
    ref = world.foreign(kind)
    before = world.content(ref)
    for _ in range(3):
        with pytest.raises(ParkedError) as caught:
            world.reconcile()
        assert caught.value.reason == "NotOurs"
    assert world.content(ref) == before
    assert kinds(world, ApplyRefused, ResourcesApplied) == [ApplyRefused]
    assert world.life.parked is not None
    assert ref.name in world.life.parked.message
    assert world.app.dirty


def test_a_parked_app_is_tried_again_with_the_next_command(world: World) -> None:
    world.ask(image())
    ref = world.foreign("Service")
    with pytest.raises(ParkedError):
        world.reconcile()
    with pytest.raises(ParkedError):
        world.do(Scale(replicas=2))
    assert kinds(world, ApplyRefused) == [ApplyRefused] * 2
    world.cluster.delete(ref, uid=None)
    world.do(Scale(replicas=1))
    assert world.life.parked is None
    world.assert_equal()


def test_someone_elses_object_that_appears_while_applying_is_left_alone(world: World) -> None:
    world.ask(image())
    made = list[Ref]()

    def theirs(method: str, ref: Ref) -> None:
        if (method, ref.kind) == ("apply", "Service") and not made:
            made.append(world.foreign("Service"))

    with pytest.raises(ParkedError):
        world.reconcile(Meddled(world.cluster, before=theirs))
    assert world.content(made[0])["labels"] == {"app": "theirs"}


def test_a_field_that_someone_else_owns_parks_the_app_and_is_left_alone(world: World) -> None:
    with_everything(world)
    ref = world.named("ConfigMap", "-environments")
    seen = world.cluster.look(ref, ledger_id=world.ledger.ledger_id() or "")
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": ref.name, "namespace": ref.namespace}}
    world.cluster.apply({**theirs, "data": {"level": "high"}}, manager="someone-else", expect=seen)
    with pytest.raises(ParkedError) as caught:
        world.do(SetEnv(values={"LEVEL": "low"}))
    assert caught.value.reason == "FieldConflict"
    assert "someone-else" in caught.value.message
    assert world.content(ref)["data"]["level"] == "high"
    world.do(UnsetEnv(keys=("LEVEL",)))
    assert world.life.parked is None
    assert world.content(ref)["data"] == {"greeting": "hello", "level": "high"}


# Lives


def test_a_leftover_of_an_earlier_life_is_removed_first(world: World) -> None:
    world.do(image())
    old = world.life
    before = world.versions()
    world.ask(Destroy())
    # Removed by nobody, yet recorded as gone: as if the objects came back from a backup of the cluster.
    world.ledger.observe(
        world.app_id,
        world.reconciler().request,
        lambda app: (
            (old.deployment_id, ResourcesRemoved(through=app.leaving.destroyed or 0), 1) if app.leaving else None
        ),
    )
    world.do(image())
    assert world.life.deployment_id != old.deployment_id
    world.assert_equal()
    assert not {uid for uid, _ in before.values()} & {uid for uid, _ in world.versions().values()}


def test_nothing_is_recorded_of_an_event_that_the_ledger_does_not_have(world: World) -> None:
    world.do(image())
    lost = world.app.head + 1
    seen = ResourcesApplied(through=lost, release=1, objects=world.life.objects)
    world.ledger.observe(world.app_id, world.reconciler().request, lambda _: (world.life.deployment_id, seen, lost))
    assert world.app.head == lost - 1


def statuses(world: World) -> list[str]:
    """What `deploy list` says about each life of the app."""
    rows = app_list(world.ledger.store, world.app_id.cluster, world.app_id.namespace, ended=True)
    return [row.status for row in rows if row.app == world.app_id.name]


def test_every_destroyed_life_is_recorded_as_gone_though_none_was_ever_applied(world: World) -> None:
    for command in (image(), Destroy(), image(), Destroy(), image(), Destroy()):
        world.ask(command)
    assert statuses(world) == ["pending"] * 3
    assert not world.reconcile().dirty
    assert statuses(world) == ["destroyed"] * 3


def test_objects_of_a_life_go_though_another_one_was_destroyed_since(world: World) -> None:
    world.do(image())
    for command in (Destroy(), image(), Destroy()):
        world.ask(command)
    world.reconcile()
    assert world.objects() == {}
    assert statuses(world) == ["destroyed"] * 2


def test_destroy_removes_everything_of_the_app_and_nothing_of_another(world: World) -> None:
    with_everything(world)
    first = world.app_id
    world.another_app()
    with_everything(world)
    other = {ref: uid for ref, (uid, _) in world.versions().items()}
    second, world.app_id = world.app_id, first
    names = set(world.objects())
    app = world.do(Destroy())
    assert app.leaving is None
    assert not app.dirty
    for ref in names:
        assert world.cluster.look(ref, ledger_id=world.ledger.ledger_id() or "") is None
    assert kinds(world, ResourcesRemoved) == [ResourcesRemoved]
    world.app_id = second
    assert {ref: uid for ref, (uid, _) in world.versions().items()} == other
    world.assert_equal()


def test_a_second_reconcile_after_destroy_records_nothing(world: World) -> None:
    world.do(image())
    head = world.do(Destroy()).head
    assert world.reconcile().head == head


def test_destroy_leaves_an_object_that_someone_else_made_under_our_name(world: World) -> None:
    world.do(image())
    world.cluster.delete(world.named("Service"), uid=None)
    eventually(lambda: world.named("Service") not in world.objects())
    ref = world.foreign("Service")
    world.do(Destroy())
    assert world.content(ref)["labels"] == {"app": "theirs"}


def test_destroy_and_deploy_at_once_end_in_a_new_life(world: World) -> None:
    with_everything(world)
    old = world.life.deployment_id
    world.ask(Destroy())
    world.do(image())
    assert world.life.deployment_id != old
    assert kinds(world, ResourcesRemoved) == [ResourcesRemoved]
    assert world.settle().verdict == "completed"
    world.assert_equal()


# Rolls


def test_a_failed_redeploy_leaves_the_old_pods_and_the_configuration_that_they_read(world: World) -> None:
    with_everything(world)
    before = world.rollout().pods
    env_copies, secret_copies = world.copies("ConfigMap"), world.copies("Secret")
    assert len(env_copies) == len(secret_copies) == 1
    world.do(SetEnv(values={"GREETING": "bye"}))
    world.ask_secrets(JWT_SECRET="second")
    world.do(BROKEN)
    assert world.settle().verdict == "failed"
    world.reconcile()
    assert kinds(world, RolloutFailed) == [RolloutFailed]
    assert world.rollout().old_ready == len(before) == 1
    assert world.copies("ConfigMap") > env_copies
    assert world.copies("Secret") > secret_copies
    world.assert_equal()


def test_a_completed_roll_removes_the_copies_of_older_ones_with_the_next_reconcile(world: World) -> None:
    with_everything(world)
    old = world.copies("ConfigMap") | world.copies("Secret")
    world.do(SetEnv(values={"GREETING": "bye"}))
    world.ask_secrets(JWT_SECRET="second")
    world.do(BROKEN)
    assert world.settle().verdict == "failed"
    world.do(SetEnv(values={"GREETING": "again"}), image())
    assert len(world.copies("ConfigMap")) == 3
    assert world.settle().verdict == "completed"
    world.reconcile()
    assert len(world.copies("ConfigMap")) == len(world.copies("Secret")) == 1
    assert not (world.copies("ConfigMap") | world.copies("Secret")) & old
    world.assert_equal()


def test_unsetting_all_secrets_removes_the_secret_and_leaves_what_pods_read(world: World) -> None:
    with_everything(world)
    copies = world.copies("Secret")
    world.do(UnsetSecrets(keys=("JWT_SECRET", "DATABASE_URL")))
    assert world.named("Secret", "-secrets") not in world.objects()
    assert world.copies("Secret") == copies
    world.do(Restart())
    assert world.settle().verdict == "completed"
    world.reconcile()
    assert not world.copies("Secret")
    world.assert_equal()


def test_a_secret_that_nobody_lived_to_record_is_removed_when_it_is_unset(world: World) -> None:
    world.do(image())
    world.ask_secrets(JWT_SECRET="x")

    def die(method: str, ref: Ref) -> None:
        if (method, ref.kind) == ("apply", "Secret"):
            raise Killed

    with pytest.raises(Killed):
        world.reconcile(Meddled(world.cluster, after=die))
    assert world.named("Secret", "-secrets") in world.objects()
    world.do(UnsetSecrets(keys=("JWT_SECRET",)))
    assert world.named("Secret", "-secrets") not in world.objects()
    world.assert_equal()


# Others at the same time. Each of these happens between any two calls of a reconcile that was decided before.


def newer_configuration(world: World) -> None:
    world.do(SetEnv(values={"GREETING": "newer"}), Restart())


def newer_configuration_and_back(world: World) -> None:
    world.do(SetEnv(values={"GREETING": "newer"}))
    world.do(SetEnv(values={"GREETING": "hello"}), Restart())


def newer_image(world: World) -> None:
    world.do(image("nginx:2"))


def completed(world: World) -> None:
    """A newer roll that completed and was tidied up after."""
    world.do(SetEnv(values={"GREETING": "newer"}), Restart())
    world.settle()
    world.reconcile()


def an_end(world: World) -> None:
    world.do(Destroy())


def a_new_life(world: World) -> None:
    world.do(Destroy(), image(env={"GREETING": "new life"}))


MEANWHILE: list[Callable[[World], None]] = [
    newer_configuration,
    newer_configuration_and_back,
    newer_image,
    completed,
    an_end,
    a_new_life,
]


def position(app: App) -> int:
    return app.life.applied_through if app.life else 0


def rolls_asked(world: World) -> int:
    """How many pod templates the life's Deployment should have had."""
    history = [line for line in world.ledger.history(world.app_id) if isinstance(line.event, Deployed | Restarted)]
    lives = [line.envelope.subject.deployment_id for line in history if line.envelope.subject]
    return lives.count(world.life.deployment_id)


def test_a_copy_that_is_needed_again_meanwhile_is_not_deleted(world: World) -> None:
    world.do(image(env={"GREETING": "old"}))
    world.settle()
    (old,) = world.copies("ConfigMap")
    ref = Ref("ConfigMap", world.namespace, old)
    world.do(SetEnv(values={"GREETING": "hello"}), Restart())
    world.settle()
    uid, asked = world.versions()[ref][0], list[Ref]()

    def needed_again(method: str, seen: Ref) -> None:
        if (method, seen.kind) == ("look", "HTTPRoute") and not asked:
            asked.append(seen)
            world.do(SetEnv(values={"GREETING": "old"}), Restart())

    world.reconcile(Meddled(world.cluster, before=needed_again))
    assert asked
    assert world.versions()[ref][0] == uid
    world.assert_equal()


@pytest.mark.parametrize("meanwhile", MEANWHILE)
def test_a_stale_reconcile_never_overwrites_newer_objects(world: World, meanwhile: Callable[[World], None]) -> None:
    # A real server is slow enough to look at every third moment only.
    step = 1 if world.cluster.kind == "sandbox" else 3
    n = 1
    while True:
        world.another_app()
        world.ask(image(env={"GREETING": "old"}))
        world.ask_secrets(JWT_SECRET="x")
        world.ask(Restart())
        world.reconcile()
        combined = rolls_asked(world) - world.generation()
        world.ask(SetEnv(values={"GREETING": "hello"}))
        world.ask(Restart())
        once = Counter(n, lambda: meanwhile(world))
        before, life = position(world.app), world.life.deployment_id
        after = world.reconcile(Meddled(world.cluster, before=once))
        world.assert_equal()
        assert after.life == world.app.life
        if world.app.life is not None:
            same_life = world.life.deployment_id == life
            assert rolls_asked(world) - world.generation() >= (combined if same_life else 0)
        assert position(world.app) > before or world.app.life is None
        if not once.reached:
            assert n > 10
            return
        n += step


def test_a_stale_change_that_was_taken_back_before_it_was_applied_does_not_come_back(world: World) -> None:
    # The newer reconcile finds everything as it should be and so leaves no later position behind.
    for n in range(1, 7):
        world.another_app()
        world.do(image(env={"GREETING": "old"}))
        world.ask(SetEnv(values={"GREETING": "hello"}))
        once = Counter(n, lambda: world.do(SetEnv(values={"GREETING": "old"})))
        world.reconcile(Meddled(world.cluster, before=once))
        assert once.reached
        world.assert_equal()


@pytest.mark.parametrize("meanwhile", [an_end, a_new_life])
def test_a_stale_first_apply_resurrects_nothing_of_an_app_that_was_destroyed(
    world: World, meanwhile: Callable[[World], None]
) -> None:
    for n in range(1, 8):
        world.another_app()
        world.ask(image())
        world.ask_secrets(JWT_SECRET="x")
        world.ask(Restart())
        once = Counter(n, lambda: meanwhile(world))
        world.reconcile(Meddled(world.cluster, before=once))
        assert once.reached
        world.assert_equal()


def test_copies_that_a_stale_reconcile_made_again_are_removed_by_it(world: World) -> None:
    world.do(image(env={"GREETING": "old"}))
    world.settle()
    world.do(SetEnv(values={"GREETING": "hello"}))
    world.ask(Restart())
    old = world.copies("ConfigMap")

    def then() -> None:
        completed(world)
        assert not world.copies("ConfigMap") & old

    meddled = Meddled(world.cluster, before=Counter(2, then))
    world.reconcile(meddled)
    assert ("apply", next(Ref("ConfigMap", world.namespace, name) for name in old)) in writes(meddled.calls)
    world.assert_equal()


# Interruptions


def first_deploy(world: World) -> None:
    world.ask(image(env={"GREETING": "hello"}))
    world.ask_secrets(JWT_SECRET="first", DATABASE_URL="x")
    world.ask(Restart())


def redeploy(world: World) -> None:
    with_everything(world)
    world.ask(SetEnv(values={"GREETING": "bye"}))
    world.ask(UnsetSecrets(keys=("JWT_SECRET", "DATABASE_URL")))
    world.ask(image("nginx:2"))


def tidying_up(world: World) -> None:
    with_everything(world)
    world.do(SetEnv(values={"GREETING": "bye"}), Restart())
    world.settle()


def destroy(world: World) -> None:
    with_everything(world)
    world.ask(Destroy())


@pytest.mark.parametrize("fault", [unreachable, killed])
@pytest.mark.parametrize(
    ("scenario", "templates"), [(first_deploy, 1), (redeploy, 2), (tidying_up, 2), (destroy, None)]
)
def test_an_interruption_at_any_call_leaves_nothing_that_the_next_reconcile_does_not_finish(
    world: World,
    scenario: Callable[[World], None],
    templates: int | None,
    fault: Callable[[], None],
) -> None:
    step = 1 if world.cluster.kind == "sandbox" else 4
    n = 1
    while True:
        world.another_app()
        scenario(world)
        once = Counter(n, fault)
        try:
            world.reconcile(Meddled(world.cluster, before=once))
        except (ClusterUnreachableError, Killed):
            assert once.reached
        world.reconcile()
        world.assert_equal()
        if templates is not None:
            assert world.generation() == templates
            assert [event.through for event in world.applied()].count(world.life.changed) == (
                2 if scenario is tidying_up else 1
            )
        else:
            assert kinds(world, ResourcesRemoved) == [ResourcesRemoved]
        if not once.reached:
            assert n > 7
            return
        n += step


def test_what_is_killed_while_recording_is_recorded_once_by_the_next(world: World) -> None:
    world.ask(image())

    def never_recorded(_: str, ref: Ref) -> None:
        if ref.kind == "HTTPRoute":
            raise Killed

    with pytest.raises(Killed):
        world.reconcile(Meddled(world.cluster, after=never_recorded))
    assert world.app.dirty
    versions = world.versions()
    world.reconcile()
    unchanged = {ref for ref, version in world.versions().items() if versions.get(ref) == version}
    assert {ref.kind for ref in unchanged} >= {"ConfigMap", "Service"}
    assert len(world.applied()) == 1


def test_what_the_first_command_of_the_ledger_makes_meanwhile_is_not_someone_elses(world: World) -> None:
    asked: list[Ref] = []

    def deployed_by_another(_: str, ref: Ref) -> None:
        if not asked:
            asked.append(ref)
            with_everything(world)

    world.reconciler(Meddled(world.cluster, before=deployed_by_another)).refuse_foreign_objects(world.app_id)
    assert asked
    assert world.objects()


def loses_its_newest_lines(world: World, directory: Path, *instead: Callable[[], object]) -> Meddled:
    """A cluster beside which the ledger is put back to what it is now, once a roll that is asked for later was applied."""
    lost: list[Ref] = []
    with making(directory / "earlier.db") as copy:
        copy_database(directory / "ledger.db", copy)

    def put_back(method: str, ref: Ref) -> None:
        if (method, ref.kind) == ("apply", "Deployment") and not lost:
            lost.append(ref)
            with closing(SqliteStore(directory / "ledger.db")) as store, store.alone():
                store.replace(directory / "earlier.db")
            for record in instead:
                record()

    return Meddled(world.cluster, after=put_back)


def test_what_was_applied_of_lines_that_the_ledger_lost_is_not_recorded(world: World, tmp_path: Path) -> None:
    with_everything(world)
    known, cluster = world.app, loses_its_newest_lines(world, tmp_path)
    world.ask_secrets(JWT_SECRET="lost")
    world.ask(Restart())
    with pytest.raises(LedgerBehindError):
        world.reconcile(cluster)
    assert world.app == known
    world.ask(Restart())
    assert world.app.dirty


def test_what_came_instead_of_lines_that_the_ledger_lost_is_applied_as_well(world: World, tmp_path: Path) -> None:
    with_everything(world)

    def instead() -> None:  # as many lines as are lost
        for greeting in ("not", "lost"):
            world.ask(SetEnv(values={"GREETING": greeting}))

    cluster = loses_its_newest_lines(world, tmp_path, instead)
    world.ask(Scale(replicas=2))
    world.ask(Restart())
    world.reconcile(cluster)
    world.assert_equal()


def test_a_value_is_fingerprinted_also_where_something_changed_after_it_was_in_place(world: World) -> None:
    world.do(image())
    world.ask_secrets(JWT_SECRET="x")
    world.ask(Restart())
    changed: list[Ref] = []

    def change(method: str, ref: Ref) -> None:
        if (method, ref.kind) == ("apply", "Deployment") and not changed:
            changed.append(ref)
            raise ChangedMeanwhileError("a controller was faster")

    world.reconcile(Meddled(world.cluster, before=change))
    assert changed
    assert world.life.fingerprinted == {"JWT_SECRET": 1}


def test_a_value_that_the_ledger_lost_is_not_taken_for_the_one_that_was_set_instead(
    world: World, tmp_path: Path
) -> None:
    with_everything(world)

    def instead() -> None:
        world.ask_secrets(JWT_SECRET="other")
        world.ask(Restart())
        world.ask(Restart())

    cluster = loses_its_newest_lines(world, tmp_path, instead)
    world.ask_secrets(JWT_SECRET="lost")
    world.ask(Restart())
    world.reconcile(cluster)
    told = [line.event for line in world.ledger.history(world.app_id) if isinstance(line.event, SecretsFingerprinted)]
    recorded = {text for event in told for text in event.fingerprints.get("JWT_SECRET", {}).values()}
    values = ({"JWT_SECRET": value} for value in (b"first", b"other"))
    assert recorded == {world.ledger.fingerprints(world.life, value)["JWT_SECRET"] for value in values}
    world.assert_equal()


def test_every_named_object_is_looked_at_before_a_life_begins(world: World) -> None:
    meddled = Meddled(world.cluster)
    world.reconciler(meddled).refuse_foreign_objects(world.app_id)
    assert [ref for _, ref in meddled.calls] == list(named_objects(world.app_id.name, world.namespace))
    assert not writes(meddled.calls)


def test_objects_name_ledger_and_life(world: World) -> None:
    world.do(image())
    for each in world.objects().values():
        labels = each["metadata"]["labels"]
        assert (labels[LEDGER_LABEL], labels[LIFE_LABEL]) == (world.ledger.ledger_id(), world.life.deployment_id)


def test_a_secret_that_is_purged_before_its_pods_are_made_keeps_nothing_back_but_them(world: World) -> None:
    world.do(image())
    world.settle()
    world.ask_secrets(TOKEN="not-in-the-ledger")
    world.ask(Restart())
    world.ask(PurgeSecret(key="TOKEN"))
    with pytest.raises(SealedError):
        world.reconcile()
    world.do(Restart())
    world.settle()
    world.do()
    world.assert_equal()


def test_pods_that_read_a_purged_secret_keep_it_until_others_have_taken_over(world: World) -> None:
    world.ask(image())
    world.ask_secrets(TOKEN="not-in-the-ledger")
    world.do(Restart())
    world.settle()
    (copy,) = world.copies("Secret")
    world.do(PurgeSecret(key="TOKEN"), image("broken:1"))
    assert world.copies("Secret") == {copy}
    world.cluster.delete(Ref("Secret", world.namespace, copy), uid=None)
    world.do(image("nginx:2"))
    world.settle()
    world.do()
    world.assert_equal()
    assert world.copies("Secret") == set()
