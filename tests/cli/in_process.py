"""The `1ctl` command run in this process: for tests that ask hundreds of questions and need no isolation."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from cli.main import main
from cli.options import INVOCATION, Invocation
from tests.cli_support import Result


def run(*args: str, cwd: Path, env: Mapping[str, str], stdin: str = "") -> Result:
    """One command; like a process of its own, but for what the process itself is asked about."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with _surroundings(args, cwd, env, stdin), redirect_stdout(out), redirect_stderr(err):
        code = main()
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return Result(" ".join(args), texts[0], texts[1], code)


@contextmanager
def _surroundings(args: tuple[str, ...], cwd: Path, env: Mapping[str, str], stdin: str) -> Iterator[None]:
    argv, directory, environ, old_stdin = sys.argv, Path.cwd(), dict(os.environ), sys.stdin
    vars(INVOCATION).update(vars(Invocation()))
    sys.argv = ["1ctl", *args]
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
    os.environ.update(env)
    os.chdir(cwd)
    try:
        yield
    finally:
        sys.argv, sys.stdin = argv, old_stdin
        os.chdir(directory)
        os.environ.clear()
        os.environ.update(environ)
