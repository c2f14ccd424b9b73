"""Commands as processes of their own that need no start: copies of one process that has imported everything already.

Three quarters of what a short command takes is Python starting up. Whatever a command sees of the world is its own:
arguments, environment, directory, streams, signals, exit code. What a start costs and imports, and in which locale, is
asked of fresh interpreters. ``ONECTL_TEST_PROCESSES=fresh`` runs every command in one.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("cli", "effects", "ledger", "projections")
_STDERR = ("stderr", "w", "backslashreplace")


def usable(environ: Mapping[str, str]) -> bool:
    """Whether a copy behaves like a fresh interpreter in this environment."""
    if sys.platform != "linux" or os.environ.get("ONECTL_TEST_PROCESSES") == "fresh":
        return False
    of_the_start = ("LC_ALL", "LC_CTYPE", "LD_PRELOAD")
    named = [name for name in environ if name in of_the_start or name.startswith("PYTHON")]
    return named in ([], ["PYTHONPATH"]) and environ.get("PYTHONPATH") == str(ROOT) and environ["LANG"] == "C.UTF-8"


class Forks:
    """The client's end of the one process that is copied."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forks", str(theirs.fileno())],
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    def run(
        self, args: Sequence[str], *, cwd: Path, environ: Mapping[str, str], stdin: bytes, timeout: float
    ) -> tuple[int, bytes, bytes]:
        """Exit code as of `subprocess`, and what was printed on stdout and stderr."""
        request = json.dumps({"args": [*args], "cwd": str(cwd), "environ": {**environ}}).encode()
        with contextlib.ExitStack() as stack:
            asked, typed, out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(4))
            for file, content in ((asked, request), (typed, stdin)):
                file.write(content)
                file.seek(0)
            answer, theirs = (stack.enter_context(end) for end in socket.socketpair())
            socket.send_fds(self._socket, [b"."], [each.fileno() for each in (asked, typed, out, err, theirs)])
            theirs.close()
            answer.settimeout(timeout)
            with answer.makefile("r") as told:
                pid = int(told.readline())
                try:
                    code = int(told.readline())
                except TimeoutError:
                    os.kill(pid, signal.SIGKILL)
                    raise subprocess.TimeoutExpired([*args], timeout) from None
            for file in (out, err):
                file.seek(0)
            return code, out.read(), err.read()


_started: dict[int, Forks] = {}


def forks() -> Forks:
    """Those of this process; the first call starts them, and they end with it."""
    if os.getpid() not in _started:
        _started[os.getpid()] = Forks()
    return _started[os.getpid()]


# The process that is copied


def become(asked: int, streams: Sequence[int]) -> None:
    """From here on this process is the command: nothing of another one is left."""
    with open(asked) as file:
        request = json.load(file)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environ"])
    time.tzset()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    importlib.reload(importlib.import_module("effects.crash_points"))  # alone asks the environment when it is imported
    sys.argv = ["1ctl", *request["args"]]
    for number, (name, mode, errors) in enumerate((("stdin", "r", "strict"), ("stdout", "w", "strict"), _STDERR)):
        stream = open(number, mode, 1 if name == "stderr" else -1, "utf-8", errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def serve(control: socket.socket) -> None:
    """Copies this process for each request; returns in the copy that is to be the command."""
    while True:
        _, (asked, *streams, answer), _, _ = _next(control)
        if os.fork() == 0:
            control.close()
            break
        for descriptor in (asked, *streams, answer):
            os.close(descriptor)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    pid = os.fork()
    if pid == 0:
        os.close(answer)
        return become(asked, streams)
    for descriptor in (asked, *streams):
        os.close(descriptor)
    os.write(answer, b"%d\n" % pid)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        os.write(answer, b"%d\n" % code)
    os._exit(0)


def _next(control: socket.socket) -> tuple[bytes, list[int], int, object]:
    found = socket.recv_fds(control, 1, 5)
    if not found[0]:
        os._exit(0)  # whoever ran the tests is gone
    return found


def import_everything() -> None:
    """What most commands import, so that no copy has to; the larger this process, the slower it is copied."""
    for package in PACKAGES:
        for each in pkgutil.iter_modules([str(ROOT / package)], f"{package}."):
            if not re.search("compile|kubernetes|postgres|statements|tables|database", each.name):
                importlib.import_module(each.name)
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    import_everything()
    serve(socket.socket(fileno=int(sys.argv[1])))
    from cli.main import main

    code = main()
    sys.stdout.flush()
    os._exit(code)  # what a process tidies up at its end takes longer than most commands
