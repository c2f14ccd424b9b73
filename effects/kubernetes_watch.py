"""A watch over an API server's stream of events: one JSON document a line, metadata only.

The client's own watch is not used: it restarts by itself, when it may lose what happened meanwhile, and a
connection that died silently keeps it waiting for ever.

Invariants:

* It ends, or fails, within the time that the stream is given; it never waits for ever.
* What is not a whole event is never taken for one, nor passed over.
* Closing ends it at once, even before the server has answered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from typing import Literal, Protocol, Self

import orjson

from effects.cluster import Change, ClusterError, ClusterUnreachableError, Json, Ref
from effects.kubernetes_requests import seen_of

_KINDS: Mapping[str, Literal["present", "gone"]] = {"ADDED": "present", "MODIFIED": "present", "DELETED": "gone"}


class EventStream(Protocol):
    """Bytes as they come from a server; see `effects.kubernetes_door.Stream`."""

    def read(self) -> bytes:
        """What came next; empty at the declared end."""

    def broken(self, why: str) -> ClusterUnreachableError:
        """This stream as an error."""

    def error(self, document: Json) -> ClusterError:
        """A `Status` in the stream as an error."""

    def stop(self) -> None:
        """Wake the thread that reads."""

    def close(self) -> None:
        """Give back what is open."""


class KubernetesWatch:
    """The `Watch` protocol over a stream, which is opened when the first change is asked for."""

    def __init__(self, kind: str, open_stream: Callable[[], EventStream]) -> None:
        self._kind = kind
        self._open_stream = open_stream
        self._opening: Future[EventStream] = Future()
        self._closed = False
        self._changes = self._read()
        self._reading = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Change]:
        return self

    def __next__(self) -> Change:
        """See `effects.cluster.Watch`."""
        with self._reading:
            return next(self._changes)

    def close(self) -> None:
        """See `effects.cluster.Watch`."""
        self._closed = True
        if not self._opening.cancel() and self._opening.exception() is None:
            self._opening.result().stop()
        # Whoever reads just now gives the connection back; else it is done here.
        if self._reading.acquire(blocking=False):
            try:
                self._changes.close()
            finally:
                self._reading.release()

    def _read(self) -> Generator[Change]:
        stream = self._opened()
        if stream is None:
            return
        try:
            for line in _lines(stream):
                change = _change(self._kind, line, stream)
                if self._closed:
                    return
                yield change
        except ClusterError:
            if self._closed:
                return  # it broke because it was stopped
            raise
        finally:
            stream.close()

    def _opened(self) -> EventStream | None:
        """The stream, or None if the watch was closed before there was one."""
        if self._closed:
            return None
        # In a thread of its own, since nothing else can be woken while the server has not answered.
        threading.Thread(target=self._open, name=f"opens a watch of {self._kind}", daemon=True).start()
        try:
            return self._opening.result()
        except CancelledError:
            return None

    def _open(self) -> None:
        # It may be closed at any time; then nobody waits for an answer.
        try:
            stream = self._open_stream()
        except Exception as error:  # noqa: BLE001 - raised in the thread that waits
            with suppress(InvalidStateError):
                self._opening.set_exception(error)
            return
        try:
            self._opening.set_result(stream)
        except InvalidStateError:
            stream.close()


def _lines(stream: EventStream) -> Iterator[bytes]:
    rest: list[bytes] = []
    while part := stream.read():
        *whole, last = part.split(b"\n")
        if whole:
            whole[0] = b"".join([*rest, whole[0]])
            rest = []
        yield from whole
        rest.append(last)
    if b"".join(rest).strip():
        raise stream.broken("it ended in the middle of an event")


def _change(kind: str, line: bytes, stream: EventStream) -> Change:
    try:
        event = orjson.loads(line)
        if event["type"] == "ERROR":
            failure = stream.error(event["object"])
        else:
            return _change_of(kind, event["type"], event["object"]["metadata"])
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        failure = stream.broken("what it sent is not an event of the Kubernetes API")
    raise failure


def _change_of(kind: str, event: str, metadata: Json) -> Change:
    """What an event says.

    Raises:
        KeyError: Its type is not one of the API's, or it lacks a field that every object has.
    """
    version = metadata["resourceVersion"]
    if event == "BOOKMARK":
        return Change("bookmark", None, None, version)
    return Change(_KINDS[event], Ref(kind, metadata["namespace"], metadata["name"]), seen_of(metadata), version)
