"""What others do on the same faults, on the same API server: ``python -m tests.faults.peers [helm] [1ctl]``.

helm (a package of npm, nothing of which is run but the program) is killed while it upgrades, and run twice at once; so is
`1ctl`. ONECTL_TEST_KUBECONFIG names the server. The figures go into docs/reliability.json and the table made from it.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cli.version import PROGRAM as OURS
from tests.bench import peers
from tests.bench.cluster import Server, cluster_user, server
from tests.bench.programs import PROGRAM, bare_environ
from tests.bench.run import Run
from tests.faults import reliability

KILLS = 60
ROUNDS = 20
SEED = 20

CHART = "apiVersion: v2\nname: measured\nversion: 1.0.0\n"
LABELS = {"app": "{{ .Release.Name }}"}
OBJECTS = (
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}"}, "data": {"A": "1"}},
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "{{ .Release.Name }}"},
        "spec": {"selector": LABELS, "ports": [{"port": 80, "protocol": "TCP"}]},
    },
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "{{ .Release.Name }}"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": LABELS},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {"containers": [{"name": "app", "image": "{{ .Values.image }}"}]},
            },
        },
    },
)

Start = Callable[[str, str], "subprocess.Popen[bytes]"]
"""Begins to bring an image to an app, both by name."""


@contextmanager
def helm_user(program: Path, at: Server, directory: Path) -> Iterator[Start]:
    """Somebody who upgrades releases in a namespace of their own."""
    chart = directory / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text(CHART)
    for number, each in enumerate(OBJECTS):
        (chart / "templates" / f"{number}.yaml").write_text(json.dumps(each))
    with at.administrator.namespace() as namespace:
        place = ("--kubeconfig", str(at.kubeconfig), "--namespace", namespace)

        def start(app: str, image: str) -> subprocess.Popen[bytes]:
            argv: list[str | Path] = [program, "upgrade", "--install", app, chart, "--set", f"image={image}", *place]
            return _started(argv, directory, bare_environ(directory))

        yield start


@contextmanager
def our_user(at: Server, directory: Path) -> Iterator[Start]:
    """Somebody who deploys with `1ctl` in a namespace of their own; each image is a request."""
    with cluster_user(at, directory) as user:

        def start(app: str, image: str) -> subprocess.Popen[bytes]:
            request = ("--request-id", f"{app}-{image}")
            argv = [PROGRAM, "deploy", "--name", app, "--image", image, "--replicas", "0", "--port", "80", *request]
            return _started(argv, user.cwd, user.environ)

        yield start


def _started(argv: Sequence[str | Path], cwd: Path, environ: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv, cwd=cwd, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """How it ended, and what it said last."""
    said, _ = process.communicate(timeout=300)
    return process.returncode, (said.decode(errors="replace").strip().splitlines() or [""])[-1]


def killed(start: Start) -> dict[str, int]:
    """Of so many apps, each killed once at a moment between begin and end, how many refuse every further attempt."""
    chance = random.Random(SEED)
    took = []
    for number in range(5):
        began = time.perf_counter()
        code, said = ended(start("timed", f"nginx:{number}"))
        assert code == 0, said
        took.append(time.perf_counter() - began)
    seconds = statistics.median(took)
    refused, in_time = 0, 0
    for number in range(KILLS):
        app = f"app-{number}"
        code, said = ended(start(app, "nginx:1"))
        assert code == 0, said
        process = start(app, "nginx:2")
        time.sleep(chance.uniform(0, seconds))
        in_time += process.poll() is None
        process.kill()
        ended(process)
        again = [ended(start(app, "nginx:2")) for _ in range(2)]
        if again[-1][0] != 0:
            refused += 1
            print(f"{app}: {again[-1][1]}")
    return {"kills": KILLS, "in_time": in_time, "refused": refused}


def at_once(start: Start) -> dict[str, int]:
    """In how many rounds one of two that were begun at once failed."""
    code, said = ended(start("shared", "nginx:0"))
    assert code == 0, said
    failed = 0
    for number in range(ROUNDS):
        both = [start("shared", f"nginx:{number}-{side}") for side in (1, 2)]
        ends = [ended(process) for process in both]
        if any(code != 0 for code, _ in ends):
            failed += 1
            print(f"round {number}: {[said for code, said in ends if code != 0]}")
    return {"rounds": ROUNDS, "failed": failed}


def write(program: str, deaths: dict[str, int], pairs: dict[str, int]) -> None:
    """Put the figures into the documents."""
    reliability.write_peer(
        f"F1 {program}",
        {
            "program": program,
            "done": f"{deaths['kills']} × `kill -9` at a random moment, {deaths['in_time']} of them before it had ended",
            "led_to": f"{deaths['refused']} apps refused every further attempt",
            **deaths,
        },
    )
    reliability.write_peer(
        f"F14 {program}",
        {
            "program": program,
            "done": f"two at once on one app, {pairs['rounds']} rounds",
            "led_to": f"in {pairs['failed']} rounds one of the two failed",
            **pairs,
        },
    )


def main() -> None:
    """Measure those that are named, or both."""
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), sys.argv[1:] or ["helm", "1ctl"])


def measure(directory: Path, programs: Sequence[str]) -> None:
    """Measure some programs, in a directory of their own."""
    run = Run("peers", None, directory)
    with server(run) as at:
        if "helm" in programs:
            helm = peers.helm(run)
            (directory / "helm").mkdir()
            with helm_user(helm, at, directory / "helm") as start:
                write(f"helm {run.versions['helm']}", killed(start), at_once(start))
        if "1ctl" in programs:
            with our_user(at, directory / "ours") as start:
                write(OURS, killed(start), at_once(start))
    print(json.dumps(reliability.read()["peers"], indent=2))


if __name__ == "__main__":
    main()
