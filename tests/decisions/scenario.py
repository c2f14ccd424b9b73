"""Decisions as sentences: ``given(facts).when(command).then(events)``, or ``.refused(...)``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import pytest

from ledger.app import App, Life, fold
from ledger.commands import Command
from ledger.decide import Minted, decide
from ledger.envelope import Envelope, Recorded, Source, Subject
from ledger.errors import RefusedError
from ledger.events import Deployed, Destroyed, DomainAssigned, Event, ObservedEvent
from ledger.rollback import past_releases
from ledger.spec import AppId, SecretVersion, Spec
from ledger.streams import app_stream, observed_stream

APP = AppId("prod", "shop", "orders")
FIRST_LIFE = "11111111-1111-4111-8111-111111111111"
NEXT_LIFE = "22222222-2222-4222-8222-222222222222"
FIRST_DOMAIN = "calmotter-1111111.example.com"
NEXT_DOMAIN = "boldotter-2222222.example.com"
KEY = "public-half-of-the-life-key"
START_US = 1_767_225_600_000_000
SECOND_US = 1_000_000

_SEEN = get_args(ObservedEvent)


def deployed(release: int = 1, *, life: str = FIRST_LIFE, spec: Spec | None = None) -> Deployed:
    """A release of a life; release 1 brings the life's key."""
    spec = spec or Spec(image="orders:1")
    return Deployed(deployment_id=life, release=release, spec=spec, life_key=KEY if release == 1 else None)


def opened(spec: Spec | None = None, *, life: str = FIRST_LIFE) -> tuple[Event, ...]:
    """What a first deploy records."""
    return deployed(spec=spec, life=life), DomainAssigned(domain=FIRST_DOMAIN)


def ended(*, life: str = FIRST_LIFE) -> tuple[Event, ...]:
    """A life from its first deploy to its end."""
    return (*opened(life=life), Destroyed())


def sealed(version: int, text: str = "ciphertext") -> SecretVersion:
    """One sealed value."""
    return SecretVersion(version, f"digest of {text} {version}")


def envelope(life: str | None, request: str, *, reason: str | None = None) -> Envelope:
    """An envelope about a life of `APP`, or about no app."""
    subject = Subject(cluster=APP.cluster, namespace=APP.namespace, app=APP.name, deployment_id=life) if life else None
    return Envelope(
        actor="ada",
        reason=reason,
        request_id=request,
        source=Source(program="1ctl 0.1.0", host="ci"),
        subject=subject,
        correlation_id=request,
        causation=None,
        clock="2026-01-01T00:00:00.000000Z",
        salt="00" * 16,
    )


def told(*facts: Event | tuple[str, Event], life: str = FIRST_LIFE, after: int = 0) -> list[Recorded]:
    """The facts as lines of the ledger, a second and a position apart.

    Args:
        facts: Each of a request of its own, unless given as (request, fact).
        life: The life they are about until one is deployed.
        after: Position before the first.
    """
    lines: list[Recorded] = []
    versions = {"app": after, "observed": after}
    for position, fact in enumerate(facts, start=after + 1):
        request, event = fact if isinstance(fact, tuple) else (f"request-{position}", fact)
        if isinstance(event, Deployed):
            life = event.deployment_id
        kind = "observed" if isinstance(event, _SEEN) else "app"
        versions[kind] += 1
        stream = app_stream(APP) if kind == "app" else observed_stream(app_stream(APP))
        at = START_US + position * SECOND_US
        lines.append(Recorded(position, stream, versions[kind], at, envelope(life, request), event))
    return lines


def app(*facts: Event | tuple[str, Event]) -> App:
    """The app after these facts."""
    return fold(App(id=APP), told(*facts))


@dataclass(frozen=True)
class Answer:
    """What a command leads to, not asked for yet."""

    command: Command
    app: App
    minted: Minted

    def then(self, *events: Event) -> None:
        """It leads to exactly these events; to none if there is nothing to change."""
        assert list(decide(self.command, self.app, self.minted)) == list(events)

    def refused(self, message: str, *, error: type[RefusedError] = RefusedError, hint: str = "") -> None:
        """It is refused with this error, whose message and hint have these texts in them."""
        with pytest.raises(RefusedError) as caught:
            decide(self.command, self.app, self.minted)
        assert type(caught.value) is error
        assert message in caught.value.message
        assert caught.value.hint is not None
        assert hint in caught.value.hint


@dataclass(frozen=True)
class Given:
    """What had happened."""

    app: App
    lines: Sequence[Recorded] = ()

    def when(self, command: Command, *, secrets: Mapping[str, SecretVersion] | None = None) -> Answer:
        """What is asked for now; `secrets` is what was sealed for it."""
        before = App(id=self.app.id)
        life = self.app.life
        minted = Minted(
            deployment_id=NEXT_LIFE,
            domain=NEXT_DOMAIN,
            life_key=KEY,
            sealed=secrets or {},
            releases=past_releases(self.lines, before, life.deployment_id) if life else (),
            ended=_ended_life(self.lines),
        )
        return Answer(command, self.app, minted)


def _ended_life(lines: Sequence[Recorded]) -> Life | None:
    """The life that was destroyed last, as it was just before."""
    ends = [index for index, line in enumerate(lines) if isinstance(line.event, Destroyed)]
    return fold(App(id=APP), lines[: ends[-1]]).life if ends else None


def given(*facts: Event | tuple[str, Event], name: str = APP.name) -> Given:
    """What had happened to the app before."""
    lines = told(*facts)
    return Given(fold(App(id=AppId(APP.cluster, APP.namespace, name)), lines), lines)
