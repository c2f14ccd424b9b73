"""The read model behind `deploy list`: one row per life, open or ended, of every app in the ledger."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, assert_never, get_args

import orjson

from ledger.clock import LATEST_US
from ledger.events import (
    ApplyRefused,
    ApplyRetried,
    Deployed,
    Destroyed,
    DomainAssigned,
    DomainClaimed,
    DomainReleased,
    DriftDetected,
    DriftHealed,
    EnvSet,
    EnvUnset,
    LedgerCreated,
    LedgerMoved,
    LedgerRestored,
    ObjectAdopted,
    Redacted,
    ReleaseMarkedBad,
    ReleaseUnmarked,
    ResourcesApplied,
    ResourcesRemoved,
    Restarted,
    RolledBack,
    RolloutCompleted,
    RolloutFailed,
    Scaled,
    SecretPurged,
    SecretSet,
    SecretsFingerprinted,
    SecretUnset,
    WorkerDisabled,
    WorkerEnabled,
    WorkerIdentitySet,
)
from projections.app_views import Deployment
from projections.lifecycle import Status, lifecycle
from projections.projection import wrong_model
from projections.runner import reading

if TYPE_CHECKING:
    from ledger.envelope import Line, Subject
    from ledger.events import Event
    from ledger.spec import Spec
    from ledger.store import Asking, ModelStore, Tables

Ignored: TypeAlias = (
    LedgerCreated
    | WorkerIdentitySet
    | LedgerMoved
    | LedgerRestored
    | Redacted
    | WorkerEnabled
    | WorkerDisabled
    | ReleaseMarkedBad
    | ReleaseUnmarked
    | DomainAssigned
    | DomainClaimed
    | DomainReleased
    | RolloutCompleted
    | RolloutFailed
    | DriftDetected
    | DriftHealed
    | SecretsFingerprinted
)
"""No line of the list shows them: other streams, host names, bad marks, and how pods and objects are doing. Every other
event has an arm of `AppList.changed`; a new one in neither fails the type check."""


class AppListRow(NamedTuple):
    """A life; the columns of its table, in order.

    Attributes:
        deployment_id: UUID text.
        cluster: Cluster name.
        namespace: Kubernetes namespace.
        app: App name.
        hostnames: Machines, a JSON array of text.
        image: Image reference, as given.
        replicas: Number of pods asked for.
        port: Container and service port.
        cpu: Kubernetes quantity.
        memory: Kubernetes quantity.
        health_path: Path of the readiness probe, or None.
        image_pull_secret: Name of a Secret, or None.
        env_keys: Environment keys that are set, a sorted JSON array of text.
        secret_keys: Secret keys that are set, likewise.
        release: Newest release number.
        changed: Position of the newest event asked for.
        applied_through: Position up to which the cluster acknowledged everything; 0 before the first time.
        refused_through: Position up to which the cluster refused since then; 0 for never.
        opened: Position of release 1.
        opened_us: When that was recorded, microseconds since 1970-01-01 UTC.
        updated_us: When the newest event asked for was recorded, likewise.
        destroyed_us: When the life ended, likewise, or None.
        valid_from: Position of the event that made it as it is.
        destroyed: Position at which the life ended, or None.
    """

    deployment_id: str
    cluster: str
    namespace: str
    app: str
    hostnames: str
    image: str
    replicas: int
    port: int
    cpu: str
    memory: str
    health_path: str | None
    image_pull_secret: str | None
    env_keys: str
    secret_keys: str
    release: int
    changed: int
    applied_through: int
    refused_through: int
    opened: int
    opened_us: int
    updated_us: int
    destroyed_us: int | None
    valid_from: int
    destroyed: int | None

    @property
    def status(self) -> Status:
        """How far the cluster has got."""
        return lifecycle(
            changed=self.changed,
            applied_through=self.applied_through,
            refused_through=self.refused_through,
            ended=self.destroyed_us is not None,
        )

    @property
    def env_names(self) -> list[str]:
        """Environment keys that are set, sorted.

        Raises:
            ReadModelError: The column holds something else.
        """
        return _texts(self.env_keys)

    @property
    def secret_names(self) -> list[str]:
        """Secret keys that are set, sorted; raises as `env_names`."""
        return _texts(self.secret_keys)

    def but(self, **columns: Any) -> AppListRow:
        """The same row with other values in some columns. `_replace` takes 1.6 times as long: 4 % of a rebuild."""
        values = list(self)
        for name, column in columns.items():
            values[_PLACES[name]] = column
        return tuple.__new__(AppListRow, values)

    def deployment(self) -> Deployment:
        """The life as the commands show it, without its domain; raises as `env_names`."""
        return Deployment(
            deployment_id=self.deployment_id,
            hostnames=tuple(_texts(self.hostnames)),
            cluster=self.cluster,
            namespace=self.namespace,
            app_label=self.app,
            status=self.status,
            release=self.release,
            image=self.image,
            replicas=self.replicas,
            port=self.port,
            cpu=self.cpu,
            memory=self.memory,
            health_path=self.health_path,
            image_pull_secret=self.image_pull_secret,
            env_enabled=bool(self.env_names),
            secret_enabled=bool(self.secret_names),
            created_us=self.opened_us,
            updated_us=self.updated_us,
            destroyed_us=self.destroyed_us,
        )


class PastRow(NamedTuple):
    """A life as it was; the columns of its table, in order.

    Attributes:
        opened: Position of release 1, which names the life.
        valid_from: Position of the event that made it so.
        valid_to: Position of the event that made it otherwise.
        content: The columns of its `AppListRow` after those that name the life, a JSON array. It is only read as a whole.
    """

    opened: int
    valid_from: int
    valid_to: int
    content: bytes


_PLACES = {name: place for place, name in enumerate(AppListRow._fields)}

_NAMES = 4
"""Columns of a row that name a life and stay as they are."""

_NONE = type(None)
_COLUMNS = frozenset(
    (*[str] * 6, int, int, str, str, health_path, image_pull_secret, str, str, *[int] * 7, destroyed, int, destroyed)
    for health_path, image_pull_secret, destroyed in product((str, _NONE), (str, _NONE), (int, _NONE))
)
"""The types of a row's columns, as they may be together."""


