"""F18: a worker that is older than the command that recorded something: that app waits, all others go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.commands import Scale, SetEnv
from tests.effects.worlds import eventually, image
from tests.effects.worlds import request as some_request
from tests.faults import dose
from tests.faults.crowds import SANDBOX, places
from tests.faults.shifts import SECONDS
from tests.faults.test_two_workers import a_shop, server_of

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]


@pytest.mark.fault("F18", on="place")
@pytest.mark.parametrize("place", dose.of(few=places(clusters=[SANDBOX]), short=places(), long=places()))
def test_an_app_waits_for_a_worker_that_knows_its_events_and_all_others_go_on(
    place: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with a_shop(tmp_path, place, 0, server_of(place, request)) as shop:
        world = shop.crowd.world
        newer, *others = (shop.crowd.app_id(name) for name in shop.crowd.apps)
        with shop.worker("older", change="tests.faults.worker_changes:does_not_know_scaled") as older:
            for app_id in (newer, *others):
                world.ledger.execute(app_id, image(), some_request())
            shop.crowd.assert_quiet()
            world.ledger.execute(newer, Scale(replicas=2), some_request())
            for app_id in others:
                world.ledger.execute(app_id, SetEnv(values={"GREETING": "hello"}), some_request())
            eventually(lambda: not any(world.ledger.app(app_id).dirty for app_id in others), within=SECONDS)
            waits = [line for line in older.lines() if line["message"] == "retry"]
            eventually(
                lambda: [line for line in older.lines() if line.get("error") == "UnknownEventError"], within=SECONDS
            )
            assert {line["app"] for line in waits} <= {newer.name}
            assert world.ledger.app(newer).dirty
        with shop.worker("upgraded"):
            shop.crowd.assert_quiet()
