"""`strace`, which makes the n-th system call of a kind fail, or kills the process before it is made."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Callable

import pytest

SECONDS = 30


@functools.cache
def _usable() -> str | None:
    found = shutil.which("strace")
    if found is None or subprocess.run([found, "-qq", "true"], capture_output=True, check=False).returncode:
        return None
    return found


def strace() -> str:
    """The program; where it is not there, or may not trace, the test is skipped, or fails if it is required."""
    found = _usable()
    if found is not None:
        return found
    message = "strace is not there, or may not trace: no system call can be made to fail"
    if os.environ.get("ONECTL_TEST_REQUIRE"):
        pytest.fail(message)
    pytest.skip(message)


def injected(*options: str) -> tuple[Callable[[int], None], Callable[[], None]]:
    """What attaches to a process that waits to run, and what waits until that is over."""
    tracers: list[subprocess.Popen[bytes]] = []

    def attach(pid: int) -> None:
        tracer = subprocess.Popen(
            [strace(), "-p", str(pid), *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        tracers.append(tracer)
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        assert b"attached" in said, said

    def over() -> None:
        for tracer in tracers:
            tracer.communicate(timeout=SECONDS)

    return attach, over
