"""A server with TLS that remembers who came to it, and certificates to come with. It knows one object."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, as PEM."""

    certificate: str
    key: str = field(repr=False)


def a_pair(name: str, *, host: str | None = None, password: bytes | None = None) -> Pair:
    """A certificate that says so of itself, also for a server on loopback or of that host name."""
    key = ec.generate_private_key(ec.SECP256R1())
    called = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    other = x509.DNSName(host) if host else x509.IPAddress(ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder(called, called, key.public_key(), x509.random_serial_number(), now - HOUR, now + HOUR)
        .add_extension(x509.SubjectAlternativeName([other]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    sealed = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    written = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, sealed)
    return Pair(certificate.public_bytes(encoding).decode(), written.decode())


@dataclass(frozen=True)
class Visit:
    """A request.

    Attributes:
        certificate: The name in the visitor's certificate, or None without one.
    """

    path: str
    headers: Message
    certificate: str | None


@dataclass(frozen=True)
class Host:
    """A server.

    Attributes:
        port: On 127.0.0.1.
        certificate: Its own, PEM.
        visits: Who came, the first first.
    """

    port: int
    certificate: str
    visits: list[Visit]

    @property
    def cluster(self) -> Mapping[str, Any]:
        """How a kubeconfig names it."""
        authority = base64.b64encode(self.certificate.encode()).decode()
        return {"server": f"https://127.0.0.1:{self.port}", "certificate-authority-data": authority}


@contextmanager
def a_server(
    directory: Path, *, trusts: Sequence[Pair] = (), own: Pair | None = None, asks: bool = True
) -> Iterator[Host]:
    """A server that asks for certificates of those that it trusts, if it asks."""
    own = own or a_pair("server")
    (directory / "server.pem").write_text(own.certificate + own.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem")
    if trusts:
        context.verify_mode = ssl.CERT_REQUIRED if asks else ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata="".join(pair.certificate for pair in trusts))
    visits: list[Visit] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found = self.connection.getpeercert() or {}
            names = [value for part in found.get("subject", ()) for _, value in part]
            visits.append(Visit(self.path, self.headers, names[0] if names else None))
            body = json.dumps({"metadata": {"name": "any", "uid": "u", "resourceVersion": "1"}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign] # a handshake that was refused
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Host(server.server_port, own.certificate, visits)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
