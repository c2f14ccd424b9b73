"""Access to an API server with what a kubeconfig holds or names as files: certificates, tokens, passwords.

Invariants:

* Nothing that the files hold reaches an error.
* A private key that stands in a kubeconfig is written to no disk.
"""

from __future__ import annotations

import os
import ssl
import threading
import warnings
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Protocol
from urllib.parse import quote, urlsplit

import urllib3
from urllib3.util import create_urllib3_context

from effects.kubeconfig import Context, KubeconfigError, Section

_CONNECTIONS = 16
"""How many connections are kept for the next request."""

_FRESH = timedelta(minutes=1)
"""How long a token's file is not read again."""


class CredentialsError(Exception):
    """There are no credentials to send; the text says why, and holds none."""


class Access(Protocol):
    """The way to an API server, and as whom. Safe to share between threads."""

    @property
    def server(self) -> str:
        """Its address, without a slash at the end."""

    def headers(self) -> Mapping[str, str]:
        """The headers that say who we are; renewed here if need be.

        Raises:
            CredentialsError: It could not be renewed.
        """

    def pool(self) -> urllib3.PoolManager:
        """Its connections, for one request: another certificate needs another pool. To be asked for after `headers`.

        Raises:
            CredentialsError: There is another certificate, and it cannot be used.
        """

    def refused(self, since: float, /) -> None:
        """The server did not accept our credentials: what expires, or was read from a file, is fetched again.

        Args:
            since: `time.monotonic` before the refused request; what was fetched after that stays.
        """

    def close(self) -> None:
        """Close the connections; may be repeated."""


class PlainAccess:
    """By what stands in a kubeconfig, or in the files that it names."""

    def __init__(self, context: Context) -> None:
        """Read it.

        Raises:
            KubeconfigError: A value cannot be used.
            CredentialsError: They would be sent in the clear.
        """
        server = context.cluster.text("server")
        if server is None or not server.startswith(("https://", "http://")):
            raise KubeconfigError("its cluster has no server's address that begins with https:// or http://")
        self.server = server.rstrip("/")
        self._context = context
        self._as = impersonation(context.user)
        self._says = _authorization(context.user)
        if self._says.secret:
            refuse_in_the_clear(self.server)
        self._lock = threading.Lock()
        self._pooled = self._stamps(), self._new_pool()

    def headers(self) -> Mapping[str, str]:
        """The headers that say who we are.

        Raises:
            CredentialsError: The token's file cannot be read any more.
        """
        headers = urllib3.HTTPHeaderDict(self._as)
        if (value := self._says.value()) is not None:
            headers.add("Authorization", value)
        return headers

    def pool(self) -> urllib3.PoolManager:
        """Its connections; new ones once a certificate was replaced.

        Raises:
            CredentialsError: What took its place cannot be used.
        """
        with self._lock:
            stamps, pool = self._pooled
            if (now := self._stamps()) != stamps:
                try:
                    pool = self._new_pool()
                except KubeconfigError as error:
                    problem = str(error)
                else:
                    self._pooled = now, pool
                    return pool
                raise CredentialsError(problem)
            return pool

    def refused(self, _: float, /) -> None:
        """See `Access.refused`: a token's file is read again. Certificates are looked at before each request."""
        self._says.forget()

    def close(self) -> None:
        """Close the connections; may be repeated."""
        self._pooled[1].clear()

    def _new_pool(self) -> urllib3.PoolManager:
        secure = self.server.startswith("https://")
        return urllib3.PoolManager(
            maxsize=_CONNECTIONS,
            ssl_context=_tls(self._context) if secure else None,
            server_hostname=self._context.cluster.text("tls-server-name") if secure else None,
        )

    def _stamps(self) -> Sequence[object]:
        return [_stamp(path) for path in self._context.files()]


