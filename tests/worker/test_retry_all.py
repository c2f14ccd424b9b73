"""`worker retry --all`: every app that is parked is tried again, and one that is refused again keeps no other from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli_support import Cli, newcomer

APPS = ("one", "two")


@pytest.fixture
def theirs(tmp_path: Path) -> Cli:
    """A user with another ledger, whose apps have the names already."""
    user = newcomer(tmp_path).having(ONECTL_LEDGER="theirs.db")
    for app in APPS:
        user.run("deploy", "--name", app, "--image", "nginx").done()
    return user


@pytest.fixture
def parked(theirs: Cli) -> Cli:
    """A user whose apps are parked, since somebody else's objects are in the way."""
    user = theirs.having(ONECTL_LEDGER="ours.db")
    for app in APPS:
        user.run("deploy", "--name", app, "--image", "nginx", "--detach").done()
        user.run("deploy", "status", "--name", app).failed(8)
    return user


def test_each_is_tried_and_told_and_what_is_refused_again_keeps_no_other_from_it(parked: Cli, theirs: Cli) -> None:
    theirs.run("deploy", "destroy", "-y", "--name", "two").done()
    tried = parked.run("worker", "retry", "--all", "--reason", "cleaned up").failed(8)
    assert tried.stdout == "✅ What was refused of default/two is applied\n"
    assert "default/one: recorded, but not applied: " in tried.stderr
    assert "1 of 2 apps are not applied" in tried.error
    retried = parked.run("-o", "json", "audit", "log", "--kind", "ApplyRetried").done().json
    assert [each["reason"] for each in retried] == ["cleaned up"] * 2

    theirs.run("deploy", "destroy", "-y", "--name", "one").done()
    found = parked.run("-o", "json", "worker", "retry", "--all").done().json["apps"]
    assert [(each["app_label"], each["retried"], each["applied"], each["why"]) for each in found] == [
        ("one", True, True, None)
    ]


def test_where_nothing_is_parked_nothing_is_done(parked: Cli, theirs: Cli) -> None:
    before = theirs.events()
    assert (
        theirs.run("worker", "retry", "--all").done().stdout == "💡 Nothing is parked in cluster sandbox — no change.\n"
    )
    assert theirs.run("-o", "json", "worker", "retry", "--all").done().json == {"cluster": "sandbox", "apps": []}
    assert theirs.events() == before


def test_the_document_tells_of_each_even_where_one_fails(parked: Cli) -> None:
    told = parked.run("-o", "json", "worker", "retry", "--all").failed(8).json["apps"]
    assert [(each["app_label"], each["applied"]) for each in told] == [("one", False), ("two", False)]
    assert len({each["request_id"] for each in told}) == 2


def test_worker_status_names_it_where_several_are_parked(parked: Cli) -> None:
    assert "When all of that is fixed: 1ctl worker retry --all" in parked.run("worker", "status").done().stderr


@pytest.mark.parametrize("more", [["one"], ["--name", "one"], ["--request-id", "ci-1"]], ids=" ".join)
def test_all_goes_with_nothing_that_names_one(parked: Cli, more: list[str]) -> None:
    before = parked.events()
    assert "--all " in parked.run("worker", "retry", "--all", *more).failed(2).error
    assert parked.events() == before