class AppList:
    """The projection: see `projections.projection.Projection`. Rows are keyed by deployment id."""

    name = "app_list"
    version = 6
    past_table = "projections.app_list_past"
    tables: tuple[str, ...] = ("projections.app_list", past_table)
    ignored = frozenset(kind.__name__ for kind in get_args(Ignored))
    redactable = False  # it has only the keys of environment values, and only the positions of failures

    def key(self, line: Line) -> str | None:
        """The deployment id of the life that the event is about."""
        subject = line.subject
        return subject.deployment_id if subject else None

    def apply(self, rows: dict[str, AppListRow], line: Line) -> None:
        """Fold one more event. For a life that has ended, only what becomes of its objects is news."""
        subject, event = line.subject, line.event
        if subject is None:
            return
        row = rows.get(subject.deployment_id)
        if row is None:
            if isinstance(event, Deployed):
                rows[subject.deployment_id] = self.opened(subject, line, event)
        elif row.destroyed_us is None:
            rows[subject.deployment_id] = self.changed(row, line, event)
        elif row.status != "destroyed":
            rows[subject.deployment_id] = self.leaving(row, line, event)

    def changed(self, row: AppListRow, line: Line, event: Event) -> AppListRow:  # noqa: C901, PLR0911, PLR0912 - one arm per event
        """A life after one more event about it."""
        match event:
            case ResourcesApplied():  # first, as every second event is one
                return self.applied(row, line, event)
            case Deployed():
                return self.deployed(row, line, event)
            case RolledBack():
                return self.rolled_back(row, line, event)
            case EnvSet():
                return self.env_set(row, line, event)
            case EnvUnset():
                return self.env_unset(row, line, event)
            case SecretSet():
                return self.secret_set(row, line, event)
            case SecretUnset():
                return self.secret_unset(row, line, event)
            case SecretPurged():
                return self.secret_purged(row, line, event)
            case Scaled():
                return self.scaled(row, line, event)
            case Restarted() | ApplyRetried() | ObjectAdopted():
                return self.asked_again(row, line)
            case Destroyed():
                return self.destroyed(row, line)
            case ApplyRefused():
                return self.refused(row, line, event)
            case ResourcesRemoved():
                return row  # of a life that has ended
            case _:
                if not isinstance(event, Ignored):
                    assert_never(event)
                return row

    def leaving(self, row: AppListRow, line: Line, event: Event) -> AppListRow:
        """A life that has ended, while its objects are there, after one more event about it."""
        match event:
            case ResourcesRemoved():
                return self.removed(row, line, event)
            case ApplyRefused():
                return self.refused(row, line, event)
            case ApplyRetried():
                return row.but(valid_from=line.position, changed=line.position)
            case _:
                return row

    def opened(self, subject: Subject, line: Line, event: Deployed) -> AppListRow:
        """Release 1 opens a life."""
        return AppListRow(
            deployment_id=subject.deployment_id,
            cluster=subject.cluster,
            namespace=subject.namespace,
            app=subject.app,
            env_keys=_json(()),
            secret_keys=_json(()),
            release=event.release,
            changed=line.position,
            applied_through=0,
            refused_through=0,
            opened=line.position,
            opened_us=line.recorded_us,
            updated_us=line.recorded_us,
            destroyed_us=None,
            valid_from=line.position,
            destroyed=None,
            **_spec_columns(event.spec),
        )

    def deployed(self, row: AppListRow, line: Line, event: Deployed) -> AppListRow:
        """A later release replaces all that runs; the configuration stays."""
        return _asked(row, line, release=event.release, **_spec_columns(event.spec))

    def rolled_back(self, row: AppListRow, line: Line, event: RolledBack) -> AppListRow:
        """An earlier release comes back under a new number, with the configuration that the event holds."""
        return _asked(
            row,
            line,
            release=event.release,
            env_keys=_json(sorted(event.env)),
            secret_keys=_json(sorted(event.secrets)),
            **_spec_columns(event.spec),
        )

    def env_set(self, row: AppListRow, line: Line, event: EnvSet) -> AppListRow:
        """Keys are added."""
        return _asked(row, line, env_keys=_with(row.env_keys, event.values))

    def env_unset(self, row: AppListRow, line: Line, event: EnvUnset) -> AppListRow:
        """Keys go."""
        return _asked(row, line, env_keys=_without(row.env_keys, event.keys))

    def secret_set(self, row: AppListRow, line: Line, event: SecretSet) -> AppListRow:
        """Keys are added."""
        return _asked(row, line, secret_keys=_with(row.secret_keys, event.secrets))

    def secret_unset(self, row: AppListRow, line: Line, event: SecretUnset) -> AppListRow:
        """Keys go."""
        return _asked(row, line, secret_keys=_without(row.secret_keys, event.keys))

    def secret_purged(self, row: AppListRow, line: Line, event: SecretPurged) -> AppListRow:
        """The key goes, with every value it ever had."""
        return _asked(row, line, secret_keys=_without(row.secret_keys, (event.key,)))

    def scaled(self, row: AppListRow, line: Line, event: Scaled) -> AppListRow:
        """The number of pods asked for."""
        return _asked(row, line, replicas=event.replicas)

    def asked_again(self, row: AppListRow, line: Line) -> AppListRow:
        """Nothing that a line shows is different, but the cluster has something to do."""
        return _asked(row, line)

    def destroyed(self, row: AppListRow, line: Line) -> AppListRow:
        """The life has ended; it is kept for questions about ended ones, too."""
        return _asked(row, line, destroyed_us=line.recorded_us, destroyed=line.position)

    def applied(self, row: AppListRow, line: Line, event: ResourcesApplied) -> AppListRow:
        """The cluster acknowledged everything up to a position; of a line that the ledger lost, that says nothing."""
        if event.through >= line.position:
            return row
        return row.but(valid_from=line.position, applied_through=event.through, refused_through=0)

    def refused(self, row: AppListRow, line: Line, event: ApplyRefused) -> AppListRow:
        """The cluster refused what was asked for up to a position, unless that is not the newest any more."""
        if event.through < row.changed:
            return row
        return row.but(valid_from=line.position, refused_through=event.through)

    def removed(self, row: AppListRow, line: Line, event: ResourcesRemoved) -> AppListRow:
        """Every object is gone, however often that was tried since the destroy, whose position the event names."""
        through = max(event.through, row.changed)
        return row.but(valid_from=line.position, applied_through=through, refused_through=0)

    def past(self, row: AppListRow, position: int) -> PastRow:
        """A life as it was until a position."""
        # A copy: what orjson returns itself holds 4 KiB, however short it is, and thousands are kept for a while.
        content = bytes(memoryview(orjson.dumps(row[_NAMES:])))
        return PastRow(row.opened, row.valid_from, position, content)

    def load(self, tables: Asking, key: str) -> AppListRow | None:
        """The stored row of a life."""
        rows = tables.ask("projections.app_list_row", {"deployment_id": key})
        return _row(rows[0]) if rows else None

    def stored(self, tables: Tables) -> Iterator[AppListRow]:
        """Every stored row, in no order."""
        return map(AppListRow._make, tables.each("projections.app_list_rows"))

    def page(self, tables: Asking, after: str, limit: int) -> Sequence[AppListRow]:
        """Stored rows, by rising deployment id."""
        return list(map(_row, tables.ask("projections.app_list_rows_page", {"after": after, "limit": limit})))

    def past_page(self, tables: Asking, after: PastRow | None, limit: int) -> Sequence[PastRow]:
        """Lives as they were before, by life and time."""
        place = {"opened": after.opened, "valid_from": after.valid_from} if after else _BEFORE_ALL
        return list(map(PastRow._make, tables.ask("projections.app_list_past_page", {**place, "limit": limit})))

    def name_of(self, row: AppListRow) -> str:
        """The deployment id."""
        return row.deployment_id

    def save(self, tables: Tables, rows: Collection[AppListRow]) -> None:
        """Store rows, in place of those with the same keys."""
        keys = [{"deployment_id": row.deployment_id} for row in rows]
        tables.execute_all("projections.delete_app_list_row", keys)
        tables.put("projections.app_list", rows)

    def stored_past(self, tables: Tables) -> Iterator[Sequence[object]]:
        """The columns of every life as it ever was before, by life and time."""
        return tables.each("projections.app_list_past_rows")

    def save_past(self, tables: Tables, rows: Iterable[PastRow]) -> None:
        """Store lives as they were."""
        tables.put("projections.app_list_past", rows)


