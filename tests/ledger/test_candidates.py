"""What a rollback chooses from, read from the end, is what the whole history says."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile, zip_longest

import pytest
from hypothesis import HealthCheck, given, settings

from ledger import candidates as module
from ledger import landmarks
from ledger.app import App, Life, fold
from ledger.candidates import candidates, ended_life
from ledger.envelope import Recorded
from ledger.errors import RefusedError
from ledger.events import Deployed, Destroyed, Restarted, RolledBack, RolloutCompleted, RolloutFailed
from ledger.landmarks import NEWEST, LifeSpan, release_failure, roll_verdict, span
from ledger.reader import LedgerReader
from ledger.rollback import PastRelease, default_target, past_releases
from tests.projections.histories import APPS, Script, Step, about, script, steps
from tests.projections.stores import kept
from tests.seeds import examples

APP = APPS[0]
calm = settings(
    deadline=None,
    max_examples=examples(20, short=60),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOWS", (2, 4, None))
    monkeypatch.setattr(landmarks, "_TOLD", 2)


def of_the_open_life(lines: Sequence[Recorded]) -> tuple[App, Sequence[PastRelease]]:
    """The app, and all releases of its open life."""
    history = about(lines, APP)
    app = fold(App(id=APP), history)
    return app, past_releases(history, App(id=APP), app.life.deployment_id) if app.life else ()


def ran(past: PastRelease | None) -> object:
    """What a rollback needs to know of a release."""
    return past and (past.release, past.target, past.spec, past.configuration, past.obstacle)


@calm
@given(plan=steps(min_size=20, max_size=80))
def test_the_default_target_is_that_of_the_whole_history(plan: list[Step]) -> None:
    ledger = script(plan)
    app, releases = of_the_open_life(ledger.lines)
    if app.life is None:
        return
    with kept(ledger) as reader:
        found = candidates(reader, app, None)
        assert default_target(found) == default_target(releases)
        code = candidates(reader, app, None, only="code")
        assert default_target(code, "code") == default_target(releases, "code")
        assert found[-1] == releases[-1]
        assert list(found) == list(releases)[-len(found) :]


@calm
@given(plan=steps(min_size=20, max_size=80))
def test_a_named_target_is_what_the_whole_history_says_of_it(plan: list[Step]) -> None:
    ledger = script(plan)
    app, releases = of_the_open_life(ledger.lines)
    if app.life is None:
        return
    with kept(ledger) as reader:
        for past in releases:
            found = candidates(reader, app, past.release)
            assert ran(next(each for each in found if each.release == past.release)) == ran(past)
            assert ran(found[-1]) == ran(releases[-1])
        with pytest.raises(RefusedError, match=f"the newest is {len(releases)}"):
            candidates(reader, app, len(releases) + 1)


@calm
@given(plan=steps(min_size=20, max_size=80))
def test_an_ended_life_is_what_it_was_just_before(plan: list[Step]) -> None:
    ledger = script(plan)
    history = about(ledger.lines, APP)
    ended: list[Life] = []
    for index, line in enumerate(history):
        if isinstance(line.event, Destroyed):
            life = fold(App(id=APP), history[:index]).life
            assert life is not None
            ended.append(life)
    with kept(ledger) as reader:
        app = reader.app(APP)
        assert ended_life(reader, app) == (ended[-1] if ended else None)
        for life in ended:
            assert ended_life(reader, app, life.deployment_id) == life
        if app.life is not None:
            assert ended_life(reader, app, app.life.deployment_id) is None


def lying(reader: LedgerReader, asked: Recorded) -> LifeSpan:
    """Where the life of a line lies."""
    assert asked.subject is not None
    found = span(reader.store, APP, asked.subject.deployment_id)
    assert found is not None
    return found


def verdicts(history: Sequence[Recorded], life: LifeSpan) -> Sequence[RolloutCompleted | RolloutFailed]:
    """All that was said about pods of the app up to its next life."""
    told = [line.event for line in history if line.position <= life.stop]
    return [event for event in told if isinstance(event, RolloutCompleted | RolloutFailed)]


@calm
@given(plan=steps(min_size=20, max_size=80))
def test_the_verdict_on_a_roll_is_the_newest_word_about_its_pods(plan: list[Step]) -> None:
    history = about(script(plan).lines, APP)
    with kept(script(plan)) as reader:
        for asked in history:
            if not isinstance(asked.event, Deployed | RolledBack | Restarted):
                continue
            life, roll = lying(reader, asked), asked.position
            while_it_counted = takewhile(lambda event: event.roll <= roll, verdicts(history, life))  # noqa: B023 - asked at once
            told = [event for event in while_it_counted if event.roll == roll]
            assert roll_verdict(reader.store, life, roll) == (told[-1] if told else None)


@calm
@given(plan=steps(min_size=20, max_size=80))
def test_a_release_failed_if_the_newest_word_about_it_says_so_of_its_own_pods(plan: list[Step]) -> None:
    history = about(script(plan).lines, APP)
    marks = [line for line in history if isinstance(line.event, Deployed | RolledBack | Destroyed)]
    with kept(script(plan)) as reader:
        for asked, following in zip_longest(marks, marks[1:]):
            if isinstance(asked.event, Destroyed):
                continue
            life = lying(reader, asked)
            own, stop = asked.position, following.position if following is not None else NEWEST
            while_it_counted = takewhile(lambda event: event.roll < stop, verdicts(history, life))  # noqa: B023 - asked at once
            told = [
                event
                for event in while_it_counted
                if event.roll == own or (event.roll > own and isinstance(event, RolloutCompleted))
            ]
            failure = told[-1] if told and isinstance(told[-1], RolloutFailed) else None
            assert release_failure(reader.store, life, asked, following) == failure


def test_only_the_end_is_read_when_a_healthy_release_is_near_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Script()
    for _ in range(40):
        ledger.deploy(APP)
        ledger.completed(APP)
    with kept(ledger) as reader:
        app = reader.app(APP)
        assert [past.release for past in candidates(reader, app, None)] == [39, 40]
        assert [past.release for past in candidates(reader, app, 7)] == [7, 40]
