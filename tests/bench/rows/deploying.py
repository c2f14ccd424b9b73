"""B2 and B3: a deploy, until it is durable and until every object is applied, beside others who apply the same objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count

from tests.bench.cluster import cluster_user, server
from tests.bench.deployers import APPLY, SERVER_SIDE, Deployer, Ours, other_deployers
from tests.bench.figures import Aim, Line, at_most, beside
from tests.bench.programs import User
from tests.bench.resident import resident_worker
from tests.bench.run import MissingError, Row, Run
from tests.bench.turns import Measurement

TURNS = 15

_RESIDENT = ", worker resident"

_Contenders = Mapping[str, Deployer]
_numbers = count(1)


def _measure_durable(run: Run) -> Iterator[Line]:
    with _everyone(run) as (user, others):
        contenders = {"1ctl deploy --detach": Ours(user, ("--detach",)), SERVER_SIDE: others[SERVER_SIDE]}
        yield from _lines(run, "", contenders, {SERVER_SIDE: at_most(0.6)})
        with resident_worker(user):
            yield from _lines(run, _RESIDENT, contenders, {SERVER_SIDE: at_most(0.6)})


def _measure_applied(run: Run) -> Iterator[Line]:
    with _everyone(run) as (user, others):
        contenders = {"1ctl deploy": Ours(user), **others}
        yield from _lines(run, "", contenders, {APPLY: at_most(1.0)})
        with resident_worker(user):
            yield from _lines(run, _RESIDENT, contenders, {SERVER_SIDE: at_most(1.0)})


@contextmanager
def _everyone(run: Run) -> Iterator[tuple[User, dict[str, Deployer]]]:
    """A user of `1ctl`, and the peers that are here."""
    with (
        server(run) as at,
        other_deployers(run, at, run.scratch) as others,
        cluster_user(at, run.scratch / "ours") as user,
    ):
        if SERVER_SIDE not in others:
            raise MissingError("there is nothing to compare with")
        yield user, others


def _lines(run: Run, how: str, contenders: _Contenders, aims: Mapping[str, Aim]) -> Iterator[Line]:
    ours, *others = contenders

    def first(deployer: Deployer) -> Measurement:
        return lambda: deployer.deploy(f"app-{next(_numbers)}", "nginx:1")

    def change(deployer: Deployer) -> Measurement:
        return lambda: deployer.deploy("steady", f"nginx:{next(_numbers)}")

    for what, measurement in (("first deploy", first), ("new image", change)):
        figures = run.in_turns(
            f"{what}{how}", {name: measurement(each) for name, each in contenders.items()}, turns=TURNS
        )
        for other in others:
            yield beside(
                f"`{ours}`, {what}{how}", "s", figures[ours], f"`{other}`", figures[other], aim=aims.get(other)
            )


DURABLE = Row(
    name="B2",
    title="deploy until durable",
    about="Whole processes, an app of five objects on a real API server. `1ctl deploy --detach` returns when the request"
    " is on disk; the others when the server has every object.",
    measure=_measure_durable,
)
APPLIED = Row(
    name="B3",
    title="deploy until applied",
    about="Whole processes, an app of five objects on a real API server, until the server has every object and the"
    " ledger says so.",
    measure=_measure_applied,
)
