"""How the Kubernetes adapter takes what a server, or no server, answers; against a scripted one on loopback."""

from __future__ import annotations

import base64
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from effects.cluster import (
    Change,
    ChangedMeanwhileError,
    ClusterError,
    ClusterRefusedError,
    ClusterUnreachableError,
    ExpiredError,
    LogsUnavailableError,
    NotOursError,
    Ref,
    Rollout,
    Seen,
)
from effects.kubernetes_cluster import KubernetesCluster
from effects.kubernetes_door import _asked
from effects.kubernetes_watch import KubernetesWatch
from tests.effects.worlds import image, sandbox_world
from tests.kubernetes_support import everything_told

LEDGER = "3f1c9a52-6f0e-4b41-9a0e-4c9d3c1f7b10"
PASSWORD = "correct horse battery staple"
ENCODED = base64.b64encode(PASSWORD.encode()).decode()
TOKEN = "the-token-of-this-user"
SETTINGS = Ref("ConfigMap", "shop", "settings")
VAULT = Ref("Secret", "shop", "vault")
WEB = Ref("Deployment", "shop", "web")
EXPECTED = Seen(uid="u1", resource_version="7", labels={}, annotations={})


@dataclass(frozen=True)
class Reply:
    """What the server answers once; `cut` promises more bytes than it sends, `drip` sends one after the other.

    `stall` waits before the first byte, `hang` after the last one (seconds).
    """

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    stall: float = 0.0
    drip: float = 0.0
    hang: float = 0.0


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


