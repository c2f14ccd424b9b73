"""The real API server that measurements of clusters use, and users of `1ctl` on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from tests.bench.programs import User
from tests.bench.run import MissingError, Run
from tests.faults.proxy import CONTEXT, FaultProxy
from tests.kubernetes_support import KUBECONFIG, Administrator


@dataclass(frozen=True, slots=True)
class Server:
    """The API server.

    Attributes:
        kubeconfig: Its file.
        context: The context in it.
        administrator: Makes namespaces in it.
    """

    kubeconfig: Path
    context: str
    administrator: Administrator

    @contextmanager
    def counted(self, directory: Path) -> Iterator[tuple[Server, FaultProxy]]:
        """The same server behind a proxy, which counts; its kubeconfig is written into the directory."""
        with FaultProxy(self.kubeconfig) as proxy:
            yield replace(self, kubeconfig=proxy.kubeconfig(directory), context=CONTEXT), proxy


@contextmanager
def server(run: Run) -> Iterator[Server]:
    """The API server that `KUBECONFIG` names.

    Raises:
        MissingError: It names none.
    """
    named = os.environ.get(KUBECONFIG)
    if not named:
        raise MissingError(f"{KUBECONFIG} does not name the kubeconfig of an API server")
    administrator = Administrator(Path(named))
    try:
        run.versions["API server"] = administrator.server_version()
        yield Server(Path(named), administrator.context, administrator)
    finally:
        administrator.close()


@contextmanager
def cluster_user(at: Server, directory: Path, *, ledger: str | None = None) -> Iterator[User]:
    """A user of `1ctl` whose profile is a fresh namespace."""
    with at.administrator.namespace() as namespace:
        user = User.new(directory)
        place = ("--kubeconfig", str(at.kubeconfig), "--context", at.context, "--namespace", namespace)
        cluster = ("--cluster", f"cluster-{uuid4().hex[:12]}")
        user.run("profile", "create", "bench", *place, *cluster, *(("--ledger", ledger) if ledger else ()))
        user.run("profile", "use", "bench")
        yield user
