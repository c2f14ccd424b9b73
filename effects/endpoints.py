"""Where a worker says how it is doing: ``/metrics``, ``/healthz``, ``/readyz``. Nothing can be changed through it."""

from __future__ import annotations

import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from ledger.errors import OneCtlError

LOG = logging.getLogger("onectl.worker")


class Reply(NamedTuple):
    """What is answered to a GET, and without its body to a HEAD: status code, content type, body."""

    status: int
    content_type: str
    body: bytes


Pages = Mapping[str, Callable[[], Reply]]
"""By path, what makes the answer."""


def yes_or_no(good: bool) -> Reply:
    """200 ``ok``, or 503."""
    return Reply(200 if good else 503, "text/plain; charset=utf-8", b"ok\n" if good else b"not ready\n")


class ListenError(OneCtlError):
    """The address cannot be listened on."""


@contextmanager
def serving(address: tuple[str, int], pages: Pages) -> Iterator[int]:
    """Answer GET and HEAD in threads of their own until the block ends; yields the port, which is chosen if 0 was asked for.

    Raises:
        ListenError: The address cannot be listened on.
    """
    try:
        server = _Server(address, _handler(pages))
    except (OSError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) else "there is no such port"
        raise ListenError(
            f"{address[0]}:{address[1]} cannot be listened on: {why}",
            hint="Choose another: --listen HOST:PORT, or --listen none",
        ) from error
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="http", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 16

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone is not news; anything else is said without its text, which may quote anything."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            LOG.warning("endpoint", extra={"error": type(error).__name__})


def _handler(pages: Pages) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10.0  # a client that says nothing is cut off

        def do_GET(self) -> None:
            self.wfile.write(self.head().body)

        def do_HEAD(self) -> None:
            self.head()

        def head(self) -> Reply:
            """Send all of the reply but its body."""
            make = pages.get(self.path.partition("?")[0])
            reply = make() if make else Reply(404, "text/plain; charset=utf-8", b"not found\n")
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            return reply

        def log_message(self, *_: object) -> None:
            """Scrapes are not logged."""

    return Handler
