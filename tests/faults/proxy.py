"""A proxy in front of a real API server that lets requests go wrong as a plan says, and counts them.

Plain HTTP on loopback comes in, the server's TLS goes out, with the credentials of a kubeconfig. What the server
answers is passed on byte by byte unless the plan says otherwise.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.faults.plan import RETRY_AFTER, Asked, Decision, Fault, Plan, Verb

CONTEXT = "through-the-proxy"
"""The context of the kubeconfig that is written for it."""

_TIMEOUT = 60.0
_CHUNK = 64 * 1024
_REASONS: Mapping[Fault, tuple[int, str]] = {
    Fault.INTERNAL_ERROR: (500, "InternalError"),
    Fault.UNAVAILABLE: (503, "ServiceUnavailable"),
    Fault.TOO_MANY_REQUESTS: (429, "TooManyRequests"),
    Fault.NOT_FOUND: (404, "NotFound"),
    Fault.CONFLICT: (409, "Conflict"),
    Fault.UNPROCESSABLE: (422, "Invalid"),
    Fault.EXPIRED: (410, "Expired"),
}
_OF_ONE_CONNECTION = {"connection", "content-length", "date", "host", "keep-alive", "transfer-encoding", "upgrade"}
"""Headers that are not passed on; all others are, for what a client remembers goes by them, too."""


@dataclass(slots=True)
class Exchange:
    """One request that came in.

    Attributes:
        asked: What for.
        fault: What happens to it, or None.
        status: The HTTP status that was sent, or None where none was, or not yet.
        sent: Bytes of the body that were sent to the client so far.
        at: When it came in, seconds since 1970.
        ended: When there was nothing more to answer, or None before that.
    """

    asked: Asked
    fault: Fault | None
    status: int | None = None
    sent: int = 0
    at: float = field(default_factory=time.time)
    ended: float | None = None


class Upstream:
    """The server behind the proxy, with the credentials of a kubeconfig's current context."""

    def __init__(self, kubeconfig: Path) -> None:
        from kubernetes import client, config  # imported here, for most tests need no client

        found: Any = client.Configuration()
        config.load_kube_config(str(kubeconfig), client_configuration=found)  # type: ignore[no-untyped-call]
        address = urlsplit(found.host)
        self._host, self._port = address.hostname or "", address.port or 443
        self._tls = ssl.create_default_context(cafile=found.ssl_ca_cert)
        if found.cert_file:
            self._tls.load_cert_chain(found.cert_file, found.key_file)
        token = found.api_key.get("BearerToken")
        self._headers = {"Authorization": token} if token else {}

    def connect(self) -> http.client.HTTPSConnection:
        """A new connection."""
        return http.client.HTTPSConnection(self._host, self._port, timeout=_TIMEOUT, context=self._tls)

    def ask(
        self, connection: http.client.HTTPSConnection, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        """The head of the answer; its body is still to be read."""
        connection.request(method, path, body or None, {**headers, **self._headers})
        return connection.getresponse()


class FaultProxy:
    """The proxy; use it as a context manager.

    Attributes:
        plan: What happens; may be exchanged at any time.
        exchanges: What came in so far, in its order.
        port: Where it listens on loopback.
    """

    def __init__(self, kubeconfig: Path, plan: Plan | None = None) -> None:
        self.plan = plan or Plan()
        self.exchanges: list[Exchange] = []
        self.upstream = Upstream(kubeconfig)
        self.stopped = threading.Event()
        self._server = _Server(self)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def kubeconfig(self, directory: Path) -> Path:
        """A kubeconfig for what is proxied, written into the directory; its context is `CONTEXT`."""
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": CONTEXT, "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": CONTEXT, "user": {}}],
            "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": CONTEXT}}],
            "current-context": CONTEXT,
        }
        file = directory / f"kubeconfig-{self.port}"
        file.write_text(json.dumps(document))
        return file

    def forget(self) -> None:
        """Count anew."""
        self.exchanges.clear()

    def requests(self) -> Counter[tuple[Verb, str]]:
        """How many requests came in, by verb and kind."""
        return Counter((each.asked.verb, each.asked.kind) for each in list(self.exchanges))

    def sent(self) -> int:
        """How many bytes of bodies were sent to clients."""
        return sum(each.sent for each in list(self.exchanges))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), _Handler)

    def shutdown_request(self, request: Any) -> None:
        # Without the farewell that the base class sends first: it would make a reset look like an end.
        request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that went away are what this is about."""


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client, with one of its own to the server."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a body waits for the 40 ms until the client acknowledges the head before it
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.proxy = self.server.proxy
        self.connection_out: http.client.HTTPSConnection | None = None

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        if self.connection_out is not None:
            self.connection_out.close()

    def log_message(self, *_: object) -> None:
        pass

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = asked_for(self.command, self.path)
        decision = self.proxy.plan.decide(asked)
        self.exchange = Exchange(asked, decision.fault)
        self.proxy.exchanges.append(self.exchange)
        self.proxy.stopped.wait(self.proxy.plan.latency)
        try:
            if asked.verb == "watch":
                self._watch(decision)
            else:
                self._exchange(decision, body)
        finally:
            self.exchange.ended = time.time()

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = answer  # noqa: N815

    def _exchange(self, decision: Decision, body: bytes) -> None:
        fault = decision.fault
        if fault is not None and fault in _REASONS:
            self._refuse(fault, decision.asked)
        elif fault is Fault.RESET_BEFORE:
            self._reset()
        elif fault is Fault.STALL_BEFORE:
            self._stall()
        else:
            status, headers, answer = self._forward(body)
            if fault is Fault.RESET_AFTER:
                self._reset()
            elif fault is Fault.STALL_AFTER:
                self._stall()
            else:
                self._send(status, headers, answer, half=fault is Fault.HALF_A_BODY)

    def _forward(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        if self.connection_out is None:
            self.connection_out = self.proxy.upstream.connect()
        response = self._ask(self.connection_out, body)
        headers = _passed_on(response.getheaders())
        return response.status, headers, response.read()

    def _ask(self, connection: http.client.HTTPSConnection, body: bytes) -> http.client.HTTPResponse:
        headers = _passed_on(self.headers.items())
        return self.proxy.upstream.ask(connection, self.command, self.path, body, headers)

    def _send(self, status: int, headers: Mapping[str, str], body: bytes, *, half: bool = False) -> None:
        self._head(status, {**headers, "Content-Length": str(len(body))})
        part = body[: len(body) // 2] if half else body
        self.exchange.sent += len(part)
        self._write(part)
        if half:
            self._reset()

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.exchange.status = status

    def _write(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()

    def _refuse(self, fault: Fault, asked: Asked) -> None:
        code, reason = _REASONS[fault]
        headers = {"Content-Type": "application/json"}
        if fault is Fault.TOO_MANY_REQUESTS:
            headers["Retry-After"] = str(RETRY_AFTER)
        self._send(code, headers, json.dumps(status_of(code, reason, asked)).encode())

    def _reset(self) -> None:
        """End the connection as a host does that knows nothing of it."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def _stall(self) -> None:
        """Say nothing until the client has gone."""
        self.close_connection = True
        self.connection.settimeout(0.05)
        while not self.proxy.stopped.is_set():
            try:
                if not self.connection.recv(1):
                    return
            except TimeoutError:
                continue

    # Watches

    def _watch(self, decision: Decision) -> None:
        fault = decision.fault
        self.close_connection = True
        if fault is not None and fault in _REASONS:
            self._refuse(fault, decision.asked)
        elif fault is Fault.RESET_BEFORE:
            self._reset()
        elif fault in (Fault.STALL_BEFORE, Fault.STALL_AFTER):
            self._stall()
        else:
            with contextlib.closing(self.proxy.upstream.connect()) as connection:
                self._stream(self._ask(connection, b""), decision)

    def _stream(self, response: http.client.HTTPResponse, decision: Decision) -> None:
        if response.status != 200:
            self._send(response.status, {"Content-Type": "application/json"}, response.read())
            return
        self._head(200, {"Content-Type": "application/json", "Transfer-Encoding": "chunked", "Connection": "close"})
        limit = decision.events if decision.fault is not None else None
        if decision.fault is Fault.NOTHING:
            limit = 0
        for event in events(response, limit=limit):
            self._chunk(event)
        match decision.fault:
            case None | Fault.NOTHING:
                self._write(b"0\r\n\r\n")
            case Fault.EXPIRED_EVENT:
                status = status_of(410, "Expired", decision.asked)
                self._chunk(json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")
                self._write(b"0\r\n\r\n")
            case Fault.HALF_AN_EVENT:
                self._chunk(b'{"type":"MODIFIED","object":{"kind":"PartialObjectMetadata","metadata":{"na')
                self._write(b"0\r\n\r\n")
            case Fault.SILENCE:
                self._stall()
            case _:
                self._reset()

    def _chunk(self, data: bytes) -> None:
        self.exchange.sent += len(data)
        self._write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def _passed_on(headers: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    return {name: value for name, value in headers if name.lower() not in _OF_ONE_CONNECTION}


def events(response: http.client.HTTPResponse, *, limit: int | None = None) -> Iterator[bytes]:
    """The events of a watch as they come, each with its newline; no more than the limit, or than come."""
    rest = b""
    count = 0
    while limit is None or count < limit:
        part = response.read1(_CHUNK)
        if not part:
            return
        *whole, rest = (rest + part).split(b"\n")
        for event in whole:
            if limit is None or count < limit:
                yield event + b"\n"
                count += 1


def asked_for(method: str, target: str) -> Asked:
    """What a request is about, from its method and path."""
    address = urlsplit(target)
    query = parse_qs(address.query)
    kind, name = _object(address.path.strip("/").split("/"))
    verbs: Mapping[str, Verb] = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}
    if method != "GET":
        verb = verbs.get(method, "other")
    elif query.get("watch") == ["true"]:
        verb = "watch"
    else:
        verb = "get" if name else "list"
    return Asked(verb, kind, name, "continue" in query)


def _object(parts: Sequence[str]) -> tuple[str, str]:
    """Kind and name in ``api/v1/...`` or ``apis/GROUP/VERSION/...``; a subresource belongs to its object."""
    rest = list(parts[2:] if parts[:1] == ["api"] else parts[3:])
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        rest = rest[2:]
    kind, name = ([*rest, "", ""])[:2]
    return kind, name


def status_of(code: int, reason: str, asked: Asked) -> Mapping[str, object]:
    """What an API server says when it does not do something."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"the proxy lets it fail: {reason}",
        "reason": reason,
        "details": {"name": asked.name, "kind": asked.kind},
        "code": code,
    }
