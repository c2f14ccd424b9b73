"""What an operator sees with kubectl, a user whose profile is a namespace of a real API server, and a cable to cut."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from tests.cli_support import Cli, write_toml
from tests.kubernetes_support import REQUIRE, Administrator, kubeconfig

KINDS = "deployment,service,httproute,secret,configmap,pods"


@dataclass(frozen=True, slots=True)
class Kubectl:
    """`kubectl` in one namespace."""

    file: Path
    context: str
    namespace: str

    def __call__(self, *args: str, given: str | None = None) -> str:
        """Stdout of a command that must succeed."""
        command = ["kubectl", f"--kubeconfig={self.file}", f"--context={self.context}", "-n", self.namespace, *args]
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def objects(self, app: str) -> dict[str, dict[str, Any]]:
        """Everything with the app's label, by ``Kind/name``."""
        items = json.loads(self("get", KINDS, "-l", f"app={app}", "-o", "json"))["items"]
        return {f"{each['kind']}/{each['metadata']['name']}": each for each in items}

    def pods(self, app: str) -> dict[str, bool]:
        """Whether each of the app's pods that are not on their way out is ready, by name."""
        return {
            each["metadata"]["name"]: any(
                condition["type"] == "Ready" and condition["status"] == "True"
                for condition in each["status"].get("conditions", [])
            )
            for name, each in self.objects(app).items()
            if name.startswith("Pod/") and "deletionTimestamp" not in each["metadata"]
        }

    def names(self) -> set[str]:
        """Everything in the namespace that somebody put there, as ``kind/name``."""
        found = self("get", KINDS, "-o", "name").split()
        return {name for name in found if "default-token" not in name and "kube-root-ca" not in name}


def require_kubectl() -> None:
    """Skips where there is no kubectl, or fails if one is required."""
    if shutil.which("kubectl") is None:
        reason = "kubectl is not installed (Debian: kubernetes-client)"
        if os.environ.get(REQUIRE):
            pytest.fail(f"{reason}, and {REQUIRE} is set")
        pytest.skip(reason)


@contextmanager
def a_cluster_user(directory: Path) -> Iterator[tuple[Cli, Kubectl]]:
    """A user in the directory of user-service whose profile is a fresh namespace, and the operator of that."""
    file = kubeconfig()
    require_kubectl()
    administrator = Administrator(file)
    write_toml(directory / "services/user-service", "user-service", 8081)
    write_toml(directory / "services/order-service", "order-service", 8082)
    with administrator.namespace() as namespace:
        cli = Cli(directory / "home", directory / "services/user-service")
        make_profile(cli, "guide", file, administrator.context, namespace)
        cli.run("profile", "use", "guide").done()
        yield cli, Kubectl(file, administrator.context, namespace)
    administrator.close()


def make_profile(cli: Cli, name: str, file: Path, context: str, namespace: str) -> None:
    """A profile whose cluster has a name that no other test uses."""
    place = ("--kubeconfig", str(file), "--context", context, "--namespace", namespace)
    cli.run("profile", "create", name, *place, "--cluster", f"cluster-{uuid4().hex[:12]}").done()


def kubeconfig_at(file: Path, port: int, directory: Path) -> Path:
    """The same kubeconfig for a server at another port of this machine."""
    content = json.loads(file.read_text())
    for each in content["clusters"]:
        each["cluster"]["server"] = f"https://127.0.0.1:{port}"
    copy = directory / f"kubeconfig-{port}"
    copy.write_text(json.dumps(content))
    return copy


def server_port(file: Path) -> int:
    """The port of the server that a kubeconfig names."""
    server: str = json.loads(file.read_text())["clusters"][0]["cluster"]["server"]
    port = urlsplit(server).port
    assert port is not None
    return port


def closed_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Cable:
    """Carries bytes to a server until it is cut, which is asked before each of the client's messages."""

    def __init__(self, server: int, is_cut: Callable[[], bool]) -> None:
        self._server = server
        self._is_cut = is_cut
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cuts = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # On Linux closing alone does not wake who waits to accept.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
                threading.Thread(target=self._carry, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._carry, args=(server, client, False), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, asks: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if asks and self._is_cut():
                    self.cuts += 1
                    break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            if end is source:
                end.close()


def data_of(thing: Mapping[str, Any]) -> Mapping[str, str]:
    """The data of a ConfigMap or Secret as the cluster keeps it."""
    found: Mapping[str, str] = thing.get("data") or {}
    return found