APP_LIST = AppList()

_BEFORE_ALL = {"opened": -(2**63), "valid_from": -(2**63)}

ALL = 2**31 - 1
"""More rows than a list has."""


class AppListPage(NamedTuple):
    """Some lives of a namespace.

    Attributes:
        rows: The lives, oldest first.
        more: How many more there are after them.
    """

    rows: list[AppListRow]
    more: int


def app_list(
    store: ModelStore, cluster: str, namespace: str, *, ended: bool = False, position: int | None = None
) -> list[AppListRow]:
    """All lives in one namespace, oldest first; arguments and errors as for `app_list_page`."""
    return app_list_page(store, cluster, namespace, ended=ended, position=position).rows


def app_list_page(
    store: ModelStore,
    cluster: str,
    namespace: str,
    *,
    ended: bool = False,
    after: int = 0,
    limit: int | None = None,
    position: int | None = None,
) -> AppListPage:
    """The lives in one namespace, oldest first; every append acknowledged before is in them.

    Args:
        store: The ledger's storage; if it cannot be written, the answer is folded in memory from where it stands.
        cluster: Cluster name.
        namespace: Kubernetes namespace.
        ended: Whether destroyed lives are wanted as well.
        after: Only lives opened after this position; for the next page, `opened` of the last row.
        limit: At most so many, or None for all.
        position: As they were at this position, lives destroyed since included; None for now.

    Raises:
        UnknownEventError: A newer program made the read model, or wrote events that this one does not know.
        ReadModelError: The read model is not what it should be.
        LedgerUnavailableError, LedgerBusyError: The ledger cannot be read.
    """
    asked = _Question(cluster, namespace, after, ended, position)
    with reading(store, APP_LIST, upto=position) as unstored:
        more = ALL if limit is None else limit + 1 + len(unstored.rows)
        stored = asked.rows(store, more) if unstored.table_exists else []
        rows = [row for row in stored if row.deployment_id not in unstored.rows]
        rows += filter(asked.wants, unstored.rows.values())
        rows.sort(key=lambda row: row.opened)
        if limit is None or len(rows) <= limit:
            return AppListPage(rows, 0)
        total = asked.count(store) if unstored.table_exists else 0
    total += sum(map(asked.wants, unstored.rows.values())) - sum(map(asked.wants, unstored.replaced.values()))
    return AppListPage(rows[:limit], total - limit)


