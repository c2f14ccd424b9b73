"""The git commit that is checked out here, told without running anything that the repository asks for.

A checkout may come from somebody else: unpacked from an archive, its ``.git/config`` may name programs that git runs to
compare files (``core.fsmonitor``, ``filter.NAME.clean``, those of submodules) or to fetch what is missing. So files are
compared in a repository of our own, which borrows only the index and the objects: the user's own configuration still
applies, the repository's does not.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_SECONDS = 2.0
# Without a daemon for the borrowed files, whatever the user's configuration says; and the index stays as it is.
_GIT = ("git", "--no-optional-locks", "-c", "core.fsmonitor=false")


def commit() -> tuple[str | None, bool | None]:
    """The commit checked out in the working directory, and whether tracked files differ from it.

    Of a submodule only its commit is compared. Each is None where it cannot be told within two seconds.
    """
    # Reads the configuration and references; nothing configured is run for it.
    found = _told((*_GIT, "rev-parse", "--show-toplevel", "--git-path", "index", "--git-path", "objects", "HEAD"))
    lines = found.splitlines() if found is not None else []
    if len(lines) != 4:
        return None, None
    top, index, objects, head = lines
    return head, _differs(Path(top), Path(index).absolute(), Path(objects).absolute(), head)


def _differs(top: Path, index: Path, objects: Path, head: str) -> bool | None:
    from tempfile import TemporaryDirectory  # noqa: PLC0415 - only where something is checked out

    with suppress(OSError), TemporaryDirectory(prefix="1ctl-") as directory:
        ours = Path(directory)
        (ours / "refs").mkdir()
        (ours / "HEAD").write_text(f"{head}\n")
        places = {"GIT_DIR": ours, "GIT_WORK_TREE": top, "GIT_INDEX_FILE": index, "GIT_OBJECT_DIRECTORY": objects}
        environ = {name: value for name, value in os.environ.items() if name != "GIT_COMMON_DIR"}
        environ |= {name: str(place) for name, place in places.items()}
        command = (*_GIT, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty")
        changes = _told(command, environ)
        return None if changes is None else bool(changes)
    return None  # nothing can be written for it


def _told(command: tuple[str, ...], environ: Mapping[str, str] | None = None) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603
            command, env=environ, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
