"""What a kubeconfig says is what reaches the server, and what the `kubernetes` client would make of it; with real TLS."""

from __future__ import annotations

import base64
import os
import pty
import subprocess
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
import pytest
import yaml

from effects.cluster import ClusterError, ClusterRefusedError, ClusterUnreachableError, Ref
from effects.kubernetes_access import Access, PlainAccess
from effects.kubernetes_cluster import KubernetesCluster
from effects.kubernetes_credentials import from_kubeconfig
from effects.kubernetes_logins import LoginAccess, login
from tests.contracts.test_cluster import LEDGER
from tests.kubernetes.visited import Host, Pair, Visit, a_pair, a_server
from tests.kubernetes_support import Administrator, everything_told, kubeconfig

CANARY = "swordfish-in-a-kubeconfig"
ANY = Ref("ConfigMap", "default", "any")
NO_SERVER = {"server": "http://127.0.0.1:1"}


def coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def written(
    directory: Path, user: Mapping[str, Any] | None, cluster: Mapping[str, Any] = MappingProxyType(NO_SERVER)
) -> Path:
    """A kubeconfig with one context, `staging`."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": dict(cluster)}],
        "users": [{"name": "u", "user": user}] if user is not None else [],
        "contexts": [{"name": "staging", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
    }
    file = directory / "kubeconfig"
    file.write_text(yaml.safe_dump(document))
    return file


def look(access: Access) -> None:
    """One request of ours."""
    from effects.kubernetes_door import Door

    with KubernetesCluster(Door(access, name="staging", timeout=10), name="staging") as cluster:
        cluster.look(ANY, ledger_id=LEDGER)


def connect(file: Path) -> KubernetesCluster:
    return KubernetesCluster.connect(kubeconfig=file, context="staging", timeout=10)


def known(visit: Visit) -> tuple[str, str | None, str | None]:
    return visit.path, visit.headers["Authorization"], visit.certificate


@pytest.fixture(scope="module")
def visitor() -> Pair:
    return a_pair("visitor")


@pytest.fixture
def host(tmp_path: Path, visitor: Pair) -> Iterator[Host]:
    """A server that takes the visitor's certificate, and whoever has none."""
    with a_server(tmp_path, trusts=(visitor,), asks=False) as host:
        yield host


def users(visitor: Pair) -> Mapping[str, tuple[Mapping[str, Any] | None, tuple[str | None, str | None]]]:
    """What users say, and what the server is told: who sends which header, and which certificate."""
    certificate = {"client-certificate-data": coded(visitor.certificate), "client-key-data": coded(visitor.key)}
    files = {"client-certificate": "visitor.crt", "client-key": "keys/visitor.key"}
    basic = "Basic " + coded("ana:pässword")
    return {
        "nobody": (None, (None, None)),
        "empty": ({}, (None, None)),
        "a token": ({"token": "t0"}, ("Bearer t0", None)),
        "an empty token": ({"token": ""}, (None, None)),
        "a token's file": ({"tokenFile": "token"}, ("Bearer t1", None)),
        "a password": ({"username": "ana", "password": "pässword"}, (basic, None)),
        "a name without a password": ({"username": "ana"}, ("Basic " + coded("ana:"), None)),
        "a token and a password": ({"token": "t0", "username": "ana", "password": "x"}, ("Bearer t0", None)),
        "a certificate": (certificate, (None, "visitor")),
        "a certificate in files": (files, (None, "visitor")),
        "data before files": ({**certificate, "client-certificate": "none", "client-key": "none"}, (None, "visitor")),
        "a certificate and a token": ({**certificate, "token": "t0"}, ("Bearer t0", "visitor")),
    }


