"""What a command did to files, and what a disk may hold of it when the power goes at any moment.

What was written is certain only once it was synced: a file's content by syncing the file, its name by syncing the
directory. Until then each write may have been dropped, kept, or torn at sectors of 512 bytes, and each change of a
name be on disk or not; within one directory names change in order.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

SECTOR = 512
CALLS = "pwrite64,write,ftruncate,fsync,fdatasync,openat,rename,link,unlink,mkdir"
OPTIONS = ("-y", "-xx", "-s", "10000000", "-e", f"trace={CALLS}")
"""Of `strace`, to record what `recorded` reads."""

Fate = Literal["dropped", "kept", "torn"]


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes at a place of a file."""

    file: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    """A file's new size."""

    file: str
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    """A file's content, or a directory's names, are on disk when it is done."""

    path: str


@dataclass(frozen=True, slots=True)
class Names:
    """Names that change together, within one directory: by path, the older path of the same file.

    None makes a directory, an empty path a new file; `gone` are removed.
    """

    made: tuple[tuple[str, str | None], ...] = ()
    gone: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """Something was printed on stdout."""

    text: str


Step = Write | Truncate | Sync | Names | Said


# -- What happened -------------------------------------------------------------------------------------------------

_CALL = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)")


def recorded(trace: str, below: Path, before: Iterable[str]) -> list[Step]:
    """The steps of a trace that are about files below a directory, in order.

    Args:
        trace: What `strace` wrote.
        below: The directory.
        before: The files and directories that were there.
    """
    known = set(before)
    steps: list[Step] = []
    offsets: dict[str, int] = {}
    for line in trace.splitlines():
        found = _CALL.match(line)
        if found is None or int(found[3]) < 0:
            continue
        call, arguments, result = found[1], found[2].split(", "), int(found[3])
        if call == "write" and arguments[0].startswith("1<"):
            steps.append(Said(_bytes(arguments[1]).decode(errors="replace")))
            continue
        for step in _step(call, arguments, result, known, offsets):
            if _is_below(step, below):
                steps.append(step)
    return steps


def _step(call: str, arguments: Sequence[str], result: int, known: set[str], offsets: dict[str, int]) -> Iterator[Step]:
    match call:
        case "pwrite64":
            yield Write(_open(arguments[0]), int(arguments[3]), _bytes(arguments[1])[:result])
        case "write":
            file = _open(arguments[0])
            yield Write(file, offsets.get(file, 0), _bytes(arguments[1])[:result])
            offsets[file] = offsets.get(file, 0) + result
        case "ftruncate":
            yield Truncate(_open(arguments[0]), int(arguments[1]))
        case "fsync" | "fdatasync":
            yield Sync(_open(arguments[0]))
        case "openat":
            path = os.path.normpath(Path(_open(arguments[0]), _text(arguments[1])))
            offsets[path] = 0
            if "O_CREAT" in arguments[2] and path not in known:
                known.add(path)
                yield Names(made=((path, ""),))
            elif "O_TRUNC" in arguments[2]:
                yield Truncate(path, 0)
        case "mkdir":
            known.add(_text(arguments[0]))
            yield Names(made=((_text(arguments[0]), None),))
        case "link":
            known.add(_text(arguments[1]))
            yield Names(made=((_text(arguments[1]), _text(arguments[0])),))
        case "rename":
            known.discard(_text(arguments[0]))
            known.add(_text(arguments[1]))
            yield Names(made=((_text(arguments[1]), _text(arguments[0])),), gone=(_text(arguments[0]),))
        case "unlink":
            known.discard(_text(arguments[0]))
            yield Names(gone=(_text(arguments[0]),))
        case _:
            raise AssertionError(call)


def _is_below(step: Step, below: Path) -> bool:
    match step:
        case Write(file=path) | Truncate(file=path) | Sync(path=path):
            return Path(path).is_relative_to(below)
        case Names(made=made, gone=gone):
            return all(Path(path).is_relative_to(below) for path in (*(name for name, _ in made), *gone))
        case Said():
            return True


def _bytes(argument: str) -> bytes:
    assert not argument.endswith("..."), "strace cut it off"
    return bytes.fromhex(argument.strip('"').replace("\\x", ""))


def _text(argument: str) -> str:
    return _bytes(argument).decode()


