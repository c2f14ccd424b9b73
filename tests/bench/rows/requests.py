"""B4: what a deploy asks of the API server, counted by a proxy before it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from tests.bench.cluster import Server, cluster_user, server
from tests.bench.deployers import Deployer, Ours, other_deployers
from tests.bench.figures import Line, alone, at_most, beside
from tests.bench.resident import resident_worker, wait_until
from tests.bench.run import Row, Run
from tests.faults.proxy import Exchange, FaultProxy

OBJECTS = 5
TURNS = 3
"""Each with fresh homes, fresh namespaces and new apps: what is counted hardly varies."""

QUIET_SECONDS = 1.0
"""How long a worker has nothing to ask when it has done all that it begins with."""

STEPS = {
    "first deploy": ("nginx:1", at_most(2 * OBJECTS, of="figure")),
    "new image": ("nginx:2", at_most(1, of="figure")),
    "nothing changed": ("nginx:2", at_most(0, of="figure")),
}
_OURS = {"1ctl deploy": "", "1ctl deploy, worker resident": ", worker resident"}

_Counted: TypeAlias = Mapping[str, Sequence[Sequence[Exchange]]]
"""By contender, turn by turn: the requests of one step."""


def _measure(run: Run) -> Iterator[Line]:
    turns: list[Mapping[str, Mapping[str, Sequence[Exchange]]]] = []
    with server(run) as direct, direct.counted(run.scratch) as (at, proxy):
        for number in range(run.turns or TURNS):
            run.say(f"turn {number + 1}")
            turns.append(_turn(run, at, proxy, number))
    for step, (_, aim) in STEPS.items():
        counted = {name: [turn[name][step] for turn in turns] for name in turns[0]}
        for ours, how in _OURS.items():
            applying = [len(each) - _about_pods(each) for each in counted[ours]]
            yield alone(f"{step}{how}: requests to apply it", "", applying, aim=aim)
            yield alone(f"{step}{how}: requests about its pods", "", list(map(_about_pods, counted[ours])))
            found = list(map(_discovery, counted[ours]))
            yield alone(f"{step}{how}: discovery", "", found, aim=at_most(0, of="figure"))
        yield from _beside_others(step, counted)


def _turn(run: Run, at: Server, proxy: FaultProxy, number: int) -> Mapping[str, Mapping[str, Sequence[Exchange]]]:
    """By contender and step: the requests."""
    directory = run.scratch / str(number)
    directory.mkdir()
    inline, resident = _OURS
    with other_deployers(run, at, directory) as others:
        counted = {name: _steps(each, proxy) for name, each in others.items()}
        with cluster_user(at, directory / "inline") as user:
            counted[inline] = _steps(Ours(user), proxy)
        with cluster_user(at, directory / "resident") as user, resident_worker(user):
            user.run("deploy", "--name", "first", "--image", "nginx:1")  # when it is applied, the worker has begun
            _wait_until_quiet(proxy)  # and looks once at what is there, which is not for what is deployed next
            counted[resident] = _steps(Ours(user), proxy)
    return counted


def _wait_until_quiet(proxy: FaultProxy) -> None:
    """Return when nothing was asked for some time."""
    known, since = -1, 0.0

    def is_quiet() -> bool:
        nonlocal known, since
        if len(proxy.exchanges) != known:
            known, since = len(proxy.exchanges), time.monotonic()
        return time.monotonic() - since >= QUIET_SECONDS

    wait_until(is_quiet, "a worker that asks nothing any more")


def _steps(deployer: Deployer, proxy: FaultProxy) -> Mapping[str, Sequence[Exchange]]:
    counted = {}
    for step, (image, _) in STEPS.items():
        proxy.forget()
        deployer.deploy("measured", image)
        counted[step] = list(proxy.exchanges)
    return counted


def _beside_others(step: str, counted: _Counted) -> Iterator[Line]:
    ours = next(iter(_OURS))
    for other in (name for name in counted if name not in _OURS):
        discovery = _discovery(counted[other][0])
        named = f"`{other}`" + (f", {discovery} of them discovery" if discovery else "")
        requests = [[len(each) for each in counted[name]] for name in (ours, other)]
        yield beside(f"{step}: requests", "", requests[0], named, requests[1])
        down = [[sum(request.sent for request in each) for each in counted[name]] for name in (ours, other)]
        yield beside(f"{step}: bytes down", "B", down[0], f"`{other}`", down[1])


def _about_pods(requests: Sequence[Exchange]) -> int:
    """How many ask how the pods are doing, which the others do not: a Deployment, its pods and its ReplicaSets."""
    asked = Counter((request.asked.verb, request.asked.kind) for request in requests)
    looks = asked["list", "pods"], asked["list", "replicasets"]
    return sum(looks) + min(asked["get", "deployments"], max(looks))


def _discovery(requests: Sequence[Exchange]) -> int:
    """How many ask which kinds there are and what they look like, not for an object."""
    return sum(request.asked.kind == "" for request in requests)


ROW = Row(
    name="B4",
    title="requests of a deploy",
    about=f"An app of {OBJECTS} objects on a real API server, everything counted by a proxy before it: each turn has fresh"
    " homes, so that first deploys know nothing of the server yet. Where nothing changed, `1ctl` repeats the request with"
    " its id, and the others what they were given. Bytes are those of the answers' bodies.",
    measure=_measure,
)
