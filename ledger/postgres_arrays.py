"""Arrays as parameters in PostgreSQL's binary format.

The driver sends lists of bytes as escaped text, which for one event of usual size takes longer than everything
else that an append does on this side.
"""

from __future__ import annotations

import struct
from typing import ClassVar

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEADER = struct.Struct(
    "!iiiii"
)  # dimensions, whether there are nulls, type of the elements, their number, first index
_LENGTH = struct.Struct("!i")
_BYTEA, _BYTEA_ARRAY = 17, 1001
_INT8, _INT8_ARRAY = 20, 1016
_TEXT, _TEXT_ARRAY = 25, 1009


class Octets(list[bytes]):
    """A parameter of type ``bytea[]``."""


class Numbers(list[int]):
    """A parameter of type ``bigint[]``."""


class Texts(list[str]):
    """A parameter of type ``text[]``."""


class _ArrayDumper(Dumper):
    format = Format.BINARY
    element: ClassVar[int]

    def dump(self, obj: Octets | Numbers | Texts) -> Buffer:
        """The array of one dimension; no element is null."""
        parts = [_HEADER.pack(1, 0, self.element, len(obj), 1)]
        for element in obj:
            octets = _octets(element)
            parts += (_LENGTH.pack(len(octets)), octets)
        return b"".join(parts)


class _OctetsDumper(_ArrayDumper):
    oid = _BYTEA_ARRAY
    element = _BYTEA


class _NumbersDumper(_ArrayDumper):
    oid = _INT8_ARRAY
    element = _INT8


class _TextsDumper(_ArrayDumper):
    oid = _TEXT_ARRAY
    element = _TEXT


def _octets(element: bytes | int | str) -> bytes:
    if isinstance(element, int):
        return element.to_bytes(8, "big", signed=True)
    return element.encode() if isinstance(element, str) else element


for _kind, _dumper in ((Octets, _OctetsDumper), (Numbers, _NumbersDumper), (Texts, _TextsDumper)):
    psycopg.adapters.register_dumper(_kind, _dumper)
