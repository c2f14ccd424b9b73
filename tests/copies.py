"""A copy of a process that is a command: what `subprocess.Popen` is to a fresh one."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Sequence
from typing import IO, Self

Stream = int | IO[bytes]
"""What `subprocess.Popen` takes for one: a descriptor, a file, `subprocess.PIPE` or `subprocess.DEVNULL`."""


class Copy:
    """A command that runs or has run; what `subprocess.Popen` is to others.

    Attributes:
        args: Of the command.
        pid: Of its process.
        returncode: As of `subprocess`, once it was seen to have ended.
        stdin: Our end of a pipe, where one was asked for.
        stdout: Likewise.
        stderr: Likewise.
    """

    def __init__(
        self,
        args: Sequence[str],
        answer: socket.socket,
        stdin: IO[bytes] | None,
        stdout: IO[bytes] | None,
        stderr: IO[bytes] | None,
    ) -> None:
        self.args = [*args]
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.returncode: int | None = None
        with answer:
            self._told = answer.makefile("rb", buffering=0)  # a line is not read before somebody waits for it
        self.pid = int(self._told.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self.wait()

    def poll(self) -> int | None:
        """How it ended, if it has."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """How it ends.

        Raises:
            subprocess.TimeoutExpired: It had not ended after so many seconds.
        """
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            with self._told:
                self.returncode = int(self._told.readline())
        return self.returncode

    def communicate(self, input: bytes = b"", timeout: float | None = None) -> tuple[bytes, bytes]:  # noqa: A002
        """Type this, and return what it printed from here on, when it has ended.

        Raises:
            subprocess.TimeoutExpired: It had not ended after so many seconds.
        """
        read: dict[IO[bytes], bytes] = {}
        streams = [stream for stream in (self.stdout, self.stderr) if stream is not None and not stream.closed]
        readers = [
            threading.Thread(target=lambda s=stream: read.update({s: s.read()}), daemon=True) for stream in streams
        ]
        for reader in readers:
            reader.start()
        if self.stdin is not None:
            with contextlib.suppress(BrokenPipeError), self.stdin:
                self.stdin.write(input)
        self.wait(timeout)
        for reader in readers:
            reader.join(timeout)
        for stream in streams:
            stream.close()
        out, err = (read.get(stream, b"") if stream is not None else b"" for stream in (self.stdout, self.stderr))
        return out, err

    def send_signal(self, number: int) -> None:
        """Nothing happens to one that has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it ends at this very moment
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
