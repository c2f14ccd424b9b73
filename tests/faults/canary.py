"""A secret that is looked for afterwards, in whatever encoding it may have been written."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus

CANARY = 'canary "7f3a"/+é\\<&>~plaintext'
"""Letters that each encoding writes in its own way."""


def encodings(value: str) -> dict[str, bytes]:
    """The secret as it may be written, by the name of the encoding.

    Base64 depends on where in a longer text the secret begins, so of each of three places only the middle is looked for.
    """
    plain = value.encode()
    found = {
        "plain": plain,
        "UTF-16": value.encode("utf-16-le"),
        "hex": plain.hex().encode(),
        "HEX": plain.hex().upper().encode(),
        "JSON": json.dumps(value)[1:-1].encode(),
        "JSON in UTF-8": json.dumps(value, ensure_ascii=False)[1:-1].encode(),
        "URL": quote(value, safe="").encode(),
        "URL path": quote(value).encode(),
        "form": quote_plus(value).encode(),
        "repr": repr(value)[1:-1].encode(),
    }
    for shift in range(3):
        for name, encode in (("base64", b64encode), ("base64url", urlsafe_b64encode)):
            found[f"{name} at {shift}"] = encode(b"\0" * shift + plain)[4 if shift else 0 : -4]
    return found


def traces(value: str, content: bytes) -> list[str]:
    """The encodings in which the content holds the secret."""
    return [name for name, written in encodings(value).items() if written in content]
