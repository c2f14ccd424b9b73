"""The composition root: from global options to a ledger, a cluster and the effects that join them."""

from __future__ import annotations

import os
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cli.follow_up import WITHOUT, tell_kubectl
from cli.home import home
from cli.options import INVOCATION
from cli.profiles import SANDBOX, Place, Profiles, place, shown_address
from cli.terminal import Terminal
from ledger.errors import RefusedError
from ledger.reader import LedgerReader
from ledger.spec import AppId
from ledger.stores import open_store
from ledger.text import Lines

if TYPE_CHECKING:
    from cli.applying import Applying
    from effects.cluster import Cluster
    from effects.reconcile import Reconciler
    from effects.rollout import RolloutWatch
    from ledger.keys import KeyFiles
    from ledger.ledger import Ledger
    from ledger.request import Request
    from ledger.store import ModelStore

SANDBOX_POLL_SECONDS = 0.1
CLUSTER_POLL_SECONDS = 0.5


class Session:
    """What one run of the program works with; each part is made when it is first needed.

    Args:
        patience: Seconds after which a database that has not answered is given up; None: it is waited for.
    """

    def __init__(self, *, patience: float | None = None) -> None:
        self._patience = patience
        self.home = home()
        self.terminal = Terminal(json=INVOCATION.json)
        self._announced = False
        self._noticed: set[str] = set()

    @classmethod
    def for_questions(cls, *, may_be_gone: bool = False) -> Session:
        """One that says, where it is so, that the ledger goes on elsewhere: its answers are of the time before that.

        Args:
            may_be_gone: Whether it is an answer, too, that there is no ledger where somebody named one.

        Raises:
            RefusedError: As for `require_named_ledger`.
        """
        session = cls()
        here = session.store.instance()
        if here is None and not may_be_gone:
            session.require_named_ledger()
        if here is not None and here.has_ended and not here.is_backup:
            session.terminal.notice(
                f"This ledger goes on elsewhere: {here.note or here.writer}. What is recorded there is not seen here."
            )
        return session

    @cached_property
    def profiles(self) -> Profiles:
        """This user's profiles."""
        return Profiles(self.home / "profiles.json")

    @cached_property
    def place(self) -> Place:
        """Where this run acts."""
        found = place(
            self.profiles, name=INVOCATION.profile, ledger=INVOCATION.ledger, home=self.home, environ=os.environ
        )
        if found.context is not None:
            tell_kubectl(found.context, found.kubeconfig)
        return found

    @cached_property
    def store(self) -> ModelStore:
        """Where the ledger is kept."""
        store = open_store(self.place.ledger, patience=self._patience)
        INVOCATION.closing.append(store.close)
        return store

    def require_named_ledger(self) -> None:
        """Refuse a place that somebody named and that holds no ledger: an answer about nothing would look like one.

        The one of this user's own that nobody named is made by the first command that records.

        Raises:
            RefusedError: An option, a variable or the profile names it, and there is none.
        """
        profile = self.profiles.get(self.place.profile) if self.place.profile else None
        named = INVOCATION.ledger or os.environ.get("ONECTL_LEDGER") or (profile is not None and profile.ledger)
        if not named or self.store.instance() is not None:
            return
        if isinstance(self.place.ledger, Path):
            raise RefusedError(
                f"there is no ledger at {self.place.ledger}",
                hint=f"Name another, or see which one is used {WITHOUT}1ctl profile current",
            )
        raise RefusedError(
            f"there is no ledger in {shown_address(self.place.ledger)}: it has no tables of one",
            hint=Lines(
                "If there never was one, its owner makes it: 1ctl ledger migrate",
                "If there was, put it back: 1ctl ledger restore FILE",
            ),
        )

    @cached_property
    def keys(self) -> KeyFiles:
        """The key files of this machine."""
        from ledger.keys import KeyFiles  # noqa: PLC0415 - questions need no key

        identity, signing = os.environ.get("ONECTL_IDENTITY"), os.environ.get("ONECTL_SIGNING_KEY")
        return KeyFiles(
            self.home / "keys",
            identity=Path(identity) if identity else None,
            signing=Path(signing) if signing else None,
        )

    @cached_property
    def reader(self) -> LedgerReader:
        """The ledger, for questions: what decides and writes need not be imported for it."""
        return LedgerReader(self.store)

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger."""
        return self.make_ledger()

    def make_ledger(self) -> Ledger:
        """The ledger, for one more thread: it is not shared, its storage is."""
        from ledger.ledger import Ledger  # noqa: PLC0415 - see `reader`

        return Ledger(self.store, self.keys, mint_domain=self._mint_domain)

    @cached_property
    def applying(self) -> Applying:
        """Who applies what is recorded, as the ledger says: a resident worker, or this process."""
        if self.reader.has_worker(self.place.cluster):
            from cli.resident import Resident  # noqa: PLC0415 - either is needed by commands that change something

            return Resident(self)
        from cli.inline import Inline  # noqa: PLC0415

        return Inline(self)

    @property
    def lets_worker_apply(self) -> str:
        """The command after which a worker applies what is recorded: where it was disabled, one that runs only waits."""
        disabled = self.reader.worker_order(self.place.cluster) is False
        return f"1ctl worker {'enable' if disabled else 'run'}"

    @cached_property
    def cluster(self) -> Cluster:
        """The cluster, which is announced on stderr if it is the sandbox."""
        cluster = self._open_cluster()
        INVOCATION.closing.append(cluster.close)
        return cluster

    def _open_cluster(self) -> Cluster:
        if self.place.is_sandbox:
            from effects.sandbox import SandboxCluster  # noqa: PLC0415 - reading commands need no cluster

            self.announce_sandbox()
            return SandboxCluster.open(self._sandbox, startup_seconds=_startup_seconds())
        from effects.kubernetes_cluster import KubernetesCluster  # noqa: PLC0415 - 200 ms, for a real cluster only

        if self.place.in_cluster:
            return KubernetesCluster.connect_in_cluster(name=self.place.cluster)
        if self.place.context is None:
            raise RefusedError(
                f"nothing says how to reach cluster {self.place.cluster} from here",
                hint="Name its kubeconfig context, ONECTL_CONTEXT=..., or let a worker apply what is recorded: "
                + self.lets_worker_apply,
            )
        return KubernetesCluster.connect(
            kubeconfig=self.place.kubeconfig, context=self.place.context, name=self.place.cluster
        )

    @property
    def _sandbox(self) -> Path:
        return self.home / "sandbox.db"

    @property
    def is_unused_sandbox(self) -> bool:
        """Whether the cluster is a sandbox that was never used: nothing is in it, and to look would make its file."""
        return self.place.is_sandbox and not self._sandbox.exists()

    def announce_sandbox(self) -> None:
        """Say once on stderr that the cluster is simulated, if it is."""
        if self.place.is_sandbox and not self._announced:
            self._announced = True
            self.terminal.notice(
                "Sandbox: a simulated cluster on this machine. For a real one: 1ctl profile create --help"
            )

    def notice_once(self, text: str) -> None:
        """Print a notice once per run; for commands that poll."""
        if text not in self._noticed:
            self._noticed.add(text)
            self.terminal.notice(text)

    def app_id(self, name: str) -> AppId:
        """An app of this run's cluster and namespace."""
        return AppId(self.place.cluster, self.place.namespace, name)

    def require_namespace(self) -> None:
        """Refuse before anything is recorded if the namespace does not exist.

        Raises:
            RefusedError: It does not.
        """
        namespace = self.place.namespace
        if not self.cluster.namespace_exists(namespace):
            raise RefusedError(
                f'namespace "{namespace}" does not exist in cluster {self.place.cluster}',
                hint=f"Create it: kubectl create namespace {namespace}",
            )

    def reconciler(self, request: Request, cluster: Cluster) -> Reconciler:
        """What makes a view of the cluster equal to the ledger on behalf of a request."""
        from effects.reconcile import Reconciler  # noqa: PLC0415

        return Reconciler(
            ledger=self.ledger,
            cluster=cluster,
            gateway=self.place.gateway,
            request=_observing(request),
            epoch=self.reader.epoch(),
        )

    def watch(self, request: Request) -> RolloutWatch:
        """What looks at pods on behalf of a request."""
        from effects.rollout import RolloutWatch  # noqa: PLC0415

        interval = SANDBOX_POLL_SECONDS if self.place.cluster == SANDBOX else CLUSTER_POLL_SECONDS
        return RolloutWatch(ledger=self.ledger, cluster=self.cluster, request=_observing(request), interval=interval)

    def _mint_domain(self) -> str:
        from ledger.domains import mint_domain  # noqa: PLC0415 - first deploys only

        return mint_domain(self.place.domain_suffix)


def _startup_seconds() -> float:
    """How long the sandbox's pods take to become ready: ``ONECTL_SANDBOX_SECONDS``, else one second."""
    given = os.environ.get("ONECTL_SANDBOX_SECONDS", "1")
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", given):
        raise RefusedError(
            f'ONECTL_SANDBOX_SECONDS "{given}" is not a number of seconds', hint="Example: ONECTL_SANDBOX_SECONDS=0.5"
        )
    return float(given)


def _observing(request: Request) -> Request:
    """The same request, seen from the effects side: facts are observed by it, not claimed by its actor."""
    from dataclasses import replace  # noqa: PLC0415

    return replace(request, actor="1ctl/effects", reason=None)
