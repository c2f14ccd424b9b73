"""Files whose names survive a power failure: what was synced into a file is lost if its name is not synced, too."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


def make_directory(path: Path) -> None:
    """Make a directory, mode 0700, and its parents, each with its name on disk; nothing if it is there.

    Raises:
        OSError: It cannot be made, or something else has its name.
    """
    if path.is_dir():
        return
    made = [path, *path.parents][: _missing(path)]
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for directory in made:
        sync_directory(directory.parent)


def sync_directory(path: Path) -> None:
    """Put the names in a directory on disk.

    Raises:
        OSError: It cannot be opened or synced.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, content: bytes, *, alone: bool = False) -> None:
    """Write a file, mode 0600, complete and on disk or not at all; an older one of that name is replaced.

    A link keeps its target: the file there is replaced. What is not a file (a pipe, a device such as
    ``/dev/null``) is written into, and stays what it is.

    Args:
        path: The file.
        content: What is to be in it.
        alone: Whether nobody else writes it meanwhile: then what a killed process left half written is removed.

    Raises:
        OSError: It cannot be written.
    """
    write_all_durably(path, [content], alone=alone)


def write_all_durably(path: Path, parts: Iterable[bytes], *, alone: bool = False) -> None:
    """Like `write_durably`, for content that is made part by part; what making it raises is passed on.

    Raises:
        OSError: It cannot be written.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as stream:
            stream.writelines(parts)
        return
    _replace(path.resolve(), parts, "draft" if alone else os.urandom(4).hex())


def replace_durably(path: Path, content: bytes) -> None:
    """Like `write_durably`, where nobody else means to write this file, but somebody else may write the directory.

    What has the name is replaced, and a link never followed.

    Raises:
        OSError: It cannot be written.
    """
    _replace(path, [content], "draft")


def open_plain(path: Path, flags: int) -> int:
    """A descriptor of a file, which ``O_CREAT`` makes with mode 0600; never of what a link leads to, nor of a device.

    Raises:
        OSError: It cannot be opened, or is not a plain file.
    """
    # Opening a pipe for reading would wait for a writer.
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        if path.is_symlink():
            raise _not_plain(path) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_plain(path)
    return descriptor


def write_once_durably(path: Path, content: bytes) -> bool:
    """Like `write_durably`, unless there is a file of that name already; whether this call made it.

    Raises:
        OSError: It cannot be written.
    """
    with _written(path, [content], os.urandom(4).hex()) as draft:
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
    sync_directory(path.parent)
    return True


def sync_file(path: Path) -> None:
    """Put on disk what was written to a file, whoever wrote it.

    Raises:
        OSError: It cannot be opened or synced.
    """
    sync_directory(path)


def _not_plain(path: Path) -> OSError:
    return OSError(errno.EINVAL, f"{path.name} is a link or a device, not a file", str(path))


def _replace(path: Path, parts: Iterable[bytes], word: str) -> None:
    with _written(path, parts, word) as draft:
        draft.replace(path)
    sync_directory(path.parent)


@contextmanager
def _written(path: Path, parts: Iterable[bytes], word: str) -> Iterator[Path]:
    """A block in which what a file is to hold is on disk beside it, under a name of its own."""
    draft = path.with_name(f".{path.name}.{word}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _missing(path: Path) -> int:
    """How many of the path and its parents do not exist."""
    return next((count for count, directory in enumerate((path, *path.parents)) if directory.exists()), 0)
