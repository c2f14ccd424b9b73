"""A proxy before an API server that counts what passes, and may take its time.

Clients speak plain HTTP to it on loopback and need no credentials: it has those of the kubeconfig. Nothing is changed on
the way, and a watch is passed on as it comes.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import orjson
from kubernetes import client, config

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-connection", "host"}
_CHUNK = 64 * 1024


@dataclass(slots=True)
class Passed:
    """A request that was passed on.

    Attributes:
        at: When it arrived, seconds since 1970 by this machine's clock.
        method: HTTP method.
        path: Path without its query.
        down: Bytes of the answer's body so far, as they came from the server.
    """

    at: float
    method: str
    path: str
    down: int = 0

    @property
    def is_discovery(self) -> bool:
        """Whether it asks which kinds there are and what they look like, not for an object."""
        parts = self.path.strip("/").split("/")
        return parts[0] in {"openapi", "version"} or len(parts) <= (3 if parts[0] == "apis" else 2)


@dataclass(slots=True)
class CountingProxy:
    """The proxy while it runs.

    Attributes:
        kubeconfig: A file whose only context leads through it.
        context: That context.
        delay: Seconds that each request waits before it is passed on.
        passed: What passed since `take` was called last.
    """

    kubeconfig: Path
    context: str
    delay: float
    passed: list[Passed]

    def take(self) -> list[Passed]:
        """What passed since this was called last."""
        taken, self.passed = self.passed, []
        return taken


@contextmanager
def counting_proxy(kubeconfig: Path, context: str, directory: Path, *, delay: float = 0.0) -> Iterator[CountingProxy]:
    """A proxy before the server of a kubeconfig context.

    Args:
        kubeconfig: The file.
        context: The context.
        directory: Where the proxy's own kubeconfig is put.
        delay: See `CountingProxy`.
    """
    upstream = _Upstream(kubeconfig, context)
    file = directory / "counting.kubeconfig"
    proxy = CountingProxy(kubeconfig=file, context="counting", delay=delay, passed=[])

    class Handler(_Handler):
        through = proxy
        server_side = upstream

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        _write_kubeconfig(file, server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()


def _write_kubeconfig(file: Path, port: int) -> None:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "counting", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "counting", "user": {}}],
        "contexts": [{"name": "counting", "context": {"cluster": "counting", "user": "counting"}}],
        "current-context": "counting",
    }
    file.write_bytes(orjson.dumps(content))


class _Upstream:
    """How the server is reached."""

    def __init__(self, kubeconfig: Path, context: str) -> None:
        found = client.Configuration()
        config.load_kube_config(str(kubeconfig), context, found)  # type: ignore[no-untyped-call]
        address = urlsplit(str(found.host))
        self._host, self._port, self._tls = address.hostname or "", address.port, None
        if address.scheme == "https":
            self._tls = ssl.create_default_context(cafile=found.ssl_ca_cert)
            if found.cert_file:
                self._tls.load_cert_chain(found.cert_file, found.key_file)
        token = found.get_api_key_with_prefix("BearerToken")
        self.headers = {"Authorization": token} if token else {}

    def connect(self) -> HTTPConnection:
        if self._tls is None:
            return HTTPConnection(self._host, self._port)
        return HTTPSConnection(self._host, self._port, context=self._tls)


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client, and the one to the server that goes with it."""

    through: CountingProxy
    server_side: _Upstream
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self._server = self.server_side.connect()

    def finish(self) -> None:
        self._server.close()
        with contextlib.suppress(OSError):
            super().finish()

    def _pass_on(self) -> None:
        passed = Passed(time.time(), self.command, urlsplit(self.path).path)
        self.through.passed.append(passed)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        time.sleep(self.through.delay)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        self._server.request(self.command, self.path, body or None, headers | self.server_side.headers)
        self._answer(self._server.getresponse(), passed)

    def _answer(self, answer: HTTPResponse, passed: Passed) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        whole = answer.length is not None or self.command == "HEAD"
        if not whole:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while part := answer.read1(_CHUNK):
            passed.down += len(part)  # before the client has it, and perhaps ends
            self.wfile.write(part if whole else b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.flush()
        if not whole:
            self.wfile.write(b"0\r\n\r\n")
        answer.close()  # its connection can be used again; reading up to the end is not enough

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _pass_on  # noqa: N815 - names of the base class

    def log_message(self, *_: object) -> None:
        """Quiet."""
