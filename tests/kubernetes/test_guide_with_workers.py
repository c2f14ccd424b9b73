"""The guide with two users, each at a machine of their own, and two workers, on PostgreSQL and a real API server."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.effects.worlds import eventually
from tests.faults.shifts import SECONDS, crew
from tests.kubernetes.support import a_cluster_user
from tests.kubernetes.test_guide_on_a_cluster import play
from tests.postgres_support import Server

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]


def test_the_guide_with_two_users_and_two_workers(postgres: Server, tmp_path: Path) -> None:
    with a_cluster_user(tmp_path / "ana") as (ana, kubectl):
        user = ana.having(ONECTL_LEDGER=postgres.new_database())
        user.run("ledger", "migrate").done()
        machines = [tmp_path / name / "home" for name in ("ben", "workers")]
        for home in machines:
            shutil.copytree(user.home, home)
        other = replace(user, home=machines[0], cwd=user.cwd.parent / "order-service").having(ONECTL_ACTOR="ben")
        with crew(replace(user, home=machines[1]), tmp_path / "logs", count=2, args=("--lease", "60s")) as workers:
            eventually(lambda: any(each.said("leading") for each in workers.processes), within=SECONDS)
            play(user.having(ONECTL_ACTOR="ana"), other, kubectl)
            led = [each for each in workers.processes if each.said("leading")]
            assert len(workers.processes) == 2
            assert len(led) == 1
        log = user.run("-o", "json", "audit", "log").json
        assert {each["actor"] for each in log if each["kind"] in ("Deployed", "ResourcesApplied")} == {
            "ana",
            "ben",
            "1ctl/worker",
        }