@pytest.mark.parametrize("who", users(Pair("", "")))
def test_the_server_learns_what_the_file_says_and_what_the_client_would_tell(
    who: str, tmp_path: Path, visitor: Pair, host: Host
) -> None:
    user, (header, certificate) = users(visitor)[who]
    (tmp_path / "visitor.crt").write_text(visitor.certificate)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "visitor.key").write_text(visitor.key)
    (tmp_path / "token").write_text("t1")
    file = written(tmp_path, user, host.cluster)
    access = from_kubeconfig(file, "staging")
    assert isinstance(access, PlainAccess)
    look(access)
    look(login(file, "staging", {}))
    ours, theirs = host.visits
    assert known(ours) == ("/api/v1/namespaces/default/configmaps/any", header, certificate)
    if "password" not in who or "token" in who:  # in Latin-1, where kubectl sends UTF-8; and not without a password
        assert known(ours) == known(theirs)
    assert ours.headers["User-Agent"] == theirs.headers["User-Agent"] == "1ctl"


def test_a_token_that_is_surrounded_by_blanks_is_sent_without_them(tmp_path: Path, host: Host) -> None:
    (tmp_path / "token").write_text("t2\n")
    look(from_kubeconfig(written(tmp_path, {"tokenFile": "token", "token": "older"}, host.cluster), "staging"))
    assert host.visits[0].headers["Authorization"] == "Bearer t2"


