"""Big ledgers for measurements, the same for the same seed: ``python -m tests.bench.make_ledger PATH --events 1000000``.

Nothing is decided on the way, so that a million events take a minute: each app is a small state of which only what would
be valid is asked. The lines are those of real commands, in the real codec and chain, with the rows beside the log that
such commands leave. The mix is that of teams that deploy often, configure sometimes and destroy rarely.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import NamedTuple
from uuid import UUID

from ledger import sealing
from ledger.clock import iso
from ledger.codec import encode
from ledger.envelope import Envelope, Source, Subject
from ledger.events import (
    AppliedObject,
    ApplyRefused,
    Deployed,
    Destroyed,
    DomainAssigned,
    DomainClaimed,
    DomainReleased,
    EnvSet,
    EnvUnset,
    Event,
    LedgerCreated,
    ReleaseMarkedBad,
    ResourcesApplied,
    ResourcesRemoved,
    Restarted,
    RolledBack,
    RolloutCompleted,
    RolloutFailed,
    Scaled,
    SecretSet,
    SecretsFingerprinted,
    SecretUnset,
    WorkerIdentitySet,
)
from ledger.keys import KeyFiles
from ledger.leaf import chain_hash, leaf_hash
from ledger.request import Request
from ledger.spec import AppId, SecretVersion, Spec
from ledger.sqlite_store import SqliteStore
from ledger.store import Head, LifeKeyRow, LifeRow, ModelStore, RequestRow, Row, SealedRow
from ledger.streams import LEDGER_STREAM, app_stream, domain_stream, observed_stream
from ledger.transfer import put_rows

FIRST_US = 1_704_067_200_000_000
"""2024-01-01T00:00:00Z, when the first line is recorded."""

LAST_US = 1_764_547_200_000_000
"""2025-12-01T00:00:00Z, before which the last one is."""

CLUSTER, NAMESPACE = "sandbox", "default"
BATCH = 10_000
"""Lines written in one transaction."""

OPENING = 5
"""How many events a first deploy leads to, observed ones included; no other request leads to more."""

_LEDGER_ID = "5ca1ab1e-0000-4000-8000-000000000000"
_ENV = ("LOG_LEVEL", "DATABASE_HOST", "CACHE_TTL", "FEATURE_FLAGS", "REGION", "WORKERS", "TIMEOUT", "ENDPOINT")
_SECRETS = ("DATABASE_PASSWORD", "API_TOKEN", "SIGNING_SECRET")
_PEOPLE = ("ana", "ben", "chloe", "dmitri", "ci")
_REASONS = (None, None, None, "hotfix", "weekly release", "raise the limits before the campaign", "incident 4711")
_ROLLS = ("release", "release", "release", "release", "restart", "roll_back")
_OTHERS = ("env_set", "env_set", "env_unset", "secret_set", "secret_unset", "scale", "scale", "mark_bad")
_FACTS = SecretsFingerprinted | ResourcesApplied | ApplyRefused | RolloutCompleted | RolloutFailed | ResourcesRemoved


def app_id(number: int) -> AppId:
    """The name of an app of every ledger made here; the first is number 0."""
    return AppId(CLUSTER, NAMESPACE, f"app-{number:05}")


def make(
    path: Path,
    *,
    events: int,
    apps: int,
    releases_of_first_app: int | None = None,
    seed: int = 1,
    keys: KeyFiles | None = None,
) -> None:
    """Make a ledger file that is not there yet; see `fill`."""
    with closing(SqliteStore(path)) as store:
        fill(store, events=events, apps=apps, releases_of_first_app=releases_of_first_app, seed=seed, keys=keys)


def fill(
    store: ModelStore,
    *,
    events: int,
    apps: int,
    releases_of_first_app: int | None = None,
    seed: int = 1,
    keys: KeyFiles | None = None,
) -> None:
    """Record exactly so many events about so many apps in a store that holds nothing.

    Args:
        store: An empty one, whose user may create its tables.
        events: All lines of the ledger, its own first two included.
        apps: Each is deployed at least once; early ones are busier than late ones.
        releases_of_first_app: So many releases of app 0, all in one life and spread over the whole ledger; None lets it
            be an app like the others.
        seed: The same gives the same events.
        keys: Where the ledger's keys are made, so that commands on it can be run; secrets are then really sealed, so that
            a second ledger differs in what was sealed. Without, keys and ciphertexts are made up.

    Raises:
        ValueError: So many apps or releases do not fit into so few events.
    """
    releases = releases_of_first_app or 0
    if events < 2 + OPENING * (2 * apps + releases):
        raise ValueError(f"{events} events are too few for {apps} apps and {releases} releases of the first")
    world = _World(Random(seed), keys)
    store.prepare()
    head = store.head()
    requests = world.requests(events, apps, releases_of_first_app)
    while world.position < events:
        batch = _Batch()
        while world.position < events and len(batch.lines) < BATCH:
            batch.add(next(requests))
        head = _put(store, head, batch)


class _Line(NamedTuple):
    stream: UUID
    version: int
    recorded_us: int
    topic: str
    state: bytes


@dataclass
class _Written:
    """What one request leaves: lines, and rows beside them."""

    lines: list[_Line] = field(default_factory=list)
    life: LifeRow | None = None
    life_key: LifeKeyRow | None = None
    sealed: list[SealedRow] = field(default_factory=list)
    purged: str | None = None
    request: RequestRow | None = None


@dataclass
class _Batch:
    lines: list[_Line] = field(default_factory=list)
    beside: list[_Written] = field(default_factory=list)

    def add(self, written: _Written) -> None:
        self.lines += written.lines
        self.beside.append(written)


def _put(store: ModelStore, head: Head, batch: _Batch) -> Head:
    """Write lines with their place and hashes, and what lies beside them, in one transaction."""
    position, _, chain = head
    rows = []
    for line in batch.lines:
        position += 1
        stream = line.stream.bytes
        leaf = leaf_hash(position, stream, line.version, line.recorded_us, line.topic, line.state)
        chain = chain_hash(chain, leaf)
        rows.append(Row(position, stream, line.version, line.topic, line.state, line.recorded_us, leaf, chain))
    with store.change() as tables:
        put_rows(tables, rows)
        found = batch.beside
        tables.execute_all("ledger.insert_request", [each.request._asdict() for each in found if each.request])
        tables.execute_all("ledger.insert_life", [each.life._asdict() for each in found if each.life])
        tables.execute_all("ledger.insert_life_key", [each.life_key._asdict() for each in found if each.life_key])
        tables.execute_all("ledger.insert_sealed", [row._asdict() for each in found for row in each.sealed])
        for each in found:
            if each.purged is not None:
                tables.execute("ledger.delete_life_key", {"deployment_id": each.purged})
                tables.execute("ledger.delete_sealed", {"deployment_id": each.purged})
    return Head(position, rows[-1].recorded_us, chain)


@dataclass
class _App:
    """What has to be remembered about an app for its next request to be valid."""

    id: AppId
    version: int = 0
    observed: int = 0
    lives: int = 0
    deployment_id: str = ""
    life_key: str = ""
    domain: str = ""
    release: int = 0
    spec: Spec = field(default_factory=lambda: Spec(image=""))
    env: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, SecretVersion] = field(default_factory=dict)
    sealed: dict[str, int] = field(default_factory=dict)
    roll: int = 0
    healthy: list[tuple[int, Spec, Mapping[str, str], Mapping[str, SecretVersion]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stream = app_stream(self.id)
        self.second = observed_stream(self.stream)

    @property
    def subject(self) -> Subject:
        return Subject(
            cluster=self.id.cluster,
            namespace=self.id.namespace,
            app=self.id.name,
            deployment_id=self.deployment_id,
        )


class _World:
    """All apps of a ledger that is being made, and what chance does to them."""

    def __init__(self, chance: Random, keys: KeyFiles | None) -> None:
        self.position = 0
        self._chance = chance
        self._keys = keys
        self._identity = ""
        self._us_per_line = 1
        self._apps: list[_App] = []
        self._written = _Written()
        self._request = _AT_FIRST
        self._asked_us = FIRST_US

    def requests(self, events: int, apps: int, releases_of_first_app: int | None) -> Iterator[_Written]:
        """What one request after the other leaves, without end; one of them ends exactly at `events`."""
        self._us_per_line = (LAST_US - FIRST_US) // events
        self._apps = [_App(app_id(number)) for number in range(apps)]
        first, opened = self._apps[0], 0
        yield self._genesis()
        while True:
            if events - self.position < OPENING:
                yield self._ask(self._open_one(), "note")
            elif opened < min(apps, 1 + 2 * apps * self.position // events):  # all within the first half
                opened += 1
                yield self._ask(self._apps[opened - 1], "release")
            elif releases_of_first_app is None:
                yield self._any(self._apps[int(opened * self._chance.random() ** 2)])
            elif first.release < min(releases_of_first_app, 1 + releases_of_first_app * self.position // events):
                yield self._ask(first, "release" if self._chance.random() < 0.95 else "roll_back")
            elif opened == 1 or self._chance.random() < 0.1:
                yield self._ask(first, self._chance.choice(("restart", *_OTHERS)))
            else:
                yield self._any(self._apps[1 + int((opened - 1) * self._chance.random() ** 2)])

    def _any(self, app: _App) -> _Written:
        if not app.deployment_id or self._chance.random() < 0.01:
            return self._ask(app, "destroy" if app.deployment_id else "release")
        return self._ask(app, self._chance.choice(_ROLLS if self._chance.random() < 0.6 else _OTHERS))

    def _open_one(self) -> _App:
        return next(app for app in self._apps if app.deployment_id)

    # -- Requests --------------------------------------------------------------------------------------------------

    def _ask(self, app: _App, verb: str) -> _Written:
        self._begin(app)
        {
            "release": self._release,
            "roll_back": self._roll_back,
            "restart": self._restart,
            "env_set": self._env_set,
            "env_unset": self._env_unset,
            "secret_set": self._secret_set,
            "secret_unset": self._secret_unset,
            "scale": self._scale,
            "mark_bad": self._mark_bad,
            "note": self._note,
            "destroy": self._destroy,
        }[verb](app)
        return self._written

    def _release(self, app: _App) -> None:
        opens = not app.deployment_id
        if opens:
            self._open(app)
        app.release += 1
        app.spec = replace(
            app.spec,
            image=f"registry.example.com/{app.id.name}:1.{app.release}.{self._chance.randrange(10)}",
            machines=self._chance.choice(((), (), ("node-a",), ("node-a", "node-b"))),
            cpu=self._chance.choice(("0.25", "0.5", "1")),
            health_path=self._chance.choice((None, "/healthz")),
        )
        key = app.life_key if opens else None
        deployed = Deployed(deployment_id=app.deployment_id, release=app.release, spec=app.spec, life_key=key)
        app.roll = self._record(app, deployed)
        if opens:
            self._record(app, DomainAssigned(domain=app.domain))
            self._claim(app, 1, DomainClaimed(domain=app.domain))
        elif self._chance.random() < 0.2:
            self._record(app, EnvSet(values=self._values(app)))
        self._roll_out(app)

    def _roll_back(self, app: _App) -> None:
        targets = [each for each in app.healthy if each[0] != app.release]
        if not targets:
            return self._release(app)
        target, spec, env, secrets = targets[-1]
        app.release += 1
        app.spec, app.env, app.secrets = spec, dict(env), dict(secrets)
        app.roll = self._record(
            app, RolledBack(release=app.release, target=target, only="all", spec=spec, env=env, secrets=secrets)
        )
        return self._roll_out(app)

    def _restart(self, app: _App) -> None:
        app.roll = self._record(app, Restarted())
        self._roll_out(app)

    def _env_set(self, app: _App) -> None:
        self._applied(app, self._record(app, EnvSet(values=self._values(app))))

    def _env_unset(self, app: _App) -> None:
        if not app.env:
            return self._env_set(app)
        key = self._chance.choice(sorted(app.env))
        del app.env[key]
        return self._applied(app, self._record(app, EnvUnset(keys=(key,))))

    def _secret_set(self, app: _App) -> None:
        key = self._chance.choice(_SECRETS)
        version = app.sealed[key] = app.sealed.get(key, 0) + 1
        ciphertext = self._sealed(app, key, version)
        app.secrets[key] = SecretVersion(version, sha256(ciphertext).hexdigest())
        self._written.sealed.append(SealedRow(app.deployment_id, key, version, ciphertext))
        through = self._record(app, SecretSet(secrets={key: app.secrets[key]}))
        fingerprint = sha256(f"{app.deployment_id} {key} {version // 2}".encode()).hexdigest()[:16]
        self._see(app, SecretsFingerprinted(fingerprints={key: {str(version): fingerprint}}), through)
        self._applied(app, through)

    def _secret_unset(self, app: _App) -> None:
        if not app.secrets:
            return self._secret_set(app)
        key = self._chance.choice(sorted(app.secrets))
        del app.secrets[key]
        return self._applied(app, self._record(app, SecretUnset(keys=(key,))))

    def _scale(self, app: _App) -> None:
        app.spec = replace(app.spec, replicas=app.spec.replicas % 5 + 1)
        self._applied(app, self._record(app, Scaled(replicas=app.spec.replicas)))

    def _mark_bad(self, app: _App) -> None:
        if app.release < 2 or self._chance.random() < 0.9:
            return self._scale(app)
        self._record(app, ReleaseMarkedBad(release=self._chance.randrange(1, app.release)))
        return None

    def _note(self, app: _App) -> None:
        """One event that nothing need follow."""
        app.spec = replace(app.spec, replicas=app.spec.replicas % 5 + 1)
        self._record(app, Scaled(replicas=app.spec.replicas))

    def _destroy(self, app: _App) -> None:
        destroyed = self._record(app, Destroyed())
        self._claim(app, 2, DomainReleased(domain=app.domain))
        self._see(app, ResourcesRemoved(through=destroyed), destroyed)
        self._written.purged = app.deployment_id
        app.deployment_id, app.release, app.env, app.secrets, app.sealed, app.healthy = "", 0, {}, {}, {}, []

    # -- Parts of requests -----------------------------------------------------------------------------------------

    def _genesis(self) -> _Written:
        origin = f"1ctl.dev/ledger/{_LEDGER_ID}"
        key = self._keys.make_signing_key(_LEDGER_ID, origin) if self._keys else f"{origin}+00000000+AQ=="
        self._identity = self._keys.make_identity(_LEDGER_ID) if self._keys else sealing.public_half(b"\1" * 32)
        self._begin(None)
        self._write(LEDGER_STREAM, 1, LedgerCreated(ledger_id=_LEDGER_ID, origin=origin, verification_key=key), None)
        self._write(LEDGER_STREAM, 2, WorkerIdentitySet(public_key=self._identity), None)
        return self._written

    def _open(self, app: _App) -> None:
        chance = self._chance
        app.lives += 1
        app.deployment_id = str(UUID(bytes=chance.randbytes(16), version=4))
        app.domain = f"{chance.choice(('quick', 'bright'))}otter-{chance.randbytes(5).hex()}.example.com"
        app.spec = Spec(image="", port=chance.randrange(3000, 9000))
        private, app.life_key = sealing.generate() if self._keys else (b"", self._identity)
        wrapped = sealing.wrap(private, app.deployment_id, self._identity) if self._keys else bytes(80)
        place = (app.id.cluster, app.id.namespace, app.id.name)
        self._written.life = LifeRow(app.deployment_id, *place, self.position + 1)
        self._written.life_key = LifeKeyRow(app.deployment_id, self._identity, wrapped)

    def _sealed(self, app: _App, key: str, version: int) -> bytes:
        value = self._chance.randbytes(24)
        return sealing.seal_value(value, app.deployment_id, key, version, app.life_key) if self._keys else value

    def _values(self, app: _App) -> dict[str, str]:
        keys = self._chance.sample(_ENV, self._chance.choice((1, 1, 2)))
        values = {key: f"value-{self._chance.randrange(1000)}.internal.example.com" for key in keys}
        app.env |= values
        return values

    def _roll_out(self, app: _App) -> None:
        """What the effects side sees of a roll."""
        if self._chance.random() < 0.01:
            refusal = ApplyRefused(release=app.release, through=app.roll, reason="Forbidden", message="exceeded quota")
            self._see(app, refusal, app.roll)
            return
        self._applied(app, app.roll)
        if self._chance.random() < 0.07:
            failure = RolloutFailed(
                release=app.release, roll=app.roll, reason="ImagePullBackOff", message="Back-off pulling image"
            )
            self._see(app, failure, app.roll)
            return
        digest = f"sha256:{sha256(app.spec.image.encode()).hexdigest()}"
        ready = RolloutCompleted(release=app.release, roll=app.roll, replicas=app.spec.replicas, image_digest=digest)
        self._see(app, ready, app.roll)
        app.healthy = [*app.healthy[-4:], (app.release, app.spec, dict(app.env), dict(app.secrets))]

    def _applied(self, app: _App, through: int) -> None:
        kinds = ("ConfigMap", "Deployment", "HTTPRoute", "Service")
        objects = tuple(
            AppliedObject(
                kind=kind, name=app.id.name, uid=f"{app.deployment_id[:-4]}{kind[:4].lower()}", digest=f"{through:064x}"
            )
            for kind in kinds
        )
        self._see(app, ResourcesApplied(release=app.release, through=through, objects=objects), through)

    # -- Lines -----------------------------------------------------------------------------------------------------

    def _begin(self, app: _App | None) -> None:
        self._written = _Written()
        chance = self._chance
        actor = chance.choice(_PEOPLE)
        commit = chance.randbytes(20).hex() if actor == "ci" else None
        ci = f"https://ci.example.com/runs/{self.position}" if actor == "ci" else None
        source = Source(
            program="1ctl 0.1.0", host=f"{actor}-laptop", commit=commit, dirty=False if commit else None, ci=ci
        )
        request_id = str(UUID(bytes=chance.randbytes(16), version=4))
        self._asked_us = self._next_us()
        self._request = Request(request_id=request_id, actor=actor, source=source, reason=chance.choice(_REASONS))
        if app is not None:
            first = self.position + 1
            self._written.request = RequestRow(request_id, chance.randbytes(16), chance.randbytes(32), first, first)

    def _record(self, app: _App, event: Event) -> int:
        app.version += 1
        position = self._write(app.stream, app.version, event, app.subject)
        if self._written.request is not None:
            self._written.request = self._written.request._replace(last_position=position)
        return position

    def _see(self, app: _App, event: _FACTS, causation: int) -> None:
        app.observed += 1
        self._write(app.second, app.observed, event, app.subject, causation)

    def _claim(self, app: _App, version: int, event: DomainClaimed | DomainReleased) -> None:
        position = self._write(domain_stream(app.domain), version, event, app.subject)
        if self._written.request is not None:
            self._written.request = self._written.request._replace(last_position=position)

    def _next_us(self) -> int:
        return FIRST_US + self.position * self._us_per_line

    def _write(
        self, stream: UUID, version: int, event: Event, subject: Subject | None, causation: int | None = None
    ) -> int:
        seen = causation is not None
        recorded_us = self._next_us() if seen else self._asked_us
        self.position += 1
        envelope = Envelope(
            actor="1ctl/effects" if seen else self._request.actor,
            reason=None if seen else self._request.reason,
            request_id=self._request.request_id,
            source=self._request.source,
            subject=subject,
            correlation_id=self._request.request_id,
            causation=causation,
            clock=iso(recorded_us),
            salt=self._chance.randbytes(16).hex(),
        )
        self._written.lines.append(_Line(stream, version, recorded_us, type(event).__name__, encode(event, envelope)))
        return self.position


_AT_FIRST = Request(request_id="", actor="", source=Source(program="", host=""))


def main(arguments: Sequence[str] | None = None) -> None:
    """Make a ledger as the command line says."""
    parser = argparse.ArgumentParser(description="Make a big ledger.")
    parser.add_argument("path", type=Path, help="the ledger file, or a home (with --home)")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--apps", type=int, default=100)
    parser.add_argument("--releases", type=int, help="of the first app")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--home", action="store_true", help="PATH is an ONECTL_HOME: make its sandbox ledger and its keys"
    )
    asked = parser.parse_args(arguments)
    path: Path = asked.path / "ledgers" / "sandbox.db" if asked.home else asked.path
    keys = KeyFiles(asked.path / "keys") if asked.home else None
    make(path, events=asked.events, apps=asked.apps, releases_of_first_app=asked.releases, seed=asked.seed, keys=keys)


if __name__ == "__main__":
    main()
