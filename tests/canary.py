"""A secret to look for, in eight encodings, wherever a secret must not be.

Every test that says "it is nowhere" searches with `leaks` or `Canary`, so that all of them look for the same eight:

======== ==============================================================================================
raw      as its UTF-8 bytes
base64   in the standard alphabet, wherever in something longer it begins (all three alignments)
base64url the same in the URL-safe alphabet
hex      lower or upper case; so PostgreSQL dumps bytes
JSON     escaped, in ASCII or not
percent  URL-encoded, upper or lower case, blanks as ``%20`` or ``+``
UTF-16   little- or big-endian
escaped  with backslashes: as C, Python's ``repr`` and PostgreSQL's escape format write it, in hex or octal
======== ==============================================================================================

What was compressed or encrypted cannot be found this way. The product does neither to what it stores but by sealing.
"""

from __future__ import annotations

import base64
import json
import os
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

CANARY = "c4n4ry'Ω÷ \"ÿ>?~&=tail-of-the-canary"
"""Every encoding of it differs from all others. A value that was cut off is found too: its core is what is looked for."""

_CORE = 18
"""How many characters of a value are looked for."""


def _raw(value: str) -> Iterator[bytes]:
    yield value.encode()


def _base64(value: str) -> Iterator[bytes]:
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + value.encode())
        # The ends also depend on what stands before and behind.
        yield encoded[4 if before else 0 : -4]


def _base64url(value: str) -> Iterator[bytes]:
    for encoded in _base64(value):
        yield encoded.translate(bytes.maketrans(b"+/", b"-_"))


def _hex(value: str) -> Iterator[bytes]:
    digits = value.encode().hex()
    yield digits.encode()
    yield digits.upper().encode()


def _json(value: str) -> Iterator[bytes]:
    for ascii_only in (True, False):
        escaped = json.dumps(value, ensure_ascii=ascii_only)[1:-1]
        yield escaped.encode()
        yield escaped.replace("/", "\\/").replace("&", "\\u0026").replace(">", "\\u003e").encode()


def _percent(value: str) -> Iterator[bytes]:
    for safe in ("", "/", "/~&=?'"):
        for quote in (urllib.parse.quote, urllib.parse.quote_plus):
            encoded = quote(value, safe=safe).encode()
            yield encoded
            yield encoded.lower()


def _utf16(value: str) -> Iterator[bytes]:
    yield value.encode("utf-16-le")
    yield value.encode("utf-16-be")


def _escaped(value: str) -> Iterator[bytes]:
    for text in (repr(value)[1:-1], ascii(value)[1:-1], repr(value.encode())[2:-1]):
        yield text.encode()
    for numbers in ("\\x{:02x}", "\\x{:02X}", "\\{:03o}"):
        for quoted in ("", "'", '"', "'\""):
            yield "".join(_escape(byte, numbers, quoted) for byte in value.encode()).encode()


def _escape(byte: int, numbers: str, quoted: str) -> str:
    if not 32 <= byte < 127:
        return numbers.format(byte)
    return f"\\{chr(byte)}" if chr(byte) in quoted else chr(byte)


ENCODINGS: Mapping[str, Callable[[str], Iterator[bytes]]] = {
    "raw": _raw,
    "base64": _base64,
    "base64url": _base64url,
    "hex": _hex,
    "JSON": _json,
    "percent": _percent,
    "UTF-16": _utf16,
    "escaped": _escaped,
}
"""How a value may be written down: by name, every form that it takes."""


def forms(value: str) -> dict[bytes, str]:
    """All forms of a value's beginning, each with the name of its encoding."""
    core = value[:_CORE]
    return {form: name for name, encode in ENCODINGS.items() for form in encode(core)}


def leaks(value: str, where: bytes) -> list[str]:
    """The names of the encodings in which a value is somewhere."""
    return sorted({name for form, name in forms(value).items() if form in where})


def _files_under(directory: Path) -> Iterator[Path]:
    """Every file; not by `Path.rglob`, which fails where a directory goes away while it is looked at."""
    for place, _, names in os.walk(directory):
        yield from (Path(place, name) for name in names)


def files_that_leak(
    value: str, *directories: Path, seen: set[tuple[str, int, int]] | None = None
) -> dict[str, list[str]]:
    """By file under the directories: the names of the encodings in which it holds the value.

    A file that goes away while it is looked at was there for a moment only, like a draft; it is left out.

    Args:
        value: The secret.
        directories: Where to look.
        seen: Files that were found free of it, as they were then; they are not read again until they change.
    """
    sought, found = forms(value), dict[str, list[str]]()
    for path in (path for directory in directories for path in _files_under(directory)):
        try:
            state = path.stat()
            mark = (str(path), state.st_mtime_ns, state.st_size)
            if not path.is_file() or (seen is not None and mark in seen):
                continue
            content = path.read_bytes()
        except FileNotFoundError:
            continue
        names = sorted({name for form, name in sought.items() if form in content})
        if names:
            found[str(path)] = names
        elif seen is not None:
            seen.add(mark)
    return found