def test_a_tokens_file_is_read_again_after_a_minute(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now().astimezone()

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return now.astimezone(tz)

    monkeypatch.setattr("effects.kubernetes_access.datetime", Clock)
    token = tmp_path / "token"
    token.write_text("first")
    with connect(written(tmp_path, {"tokenFile": str(token)}, host.cluster)) as cluster:
        cluster.look(ANY, ledger_id=LEDGER)
        token.write_text("second")
        for seconds in (59, 2):
            now += timedelta(seconds=seconds)
            cluster.look(ANY, ledger_id=LEDGER)
        now += timedelta(seconds=61)
        token.write_text("")  # it is just being replaced
        with pytest.raises(ClusterUnreachableError, match="it is empty"):
            cluster.look(ANY, ledger_id=LEDGER)
        token.unlink()
        with pytest.raises(ClusterUnreachableError, match="token's file cannot be read: No such file") as caught:
            cluster.look(ANY, ledger_id=LEDGER)
        assert caught.value.hint == "Check the user in the kubeconfig."
    assert [visit.headers["Authorization"] for visit in host.visits] == [
        "Bearer first",
        "Bearer first",
        "Bearer second",
    ]


def test_a_certificate_that_was_replaced_is_used_from_then_on(tmp_path: Path, visitor: Pair) -> None:
    second = a_pair("second")
    crt, key = tmp_path / "visitor.crt", tmp_path / "visitor.key"
    crt.write_text(visitor.certificate)
    key.write_text(visitor.key)
    user = {"client-certificate": "visitor.crt", "client-key": "visitor.key"}
    with (
        a_server(tmp_path, trusts=(visitor, second)) as host,
        connect(written(tmp_path, user, host.cluster)) as cluster,
    ):
        for _ in range(2):
            cluster.look(ANY, ledger_id=LEDGER)
        crt.write_text(second.certificate)
        with pytest.raises(ClusterUnreachableError, match="do not belong together"):  # until both are replaced
            cluster.look(ANY, ledger_id=LEDGER)
        key.write_text(second.key)
        cluster.look(ANY, ledger_id=LEDGER)
    assert [visit.certificate for visit in host.visits] == ["visitor", "visitor", "second"]


def test_a_path_before_the_api_is_kept(tmp_path: Path, host: Host) -> None:
    cluster = {**host.cluster, "server": host.cluster["server"] + "/k8s/clusters/c-1/"}
    look(from_kubeconfig(written(tmp_path, {}, cluster), "staging"))
    assert host.visits[0].path == "/k8s/clusters/c-1/api/v1/namespaces/default/configmaps/any"


# Whom to trust


def test_a_server_that_nobody_vouches_for_is_not_spoken_to(tmp_path: Path, host: Host) -> None:
    for cluster in (
        {"server": host.cluster["server"]},
        {**host.cluster, "certificate-authority-data": coded(a_pair("another").certificate)},
    ):
        with (
            connect(written(tmp_path, {"token": CANARY}, cluster)) as other,
            pytest.raises(ClusterUnreachableError, match=r"certificate is not trusted \(.*self.signed") as caught,
        ):
            other.look(ANY, ledger_id=LEDGER)
        assert CANARY not in everything_told(caught.value)
        assert "Check certificate-authority" in (caught.value.hint or "")
    assert host.visits == []


def test_an_authority_may_stand_in_a_file(tmp_path: Path, host: Host) -> None:
    (tmp_path / "ca.crt").write_text(host.certificate)
    cluster = {"server": host.cluster["server"], "certificate-authority": "ca.crt"}
    look(from_kubeconfig(written(tmp_path, {}, cluster), "staging"))
    assert len(host.visits) == 1


@pytest.mark.parametrize("broken", ["\n", "\r\n", "a long line"])
def test_an_authority_may_be_wrapped_and_have_comments_in_any_alphabet(tmp_path: Path, host: Host, broken: str) -> None:
    text = coded("# Főtanúsítvány\n" + host.certificate)
    wrapped = text if broken == "a long line" else broken.join(textwrap.wrap(text, 64)) + broken
    cluster = {"server": host.cluster["server"], "certificate-authority-data": wrapped}
    look(from_kubeconfig(written(tmp_path, {}, cluster), "staging"))
    assert len(host.visits) == 1


def test_credentials_go_nowhere_without_tls_but_to_this_machine(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(CANARY)
    login = {"token": CANARY, "exec": {"command": "false", "apiVersion": "x"}}
    for user in ({"token": CANARY}, {"tokenFile": "token"}, {"username": "ana", "password": CANARY}, login):
        for server in ("http://10.0.0.1:8080", "http://kubernetes.example"):
            with pytest.raises(ClusterError, match="reached without TLS") as caught:
                connect(written(tmp_path, user, {"server": server}))
            assert CANARY not in everything_told(caught.value)
        for server in ("http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"):
            connect(written(tmp_path, user, {"server": server})).close()
    connect(written(tmp_path, {}, {"server": "http://10.0.0.1:8080"})).close()


def test_a_server_of_another_name_is_refused_unless_the_file_expects_that_name(tmp_path: Path) -> None:
    with a_server(tmp_path, own=a_pair("server", host="kubernetes.example")) as host:
        with (
            connect(written(tmp_path, {}, host.cluster)) as other,
            pytest.raises(ClusterUnreachableError, match="not trusted"),
        ):
            other.look(ANY, ledger_id=LEDGER)
        look(
            from_kubeconfig(written(tmp_path, {}, {**host.cluster, "tls-server-name": "kubernetes.example"}), "staging")
        )
        assert len(host.visits) == 1


def test_who_asks_not_to_verify_is_not_warned_at_each_command(tmp_path: Path, host: Host) -> None:
    cluster = {"server": host.cluster["server"], "insecure-skip-tls-verify": True}
    for user in ({}, {"exec": {"command": "false", "apiVersion": "x"}, "token": "t"}):
        with warnings.catch_warnings(record=True) as warned:
            look(from_kubeconfig(written(tmp_path, user, cluster), "staging"))
        assert warned == []
    assert len(host.visits) == 2


# As whom


def test_acting_as_somebody_else_is_asked_for(tmp_path: Path, host: Host) -> None:
    user = {
        "token": "t",
        "as": "ben",
        "as-uid": "7",
        "as-groups": ["dev", "ops"],
        "as-user-extra": {"acme/why": ["on call"]},
    }
    for more in ({}, {"exec": {"command": "false", "apiVersion": "x"}}):
        look(from_kubeconfig(written(tmp_path, {**user, **more}, host.cluster), "staging"))
        headers = host.visits[-1].headers
        assert (headers["Impersonate-User"], headers["Impersonate-Uid"]) == ("ben", "7")
        assert headers.get_all("Impersonate-Group") == ["dev", "ops"]
        assert headers["Impersonate-Extra-acme%2Fwhy"] == "on call"
        assert headers["Authorization"] == "Bearer t"


@pytest.mark.kubernetes
def test_who_acts_as_somebody_without_rights_has_none(tmp_path: Path) -> None:
    document = orjson.loads(kubeconfig().read_bytes())
    document["users"][0]["user"]["as"] = "nobody-at-all"
    (tmp_path / "kubeconfig").write_bytes(orjson.dumps(document))
    administrator = Administrator(kubeconfig())
    with (
        administrator.namespace() as namespace,
        KubernetesCluster.connect(kubeconfig=tmp_path / "kubeconfig", context=administrator.context) as cluster,
        pytest.raises(ClusterRefusedError, match="nobody-at-all") as caught,
    ):
        cluster.look(Ref("ConfigMap", namespace, "any"), ledger_id=LEDGER)
    assert caught.value.status == 403
    administrator.close()


# What cannot be used


BROKEN: Mapping[str, tuple[str, str]] = {
    "no YAML": (f"clusters: [{CANARY}", r"it is not YAML \(line \d\)"),
    "no text": ("\x00", "it is not YAML"),
    "a list": (f"[{CANARY}]", "it has no such context"),
    "no lists": ("contexts: 5", "its contexts are not a list"),
    "lists in lists": ("[" * 200_000 + "]" * 200_000, "it is nested more than 100 deep"),
    "lists in lines": ("- " * 200_000, "it is nested more than 100 deep"),
    "mappings in mappings": ("{a: " * 100_000, "it is nested more than 100 deep"),
    "keys in keys": ("? " * 200_000, "it is nested more than 100 deep"),
    "no end": (f"# {CANARY}\n" * (1 << 20), "it is larger than 16 MiB"),
    "a tag that does not fit": ("contexts: !!timestamp x", "it is not YAML"),
    "an entry without a name": (f"contexts: [{CANARY}]", "an entry of contexts has no name"),
    "two of one name": (
        "users: [{name: u}, {name: u}]\ncontexts: [{name: staging, context: {cluster: c, user: u}}]\nclusters: [{name: c}]",
        "two of its users are called 'u'",
    ),
    "no cluster": ("contexts: [{name: staging, context: {cluster: c}}]", "names a cluster that is not in the file"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_file_that_is_no_kubeconfig_is_refused_with_the_reason(tmp_path: Path, what: str) -> None:
    text, reason = BROKEN[what]
    (tmp_path / "kubeconfig").write_text(text)
    with pytest.raises(ClusterError, match=reason) as caught:
        connect(tmp_path / "kubeconfig")
    assert CANARY not in everything_told(caught.value)


def test_the_contexts_that_there_are_are_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="no such context") as caught:
        KubernetesCluster.connect(kubeconfig=written(tmp_path, {}), context="prod")
    assert caught.value.hint == "Contexts in that file: staging."


UNUSABLE: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any], str]] = {
    "no server": ({}, {"server": ""}, "has no server's address"),
    "no scheme": ({}, {"server": "127.0.0.1:6443"}, "begins with https://"),
    "authority not coded": ({}, {"certificate-authority-data": f"{CANARY}!"}, "certificate-authority-data is not base64"),
    "no authority": ({}, {"certificate-authority-data": coded(CANARY)}, "its certificate authority is not"),
    "authority not there": ({}, {"certificate-authority": "none"}, "the file of certificate-authority cannot be read"),
    "no certificate": (
        {"client-certificate-data": coded(CANARY), "client-key-data": coded(CANARY)}, {}, "do not belong together"
    ),
    "an authority, and not to verify": (
        {}, {"insecure-skip-tls-verify": True, "certificate-authority-data": coded(CANARY)}, "says not to verify"
    ),
    "half a pair": ({"client-key-data": coded(CANARY)}, {}, "its key, one is missing"),
    "token of another kind": ({"token": [CANARY]}, {}, "token is not a text"),
    "groups and nobody": ({"as-groups": [CANARY]}, {}, "nobody to act as"),
    "groups of another kind": ({"as": "ben", "as-groups": CANARY}, {}, "as-groups is not a list"),
}  # fmt: skip


