"""Who `1ctl` is to an API server: service accounts and credential plugins, over a real one, with real files and scripts."""

from __future__ import annotations

import base64
import json
import os
import pty
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from effects.cluster import ClusterError, ClusterUnreachableError, Ref
from effects.kubernetes_cluster import KubernetesCluster
from tests.contracts.test_cluster import LEDGER, config_map, eventually
from tests.kubernetes.support import server_port
from tests.kubernetes.visited import a_pair, a_server
from tests.kubernetes_support import Administrator, everything_told, kubeconfig

CANARY = "what-the-plugin-said-is-secret"
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Accounts:
    """Service accounts in a namespace of their own, each of which may do there what `1ctl` needs."""

    administrator: Administrator
    namespace: str
    file: Path

    def token(self, name: str) -> str:
        """The token of a new service account."""
        self.administrator.make(self.namespace, "serviceaccounts", {"metadata": {"name": name}})
        subject = {"kind": "ServiceAccount", "name": name, "namespace": self.namespace}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"}
        binding = {"metadata": {"name": name}, "roleRef": role, "subjects": [subject]}
        self.administrator.make(self.namespace, "rolebindings", binding, group="rbac.authorization.k8s.io/v1")
        return eventually(lambda: self._token(name))

    def _token(self, name: str) -> str | None:
        account = self.administrator.get(f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{name}")
        for secret in account.get("secrets", []):
            found = self.administrator.get(f"/api/v1/namespaces/{self.namespace}/secrets/{secret['name']}")
            return base64.b64decode(found["data"]["token"]).decode()
        return None

    def revoke(self, name: str) -> None:
        """From now on nobody gets in with this account's token."""
        self.administrator.remove(f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{name}")

    def authority(self) -> bytes:
        """The certificate of whoever signed the server's."""
        cluster = json.loads(self.file.read_text())["clusters"][0]["cluster"]
        if "certificate-authority-data" in cluster:
            return base64.b64decode(cluster["certificate-authority-data"])
        return Path(cluster["certificate-authority"]).read_bytes()


@pytest.fixture
def accounts() -> Iterator[Accounts]:
    file = kubeconfig()
    administrator = Administrator(file)
    with administrator.namespace() as namespace:
        yield Accounts(administrator, namespace, file)
    administrator.close()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Lets so much time pass for whatever judges credentials, and for nothing else."""

    def pass_(time: timedelta) -> None:
        class Later(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
                return datetime.now(tz) + time

        monkeypatch.setattr("effects.kubernetes_access.datetime", Later)
        monkeypatch.setattr("effects.kubernetes_logins.datetime", Later)
        calendar = SimpleNamespace(datetime=Later, timedelta=timedelta)
        monkeypatch.setattr("kubernetes.config.incluster_config.datetime", calendar)

    return pass_


def may_look(cluster: KubernetesCluster, namespace: str) -> bool:
    """Whether the server takes its credentials; fails on anything else than its saying no."""
    try:
        cluster.look(Ref("ConfigMap", namespace, "any"), ledger_id=LEDGER)
    except ClusterUnreachableError as error:
        if "401 Unauthorized" not in error.message:
            raise
        return False
    return True


# The pod's service account


@pytest.fixture
def pod(accounts: Accounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory that a pod of service account `first` finds mounted, and its environment."""
    (tmp_path / "ca.crt").write_bytes(accounts.authority())
    (tmp_path / "token").write_text(accounts.token("first"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server_port(accounts.file)))
    return tmp_path


@pytest.mark.kubernetes
def test_a_pod_works_as_its_service_account(accounts: Accounts, pod: Path) -> None:
    with KubernetesCluster.connect_in_cluster(name="here", mount=pod) as cluster:
        made = cluster.apply(config_map(accounts.namespace, colour="red"), manager="m", expect=None)
        (page,) = cluster.pages("ConfigMap", accounts.namespace, ledger_id=LEDGER)
        assert [each.seen for each in page.objects] == [made]
        assert cluster.name == "here"


def rotate(pod: Path, token: str) -> None:
    """As the kubelet does it: a new file takes the place of the old one."""
    (pod / "token.new").write_text(token)
    (pod / "token.new").rename(pod / "token")


@pytest.mark.kubernetes
def test_a_token_that_was_rotated_is_taken_up_within_a_minute(
    accounts: Accounts, pod: Path, later: Callable[[timedelta], None]
) -> None:
    with KubernetesCluster.connect_in_cluster(name="here", mount=pod) as cluster:
        assert may_look(cluster, accounts.namespace)
        rotate(pod, accounts.token("second"))
        later(timedelta(seconds=61))
        assert may_look(cluster, accounts.namespace)
        (pod / "token").unlink()
        accounts.revoke("first")
        assert may_look(cluster, accounts.namespace)


@pytest.mark.kubernetes
def test_a_token_that_was_rotated_is_taken_up_at_once_where_the_one_before_is_not_taken_any_more(
    accounts: Accounts, pod: Path
) -> None:
    with KubernetesCluster.connect_in_cluster(name="here", mount=pod) as cluster:
        assert may_look(cluster, accounts.namespace)
        accounts.revoke("first")
        eventually(lambda: not may_look(cluster, accounts.namespace))
        rotate(pod, accounts.token("second"))
        assert may_look(cluster, accounts.namespace)


@pytest.mark.kubernetes
def test_a_token_file_that_vanished_is_no_answer_from_the_cluster(
    accounts: Accounts, pod: Path, later: Callable[[timedelta], None]
) -> None:
    with KubernetesCluster.connect_in_cluster(name="here", mount=pod) as cluster:
        (pod / "token").unlink()
        later(timedelta(seconds=61))
        with pytest.raises(ClusterUnreachableError, match="credentials could not be renewed"):
            cluster.look(Ref("ConfigMap", accounts.namespace, "any"), ledger_id=LEDGER)


def test_outside_of_a_pod_there_is_no_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ClusterError, match="service account") as caught:
        KubernetesCluster.connect_in_cluster(name="here", mount=tmp_path)
    assert "kubeconfig" in (caught.value.hint or "")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    with pytest.raises(ClusterError, match="token file does not exist"):
        KubernetesCluster.connect_in_cluster(name="here", mount=tmp_path)


def test_a_token_that_no_header_can_hold_is_quoted_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ca.crt").write_text(a_pair("authority").certificate)
    (tmp_path / "token").write_text(f"{CANARY}\n{CANARY}")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    with (
        KubernetesCluster.connect_in_cluster(name="here", mount=tmp_path) as cluster,
        pytest.raises(ClusterUnreachableError) as caught,
    ):
        cluster.look(Ref("ConfigMap", "default", "any"), ledger_id=LEDGER)
    assert CANARY not in everything_told(caught.value)


# Credential plugins


class Plugin:
    """A script that gives the answers it is told to, one after the other, the last again and again; and who runs it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "credential-plugin"
        self._answers = directory / "answers"
        self._runs = directory / "runs"
        self._asked = directory / "asked"
        self._answers.mkdir()
        self.path.write_text(
            "#!/bin/sh\n"
            f'runs=$(cat "{self._runs}" 2>/dev/null || echo 0)\n'
            f'echo $((runs + 1)) > "{self._runs}"\n'
            f'while [ ! -e "{self._answers}/$runs" ]; do runs=$((runs - 1)); done\n'
            f'echo "$KUBERNETES_EXEC_INFO" > "{self._asked}"\n'
            f'exec sh "{self._answers}/$runs"\n'
        )
        self.path.chmod(self.path.stat().st_mode | stat.S_IXUSR)

    @property
    def runs(self) -> int:
        """How often it ran."""
        return int(self._runs.read_text()) if self._runs.exists() else 0

    def will(self, *scripts: str) -> None:
        """These answer from now on."""
        for number, script in enumerate(scripts):
            (self._answers / str(self.runs + number)).write_text(script)

    def asked(self) -> Mapping[str, Any]:
        """What it was told when it ran last."""
        found: Mapping[str, Any] = json.loads(self._asked.read_text())["spec"]
        return found

    def kubeconfig(self, server: Mapping[str, Any], **more: Any) -> Path:
        """A kubeconfig whose user is whoever the plugin says."""
        plugin = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": str(self.path), **more}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": server}],
            "users": [{"name": "u", "user": {"exec": plugin}}],
            "contexts": [{"name": "staging", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "staging",
        }
        file = self.path.with_name("kubeconfig")
        file.write_text(json.dumps(document))
        return file


def says(expires_in: timedelta | None = None, **status: str | None) -> str:
    """A script that prints credentials."""
    if expires_in is not None:
        status["expirationTimestamp"] = f"{datetime.now(UTC) + expires_in:%Y-%m-%dT%H:%M:%SZ}"
    kind = {"apiVersion": "client.authentication.k8s.io/v1beta1", "kind": "ExecCredential"}
    return f"cat <<'END'\n{json.dumps({**kind, 'status': status})}\nEND\n"


FAILS = f"echo '{CANARY}'; echo '{CANARY}' >&2; exit 3\n"
NOBODY: Sequence[str] = [
    says(token=None),
    says(token=""),
    says(token=None, clientCertificateData=None, clientKeyData=None),
    says(token="", clientCertificateData="", clientKeyData=CANARY),
    says(token=None, clientCertificateData=CANARY, clientKeyData=None),
]
"""Answers that name nobody: a login with them would be anonymous."""

FAILURES: Sequence[str] = [FAILS, f"echo '{CANARY}'\n", f"echo '{{\"{CANARY}\": 1}}'\n", says(neither=CANARY), *NOBODY]


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path)


def server(accounts: Accounts) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(accounts.file.read_text())["clusters"][0]["cluster"]
    return found


@pytest.mark.kubernetes
def test_a_plugins_token_is_used_until_it_expires(accounts: Accounts, plugin: Plugin) -> None:
    plugin.will(says(HOUR, token=accounts.token("first")))
    with KubernetesCluster.connect(kubeconfig=plugin.kubeconfig(server(accounts)), context="staging") as cluster:
        assert all(may_look(cluster, accounts.namespace) for _ in range(3))
        assert plugin.runs == 1


@pytest.mark.kubernetes
def test_a_plugins_token_is_renewed_before_it_expires(
    accounts: Accounts, plugin: Plugin, later: Callable[[timedelta], None]
) -> None:
    plugin.will(says(HOUR, token=accounts.token("first")), says(3 * HOUR, token=accounts.token("second")))
    with KubernetesCluster.connect(kubeconfig=plugin.kubeconfig(server(accounts)), context="staging") as cluster:
        assert may_look(cluster, accounts.namespace)
        later(HOUR - timedelta(minutes=2))
        assert may_look(cluster, accounts.namespace)
        assert plugin.runs == 2
        accounts.revoke("first")
        assert all(may_look(cluster, accounts.namespace) for _ in range(3))
        assert plugin.runs == 2


@pytest.mark.kubernetes
def test_a_plugin_that_names_no_end_is_run_again_once_its_token_is_not_taken_any_more(
    accounts: Accounts, plugin: Plugin
) -> None:
    first, second = accounts.token("first"), accounts.token("second")
    plugin.will(says(token=first), says(token=second))
    with KubernetesCluster.connect(kubeconfig=plugin.kubeconfig(server(accounts)), context="staging") as cluster:
        assert all(may_look(cluster, accounts.namespace) for _ in range(3))
        assert plugin.runs == 1
        accounts.revoke("first")
        eventually(lambda: may_look(cluster, accounts.namespace) and plugin.runs == 2)
        assert all(may_look(cluster, accounts.namespace) for _ in range(3))
        assert plugin.runs == 2


def test_a_plugins_certificate_is_used_and_renewed(
    plugin: Plugin, tmp_path: Path, later: Callable[[timedelta], None]
) -> None:
    first, second = a_pair("first"), a_pair("second")
    plugin.will(
        says(HOUR, clientCertificateData=first.certificate, clientKeyData=first.key),
        says(3 * HOUR, clientCertificateData=second.certificate, clientKeyData=second.key),
    )
    with (
        a_server(tmp_path, trusts=(first, second)) as host,
        KubernetesCluster.connect(kubeconfig=plugin.kubeconfig(host.cluster), context="staging") as cluster,
    ):
        for _ in range(2):
            cluster.look(Ref("ConfigMap", "default", "any"), ledger_id=LEDGER)
        later(HOUR)
        for _ in range(2):
            cluster.look(Ref("ConfigMap", "default", "any"), ledger_id=LEDGER)
    assert [visit.certificate for visit in host.visits] == ["first", "first", "second", "second"]
    assert plugin.runs == 2


def test_a_plugins_token_and_its_certificate_are_both_used(plugin: Plugin, tmp_path: Path) -> None:
    pair = a_pair("first")
    plugin.will(says(token="t1", clientCertificateData=pair.certificate, clientKeyData=pair.key))
    with (
        a_server(tmp_path, trusts=(pair,)) as host,
        KubernetesCluster.connect(kubeconfig=plugin.kubeconfig(host.cluster), context="staging") as cluster,
    ):
        cluster.look(Ref("ConfigMap", "default", "any"), ledger_id=LEDGER)
    assert [(visit.certificate, visit.headers["Authorization"]) for visit in host.visits] == [("first", "Bearer t1")]


def test_a_plugin_that_says_null_says_nothing(plugin: Plugin, tmp_path: Path) -> None:
    pair = a_pair("first")
    nulls = {"token": None, "expirationTimestamp": None}
    plugin.will(says(clientCertificateData=pair.certificate, clientKeyData=pair.key, **nulls))
    with (
        a_server(tmp_path, trusts=(pair,)) as host,
        KubernetesCluster.connect(kubeconfig=plugin.kubeconfig(host.cluster), context="staging") as cluster,
    ):
        for _ in range(2):
            cluster.look(Ref("ConfigMap", "default", "any"), ledger_id=LEDGER)
    assert [visit.certificate for visit in host.visits] == ["first", "first"]
    assert plugin.runs == 1, "it never expires"


def test_credentials_that_live_for_minutes_are_renewed_at_their_end_and_not_at_each_request(
    plugin: Plugin, tmp_path: Path, later: Callable[[timedelta], None]
) -> None:
    pair, minutes = a_pair("first"), timedelta(minutes=4)
    given = {"clientCertificateData": pair.certificate, "clientKeyData": pair.key}
    plugin.will(says(minutes, **given), says(2 * minutes, **given))
    with (
        a_server(tmp_path, trusts=(pair,)) as host,
        KubernetesCluster.connect(kubeconfig=plugin.kubeconfig(host.cluster), context="staging") as cluster,
    ):
        for since, runs in ((timedelta(), 1), (0.8 * minutes, 1), (0.95 * minutes, 2), (1.2 * minutes, 2)):
            later(since)
            cluster.look(Ref("ConfigMap", "default", "any"), ledger_id=LEDGER)
            assert plugin.runs == runs


@pytest.mark.parametrize("failure", FAILURES)
def test_a_plugin_that_fails_is_named_and_not_quoted(
    plugin: Plugin, failure: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    plugin.will(failure)
    file = plugin.kubeconfig({"server": "http://127.0.0.1:1"})
    with pytest.raises(ClusterError, match=rf"credential plugin '{plugin.path}' failed") as caught:
        KubernetesCluster.connect(kubeconfig=file, context="staging")
    written = capfd.readouterr()
    assert CANARY not in everything_told(caught.value) + written.out + written.err + caplog.text


@contextmanager
def standard_input(descriptor: int) -> Iterator[None]:
    """That descriptor is what this process, and whatever it starts, has as its standard input."""
    before = os.dup(0)
    os.dup2(descriptor, 0)
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)


def test_a_plugin_leaves_a_script_what_it_has_to_read(plugin: Plugin) -> None:
    given, rest = os.pipe()
    os.write(rest, b"web\nshop\n")
    os.close(rest)
    plugin.will("cat >&2\n" + says(HOUR, token="first"))
    file = plugin.kubeconfig({"server": "http://127.0.0.1:1"})
    with standard_input(given), KubernetesCluster.connect(kubeconfig=file, context="staging"):
        assert os.read(0, 100) == b"web\nshop\n"
    os.close(given)
    assert plugin.asked()["interactive"] is False


@pytest.mark.parametrize("mode", ["IfAvailable", "Never"])
def test_a_plugin_may_ask_whoever_sits_at_the_terminal_unless_its_kubeconfig_says_never(
    plugin: Plugin, mode: str
) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, b"user's answer\n")
    plugin.will(f'head -n 1 > "{plugin.path}.heard"\n' + says(HOUR, token="first"))
    file = plugin.kubeconfig({"server": "http://127.0.0.1:1"}, interactiveMode=mode)
    with standard_input(theirs), KubernetesCluster.connect(kubeconfig=file, context="staging"):
        pass
    os.close(theirs)
    os.close(ours)
    asks = mode != "Never"
    assert Path(f"{plugin.path}.heard").read_text() == ("user's answer\n" if asks else "")
    assert plugin.asked()["interactive"] is asks


def test_a_plugin_that_wants_to_know_is_told_the_cluster_and_what_the_kubeconfig_has_for_it(plugin: Plugin) -> None:
    plugin.will(says(HOUR, token="first"))
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "them"}}
    server = {"server": "http://127.0.0.1:1", "extensions": [extension]}
    with KubernetesCluster.connect(kubeconfig=plugin.kubeconfig(server), context="staging"):
        assert "cluster" not in plugin.asked()
    with KubernetesCluster.connect(kubeconfig=plugin.kubeconfig(server, provideClusterInfo=True), context="staging"):
        told = plugin.asked()["cluster"]
        assert (told["server"], told["config"]) == (server["server"], {"audience": "them"})


def test_a_plugin_that_is_not_there_is_named(plugin: Plugin) -> None:
    file = plugin.kubeconfig({"server": "http://127.0.0.1:1"})
    plugin.path.unlink()
    with pytest.raises(ClusterError, match=r"credential plugin .* failed"):
        KubernetesCluster.connect(kubeconfig=file, context="staging")


@pytest.mark.parametrize("failure", FAILURES)
def test_a_plugin_that_fails_to_renew_is_no_answer_and_may_do_it_the_next_time(
    plugin: Plugin, failure: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    plugin.will(says(timedelta(0), token="first"), failure, says(HOUR, token="second"))
    with KubernetesCluster.connect(
        kubeconfig=plugin.kubeconfig({"server": "http://127.0.0.1:1"}), context="staging"
    ) as cluster:
        with pytest.raises(ClusterUnreachableError, match="credential plugin") as caught:
            cluster.look(Ref("ConfigMap", "default", "any"), ledger_id=LEDGER)
        with pytest.raises(ClusterUnreachableError, match=r"[Cc]onnection refused"):
            cluster.look(Ref("ConfigMap", "default", "any"), ledger_id=LEDGER)
    assert plugin.runs == 3
    written = capfd.readouterr()
    assert CANARY not in everything_told(caught.value) + written.out + written.err + caplog.text


def test_a_plugin_that_hangs_is_waited_for_in_vain_only_so_long(
    plugin: Plugin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("effects.kubernetes_logins._PLUGIN_SECONDS", 0.3)
    os.mkfifo(tmp_path / "never")
    plugin.will(says(timedelta(0), token="first"), f'cat "{tmp_path}/never"\n' + says(HOUR, token="second"))
    file = plugin.kubeconfig({"server": "http://127.0.0.1:1"})
    with KubernetesCluster.connect(kubeconfig=file, context="staging") as cluster:
        for _ in range(2):
            with pytest.raises(ClusterUnreachableError, match="did not end within"):
                cluster.look(Ref("ConfigMap", "default", "any"), ledger_id=LEDGER)
        assert plugin.runs == 2
        # Let it end, and wait until what it said is used.
        (tmp_path / "never").write_text("")

        def renewed() -> bool:
            with pytest.raises(ClusterUnreachableError) as caught:
                cluster.look(Ref("ConfigMap", "default", "any"), ledger_id=LEDGER)
            return "refused" in caught.value.message

        assert eventually(renewed)
        assert plugin.runs == 2