class _Question(NamedTuple):
    """Which lives are wanted, and as of when."""

    cluster: str
    namespace: str
    after: int
    ended: bool
    position: int | None

    def wants(self, row: AppListRow) -> bool:
        """Whether a life as it was then is wanted."""
        place = (row.cluster, row.namespace) == (self.cluster, self.namespace)
        return place and row.opened > self.after and (self.ended or row.destroyed_us is None)

    def rows(self, store: Asking, limit: int) -> list[AppListRow]:
        """The stored ones, oldest first."""
        found = store.ask(self._statement("projections.{}_lives"), {**self._place, "limit": limit})
        if self.position is None:
            return list(map(_row, found))
        return [_as_then(_row(row), then, self.position) for *row, then in found]

    def count(self, store: Asking) -> int:
        """How many stored ones there are."""
        ((count,),) = store.ask(self._statement("projections.count_{}_lives"), self._place)
        return int(count)

    def _statement(self, name: str) -> str:
        return name.format("all" if self.ended else "open") + ("" if self.position is None else "_then")

    @property
    def _place(self) -> dict[str, object]:
        place: dict[str, object] = {"cluster": self.cluster, "namespace": self.namespace, "after": self.after}
        return place if self.position is None else {**place, "position": self.position}


def _as_then(row: AppListRow, then: object, position: int) -> AppListRow:
    """A life as it was at a position: as it is, or the newest of what it was before."""
    if row.valid_from <= position:
        return row
    try:
        content = orjson.loads(then) if isinstance(then, bytes) else None
    except ValueError:
        content = None
    if not isinstance(content, list) or len(content) != len(row) - _NAMES:
        raise wrong_model(APP_LIST.name, f"it does not say how the life {row.deployment_id} was at position {position}")
    return _row((*row[:_NAMES], *content))


