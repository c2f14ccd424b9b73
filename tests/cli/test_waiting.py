"""What a person reads while pods start: how far they are, whenever that is news."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from cli.deadline import Deadline
from cli.inline import Inline
from cli.session import Session
from cli.terminal import Terminal
from effects.rollout import RolloutLook
from ledger.request import Request
from tests.decisions.scenario import app, opened


class Watched:
    """A session whose rollout goes through the given looks."""

    def __init__(self, *looks: RolloutLook) -> None:
        self.looks = looks
        self.terminal = Terminal(json=False)

    def watch(self, _: object) -> Watched:
        return self

    def wait(self, *_: object, timeout: float, records: bool) -> Iterator[RolloutLook]:
        assert 0 < timeout <= 5
        assert records
        return iter(self.looks)


def look(ready: int, *, verdict: str = "waiting", desired: int = 2) -> RolloutLook:
    return RolloutLook(verdict=verdict, ready=ready, desired=desired)  # type: ignore[arg-type]


def lines(capsys: pytest.CaptureFixture[str], *looks: RolloutLook) -> list[str]:
    deployed = app(*opened())
    assert deployed.life is not None
    session = cast("Session", Watched(*looks))
    Inline(session).wait(deployed, deployed.life, cast("Request", None), Deadline.after(5))
    return capsys.readouterr().out.splitlines()[1:-1]


def test_progress_is_said_when_it_changes(capsys: pytest.CaptureFixture[str]) -> None:
    told = lines(capsys, look(0), look(0), look(1), look(1), look(2, verdict="completed"))
    assert told == ["💡 Deployment status: NotReady (0 pct)", "💡 Deployment status: NotReady (50 pct)"]


def test_all_pods_ready_is_never_called_not_ready(capsys: pytest.CaptureFixture[str]) -> None:
    told = lines(capsys, look(0), look(2), look(2), look(2, verdict="completed"))
    assert told == ["💡 Deployment status: NotReady (0 pct)"]
