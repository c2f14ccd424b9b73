"""The queue of apps: each once, by one thread at a time, and none lost."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effects.backoff import Backoff
from effects.work_queue import Work, WorkQueue
from ledger.spec import AppId
from tests.seeds import examples

ONE, TWO, THREE = (AppId("prod", "shop", name) for name in ("one", "two", "three"))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> WorkQueue:
    return WorkQueue(clock)


def taken(queue: WorkQueue) -> Work:
    work = queue.take(0)
    assert work is not None
    return work


def test_an_app_is_taken_once_with_everything_it_was_woken_for(queue: WorkQueue) -> None:
    queue.add(ONE, again=True)
    queue.add(ONE, position=7)
    queue.add(ONE, position=9)
    work = taken(queue)
    assert (work.app_id, work.again, work.since) == (ONE, True, 7)
    assert queue.take(0) is None


def test_what_comes_up_while_an_app_is_in_work_waits_until_it_is_done(queue: WorkQueue) -> None:
    queue.add(ONE)
    work = taken(queue)
    queue.add(ONE, again=True)
    assert queue.take(0) is None
    queue.done(work)
    assert taken(queue).again


def test_what_was_asked_for_goes_before_what_is_only_checked(queue: WorkQueue) -> None:
    queue.add(ONE, again=True)
    queue.add(TWO, position=3)
    assert [taken(queue).app_id, taken(queue).app_id] == [TWO, ONE]


def test_an_app_that_is_only_checked_becomes_urgent_when_something_is_asked_of_it(queue: WorkQueue) -> None:
    queue.add(ONE, again=True)
    queue.add(TWO, again=True)
    queue.add(TWO, position=3)
    assert taken(queue).app_id == TWO
    assert taken(queue).app_id == ONE


def test_what_failed_comes_up_again_later(queue: WorkQueue, clock: Clock) -> None:
    queue.add(ONE, again=True, position=5)
    queue.failed(taken(queue), 2.0)
    assert queue.take(0) is None
    clock.now += 2.0
    work = taken(queue)
    assert (work.again, work.failures, work.since) == (True, 1, 5)
    queue.failed(work, 1.0)
    clock.now += 1.0
    assert taken(queue).failures == 2


def test_a_new_request_does_not_wait_for_what_failed_before(queue: WorkQueue, clock: Clock) -> None:
    queue.add(ONE, position=5)
    queue.failed(taken(queue), 30.0)
    queue.add(ONE, position=9)
    work = taken(queue)
    assert (work.failures, work.since) == (0, 5)
    queue.done(work)
    clock.now += 60
    assert queue.take(0) is None
    assert len(queue) == 0


@pytest.mark.parametrize("end", ["failed", "wait"])
def test_what_is_asked_for_while_an_app_is_in_work_counts_anew(queue: WorkQueue, clock: Clock, end: str) -> None:
    queue.add(ONE, position=5)
    for _ in range(3):
        getattr(queue, end)(taken(queue), 1.0)
        clock.now += 1.0
    work = taken(queue)
    queue.add(ONE, position=9)
    getattr(queue, end)(work, 30.0)
    assert not queue.is_settled(3)
    work = taken(queue)
    assert (work.failures, work.waits) == (0, 0)


def test_a_delay_never_puts_off_what_is_due_sooner(queue: WorkQueue, clock: Clock) -> None:
    queue.add(ONE, delay=1.0)
    queue.add(ONE, delay=10.0)
    clock.now += 1.0
    assert taken(queue).app_id == ONE


def test_pods_that_are_not_there_yet_are_looked_at_again(queue: WorkQueue, clock: Clock) -> None:
    queue.add(ONE)
    queue.wait(taken(queue), 0.5)
    clock.now += 0.5
    work = taken(queue)
    assert (work.waits, work.failures) == (1, 0)


def test_the_lowest_position_that_is_not_done_is_known(queue: WorkQueue) -> None:
    assert queue.lowest() is None
    queue.add(ONE, position=8)
    queue.add(TWO, position=5)
    first, second = taken(queue), taken(queue)
    assert queue.lowest() == 5
    queue.done(second)
    assert queue.lowest() == 8
    queue.failed(first, 9.0)
    assert queue.lowest() == 8


def test_who_waits_is_woken_by_what_comes_in_and_by_the_end() -> None:
    queue = WorkQueue()
    found: list[Work | None] = []

    def take_twice() -> None:
        found.append(queue.take(30))
        found.append(queue.take(30))

    thread = threading.Thread(target=take_twice)
    thread.start()
    queue.add(ONE)
    while not found:
        thread.join(0.01)
    queue.close()
    thread.join(10)
    assert [work and work.app_id for work in found] == [ONE, None]


@settings(max_examples=examples(200, short=200), deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "later", "take", "done", "fail", "wait", "time"]),
            st.sampled_from([ONE, TWO, THREE]),
        ),
        max_size=60,
    )
)
def test_no_wake_up_is_lost_and_no_app_is_in_work_twice(steps: list[tuple[str, AppId]]) -> None:
    clock = Clock()
    queue = WorkQueue(clock)
    owed: set[AppId] = set()
    working: dict[AppId, Work] = {}
    for verb, app_id in steps:
        match verb:
            case "add" | "later":
                queue.add(app_id, delay=1.0 if verb == "later" else 0.0)
                owed.add(app_id)
            case "take":
                work = queue.take(0)
                if work is not None:
                    assert work.app_id not in working
                    working[work.app_id] = work
                    owed.discard(work.app_id)
            case "done" | "fail" | "wait" if app_id in working:
                work = working.pop(app_id)
                if verb == "done":
                    queue.done(work)
                else:
                    (queue.failed if verb == "fail" else queue.wait)(work, 1.0)
                    owed.add(app_id)
            case "time":
                clock.now += 1.0
            case _:
                pass
    for work in working.values():
        queue.done(work)
    clock.now += 2.0
    while (left := queue.take(0)) is not None:
        owed.discard(left.app_id)
        queue.done(left)
    assert owed == set()
    assert len(queue) == 0


def test_waits_grow_and_keep_what_the_server_asked_for() -> None:
    shortest, longest = Backoff(chance=lambda: 0.0), Backoff(chance=lambda: 0.999999)
    assert [round(longest.delay(n), 3) for n in (1, 2, 3, 4)] == [0.2, 0.4, 0.8, 1.6]
    assert [shortest.delay(n) for n in (1, 2, 3)] == [0.1, 0.2, 0.4]
    assert longest.delay(1000) <= 30.0
    assert shortest.delay(1, retry_after=100_000.0) <= 61.0, "a server may not silence us for a day"
    assert 17.0 <= shortest.delay(1, retry_after=17.0) <= longest.delay(1, retry_after=17.0) <= 17.2


def test_what_failed_the_last_time_is_known_with_why_until_it_works(queue: WorkQueue, clock: Clock) -> None:
    queue.add(ONE)
    queue.add(TWO)
    queue.failed(taken(queue), 1.0, "no answer")
    queue.done(taken(queue))
    assert queue.failing() == {ONE: "no answer"}
    clock.now += 1.0
    queue.done(taken(queue))
    assert queue.failing() == {}