def _open(argument: str) -> str:
    """The path behind a descriptor: ``4<\\x2f...>``."""
    return bytes.fromhex(argument[argument.index("<") + 1 : argument.rindex(">")].replace("\\x", "")).decode(
        errors="replace"
    )


# -- What is left --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _File:
    """What is on disk, and what may be."""

    content: bytearray = field(default_factory=bytearray)
    pending: list[Write | Truncate] = field(default_factory=list)


class Disk:
    """Files and directories after some steps, as a disk may hold them.

    Args:
        files: Content by path, all of it on disk; None is a directory.
    """

    def __init__(self, files: Mapping[str, bytes | None]) -> None:
        made = {path: None if content is None else _File(bytearray(content)) for path, content in files.items()}
        self._live: dict[str, _File | None] = dict(made)
        self._certain: dict[str, _File | None] = made
        self._names: list[tuple[str, dict[str, _File | None], tuple[str, ...]]] = []

    def take(self, step: Step) -> None:
        """Do a step; on disk is then only what was synced."""
        match step:
            case Write(file=path) | Truncate(file=path):
                file = self._live.get(path)
                if file is not None:  # it was removed while it was open
                    file.pending.append(step)
            case Names(made=made, gone=gone):
                new = {path: _File() if old == "" else None if old is None else self._live[old] for path, old in made}
                for path in gone:
                    self._live.pop(path, None)
                self._live |= new
                directory = str(Path(next(iter([*new, *gone]))).parent)
                self._names.append((directory, new, gone))
            case Sync(path=path):
                self._sync(path)
            case Said():
                pass

    def _sync(self, path: str) -> None:
        file = self._live.get(path)
        if isinstance(file, _File):
            for each in file.pending:
                _apply(file.content, each)
            file.pending.clear()
            return
        for directory, made, gone in self._names:
            if directory == path:
                _rename(self._certain, made, gone)
        self._names = [each for each in self._names if each[0] != path]

    def after_power_loss(self, fate: Fate, chance: random.Random) -> dict[str, bytes | None]:
        """One of the states that the disk may be in: content by path; None is a directory."""
        names = dict(self._certain)
        stopped: set[str] = set()
        for directory, made, gone in self._names:
            if fate == "dropped" or (fate == "torn" and chance.random() < 0.4):
                stopped.add(directory)
            if directory not in stopped:
                _rename(names, made, gone)
        contents: dict[str, bytes | None] = {}
        for path, file in names.items():
            if not _is_reachable(path, names):
                continue
            contents[path] = None if file is None else _left(file, fate, chance)
        return contents


def _rename(names: dict[str, _File | None], made: Mapping[str, _File | None], gone: Iterable[str]) -> None:
    for path in gone:
        names.pop(path, None)
    names |= made


def _is_reachable(path: str, names: Mapping[str, _File | None]) -> bool:
    """Whether every directory above it that was made on the way is there."""
    above = [str(each) for each in Path(path).parents]
    top = min((len(each) for each, file in names.items() if file is None), default=0)
    return all(each in names for each in above if len(each) >= top)


def _left(file: _File, fate: Fate, chance: random.Random) -> bytes:
    content = bytearray(file.content)
    if fate == "dropped":
        return bytes(content)
    for step in file.pending:
        if fate == "kept":
            _apply(content, step)
            continue
        lot = chance.random()
        if lot < 0.4:
            _apply(content, step)
        elif lot < 0.7 and isinstance(step, Write):
            for start in range(0, len(step.data), SECTOR):
                if chance.random() < 0.5:
                    _apply(content, Write(step.file, step.offset + start, step.data[start : start + SECTOR]))
    return bytes(content)


def _apply(content: bytearray, step: Write | Truncate) -> None:
    size = step.size if isinstance(step, Truncate) else step.offset
    if len(content) < size:
        content.extend(bytes(size - len(content)))
    if isinstance(step, Truncate):
        del content[size:]
    else:
        content[size : size + len(step.data)] = step.data


def held(directory: Path) -> dict[str, bytes | None]:
    """What a directory holds, itself included."""
    found = {str(directory): None, **{str(path): path for path in directory.rglob("*")}}
    return {
        path: entry.read_bytes() if entry is not None and entry.is_file() else None for path, entry in found.items()
    }


def put(contents: Mapping[str, bytes | None], here: Path, there: Path) -> None:
    """Write a state of one directory into another."""
    for path in sorted(contents):
        content, target = contents[path], there / Path(path).relative_to(here)
        if content is None:
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.write_bytes(content)
