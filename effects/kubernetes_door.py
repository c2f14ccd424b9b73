"""The way to an API server, over urllib3: transport, and what can go wrong with it.

Invariants:

* Every call is bounded in time, and nothing is retried here that may have happened: the caller knows whether a write may
  have. A request whose sender the server does not know (401) is sent once more, with freshly fetched credentials.
* Other libraries' exceptions end at this door, for their text may hold what was sent. Ours are raised outside the
  handlers, so that none of it hangs on `__cause__` or `__context__`.
"""

from __future__ import annotations

import contextlib
import re
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import quote, urlencode

import orjson
import urllib3

from effects.cluster import ClusterError, ClusterUnreachableError, Json
from effects.kubernetes_access import Access, CredentialsError
from effects.kubernetes_requests import JSON, ApiAnswer, ApiRequest

_CHUNK = 64 * 1024
_NETWORK = "the network and the server's address"
_NOT_TRUSTED = "its certificate is not trusted"
_NOT_KUBERNETES = "what answers there does not speak the Kubernetes API"

T = TypeVar("T")


class Door:
    """Sends a request within a deadline, and turns what goes wrong into our errors. Safe to share between threads.

    Attributes:
        timeout: Seconds that one request may take.
    """

    def __init__(self, access: Access, *, name: str, timeout: float) -> None:
        self._access = access
        self._name = name
        self.timeout = timeout

    def close(self) -> None:
        """Give the connections back; may be repeated."""
        self._access.close()

    def ask(self, request: ApiRequest, *, also: Iterable[int] = ()) -> ApiAnswer:
        """The answer if its status is 2xx or among `also`.

        Raises:
            ClusterUnreachableError: No answer, half an answer, 401, 429 or 5xx, or not an API server's.
            ExpiredError: 410.
            ClusterRefusedError: Any other status.
        """
        answer = self._as_us(lambda: self._guarded(request, lambda: self._exchange(request), self.timeout))
        self._check_who_answers(answer)
        if not 200 <= answer.status <= 299 and answer.status not in also:
            raise answer.error()
        if request.accept != "*/*" and answer.status <= 299 and "metadata" not in answer.document:
            raise self.unreachable(request, _NOT_KUBERNETES)
        return answer

    def _check_who_answers(self, answer: ApiAnswer) -> None:
        """Refuse what another server in front of the cluster, or in its place, says: it does not know what is there.

        An API server, too, just says "not found" about a group that it does not know; so it is asked what it is.
        """
        if not 300 <= answer.status <= 499 or answer.document.get("kind") == "Status":
            return
        if answer.status in {401, 429}:
            return  # nothing is concluded from these
        question = ApiRequest("GET", "/version", "ask which version it is", {}, accept=JSON)
        said = self._guarded(question, lambda: self._exchange(question), self.timeout).document
        if "gitVersion" not in said and said.get("kind") != "Status":
            raise self.unreachable(answer.request, _NOT_KUBERNETES)

    def _as_us(self, exchange: Callable[[], T]) -> T:
        """The answer; asked once more with renewed credentials if the server does not accept ours."""
        began = time.monotonic()
        answer = exchange()
        if isinstance(answer, ApiAnswer) and answer.status == 401:
            self._access.refused(began)
            answer = exchange()
        return answer

    def stream(self, request: ApiRequest, *, seconds: float) -> Stream:
        """The answer as a stream that takes no longer than that and is never silent for longer; to be closed.

        Raises:
            ClusterUnreachableError: No answer, 401, 429 or 5xx, or not an API server's.
            ExpiredError: 410.
            ClusterRefusedError: Any other status but 200.
        """
        deadline = time.monotonic() + seconds
        opened = self._as_us(lambda: self._guarded(request, lambda: self._open(request, seconds), seconds))
        if isinstance(opened, ApiAnswer):
            self._check_who_answers(opened)
            raise opened.error()
        return Stream(self, request, opened, deadline)

    def answer(self, request: ApiRequest, status: int, body: bytes, *, retry_after: float | None = None) -> ApiAnswer:
        """The answer to a request, from wherever in the stream it stood."""
        return ApiAnswer(
            cluster=self._name,
            request=request,
            status=status,
            retry_after=retry_after,
            body=body,
            document=_object(body),
        )

    def unreachable(self, request: ApiRequest, why: str, check: str = _NETWORK) -> ClusterUnreachableError:
        """No usable answer to a request, why, and what to check in the kubeconfig."""
        return ClusterUnreachableError(
            f"No usable answer from cluster {self._name} (to {request.does}): {why}",
            hint=f"Check {check} in the kubeconfig.",
        )

    def _guarded(self, request: ApiRequest, do: Callable[[], T], seconds: float) -> T:
        try:
            return do()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            why = _why(error, seconds)
            check = "certificate-authority" if why.startswith(_NOT_TRUSTED) else _NETWORK
        except CredentialsError as error:
            why, check = str(error), "the user"
        except ValueError:
            # It quotes the header.
            why, check = "its credentials cannot be sent in a header", "the user"
        raise self.unreachable(request, why, check)

    def _exchange(self, request: ApiRequest) -> ApiAnswer:
        deadline = time.monotonic() + self.timeout
        response = self._send(request, urllib3.Timeout(total=self.timeout))
        return self._whole(request, response, deadline)

    def _open(self, request: ApiRequest, seconds: float) -> urllib3.BaseHTTPResponse | ApiAnswer:
        deadline = time.monotonic() + self.timeout
        # A connection of its own: ending it from another thread can never hit somebody else's request.
        wait = urllib3.Timeout(connect=self.timeout, read=seconds)
        response = self._send(request, wait, {"Connection": "close"})
        return response if response.status == 200 else self._whole(request, response, deadline)

    def _send(
        self, request: ApiRequest, timeout: urllib3.Timeout, more: Mapping[str, str] = MappingProxyType({})
    ) -> urllib3.BaseHTTPResponse:
        headers = urllib3.HTTPHeaderDict(self._access.headers())
        headers.extend({"User-Agent": "1ctl", "Accept": request.accept, **more})
        if request.body is not None:
            headers.add("Content-Type", request.content_type)
        return self._access.pool().request(
            request.method,
            self._access.server + _address(request),
            body=None if request.body is None else orjson.dumps(request.body),
            headers=headers,
            timeout=timeout,
            preload_content=False,
            retries=False,
            redirect=False,
        )

    def _whole(self, request: ApiRequest, response: urllib3.BaseHTTPResponse, deadline: float) -> ApiAnswer:
        try:
            body = _read(response, deadline)
        except BaseException:
            response.close()
            raise
        response.release_conn()
        return self.answer(request, response.status, body, retry_after=_asked(response.headers))


