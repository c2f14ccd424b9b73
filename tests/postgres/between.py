"""What stands between a client and the server: a socket that passes on what both say, or stops doing so in silence.

Like a pooler it can tell its clients process numbers of its own, and give each of a client's transactions to another
connection to the server.
"""

from __future__ import annotations

import socket
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

_NAME = ".s.PGSQL.5432"
_KEY_DATA, _READY, _QUERY, _SYNC, _QUIT, _IDLE = b"K", b"Z", b"Q", b"S", b"X", b"I"
_NO_ENCRYPTION = (80877103, 80877104)  # what a client first asks for instead of saying who it is

Like = Literal["cable", "pooler", "pooler of transactions"]


class Between:
    """A socket in a directory of its own.

    Attributes:
        address: Of the same database, by this way.
        is_silent: While it is set, nothing is passed on and nobody is told.
    """

    def __init__(self, url: str, *, like: Like, directory: str) -> None:
        server = parse_qs(urlsplit(url).query)["host"][0]
        self.address = url.replace(server, directory)
        self.is_silent = threading.Event()
        self._like = like
        self._server = str(Path(server) / _NAME)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(Path(directory) / _NAME))
        self._socket.listen()
        self._ends: list[socket.socket] = [self._socket]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End it, and every connection with it."""
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                if self._like == "pooler of transactions":
                    self._ends.append(client)
                    threading.Thread(target=self._share, args=(client,), daemon=True).start()
                    continue
                server = socket.socket(socket.AF_UNIX)
                self._ends += [client, server]
                server.connect(self._server)
                for source, target, answers in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pass_on, args=(source, target, answers), daemon=True).start()

    def _share(self, client: socket.socket) -> None:
        """Passes on what a client says, its transactions to two connections in turn."""
        with suppress(OSError, EOFError):
            who = _said(client, kind=False)
            while struct.unpack_from(">I", who, 4)[0] in _NO_ENCRYPTION:
                client.sendall(b"N")
                who = _said(client, kind=False)
            servers = []
            for _ in range(2):
                server = socket.socket(socket.AF_UNIX)
                self._ends.append(server)
                server.connect(self._server)
                server.sendall(who)
                servers.append((server, _until_ready(server)))
            client.sendall(_renumbered(servers[0][1])[0])
            while not (asked := _said(client)).startswith(_QUIT):
                server = servers[0][0]
                server.sendall(asked)
                if asked[:1] in (_QUERY, _SYNC):
                    answer = _until_ready(server)
                    client.sendall(answer)
                    if answer.endswith(_IDLE):
                        servers.reverse()
        client.close()

    def _pass_on(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        first = answers and self._like == "pooler"
        with suppress(OSError):
            while said := source.recv(65536):
                if self.is_silent.is_set():
                    continue
                if first:
                    said, first = _renumbered(said)
                target.sendall(said)
        if not self.is_silent.is_set():
            with suppress(OSError):
                target.shutdown(socket.SHUT_RDWR)


def _said(source: socket.socket, *, kind: bool = True) -> bytes:
    """One message; the first one of a client has no kind."""
    head = _exactly(source, 5 if kind else 4)
    return head + _exactly(source, struct.unpack(">I", head[-4:])[0] - 4)


def _exactly(source: socket.socket, size: int) -> bytes:
    got = source.recv(size, socket.MSG_WAITALL)
    if len(got) < size:
        raise EOFError
    return got


def _until_ready(server: socket.socket) -> bytes:
    """All that a server answers; the last byte says whether a transaction is open."""
    answers = [_said(server)]
    while not answers[-1].startswith(_READY):
        answers.append(_said(server))
    return b"".join(answers)


def _renumbered(said: bytes) -> tuple[bytes, bool]:
    """What a server says first, with another number for its process; whether it was not in it yet."""
    at = 0
    while at + 5 <= len(said):
        (length,) = struct.unpack_from(">I", said, at + 1)
        if said[at : at + 1] == _KEY_DATA:
            return said[: at + 5] + struct.pack(">I", 77) + said[at + 9 :], False
        at += 1 + length
    return said, True


@contextmanager
def between(url: str, *, like: Like) -> Iterator[Between]:
    """Stands there until the block ends."""
    with tempfile.TemporaryDirectory(
        prefix="pg", dir="/tmp"
    ) as directory:  # a socket's path has at most 107 characters
        made = Between(url, like=like, directory=directory)
        try:
            yield made
        finally:
            made.close()
