"""What was probably meant by a command that does not exist; needed for an error only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

_OTHER_WORDS: Mapping[str, tuple[str, ...]] = {
    "set": ("create",),
    "add": ("create",),
    "put": ("create",),
    "rm": ("unset", "destroy", "delete"),
    "remove": ("unset", "destroy", "delete"),
    "uninstall": ("destroy",),
    "down": ("destroy",),
    "up": ("deploy",),
    "apply": ("deploy",),
    "install": ("deploy",),
    "upgrade": ("deploy",),
    "ls": ("list",),
    "ps": ("status",),
    "info": ("get", "status"),
    "show": ("get", "list"),
    "get": ("list",),
    "history": ("releases", "log"),
    "undo": ("rollback",),
}
"""What others call it, and which of our commands that is, whichever of them there is."""

_ABSENT: Mapping[str, str] = {
    "logs": "1ctl shows no logs of pods; see: kubectl logs -l app=NAME",
    "exec": "1ctl runs nothing in pods; see: kubectl exec",
    "domains": "The domain of an app is in '1ctl deploy get'",
    "open": "The address of an app is in '1ctl deploy get'",
    "login": "1ctl has no accounts; which cluster it deploys to is said by '1ctl profile create'",
}
"""What others have, and what there is instead."""


_OPTION_OF = {"version": "1ctl --version", "help": "{path} --help"}
"""What is a command elsewhere, and an option here."""

STRAY = "An app is named with --name, an image with --image"
"""For a word that may have been meant for either."""


def suggestion(
    word: str, own: Iterable[str], below: Mapping[str, Iterable[str]], *, path: str, acts: bool, has_options: bool
) -> str:
    """A sentence to go on with after 'not found', or an empty text.

    Args:
        word: What was typed.
        own: The commands there are in its place.
        below: By the name of a group among them, what that has.
        path: The command line up to there.
        acts: Whether it is a command up to there, which a name or an image may have been meant for.
        has_options: Whether options of that command were given, so that none of its own commands was meant.
    """
    if acts and (has_options or ":" in word or "/" in word):
        return f". {STRAY}"
    named = _named(word, own, below, path)
    if not acts:
        return named
    return f"{named} {STRAY}" if named.endswith("?") else f"{named}. {STRAY}"


def _named(word: str, own: Iterable[str], below: Mapping[str, Iterable[str]], path: str) -> str:
    if word in _OPTION_OF:
        return f". Did you mean '{_OPTION_OF[word].format(path=path)}'?"
    if word in _ABSENT:
        return f". {_ABSENT[word]}"
    there = {name: name for name in own}
    for group, names in below.items():
        for name in names:
            there.setdefault(name, f"{group} {name}")
    for other, ours in _OTHER_WORDS.items():
        for name in ours:
            if name in there:
                there.setdefault(other, there[name])
    meant = word if word in there else next(iter(get_close_matches(word, there, 1)), None)
    return "" if meant is None else f". Did you mean '{there[meant]}'?"
