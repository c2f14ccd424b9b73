"""A page of releases is what the whole history says about them, read from the end."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import snapshots
from ledger.app import App
from ledger.envelope import Recorded
from ledger.errors import RefusedError
from ledger.events import RolloutCompleted, SecretsFingerprinted
from ledger.landmarks import newest_releases, release_lines, roll_verdict, span
from ledger.moments import at_release
from ledger.reader import LedgerReader
from ledger.rollback import past_releases
from ledger.store import Row
from ledger.streams import app_stream
from projections.fingerprints import Fingerprints, current_fingerprints, fingerprints, life_fingerprints
from projections.release_details import ReleaseDetails, page_details, release_details
from projections.release_page import ReleasePage, release_page
from projections.releases import LifeReleases, releases
from tests.projections.histories import APPS, Script, Step, about, script, steps
from tests.projections.stores import kept
from tests.seeds import examples

APP = APPS[0]
calm = settings(
    deadline=None,
    max_examples=examples(20, short=60),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def whole(lines: list[Recorded]) -> list[LifeReleases]:
    return list(releases(about(lines, APP)))


def page(reader: LedgerReader, life: str | None, count: int | None, position: int) -> ReleasePage:
    where = span(reader.store, APP, life, upto=position)
    assert where is not None
    return release_page(reader, where, count, upto=position)


@calm
@given(plan=steps(min_size=15, max_size=60), data=st.data())
def test_a_page_says_what_the_whole_history_says(plan: list[Step], data: st.DataObject) -> None:
    ledger = script(plan)
    with kept(ledger) as reader:
        position = data.draw(st.integers(1, len(ledger.lines)), label="position")
        count = data.draw(st.integers(1, 6) | st.none(), label="count")
        lives = whole(ledger.lines[:position])
        for life in lives:
            found = page(reader, life.deployment_id, count, position)
            assert found.newest_first == tuple(reversed(life.releases))[:count]
            assert (found.destroyed_us, found.older) == (
                life.destroyed_us,
                len(life.releases) - len(found.newest_first),
            )
        if lives:
            assert page(reader, None, count, position) == page(reader, lives[-1].deployment_id, count, position)
        else:
            assert span(reader.store, APP, None, upto=position) is None


@calm
@given(plan=steps(min_size=15, max_size=60), data=st.data())
def test_the_details_of_a_page_are_those_of_the_whole_history(plan: list[Step], data: st.DataObject) -> None:
    ledger = script(plan)
    history = about(ledger.lines, APP)
    with kept(ledger) as reader:
        count = data.draw(st.integers(1, 6), label="count")
        for life in releases(history):
            where = span(reader.store, APP, life.deployment_id)
            assert where is not None
            known = fingerprints(history, life.deployment_id)
            assert life_fingerprints(reader.store, where) == known
            newest = tuple(reversed(life.releases))[:count]
            expected = release_details(App(id=APP), history, newest, known)
            found = page_details(reader, where, release_page(reader, where, count), known)
            assert [_told(each, known) for each in found] == [_told(each, known) for each in expected]


def _told(details: ReleaseDetails, known: Fingerprints) -> dict[str, object]:
    """All but with which release a value is shared: older ones are not looked at."""
    told = details.to_json(known)
    return {**told, "changes": re.sub(r" \(the value of release \d+\)", "", str(told["changes"]))}


@calm
@given(plan=steps(min_size=15, max_size=60))
def test_the_moment_of_a_release_is_just_before_what_came_next(plan: list[Step]) -> None:
    ledger = script(plan)
    with kept(ledger) as reader:
        for life in whole(ledger.lines):
            where = span(reader.store, APP, life.deployment_id)
            assert where is not None
            for release in life.releases:
                moment = at_release(reader.store, where, release.number, now_us=1)
                assert moment.position == _last_moment(ledger.lines, life.deployment_id, release.number)
            with pytest.raises(RefusedError, match=f"the newest is {len(life.releases)}"):
                release_lines(reader.store, where, len(life.releases) + 1)
            with pytest.raises(RefusedError):
                release_lines(reader.store, where, 0)


def _last_moment(lines: list[Recorded], deployment_id: str, release: int) -> int:
    """The last position at which the releases so far end with this one, in a life that is open."""
    return max(
        line.position
        for line in lines
        for life in whole(lines[: line.position])
        if life.deployment_id == deployment_id and life.destroyed_us is None and life.releases[-1].number == release
    )


@pytest.mark.parametrize("ended", [False, True], ids=["open", "ended"])
def test_what_is_recorded_of_a_life_when_the_next_one_has_begun_changes_nothing_of_it(ended: bool) -> None:
    ledger = Script()
    roll = ledger.deploy(APP).position
    ledger.secret_set(APP, "S")
    ledger.destroy(APP)
    ledger.deploy(APP)
    if ended:
        ledger.destroy(APP)
    before = whole(ledger.lines)
    ledger.late(APP, RolloutCompleted(release=1, roll=roll, replicas=1), life=0)
    ledger.late(APP, SecretsFingerprinted(fingerprints={"S": {"1": "a" * 16}}), life=0)
    assert whole(ledger.lines) == before
    life = before[0].deployment_id
    (past,) = past_releases(about(ledger.lines, APP), App(id=APP), life)
    assert not past.healthy
    assert fingerprints(about(ledger.lines, APP), life) == {}
    with kept(ledger) as reader:
        where = span(reader.store, APP, life)
        assert where is not None
        assert roll_verdict(reader.store, where, roll) is None
        assert life_fingerprints(reader.store, where) == {}
        assert page(reader, life, None, len(ledger.lines)).newest_first == before[0].releases


def test_the_fingerprints_of_what_is_set_are_found_wherever_they_were_recorded() -> None:
    ledger = Script()
    ledger.deploy(APP)
    ledger.secret_set(APP, "OLD", "NEW")
    ledger.fingerprinted(APP, {"OLD": {"1": "a" * 16}, "NEW": {"1": "b" * 16}})
    for version in range(2, 150):
        ledger.secret_set(APP, "NEW")
        ledger.fingerprinted(APP, {"NEW": {str(version): f"{version:016}"}})
    with kept(ledger) as reader:
        where = span(reader.store, APP, None)
        assert where is not None
        found = current_fingerprints(reader.store, where, {"OLD": 1, "NEW": 149, "UNKNOWN": 1})
        assert found == {"OLD": "a" * 16, "NEW": f"{149:016}"}


def test_releases_are_paged_from_the_newest_down() -> None:
    ledger = Script()
    for _ in range(5):
        ledger.deploy(APP)
    with kept(ledger) as reader:
        where = span(reader.store, APP, None)
        assert where is not None
        assert [line.event.release for line in newest_releases(reader.store, where, 2).newest_first] == [5, 4]  # type: ignore[union-attr]
        assert reader.store.landmarks(app_stream(APP).bytes, start=where.start, skip=4)[0].version == 6


def test_a_page_of_an_old_life_reads_nothing_of_later_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Script()
    old = about([ledger.deploy(APP)], APP)[0]
    ledger.completed(APP)
    ledger.deploy(APP)
    ledger.destroy(APP)
    for _ in range(3 * snapshots.STEP):
        ledger.deploy(APP)
        ledger.completed(APP)
    assert old.envelope.subject is not None
    with kept(ledger) as reader:
        where = span(reader.store, APP, old.envelope.subject.deployment_id)
        assert where is not None
        read = list[int]()
        for name in ("landmarks", "stream", "two_streams"):
            monkeypatch.setattr(reader.store, name, _noting(read, getattr(reader.store, name)))
        found = release_page(reader, where, 2)
        page_details(reader, where, found, {})
    assert [each.number for each in found.newest_first] == [2, 1]
    assert sum(position > where.stop for position in read) <= 2 * snapshots.STEP  # the page it is on, of each stream


def _noting(read: list[int], ask: Callable[..., Iterable[Row]]) -> Callable[..., list[Row]]:
    """The same question, which notes the positions of its answer."""

    def asked(*args: object, **more: object) -> list[Row]:
        rows = list(ask(*args, **more))
        read.extend(row.position for row in rows)
        return rows

    return asked
