"""Does a value look like a credential? Environment values are kept in the log for ever; secrets are not in it at all."""

from __future__ import annotations

import re

# Kept as text: `re` compiles a pattern when it is first used, and most commands use none.
_NAMES = (
    r"(?:(?:^|_)(?:PASS|PASSWD|PWD|PASSPHRASE|SECRET|SECRET_KEY|TOKEN|API_?KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIALS?)"
    r"|PASSWORD)$"
)
_VAGUE_NAMES = r"_AUTH$"
"""Names of credentials and of switches alike: ``REDIS_AUTH``, ``SMTP_AUTH``; a switch has a plain word."""
_WORD = r"[a-z]+[0-9]?"
_SHAPES = (
    (r"[A-Za-z][A-Za-z0-9+.-]{0,15}://[^/\s:@]{0,128}:[^/\s@]{1,512}@", "holds a password in a URL"),
    (r"-----BEGIN [A-Z ]*PRIVATE KEY-----", "holds a private key"),
    (r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", "holds a cloud access key"),
    (r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{22,}|glpat-[\w-]{20})", "holds an access token"),
    (r"\bxox[abprs]-[\w-]{10,}", "holds an access token"),
    (r"\bsk_(?:live|test)_[A-Za-z0-9]{16,}", "holds an API key"),
    (r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}", "holds a signed token"),
)
_SHORTEST = 6
"""Shorter values under a telling name are switches and numbers more often than credentials."""


def looks_like_credential(key: str, value: str) -> str | None:
    """Why the value looks like a credential, as a clause; None if it does not. Never quotes the value."""
    for shape, why in _SHAPES:
        if re.search(shape, value):
            return why
    telling = re.search(_NAMES, key, re.IGNORECASE) or (
        re.search(_VAGUE_NAMES, key, re.IGNORECASE) and not re.fullmatch(_WORD, value, re.IGNORECASE)
    )
    if telling and len(value) >= _SHORTEST and not value.isdecimal():
        return "has the name of a credential"
    return None
