"""Commands as processes of their own that need no start: copies of one process that has imported everything already.

Three quarters of what a short command takes is Python starting up. Whatever a command sees of the world is its own:
arguments, environment, directory, streams, signals, exit code. What a start costs and imports, and in which locale, is
asked of fresh interpreters. ``ONECTL_TEST_PROCESSES=fresh`` runs every command in one.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import json
import os
import pkgutil
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, BinaryIO, NamedTuple

import typer

from tests.copies import Copy, Stream

ROOT = Path(__file__).parents[1]
PACKAGES = ("cli", "effects", "ledger", "projections")
IMPORTED_LATE = ("difflib", "encodings.utf_8_sig", "pwd", "tomllib")
"""Of the standard library, what commands import while they run."""

_STDERR = ("stderr", "w", "backslashreplace")


def usable(environ: Mapping[str, str]) -> bool:
    """Whether a copy behaves like a fresh interpreter in this environment."""
    if sys.platform != "linux" or os.environ.get("ONECTL_TEST_PROCESSES") == "fresh":
        return False
    of_the_start = ("LC_ALL", "LC_CTYPE")
    named = [name for name in environ if name in of_the_start or name.startswith("PYTHON")]
    return named in ([], ["PYTHONPATH"]) and environ.get("PYTHONPATH") == str(ROOT) and environ["LANG"] == "C.UTF-8"


def preloaded(environ: Mapping[str, str]) -> Mapping[str, str]:
    """What of this environment is only heeded when a process starts, by a library that is loaded before it."""
    return {name: environ[name] for name in environ if name == "LD_PRELOAD" or name.startswith("FAKETIME")}


class Forks:
    """The client's end of the one process that is copied."""

    def __init__(self, *, postgres: bool, preload: Mapping[str, str]) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forks", str(theirs.fileno()), *(["postgres"] if postgres else [])],
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT), **preload},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    def run(
        self,
        args: Sequence[str],
        *,
        cwd: Path,
        environ: Mapping[str, str],
        stdin: bytes,
        timeout: float,
        change: str | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        before: Callable[[int], None] | None = None,
    ) -> tuple[int, bytes, bytes]:
        """Exit code as of `subprocess`, and what was printed on stdout and stderr.

        Args:
            args: Of the command.
            cwd: Where it runs.
            environ: All of its environment.
            stdin: What was typed.
            timeout: Seconds after which it is killed.
            change: ``module:function`` that changes something of it before it runs.
            stdout: Descriptor that it prints on instead.
            stderr: Likewise.
            before: Called with its process id before it runs; it waits meanwhile.
        """
        with contextlib.ExitStack() as stack:
            typed, out, err = (stack.enter_context(_file_in_memory(name)) for name in _STREAMS)
            typed.write(stdin)
            typed.seek(0)
            streams = (
                typed.fileno(),
                out.fileno() if stdout is None else stdout,
                err.fileno() if stderr is None else stderr,
            )
            gate = stack.enter_context(tempfile.NamedTemporaryFile()) if before is not None else None
            if gate is not None:
                fcntl.flock(gate, fcntl.LOCK_EX)
            name = gate.name if gate is not None else None
            copy = stack.enter_context(self._copy(args, cwd, environ, streams, change=change, gate=name))
            if before is not None and gate is not None:
                before(copy.pid)
                fcntl.flock(gate, fcntl.LOCK_UN)
            try:
                code = copy.wait(timeout)
            except subprocess.TimeoutExpired:
                copy.kill()
                raise
            for file in (out, err):
                file.seek(0)
            return code, out.read(), err.read()

    def start(
        self,
        args: Sequence[str],
        *,
        cwd: Path,
        environ: Mapping[str, str],
        change: str | None = None,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = subprocess.PIPE,
        stderr: Stream = subprocess.PIPE,
    ) -> Copy:
        """One that goes on meanwhile; the streams are as of `subprocess.Popen`, everything else as of `run`."""
        given, ours = [], []
        for number, stream in enumerate((stdin, stdout, stderr)):
            end = None
            if stream == subprocess.PIPE:
                reads, writes = os.pipe()
                given.append(reads if number == 0 else writes)
                end = os.fdopen(writes, "wb") if number == 0 else os.fdopen(reads, "rb")
            elif stream == subprocess.DEVNULL:
                given.append(os.open(os.devnull, os.O_RDWR))
            else:
                given.append(os.dup(stream if isinstance(stream, int) else stream.fileno()))
            ours.append(end)
        try:
            return self._copy(args, cwd, environ, given, change=change, ends=ours)
        finally:
            for descriptor in given:
                os.close(descriptor)

    def _copy(
        self,
        args: Sequence[str],
        cwd: Path,
        environ: Mapping[str, str],
        streams: Sequence[int],
        *,
        change: str | None,
        gate: str | None = None,
        ends: Sequence[IO[bytes] | None] = (None, None, None),
    ) -> Copy:
        request = {"args": [*args], "cwd": str(cwd), "environ": {**environ}, "change": change, "gate": gate}
        answer, theirs = socket.socketpair()
        with theirs, _file_in_memory("asked") as asked:
            asked.write(json.dumps(request).encode())
            asked.seek(0)
            socket.send_fds(self._socket, [b"."], [asked.fileno(), *streams, theirs.fileno()])
        return Copy(args, answer, *ends)