def _row(columns: Sequence[Any]) -> AppListRow:
    """A row as a table answers it.

    Raises:
        ReadModelError: It is none of ours: a table beside the log may hold anything once somebody changed it.
    """
    row = AppListRow._make(columns)
    if (
        tuple(map(type, row)) not in _COLUMNS
        or not 0 <= row.opened_us <= LATEST_US
        or not 0 <= row.updated_us <= LATEST_US
        or not 0 <= (row.destroyed_us or 0) <= LATEST_US
    ):
        raise wrong_model(
            APP_LIST.name, f"the row of the life {str(row.deployment_id)[:60]!r} holds what none can hold"
        )
    return row


def _texts(column: str) -> list[str]:
    """The texts of a JSON array in a column.

    Raises:
        ReadModelError: It is none.
    """
    try:
        found = orjson.loads(column)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise wrong_model(APP_LIST.name, "a row holds something else than a list of names")
    return found


def _spec_columns(spec: Spec) -> dict[str, Any]:
    return {
        "hostnames": _json(spec.machines),
        "image": spec.image,
        "replicas": spec.replicas,
        "port": spec.port,
        "cpu": spec.cpu,
        "memory": spec.memory,
        "health_path": spec.health_path,
        "image_pull_secret": spec.image_pull_secret,
    }


def _asked(row: AppListRow, line: Line, **columns: Any) -> AppListRow:
    """Something was asked for: the cluster has to catch up."""
    return row.but(valid_from=line.position, changed=line.position, updated_us=line.recorded_us, **columns)


def _with(keys: str, more: Iterable[str]) -> str:
    return _json(sorted({*_texts(keys), *more}))


def _without(keys: str, fewer: Iterable[str]) -> str:
    return _json(sorted({*_texts(keys)}.difference(fewer)))


def _json(texts: Sequence[str]) -> str:
    return orjson.dumps(texts).decode()