class Server:
    """Answers with its replies in their order, the last one again and again."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.received: list[Received] = []
        self.stopped = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                document = orjson.loads(body) if body else None
                server.received.append(Received(self.command, self.path, dict(self.headers), document))
                server.send(self, server.replies.pop(0) if len(server.replies) > 1 else server.replies[0])

            do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        self.port: int = self.http.server_address[1]

    def send(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        self.stopped.wait(reply.stall)
        handler.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(reply.body) + reply.cut))
        handler.end_headers()
        for index in range(len(reply.body) if reply.drip else 0):
            if self.stopped.wait(reply.drip):
                return
            try:
                handler.wfile.write(reply.body[index : index + 1])
            except OSError:
                return
        if not reply.drip:
            handler.wfile.write(reply.body)
        handler.wfile.flush()
        self.stopped.wait(reply.hang)
        handler.close_connection = reply.cut > 0

    def close(self) -> None:
        self.stopped.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def write_kubeconfig(path: Path, address: str) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": address}}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
        "contexts": [{"name": name, "context": {"cluster": "c", "user": "u"}} for name in ("staging", "production")],
        "current-context": "production",
    }
    path.write_bytes(orjson.dumps(document))
    return path


Connect = Callable[..., KubernetesCluster]


@pytest.fixture
def connect(server: Server, tmp_path: Path) -> Iterator[Connect]:
    """Connects to the scripted server, which will answer with these replies."""
    opened: list[KubernetesCluster] = []

    def to(
        *replies: Reply,
        timeout: float = 5.0,
        watch_seconds: int = 30,
        address: str = f"http://127.0.0.1:{server.port}",
    ) -> KubernetesCluster:
        server.replies = list(replies)
        file = write_kubeconfig(tmp_path / "kubeconfig", address)
        opened.append(
            KubernetesCluster.connect(kubeconfig=file, context="staging", timeout=timeout, watch_seconds=watch_seconds)
        )
        return opened[-1]

    yield to
    for cluster in opened:
        cluster.close()


def status(code: int, reason: str, message: str = "", causes: Sequence[object] = (), **details: object) -> Reply:
    document = {
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "details": {**details, "causes": causes},
        "code": code,
    }
    return Reply(code, orjson.dumps(document))


def json(document: object, code: int = 200) -> Reply:
    return Reply(code, orjson.dumps(document))


def metadata(**more: object) -> dict[str, object]:
    return {"metadata": {"name": "x", "uid": "u1", "resourceVersion": "8", **more}}


def secret() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": "shop", "name": "vault", "labels": {"1ctl.dev/ledger": LEDGER, "tier": "x"}},
        "data": {"password": ENCODED},
    }


def settings() -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "shop", "name": "settings"}}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# No usable answer


def test_a_refused_connection_is_unreachable(connect: Connect) -> None:
    cluster = connect(address=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ClusterUnreachableError, match=r"staging.*[Cc]onnection refused") as caught:
        cluster.look(SETTINGS, ledger_id=LEDGER)
    assert caught.value.hint is not None


def test_a_server_that_speaks_no_tls_is_unreachable(connect: Connect, server: Server) -> None:
    cluster = connect(address=f"https://127.0.0.1:{server.port}")
    with pytest.raises(ClusterUnreachableError, match="TLS"):
        cluster.look(SETTINGS, ledger_id=LEDGER)


@pytest.mark.parametrize(("code", "header", "seconds"), [(503, "7", 7.0), (429, "1", 1.0), (500, None, None)])
def test_an_overloaded_server_is_asked_once_and_says_when_to_come_back(
    connect: Connect, server: Server, code: int, header: str | None, seconds: float | None
) -> None:
    headers = {"Retry-After": header} if header else {}
    cluster = connect(Reply(code, b"overloaded", headers))
    with pytest.raises(ClusterUnreachableError, match=str(code)) as caught:
        cluster.look(SETTINGS, ledger_id=LEDGER)
    assert caught.value.retry_after == seconds
    assert len(server.received) == 1


def test_a_server_may_also_name_the_moment_at_which_to_come_back(connect: Connect) -> None:
    cluster = connect(Reply(503, b"", {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(hours=1), True)}))
    with pytest.raises(ClusterUnreachableError) as caught:
        cluster.look(SETTINGS, ledger_id=LEDGER)
    assert caught.value.retry_after is not None
    assert 3000 < caught.value.retry_after <= 3601


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30.0),
        ("Wednesday, 21-Oct-26 07:28:30 GMT", 30.0),
        ("Wed Oct 21 07:28:30 2026", 30.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 1.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 1.0),
        ("Wed, 21 Oct 2026 07:28:30 +99999999", None),
        ("Wed, 99 Oct 2026 07:28:30 GMT", None),
        ("tomorrow", None),
        ("-3", None),
        ("", None),
    ],
)
def test_that_moment_is_taken_by_the_servers_own_clock_and_is_never_over(moment: str, seconds: float | None) -> None:
    assert _asked({"Retry-After": moment, "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}) == seconds


def test_half_an_answer_is_unreachable_and_not_asked_for_again(connect: Connect, server: Server) -> None:
    cluster = connect(Reply(body=orjson.dumps(metadata()), cut=10))
    with pytest.raises(ClusterUnreachableError, match="broke before"):
        cluster.look(SETTINGS, ledger_id=LEDGER)
    assert len(server.received) == 1


def test_a_server_that_stalls_is_given_up_in_time(connect: Connect) -> None:
    cluster = connect(Reply(stall=30.0), timeout=0.2)
    began = time.monotonic()
    with pytest.raises(ClusterUnreachableError, match=r"longer than 0\.2 s"):
        cluster.look(SETTINGS, ledger_id=LEDGER)
    assert time.monotonic() - began < 2.0


def test_a_server_that_sends_byte_after_byte_is_given_up_in_time(connect: Connect) -> None:
    cluster = connect(Reply(body=b" " * 1000, drip=0.05), timeout=0.3)
    began = time.monotonic()
    with pytest.raises(ClusterUnreachableError, match=r"longer than 0\.3 s"):
        cluster.look(SETTINGS, ledger_id=LEDGER)
    assert time.monotonic() - began < 2.0


@pytest.mark.parametrize("body", [b"<html>Log in to the hotel</html>", b"[]", b'{"hello": "world"}', b""])
def test_an_answer_that_is_no_kubernetes_object_is_unreachable(connect: Connect, body: bytes) -> None:
    with pytest.raises(ClusterUnreachableError, match="Kubernetes API"):
        connect(Reply(body=body)).look(SETTINGS, ledger_id=LEDGER)


PLAIN = Reply(404, b"404 page not found\n")
VERSION = Reply(body=b'{"gitVersion": "v1.20.2"}')


@pytest.mark.parametrize("who", [PLAIN, Reply(body=b"{}"), Reply(body=b"<html>hello</html>")])
def test_that_something_else_knows_nothing_does_not_mean_that_nothing_is_there(connect: Connect, who: Reply) -> None:
    for do in (
        lambda cluster: cluster.look(SETTINGS, ledger_id=LEDGER),
        lambda cluster: cluster.look(VAULT, ledger_id=LEDGER),
        lambda cluster: cluster.read(SETTINGS),
        lambda cluster: cluster.delete(SETTINGS, uid="u1"),
        lambda cluster: cluster.rollout(WEB),
        lambda cluster: cluster.namespace_exists("shop"),
        lambda cluster: cluster.apply(settings(), manager="m", expect=EXPECTED),
        lambda cluster: list(cluster.pages("ConfigMap", "shop", ledger_id=LEDGER)),
        lambda cluster: list(watch(cluster)),
    ):
        with pytest.raises(ClusterUnreachableError, match="Kubernetes API"):
            do(connect(PLAIN, who))


@pytest.mark.parametrize("who", [VERSION, status(403, "Forbidden")])
def test_a_kind_that_an_api_server_plainly_does_not_know_is_not_there(connect: Connect, who: Reply) -> None:
    route = Ref("HTTPRoute", "shop", "web")
    assert connect(PLAIN, who).look(route, ledger_id=LEDGER) is None
    connect(PLAIN, who).delete(route, uid="u1")


@pytest.mark.parametrize(
    "answer",
    [
        Reply(302, b"", {"Location": "/log-in"}),
        Reply(403, b"<html>Forbidden</html>"),
        Reply(400, b"Bad Request"),
        Reply(409, b"", {}),
        Reply(422, b"[]", {}),
    ],
)
def test_what_something_else_refuses_is_no_refusal_of_the_cluster(connect: Connect, answer: Reply) -> None:
    for do in (
        lambda cluster: cluster.look(SETTINGS, ledger_id=LEDGER),
        lambda cluster: cluster.look(VAULT, ledger_id=LEDGER),
        lambda cluster: cluster.namespace_exists("shop"),
        lambda cluster: cluster.apply(settings(), manager="m", expect=EXPECTED),
        lambda cluster: list(cluster.pages("ConfigMap", "shop", ledger_id=LEDGER)),
        lambda cluster: list(watch(cluster)),
    ):
        with pytest.raises(ClusterUnreachableError, match="Kubernetes API"):
            do(connect(answer))


def test_a_redirect_is_not_followed(connect: Connect, server: Server) -> None:
    cluster = connect(Reply(302, b"", {"Location": f"http://127.0.0.1:{server.port}/elsewhere"}))
    with pytest.raises(ClusterUnreachableError):
        cluster.look(SETTINGS, ledger_id=LEDGER)
    assert [urlsplit(each.path).path for each in server.received] == [
        "/api/v1/namespaces/shop/configmaps/settings",
        "/version",
    ]


UNKNOWN = status(401, "Unauthorized", "Unauthorized")


def test_whoever_is_not_known_is_sent_once_more_and_then_no_answer(connect: Connect, server: Server) -> None:
    for do in (
        lambda cluster: cluster.look(SETTINGS, ledger_id=LEDGER),
        lambda cluster: cluster.apply(settings(), manager="m", expect=EXPECTED),
        lambda cluster: list(watch(cluster)),
    ):
        server.received.clear()
        with pytest.raises(ClusterUnreachableError, match="401 Unauthorized") as caught:
            do(connect(UNKNOWN))
        assert "Log in to the cluster again" in (caught.value.hint or "")
        assert len(server.received) == 2
    assert connect(UNKNOWN, json(metadata())).look(SETTINGS, ledger_id=LEDGER) is not None


@pytest.mark.parametrize("answer", [UNKNOWN, Reply(403, b"<html>Forbidden</html>"), Reply(302, b"")])
def test_what_the_cluster_did_not_refuse_is_not_recorded_as_its_refusal(
    connect: Connect, answer: Reply, tmp_path: Path
) -> None:
    with sandbox_world(tmp_path) as world:
        world.ask(image())
        with pytest.raises(ClusterUnreachableError):
            world.reconcile(connect(answer))
        assert world.life.parked is None


def test_a_token_file_is_read_again_at_once_where_what_it_said_is_not_taken(server: Server, tmp_path: Path) -> None:
    file = write_kubeconfig(tmp_path / "kubeconfig", f"http://127.0.0.1:{server.port}")
    document = orjson.loads(file.read_bytes())
    document["users"][0]["user"] = {"tokenFile": str(tmp_path / "token")}
    file.write_bytes(orjson.dumps(document))
    (tmp_path / "token").write_text("first")
    server.replies = [json(metadata()), UNKNOWN, json(metadata())]
    with KubernetesCluster.connect(kubeconfig=file, context="staging") as cluster:
        cluster.look(SETTINGS, ledger_id=LEDGER)
        (tmp_path / "token").write_text("second")
        cluster.look(SETTINGS, ledger_id=LEDGER)
    assert [each.headers["Authorization"] for each in server.received] == [
        "Bearer first",
        "Bearer first",
        "Bearer second",
    ]


def test_the_next_request_after_a_broken_answer_works(connect: Connect) -> None:
    cluster = connect(Reply(body=b"{", cut=10), json(metadata()))
    with pytest.raises(ClusterUnreachableError):
        cluster.look(SETTINGS, ledger_id=LEDGER)
    assert cluster.look(SETTINGS, ledger_id=LEDGER) == Seen("u1", "8", {}, {})


# Refusals


def test_a_refusal_holds_the_servers_sentence(connect: Connect) -> None:
    sentence = 'configmaps "settings" is forbidden: User "ci" cannot get resource "configmaps"'
    with pytest.raises(ClusterRefusedError, match="cannot get resource") as caught:
        connect(status(403, "Forbidden", sentence)).look(SETTINGS, ledger_id=LEDGER)
    assert (caught.value.status, caught.value.reason) == (403, "Forbidden")
    assert caught.value.hint is not None


def test_a_missing_namespace_comes_with_the_command_that_makes_it(connect: Connect) -> None:
    missing = status(404, "NotFound", 'namespaces "shop" not found', name="shop", kind="namespaces")
    with pytest.raises(ClusterRefusedError) as caught:
        connect(missing).apply(settings(), manager="m", expect=None)
    assert caught.value.hint is not None
    assert "kubectl create namespace shop" in caught.value.hint


def test_a_namespace_that_is_going_refuses_objects_and_says_why(connect: Connect) -> None:
    causes = [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]
    with pytest.raises(ClusterRefusedError) as caught:
        connect(status(403, "Forbidden", causes=causes)).apply(settings(), manager="m", expect=None)
    assert caught.value.hint is not None
    assert "being deleted" in caught.value.hint


def test_a_missing_kind_is_explained(connect: Connect) -> None:
    with pytest.raises(ClusterRefusedError) as caught:
        connect(PLAIN, VERSION).apply(settings(), manager="m", expect=None)
    assert caught.value.hint is not None
    assert "Gateway API" in caught.value.hint


def test_a_namespace_that_may_not_be_read_is_taken_to_exist(connect: Connect) -> None:
    assert connect(status(403, "Forbidden")).namespace_exists("shop")


def test_a_namespace_that_is_going_does_not_exist(connect: Connect) -> None:
    assert not connect(json(metadata(deletionTimestamp="2026-01-01T00:00:00Z"))).namespace_exists("shop")


def test_an_error_has_nothing_of_the_client_behind_it(connect: Connect) -> None:
    for reply in (status(403, "Forbidden"), Reply(body=b"{", cut=9), Reply(body=b"no JSON")):
        with pytest.raises(ClusterError) as caught:
            connect(reply).look(SETTINGS, ledger_id=LEDGER)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


# Secrets


@pytest.mark.parametrize("code", [400, 403, 422, 429, 500, 503])
@pytest.mark.parametrize("expect", [None, EXPECTED])
def test_what_a_server_says_about_a_secret_is_never_repeated(connect: Connect, code: int, expect: Seen | None) -> None:
    sentence = f"cannot decode {PASSWORD} ({ENCODED})"
    causes = [{"reason": "FieldValueInvalid", "message": sentence, "field": "data.password"}]
    cluster, wanted = connect(status(code, PASSWORD, sentence, causes, name=ENCODED)), secret()
    with pytest.raises(ClusterError) as caught:
        cluster.apply(wanted, manager="m", expect=expect)
    told = everything_told(caught.value)
    assert PASSWORD not in told
    assert ENCODED not in told
    assert TOKEN not in told
    assert str(code) in caught.value.message
    assert "data.password" in caught.value.message


def test_which_right_on_secrets_is_missing_is_told_and_nothing_beside_it(connect: Connect) -> None:
    denied = (
        'secrets "shop-secrets" is forbidden: User "system:serviceaccount:onectl:onectl-worker" cannot patch resource '
        '"secrets" in API group "" in the namespace "shop"'
    )
    with pytest.raises(ClusterRefusedError) as caught:
        connect(status(403, "Forbidden", f"{denied}: {PASSWORD}")).apply(secret(), manager="m", expect=EXPECTED)
    assert caught.value.message.endswith(f"403 Forbidden: {denied}")


def test_the_body_of_a_broken_answer_about_a_secret_is_never_repeated(connect: Connect) -> None:
    wanted = secret()
    for reply in (Reply(201, PASSWORD.encode()), Reply(201, PASSWORD.encode(), cut=5)):
        with pytest.raises(ClusterUnreachableError) as caught:
            connect(reply).apply(wanted, manager="m", expect=None)
        assert PASSWORD not in everything_told(caught.value)


def test_a_secret_is_only_ever_asked_for_as_metadata(connect: Connect, server: Server) -> None:
    cluster = connect(json(metadata(), 201))
    cluster.look(VAULT, ledger_id=LEDGER)
    cluster.apply(secret(), manager="m", expect=None)
    cluster.delete(VAULT, uid="u1")
    assert [request.method for request in server.received] == ["PATCH", "PATCH", "DELETE"]
    assert all("as=PartialObjectMetadata" in request.headers["Accept"] for request in server.received)


def test_looking_at_a_secret_only_tests_its_label(connect: Connect, server: Server) -> None:
    connect(json(metadata())).look(VAULT, ledger_id=LEDGER)
    (request,) = server.received
    assert request.headers["Content-Type"] == "application/json-patch+json"
    assert request.body == [{"op": "test", "path": "/metadata/labels/1ctl.dev~1ledger", "value": LEDGER}]


def test_a_secret_is_made_at_once_and_only_where_there_is_none(connect: Connect, server: Server) -> None:
    connect(json(metadata(), 201)).apply(secret(), manager="m", expect=None)
    (made,) = server.received
    assert made.path == "/api/v1/namespaces/shop/secrets/vault?fieldManager=m"
    assert made.body["data"] == {"password": ENCODED}
    assert made.body["metadata"]["resourceVersion"] == "1"


# Preconditions


def test_an_update_names_the_object_it_expects_and_never_forces(connect: Connect, server: Server) -> None:
    connect(json(metadata())).apply(settings(), manager="m", expect=EXPECTED)
    (request,) = server.received
    assert (request.body["metadata"]["uid"], request.body["metadata"]["resourceVersion"]) == ("u1", "7")
    assert request.path.endswith("/settings?fieldManager=m")


def test_expecting_what_could_not_be_looked_into_sends_nothing(connect: Connect, server: Server) -> None:
    unknown = Seen(uid="", resource_version="", labels={}, annotations={})
    with pytest.raises(NotOursError):
        connect(Reply()).apply(secret(), manager="m", expect=unknown)
    assert server.received == []


NO_VERSION_ON_CREATION = status(500, "", "resourceVersion should not be set on objects to be created")


def created() -> Reply:
    """What is answered when somebody makes an object otherwise than by an apply."""
    fields: dict[str, Any] = {"f:data": {".": {}, "f:colour": {}}, "f:defaulted": {}}
    entry = {"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsV1": fields}
    return json(metadata(managedFields=[entry]), 201)


def test_a_server_that_takes_no_version_on_creation_is_asked_to_create_what_is_claimed_then(
    connect: Connect, server: Server
) -> None:
    wanted = {**settings(), "data": {"colour": "red"}}
    cluster = connect(NO_VERSION_ON_CREATION, created(), json(metadata(resourceVersion="9")))
    assert cluster.apply(wanted, manager="m", expect=None).resource_version == "9"
    apply, create, claim = server.received
    assert apply.body["metadata"]["resourceVersion"] == "1"
    assert create.path == "/api/v1/namespaces/shop/configmaps?fieldManager=m"
    assert create.body == wanted
    assert claim.path == "/api/v1/namespaces/shop/configmaps/settings?fieldManager=m"
    applied: dict[str, Any] = {"f:data": {"f:colour": {}}}
    assert claim.body["metadata"] == {
        "managedFields": [{"manager": "m", "operation": "Apply", "apiVersion": "v1", "fieldsV1": applied}],
        "uid": "u1",
        "resourceVersion": "8",
    }


def test_a_server_that_takes_no_version_on_creation_is_not_given_one_again(connect: Connect, server: Server) -> None:
    claimed = json(metadata(resourceVersion="9"))
    cluster = connect(NO_VERSION_ON_CREATION, created(), claimed, created(), claimed)
    for _ in range(2):
        cluster.apply(settings(), manager="m", expect=None)
    assert [request.method for request in server.received] == ["PATCH", "POST", "PATCH", "POST", "PATCH"]


@pytest.mark.parametrize(
    "replies",
    [[status(409, "AlreadyExists")], [created(), status(409, "Conflict")], [created(), status(404, "NotFound")]],
    ids=["made by another", "changed before it is claimed", "deleted before it is claimed"],
)
def test_what_others_did_to_it_meanwhile_is_not_merged_into(
    connect: Connect, server: Server, replies: list[Reply]
) -> None:
    with pytest.raises(ChangedMeanwhileError):
        connect(NO_VERSION_ON_CREATION, *replies).apply(settings(), manager="m", expect=None)
    assert len(server.received) == len(replies) + 1


@pytest.mark.parametrize("claims", [2, 9], ids=["claimed at last", "never claimed"])
def test_what_a_controller_writes_while_a_patch_is_claimed_undoes_no_patch(
    connect: Connect, server: Server, claims: int
) -> None:
    """It is told as it was left by the patch, so that whoever looks next compares it."""

    def live(version: str, generation: int, *operations: str) -> Reply:
        entries = [{"manager": "1ctl-m", "operation": each, "fieldsV1": {"f:spec": {}}} for each in operations]
        return json(metadata(resourceVersion=version, generation=generation, managedFields=entries))

    ref = Ref("Deployment", "shop", "web")
    lost = [status(409, "Conflict"), live("9", 3, "Apply", "Update")] * (claims - 1)
    cluster = connect(live("8", 2, "Apply", "Update"), *lost, live("10", 3, "Apply"))
    left = cluster.replace_parts(ref, {"spec": {}}, manager="1ctl-m", expect=EXPECTED)
    assert (left.uid, left.generation) == ("u1", 2)
    assert left.unclaimed, "the next apply claims what is not claimed yet"
    assert len(server.received) == min(2 * claims, 11)


def test_an_immutable_uid_means_that_the_object_was_replaced(connect: Connect) -> None:
    causes = [{"reason": "FieldValueInvalid", "field": "metadata.uid"}]
    with pytest.raises(ChangedMeanwhileError):
        connect(status(422, "Invalid", causes=causes)).apply(settings(), manager="m", expect=EXPECTED)


def test_a_field_conflict_in_a_replaced_object_means_that_it_was_replaced(connect: Connect) -> None:
    causes = [{"reason": "FieldManagerConflict", "message": 'conflict with "them"', "field": ".data.x"}]
    cluster = connect(status(409, "Conflict", causes=causes), json(metadata(uid="u2")))
    with pytest.raises(ChangedMeanwhileError):
        cluster.apply(settings(), manager="m", expect=EXPECTED)


def test_deleting_names_the_uid_and_leaves_dependents_to_the_background(connect: Connect, server: Server) -> None:
    connect(json({"metadata": {}})).delete(SETTINGS, uid="u1")
    (request,) = server.received
    assert request.body["preconditions"] == {"uid": "u1"}
    assert request.body["propagationPolicy"] == "Background"


@pytest.mark.parametrize("reply", [status(404, "NotFound"), status(409, "Conflict")])
def test_deleting_what_is_gone_or_replaced_is_no_error(connect: Connect, reply: Reply) -> None:
    connect(reply).delete(SETTINGS, uid="u1")


# Lists


def test_a_list_that_expired_half_way_says_so_and_begins_no_other(connect: Connect, server: Server) -> None:
    page = {"metadata": {"resourceVersion": "7", "continue": "more"}, "items": [metadata()]}
    cluster = connect(json(page), status(410, "Expired", "The provided continue parameter is too old"))
    pages = cluster.pages("ConfigMap", "shop", ledger_id=LEDGER)
    assert [each.ref.name for each in next(pages).objects] == ["x"]
    with pytest.raises(ExpiredError):
        next(pages)
    assert list(pages) == []
    assert len(server.received) == 2


def test_a_kind_that_the_cluster_does_not_know_is_refused_when_listed_or_watched(connect: Connect) -> None:
    cluster = connect(status(404, "NotFound", "the server could not find the requested resource"))
    for changes in (
        cluster.pages("HTTPRoute", "shop", ledger_id=LEDGER),
        cluster.watch("HTTPRoute", "shop", ledger_id=LEDGER, since="7"),
    ):
        with pytest.raises(ClusterRefusedError, match="404") as caught:
            next(iter(changes))
        assert "Gateway API" in (caught.value.hint or "")


# Watches


def event(kind: str, version: str) -> bytes:
    return orjson.dumps({"type": kind, "object": metadata(namespace="shop", resourceVersion=version)}) + b"\n"


def failure(code: int, **details: object) -> bytes:
    document = {"kind": "Status", "code": code, "reason": "Expired", "message": "too old", "details": details}
    return orjson.dumps({"type": "ERROR", "object": document}) + b"\n"


def watch(cluster: KubernetesCluster) -> KubernetesWatch:
    return cluster.watch("ConfigMap", "shop", ledger_id=LEDGER, since="7")


def versions(changes: KubernetesWatch) -> list[str]:
    with changes:
        return [change.version for change in changes]


BOOKMARK = orjson.dumps({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "12"}}}) + b"\n"


def test_a_watch_asks_for_metadata_of_what_is_ours_and_for_an_end(connect: Connect, server: Server) -> None:
    body = event("ADDED", "8") + event("MODIFIED", "9") + event("DELETED", "10") + BOOKMARK
    found = list(watch(connect(Reply(body=body), watch_seconds=30)))
    assert [(change.kind, change.version) for change in found] == [
        ("present", "8"),
        ("present", "9"),
        ("gone", "10"),
        ("bookmark", "12"),
    ]
    (request,) = server.received
    asked = parse_qs(urlsplit(request.path).query)
    assert asked == {
        "watch": ["true"],
        "allowWatchBookmarks": ["true"],
        "labelSelector": [f"1ctl.dev/ledger={LEDGER}"],
        "resourceVersion": ["7"],
        "timeoutSeconds": ["30"],
    }
    assert "as=PartialObjectMetadata;" in request.headers["Accept"]


def test_nothing_is_sent_before_the_first_change_is_asked_for(connect: Connect, server: Server) -> None:
    changes = watch(connect(Reply(body=b"")))
    assert not server.received
    assert list(changes) == []
    assert len(server.received) == 1


def test_events_arrive_whole_however_their_bytes_do(connect: Connect) -> None:
    body = event("ADDED", "8") + event("MODIFIED", "9")
    assert versions(watch(connect(Reply(body=body, drip=0.0005)))) == ["8", "9"]


@pytest.mark.parametrize(
    "reply", [status(410, "Expired", "too old resource version"), Reply(body=event("ADDED", "8") + failure(410))]
)
def test_a_version_that_is_too_old_has_expired_wherever_the_server_says_so(connect: Connect, reply: Reply) -> None:
    with pytest.raises(ExpiredError, match="too old"):
        versions(watch(connect(reply)))


def test_a_failure_in_the_stream_is_what_it_would_be_as_an_answer(connect: Connect) -> None:
    with pytest.raises(ClusterUnreachableError, match="429") as caught:
        versions(watch(connect(Reply(body=failure(429, retryAfterSeconds=3)))))
    assert caught.value.retry_after == 3.0
    with pytest.raises(ClusterRefusedError, match="403"):
        versions(watch(connect(Reply(body=failure(403)))))


@pytest.mark.parametrize("code", [500, 503, 429])
def test_a_watch_that_an_overloaded_server_does_not_begin_is_unreachable(connect: Connect, code: int) -> None:
    with pytest.raises(ClusterUnreachableError, match=str(code)) as caught:
        versions(watch(connect(Reply(code, b"", {"Retry-After": "7"}))))
    assert caught.value.retry_after == 7.0


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=event("ADDED", "8")[:-10]),
        Reply(body=event("ADDED", "8")[:-10], cut=10),
        Reply(body=event("ADDED", "8"), cut=10),
        Reply(body=b"<html>Log in to the hotel</html>\n"),
        Reply(body=b"[]\n"),
        Reply(body=b'{"type": "ADDED"}\n'),
        Reply(body=b'{"type": "NOVEL", "object": {"metadata": {"resourceVersion": "1"}}}\n'),
        Reply(body=b'{"type": "ADDED", "object": {"metadata": null}}\n'),
        Reply(body=b'{"type": "ERROR", "object": null}\n'),
    ],
)
def test_what_is_no_whole_event_is_no_event_and_not_passed_over(connect: Connect, reply: Reply) -> None:
    whole = reply.body.endswith(b"}}\n") and reply.cut > 0
    with watch(connect(reply)) as changes:
        if whole:
            assert next(changes).version == "8"
        with pytest.raises(ClusterUnreachableError):
            next(changes)


def test_a_watch_that_goes_silent_is_given_up_a_little_after_its_time(connect: Connect) -> None:
    began = time.monotonic()
    silent = Reply(body=event("ADDED", "8") + b" ", drip=0.0, cut=1, hang=60.0)
    changes = watch(connect(silent, timeout=0.3, watch_seconds=1))
    assert next(changes).version == "8"
    with pytest.raises(ClusterUnreachableError, match="silent"):
        next(changes)
    assert 1.0 < time.monotonic() - began < 3.0


def test_a_watch_whose_server_does_not_answer_is_given_up_a_little_after_its_time(connect: Connect) -> None:
    began = time.monotonic()
    with pytest.raises(ClusterUnreachableError, match=r"longer than 1\.3 s"):
        versions(watch(connect(Reply(stall=60.0), timeout=0.3, watch_seconds=1)))
    assert time.monotonic() - began < 3.0


def test_a_watch_that_does_not_end_is_given_up_although_it_says_something(connect: Connect) -> None:
    began = time.monotonic()
    with pytest.raises(ClusterUnreachableError, match="beyond the time"):
        versions(watch(connect(Reply(body=b" " * 1000, drip=0.1), timeout=0.3, watch_seconds=1)))
    assert 1.0 < time.monotonic() - began < 3.0


def test_a_watch_is_closed_at_once_while_the_server_has_not_answered(connect: Connect) -> None:
    changes = watch(connect(Reply(stall=60.0)))
    told: list[list[Change]] = []
    reader = threading.Thread(target=lambda: told.append(list(changes)), daemon=True)
    reader.start()
    time.sleep(0.2)
    changes.close()
    reader.join(10)  # the watch would last 30 s
    assert told == [[]]


# Rollouts


def owned(uid: str, owner: str, **metadata: object) -> dict[str, Any]:
    reference = {"uid": owner, "controller": True}
    return {"metadata": {"name": uid, "uid": uid, "ownerReferences": [reference], **metadata}}


def pod(owner: str, *, name: str = "web-1", **state: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "app", "image": "web:2"}]}
    return {**owned(name, owner), "spec": spec, "status": {"phase": "Pending", **state}}


def waiting(reason: str, **more: Any) -> dict[str, Any]:
    return {"name": "app", "state": {"waiting": {"reason": reason}}, **more}


def rollout(connect: Connect, *pods: object, conditions: Sequence[object] = (), **observed: object) -> Rollout:
    template = {"metadata": {}, "spec": {"containers": [{"name": "app", "image": "web:2"}]}}
    deployment = {
        "metadata": {"uid": "d", "generation": 2},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template},
        "status": {"observedGeneration": 2, "updatedReplicas": 1, "conditions": conditions, **observed},
    }
    revision = "deployment.kubernetes.io/revision"
    sets = [owned("rs9", "d", annotations={revision: "9"}), owned("rs10", "d", annotations={revision: "10"})]
    cluster = connect(json(deployment), json({"metadata": {}, "items": pods}), json({"metadata": {}, "items": sets}))
    found = cluster.rollout(WEB)
    assert found is not None
    return found


READY: dict[str, Any] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


def test_a_rollout_takes_three_requests(connect: Connect, server: Server) -> None:
    assert rollout(connect, pod("rs10", **READY)).complete
    assert len(server.received) == 3


def test_before_the_controllers_saw_a_template_no_pod_is_of_it(connect: Connect) -> None:
    found = rollout(connect, pod("rs10", **READY), observedGeneration=1)
    assert (found.observed, found.complete, found.updated, found.old_ready) == (False, False, 0, 1)


def test_pods_of_someone_else_with_the_same_label_do_not_count(connect: Connect) -> None:
    found = rollout(connect, pod("rs10", **READY), pod("stranger", name="other", **READY))
    assert (found.complete, found.updated, found.old) == (True, 1, 0)


def test_an_evicted_pod_of_an_older_template_is_no_older_pod(connect: Connect) -> None:
    found = rollout(connect, pod("rs10", **READY), pod("rs9", name="old", phase="Failed", reason="Evicted"))
    assert (found.complete, found.old) == (True, 0)


def test_an_older_pod_that_serves_keeps_a_rollout_from_being_complete(connect: Connect) -> None:
    found = rollout(connect, pod("rs10", **READY), pod("rs9", name="old", **READY))
    assert (found.complete, found.old, found.old_ready) == (False, 1, 1)


def test_a_crashing_container_tells_how_it_ended(connect: Connect) -> None:
    ended = {"exitCode": 137, "reason": "OOMKilled"}
    crashing = waiting("CrashLoopBackOff", restartCount=4, lastState={"terminated": ended})
    found = rollout(connect, pod("rs10", containerStatuses=[crashing]))
    assert found.failed == ("CrashLoopBackOff", "container app ended with exit code 137 (OOMKilled)")
    assert found.pods[0].restarts == 4


def test_a_failing_init_container_is_named_before_those_that_wait_for_it(connect: Connect) -> None:
    init = {"name": "migrate", "state": {"waiting": {"reason": "InvalidImageName", "message": "bad name"}}}
    stuck = pod("rs10", containerStatuses=[waiting("PodInitializing")], initContainerStatuses=[init])
    assert rollout(connect, stuck).failed == ("InvalidImageName", "bad name")


def test_an_image_that_could_not_be_pulled_once_is_no_failure_yet(connect: Connect) -> None:
    found = rollout(connect, pod("rs10", containerStatuses=[waiting("ErrImagePull")]))
    assert found.failed is None
    assert found.pods[0].reason == "ErrImagePull"


def test_a_pod_without_a_node_is_unschedulable_but_not_failed(connect: Connect) -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    found = rollout(connect, pod("rs10", conditions=[condition]))
    assert found.failed is None
    assert (found.pods[0].reason, found.pods[0].message) == ("Unschedulable", "0/3 nodes")


NO_POD = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: pods"}


def test_where_no_pod_can_be_made_what_keeps_it_is_the_trouble(connect: Connect) -> None:
    found = rollout(connect, conditions=[NO_POD], updatedReplicas=0)
    assert (found.failed, found.trouble) == (None, ("FailedCreate", "exceeded quota: pods"))
    assert rollout(connect, conditions=[{**NO_POD, "status": "False"}], updatedReplicas=0).trouble is None


def test_what_a_pod_says_goes_before_it_and_what_is_complete_has_none(connect: Connect) -> None:
    unready: dict[str, Any] = {"containerStatuses": [waiting("ImagePullBackOff")]}
    assert rollout(connect, pod("rs10", **unready), conditions=[NO_POD]).trouble == ("ImagePullBackOff", "")
    assert rollout(connect, pod("rs10", **READY), conditions=[NO_POD]).trouble is None


def test_a_missed_deadline_is_the_verdict_where_no_pod_says_more(connect: Connect) -> None:
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "too late"}
    assert rollout(connect, pod("rs10"), conditions=[late]).failed == ("ProgressDeadlineExceeded", "too late")
    because = "too late FailedCreate: exceeded quota: pods"
    assert rollout(connect, pod("rs10"), conditions=[NO_POD, late]).failed == ("ProgressDeadlineExceeded", because)


# Logs


def test_the_logs_are_those_of_the_container_that_crashed(connect: Connect, server: Server) -> None:
    crashed = waiting("CrashLoopBackOff", lastState={"terminated": {"exitCode": 1}})
    cluster = connect(json(pod("rs10", containerStatuses=[crashed])), Reply(body=b"one\ntwo\nthree\n"))
    assert cluster.logs("shop", "web-1", lines=2) == ["two", "three"]
    assert "container=app" in server.received[1].path
    assert "previous=true" in server.received[1].path
    assert "tailLines=2" in server.received[1].path


def test_where_the_crashed_container_is_gone_the_current_ones_logs_do(connect: Connect, server: Server) -> None:
    crashed = waiting("CrashLoopBackOff", lastState={"terminated": {"exitCode": 1}})
    gone = status(400, "BadRequest", "previous terminated container not found")
    cluster = connect(json(pod("rs10", containerStatuses=[crashed])), gone, Reply(body=b"\xff now\n"))
    assert cluster.logs("shop", "web-1", lines=5) == ["\ufffd now"]
    assert "previous=false" in server.received[2].path


@pytest.mark.parametrize("code", [403, 500, 503])
def test_logs_that_the_server_cannot_fetch_are_unavailable(connect: Connect, code: int) -> None:
    with pytest.raises(LogsUnavailableError, match="web-1"):
        connect(json(pod("rs10")), status(code, "", "no way to the node")).logs("shop", "web-1", lines=5)


# The kubeconfig


def test_a_context_that_does_not_exist_is_answered_with_those_that_do(tmp_path: Path) -> None:
    file = write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1")
    with pytest.raises(ClusterError, match="'nowhere'") as caught:
        KubernetesCluster.connect(kubeconfig=file, context="nowhere")
    assert caught.value.hint == "Contexts in that file: production, staging."


def test_a_missing_kubeconfig_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="no kubeconfig at") as caught:
        KubernetesCluster.connect(kubeconfig=tmp_path / "none", context="staging")
    assert caught.value.hint is not None
    assert "ONECTL_KUBECONFIG=FILE" in caught.value.hint


@pytest.mark.parametrize("text", [f"users: [{{token: {TOKEN}", f"- {TOKEN}", "", f"users: [{{user: {TOKEN}}}]"])
def test_a_broken_kubeconfig_is_named_and_not_quoted(tmp_path: Path, text: str) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(text)
    with pytest.raises(ClusterError, match="kubeconfig") as caught:
        KubernetesCluster.connect(kubeconfig=file, context="staging")
    assert TOKEN not in everything_told(caught.value)


def test_the_variable_kubeconfig_is_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ambient = write_kubeconfig(tmp_path / "ambient", "http://127.0.0.1:1")
    monkeypatch.setenv("KUBECONFIG", str(ambient))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ClusterError, match=r"\.kube/config"):
        KubernetesCluster.connect(kubeconfig=None, context="staging")


def test_the_default_kubeconfig_is_in_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".kube").mkdir()
    write_kubeconfig(tmp_path / ".kube" / "config", "http://127.0.0.1:1")
    with KubernetesCluster.connect(kubeconfig=None, context="staging") as cluster:
        assert cluster.name == "staging"
    with KubernetesCluster.connect(kubeconfig=None, context="staging", name="eu-1") as cluster:
        assert cluster.name == "eu-1"


def test_the_credentials_are_sent(connect: Connect, server: Server) -> None:
    connect(json(metadata())).look(SETTINGS, ledger_id=LEDGER)
    assert server.received[0].headers["Authorization"] == f"Bearer {TOKEN}"