def _stamp(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def impersonation(user: Section) -> Mapping[str, str]:
    """The headers that ask to act as somebody else, as a kubeconfig's user says it (Kubernetes: user impersonation).

    Raises:
        KubeconfigError: A value is not of its kind, or there are groups but no user.
    """
    headers = urllib3.HTTPHeaderDict()
    for header, key in (("Impersonate-User", "as"), ("Impersonate-Uid", "as-uid")):
        if (value := user.text(key)) is not None:
            headers.add(header, value)
    for group in _texts(user.values.get("as-groups", []), "as-groups"):
        headers.add("Impersonate-Group", group)
    extra = user.values.get("as-user-extra", {})
    if not isinstance(extra, dict):
        raise KubeconfigError("as-user-extra is not a map")
    for name, values in extra.items():
        for value in _texts(values, "as-user-extra"):
            headers.add(f"Impersonate-Extra-{quote(str(name), safe='')}", value)
    if headers and "Impersonate-User" not in headers:
        raise KubeconfigError("it names groups to act with and nobody to act as")
    return headers


def _texts(values: object, key: str) -> Sequence[str]:
    if isinstance(values, list) and all(isinstance(value, str) for value in values):
        return values
    raise KubeconfigError(f"{key} is not a list of texts")


class _Constant:
    """One header for ever, or none."""

    def __init__(self, value: str | None) -> None:
        self._value = value
        self.secret = value is not None

    def value(self) -> str | None:
        return self._value

    def forget(self) -> None:
        """Nothing to do: there is no other."""


class _TokenFile:
    """A token in a file that somebody replaces before it expires."""

    secret = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[datetime, str] | None = None

    def value(self) -> str:
        """The header's value.

        Raises:
            CredentialsError: The file cannot be read.
        """
        now, read = datetime.now(UTC), self._read
        # Two threads may both read it: to the same effect.
        if read is None or not read[0] <= now < read[0] + _FRESH:
            self._read = read = now, f"Bearer {self._token()}"
        return read[1]

    def forget(self) -> None:
        """Read the file again the next time."""
        self._read = None

    def _token(self) -> str:
        problem = "it is empty"
        try:
            token = self._path.read_text().strip()
        except OSError as error:
            token, problem = "", str(error.strerror)
        except ValueError:
            token, problem = "", "it is not text"
        if token:
            return token
        raise CredentialsError(f"the token's file cannot be read: {problem}")


def refuse_in_the_clear(server: str) -> None:
    """Refuse to send credentials to a server's address.

    Raises:
        CredentialsError: Without TLS, to another machine.
    """
    found = urlsplit(server)
    if found.scheme != "https" and found.hostname != "localhost" and not _is_loopback(found.hostname or ""):
        raise CredentialsError("its server is reached without TLS, so anybody in between could read its credentials")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _authorization(user: Section) -> _Constant | _TokenFile:
    """What to send: a token's file before a token, as kubectl has it, and that before a password."""
    if (path := user.path("tokenFile")) is not None:
        return _TokenFile(path)
    if (token := user.text("token")) is not None:
        return _Constant(f"Bearer {token}")
    name, password = user.text("username"), user.text("password") or ""
    if name is not None:
        return _Constant("Basic " + b64encode(f"{name}:{password}".encode()).decode())
    return _Constant(None)


def _tls(context: Context) -> ssl.SSLContext:
    verify = context.cluster.values.get("insecure-skip-tls-verify") is not True
    authority = context.cluster.content("certificate-authority")
    tls = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED if verify else ssl.CERT_NONE)
    # From Python 3.13 on this refuses certificates that Kubernetes itself takes.
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if verify:
        _trust(tls, authority)
    elif authority is not None:
        raise KubeconfigError("it names a certificate authority, and says not to verify by it")
    else:
        # The file says so; to say it again at each command helps nobody.
        warnings.filterwarnings("ignore", category=urllib3.exceptions.InsecureRequestWarning)
    certificate, key = context.user.content("client-certificate"), context.user.content("client-key")
    if certificate is not None and key is not None:
        _identify(tls, certificate, key)
    elif certificate is not None or key is not None:
        raise KubeconfigError("of the client's certificate and its key, one is missing")
    return tls


def _trust(tls: ssl.SSLContext, authority: bytes | None) -> None:
    try:
        if authority is None:
            tls.load_default_certs()
        else:
            tls.load_verify_locations(cadata=authority.decode("ascii", "ignore"))  # comments are in any alphabet
    except (ssl.SSLError, ValueError):
        pass
    else:
        return
    raise KubeconfigError("its certificate authority is not a certificate (PEM)")


def _identify(tls: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    try:
        with _named(certificate + b"\n" + key) as file:
            # Without a password at hand nobody is asked for one on the terminal.
            tls.load_cert_chain(file, password=lambda: "")
    except (ssl.SSLError, OSError, ValueError):
        pass
    else:
        return
    raise KubeconfigError(
        "its client's certificate and key do not belong together, or are not what they should be (PEM)"
    )


@contextmanager
def _named(content: bytes) -> Iterator[str]:
    """A file's name for what can only be given as a file; it is in memory where that can be."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("1ctl"), "wb") as file:
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name