_STREAMS = ("stdin", "stdout", "stderr")


def _file_in_memory(name: str) -> BinaryIO:
    return os.fdopen(os.memfd_create(name), "w+b")


_started: dict[tuple[int, bool, tuple[tuple[str, str], ...]], Forks] = {}
_starting = threading.Lock()


def forks(*, postgres: bool = False, environ: Mapping[str, str] = MappingProxyType({})) -> Forks:
    """Those of this process; the first call starts them, and they end with it.

    Args:
        postgres: Those that have imported what a ledger in PostgreSQL needs, too.
        environ: Of what is run; those that started with the same libraries `preloaded`.
    """
    preload = preloaded(environ)
    which = os.getpid(), postgres, tuple(sorted(preload.items()))
    with _starting:
        if which not in _started:
            _started[which] = Forks(postgres=postgres, preload=preload)
        return _started[which]


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
    # As in a fresh interpreter that waits to run: a signal just ends it. Whoever started the tests may have had them ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    importlib.reload(importlib.import_module("effects.crash_points"))  # alone asks the environment when it is imported
    sys.argv = ["1ctl", *request["args"]]
    for number, (name, mode, errors) in enumerate((("stdin", "r", "strict"), ("stdout", "w", "strict"), _STDERR)):
        stream = open(number, mode, 1 if name == "stderr" else -1, "utf-8", errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    if request["gate"]:
        with Path(request["gate"]).open() as gate:
            fcntl.flock(gate, fcntl.LOCK_SH)  # waits until it may run
    if request["change"]:
        make(request["change"])


def make(change: str) -> None:
    """Change something of this process, as ``module:function`` does."""
    module, _, function = change.partition(":")
    getattr(importlib.import_module(module), function)()


class Running(NamedTuple):
    """A copy that runs.

    Attributes:
        pid: Of the process.
        ended: Descriptor that can be read when it has ended.
        answer: Descriptor to which its exit code is written then.
    """

    pid: int
    ended: int
    answer: int


def serve(control: socket.socket) -> None:
    """Copies this process for each request, and tells how each copy ended; returns in the copy that is to be the command."""
    running: dict[int, Running] = {}
    while True:
        ready, _, _ = select.select([control.fileno(), *running], [], [])
        for descriptor in running.keys() & set(ready):
            _tell_end(running.pop(descriptor))
        if control.fileno() not in ready:
            continue
        asked, *streams, answer = _next(control)
        pid = os.fork()
        if pid == 0:
            control.close()
            for descriptor in (answer, *(end for each in running.values() for end in (each.ended, each.answer))):
                os.close(descriptor)
            return become(asked, streams)
        for descriptor in (asked, *streams):
            os.close(descriptor)
        os.write(answer, b"%d\n" % pid)
        ended = os.pidfd_open(pid)
        running[ended] = Running(pid, ended, answer)


def _tell_end(each: Running) -> None:
    code = os.waitstatus_to_exitcode(os.waitpid(each.pid, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        os.write(each.answer, b"%d\n" % code)
    os.close(each.answer)
    os.close(each.ended)


def _next(control: socket.socket) -> list[int]:
    found, descriptors, _, _ = socket.recv_fds(control, 1, 5)
    if not found:
        os._exit(0)  # whoever ran the tests is gone
    return descriptors


def prepare(*, postgres: bool) -> None:
    """Import what most commands import, and build them all, so that no copy has to.

    The larger this process, the slower it is copied.
    """
    left_out = "compile|kubernetes" if postgres else "compile|kubernetes|postgres|statements|tables|database"
    for package in PACKAGES:
        for each in pkgutil.iter_modules([str(ROOT / package)], f"{package}."):
            if not re.search(left_out, each.name):
                importlib.import_module(each.name)
    for name in IMPORTED_LATE:
        importlib.import_module(name)
    if postgres:
        importlib.import_module("psycopg").pq.version()  # the driver looks for its library when it is first used
    _build(importlib.import_module("cli.main").command())
    gc.collect()
    gc.freeze()


def _build(group: Any) -> None:
    """Build the commands of a group; what is built once is kept."""
    context = typer.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if hasattr(command, "targets"):
            _build(command)
            group.resolve_command(context, [name, command.list_commands(context)[0]])


if __name__ == "__main__":
    if preloaded(os.environ):
        make("tests.faults.changes:sleep_under_libfaketime")  # before anybody takes the other one for its own
    prepare(postgres="postgres" in sys.argv[2:])
    serve(socket.socket(fileno=int(sys.argv[1])))
    from cli.start import main

    code = main()
    sys.stdout.flush()
    os._exit(code)  # what a process tidies up at its end takes longer than most commands