class Stream:
    """An answer that is read as it comes, in one thread; any thread may stop it."""

    def __init__(self, door: Door, request: ApiRequest, response: urllib3.BaseHTTPResponse, deadline: float) -> None:
        self._door = door
        self._request = request
        self._response = response
        self._deadline = deadline

    def read(self) -> bytes:
        """What came next; waits for it. Empty at the end, which the server declared.

        Raises:
            ClusterUnreachableError: It broke, it was silent for too long, or it did not end in time.
        """
        try:
            part = self._response.read1(_CHUNK)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            silent = isinstance(error, (urllib3.exceptions.TimeoutError, TimeoutError))
        else:
            if not part or time.monotonic() < self._deadline:
                return part
            raise self.broken("it goes on beyond the time that was asked for")
        raise self.broken("it went silent" if silent else "the connection broke before the answer was complete")

    def broken(self, why: str) -> ClusterUnreachableError:
        """This stream cannot be used."""
        return self._door.unreachable(self._request, why)

    def error(self, document: Json) -> ClusterError:
        """A `Status` that the server sent in the stream, as an error."""
        details = document.get("details") or {}
        code, seconds = document.get("code"), details.get("retryAfterSeconds")
        return self._door.answer(
            self._request,
            code if isinstance(code, int) else 500,
            orjson.dumps(document),
            retry_after=float(seconds) if isinstance(seconds, int) else None,
        ).error()

    def stop(self) -> None:
        """Wake whoever reads: it ends, or breaks. May be repeated."""
        # It is closed already, or just now.
        with contextlib.suppress(OSError, ValueError, RuntimeError, TypeError):
            self._response.shutdown()

    def close(self) -> None:
        """Give the connection back; for the thread that reads. May be repeated."""
        self._response.close()


def _address(request: ApiRequest) -> str:
    names = {placeholder: quote(name, safe="") for placeholder, name in request.names.items()}
    query = {key: str(value).lower() if isinstance(value, bool) else value for key, value in request.query.items()}
    return request.path.format(**names) + (f"?{urlencode(query)}" if query else "")


def _why(error: Exception, seconds: float) -> str:
    match error:
        case urllib3.exceptions.NameResolutionError():
            return "its host name cannot be resolved"
        case urllib3.exceptions.NewConnectionError():
            cause = error.__cause__
            return (isinstance(cause, OSError) and cause.strerror) or "it cannot be connected to"
        case urllib3.exceptions.SSLError():
            return _why_of_tls(error)
        case urllib3.exceptions.TimeoutError() | TimeoutError():
            return f"it took longer than {seconds:g} s"
        case urllib3.exceptions.ProtocolError():
            return "the connection broke before the answer was complete"
        case _:
            return type(error).__name__


def _why_of_tls(error: urllib3.exceptions.SSLError) -> str:
    cause = error.args[0] if error.args else None
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"{_NOT_TRUSTED} ({cause.verify_message})"
    return f"TLS with it failed ({getattr(cause, 'reason', None) or type(cause).__name__})"


def _read(response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    """The whole body. The socket's timeout starts again with every byte; the deadline does not."""
    parts = []
    while part := response.read1(_CHUNK):
        parts.append(part)
        if time.monotonic() > deadline:
            raise TimeoutError
    return b"".join(parts)


def _asked(headers: Mapping[str, str]) -> float | None:
    """The seconds that a server asks us to wait: a number of them, or until a moment of its own clock (RFC 9110)."""
    header = headers.get("Retry-After", "")
    if re.fullmatch(r"\d{1,6}", header):
        return float(header)
    until = _moment(header)
    if until is None:
        return None
    now = _moment(headers.get("Date", "")) or datetime.now(UTC)
    return max(1.0, (until - now).total_seconds())  # as exact as such a date is


def _moment(date: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _object(body: bytes) -> Json:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}
