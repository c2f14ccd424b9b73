"""Different ways to bring the same objects to the same API server: `1ctl`, kubectl and helm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import orjson

from effects.desired import Surroundings, desired
from ledger.reader import LedgerReader
from ledger.spec import AppId
from ledger.stores import open_store
from tests.bench import peers
from tests.bench.cluster import Server, cluster_user
from tests.bench.programs import User, bare_environ, run_program
from tests.bench.run import Run

APP, IMAGE = "template-app", "template-image:1"
"""What stands in the peers' files for the name and the image."""

ENV = ("--env", "LOG_LEVEL=debug", "--env", "REGION=eu-central")
"""Environment of a measured app, so that it has both its ConfigMaps."""


APPLY, SERVER_SIDE, HELM = "kubectl apply", "kubectl apply --server-side", "helm upgrade --install"
"""The peers' commands."""


class Deployer(Protocol):
    """Deploys an app, or an app's new image."""

    def deploy(self, app: str, image: str) -> float:
        """Seconds from the start of the process to its end."""


@dataclass(frozen=True, slots=True)
class Ours:
    """`1ctl deploy`, the same app and image as the same request: as a pipeline that runs again would send it."""

    user: User
    options: tuple[str, ...] = ()

    def deploy(self, app: str, image: str) -> float:
        """See `Deployer`."""
        request = ("--request-id", f"{app}-{image}")
        return self.user.seconds("deploy", "--name", app, "--image", image, *ENV, *request, *self.options)


@dataclass(slots=True)
class KubectlApply:
    """`kubectl apply` of a file.

    Attributes:
        program: The kubectl.
        server: Where to.
        namespace: Where in it.
        directory: Home of its user, and where files lie; exists.
        objects: What the file holds, with `APP` and `IMAGE` in it.
        options: For instance ``--server-side``.
    """

    program: Path
    server: Server
    namespace: str
    directory: Path
    objects: Sequence[Mapping[str, Any]]
    options: tuple[str, ...] = ()
    _numbers: Any = field(default_factory=count)

    def deploy(self, app: str, image: str) -> float:
        """See `Deployer`; the file is there before the clock starts."""
        file = self.directory / f"{next(self._numbers)}.json"
        content = orjson.dumps({"apiVersion": "v1", "kind": "List", "items": self.objects}).decode()
        file.write_text(content.replace(APP, app).replace(IMAGE, image))
        return self.run("apply", *self.options, "-f", file)

    def run(self, *args: str | Path) -> float:
        """Seconds of a command."""
        place = ("--kubeconfig", self.server.kubeconfig, "--namespace", self.namespace)
        argv = (self.program, *args, *place)
        return run_program(argv, cwd=self.directory, environ=bare_environ(self.directory)).seconds


class HelmUpgrade:
    """`helm upgrade --install` of a chart whose templates are the same objects.

    Args:
        program: The helm.
        server: Where to.
        namespace: Where in it.
        directory: Home of its user, and where the chart lies; exists.
        objects: What the chart holds, with `APP` and `IMAGE` in it.

    Attributes:
        options: More options of an upgrade.
    """

    def __init__(
        self, program: Path, server: Server, namespace: str, directory: Path, objects: Sequence[Mapping[str, Any]]
    ) -> None:
        self.options: tuple[str, ...] = ()
        self._program = program
        self._place = ("--kubeconfig", str(server.kubeconfig), "--namespace", namespace)
        self._directory = directory
        self._chart = directory / "chart"
        (self._chart / "templates").mkdir(parents=True)
        (self._chart / "Chart.yaml").write_text("apiVersion: v2\nname: measured\nversion: 1.0.0\n")
        for number, each in enumerate(objects):
            text = orjson.dumps(each).decode().replace(APP, "{{ .Release.Name }}").replace(IMAGE, "{{ .Values.image }}")
            (self._chart / "templates" / f"{number}.yaml").write_text(text)

    def deploy(self, app: str, image: str) -> float:
        """See `Deployer`."""
        return self.run("upgrade", "--install", app, self._chart, "--set", f"image={image}", *self.options)

    def run(self, *args: str | Path) -> float:
        """Seconds of a command."""
        argv = (self._program, *args, *self._place)
        return run_program(argv, cwd=self._directory, environ=bare_environ(self._directory)).seconds


@contextmanager
def other_deployers(run: Run, at: Server, directory: Path) -> Iterator[dict[str, Deployer]]:
    """The peers that are here by their commands, each with a fresh home and a fresh namespace.

    Args:
        run: The row, which is told who is missing.
        at: The API server.
        directory: Where their homes are made; exists.
    """
    found: dict[str, Deployer] = {}
    with ExitStack() as stack:
        objects = template(stack.enter_context(cluster_user(at, directory / "template")))

        def place(name: str) -> tuple[Server, str, Path]:
            home = directory / name
            home.mkdir()
            return at, stack.enter_context(at.administrator.namespace()), home

        kubectl = run.if_there(lambda: peers.kubectl(run))
        if kubectl is not None:
            found[APPLY] = KubectlApply(kubectl, *place("apply"), objects)
            found[SERVER_SIDE] = KubectlApply(kubectl, *place("server-side"), objects, ("--server-side",))
        helm = run.if_there(lambda: peers.helm(run))
        if helm is not None:
            found[HELM] = HelmUpgrade(helm, *place("helm"), objects)
        yield found


def template(user: User, *options: str) -> Sequence[Mapping[str, Any]]:
    """The objects of an app as another program is given them, with `APP` and `IMAGE` in them.

    They are those that `1ctl` desires, less what says at which position of the ledger, and under which namespace and
    owner. The app is recorded for it, with these options, and not applied.
    """
    Ours(user, ("--detach", *options)).deploy(APP, IMAGE)
    place = user.json("profile", "current")
    store = open_store(place["ledger"] if "://" in place["ledger"] else Path(place["ledger"]))
    try:
        app = LedgerReader(store).app(AppId(place["cluster"], place["namespace"], APP))
    finally:
        store.close()
    assert app.life is not None
    wanted = desired(app, app.life, Surroundings(ledger_id="peer", gateway=place["gateway"]))
    return [_without_place(entry.manifest) for entry in wanted]


def _without_place(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = {key: value for key, value in manifest["metadata"].items() if key in {"name", "labels"}}
    return {**manifest, "metadata": metadata}