@pytest.mark.parametrize("what", UNUSABLE)
def test_what_cannot_be_used_is_named_and_not_quoted(tmp_path: Path, what: str) -> None:
    user, cluster, reason = UNUSABLE[what]
    with pytest.raises(ClusterError, match=reason) as caught:
        connect(written(tmp_path, user, {"server": "https://127.0.0.1:1", **cluster}))
    assert CANARY not in everything_told(caught.value)


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    pair = a_pair("visitor", password=b"secret")
    user = {"client-certificate-data": coded(pair.certificate), "client-key-data": coded(pair.key)}
    file = written(tmp_path, user, {"server": "https://127.0.0.1:1"})
    script = "import sys; from pathlib import Path; from effects.kubernetes_credentials import from_kubeconfig as f\n"
    script += "try: f(Path(sys.argv[1]), 'staging')\nexcept Exception as error: print(error)"
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-c", script, str(file)],
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert "do not belong together" in done.stdout
    assert done.stderr == ""


def test_a_key_is_written_to_no_disk(
    tmp_path: Path, visitor: Pair, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
    user = {"client-certificate-data": coded(visitor.certificate), "client-key-data": coded(visitor.key)}
    look(from_kubeconfig(written(tmp_path, user, host.cluster), "staging"))
    assert host.visits[0].certificate == "visitor"


@pytest.mark.parametrize("provider", [{"name": "azure"}, {"name": "oidc", "config": {"id-token": CANARY}}])
def test_who_logs_in_by_a_provider_that_nobody_knows_does_not_become_anonymous(
    tmp_path: Path, provider: Mapping[str, Any]
) -> None:
    with pytest.raises(ClusterError, match=r"its auth-provider .* log in by a plugin") as caught:
        connect(written(tmp_path, {"auth-provider": provider}, {"server": "https://127.0.0.1:1"}))
    assert CANARY not in everything_told(caught.value)


# What is left to the client


LEFT: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, str]]] = {
    "a plugin": ({"exec": {"command": "true", "apiVersion": "x"}, "token": "t"}, {}, {}),
    "a provider": ({"auth-provider": {"name": "oidc"}, "token": "t"}, {}, {}),
    "a proxy": ({}, {"proxy-url": "http://127.0.0.1:2"}, {}),
    "a proxy of the environment": ({}, {}, {"https_proxy": "http://127.0.0.1:2"}),
    "what we do not know": ({"a-new-way": "x"}, {}, {}),
}


@pytest.mark.parametrize("what", LEFT)
def test_what_a_program_or_a_protocol_has_to_answer_is_left_to_the_client(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, cluster, environment = LEFT[what]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    access = from_kubeconfig(written(tmp_path, user, {"server": "https://127.0.0.1:1", **cluster}), "staging")
    assert isinstance(access, LoginAccess)


def test_what_stands_in_a_kubeconfig_is_used_without_the_client(tmp_path: Path) -> None:
    file = written(tmp_path, {"token": "t"}, {"server": "https://127.0.0.1:1"})
    script = "import sys; from pathlib import Path; from effects.kubernetes_cluster import KubernetesCluster as K\n"
    script += "K.connect(kubeconfig=Path(sys.argv[1]), context='staging'); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script, str(file)], capture_output=True, text=True, timeout=30, check=True
    )
    packages = {name.split(".")[0] for name in done.stdout.split()}
    assert packages >= {"urllib3", "yaml"}
    assert not packages & {"kubernetes", "pydantic", "requests", "oauthlib", "dateutil", "websocket", "asyncio"}
