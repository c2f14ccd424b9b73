"""The next command, as it has to be typed after this run: with the profile, the ledger and the app that were given.

Messages name commands in their plain form, wherever they are made. Whoever pastes one means the place that this run was
about, so what the command line said about it is put in where messages are printed. Variables of the environment stay
set, and are not repeated.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cli.options import INVOCATION

if TYPE_CHECKING:
    from pathlib import Path

OF_AN_APP = {
    "deploy": "get releases status diff blame events scale restart rollback mark-bad adopt restore destroy delete",
    "env": "create list unset",
    "secret": "create list unset purge",
    "audit": "prove",
    "worker": "retry",
}
"""By group, the commands that take ``--deployment-id`` and ``--config``; `1ctl deploy` itself does, too."""

WITHOUT = "without --ledger: "
"""Before a command that is meant to be typed without the option."""

_MENTION = (
    r"\b1ctl(?P<output> -o json)? "
    r"(?:(?P<group>deploy|env|secret|audit|ledger|worker)\b(?P<sub> [a-z][a-z-]*)?|profile current\b)"
    r"(?P<rest>(?:(?!   | 1ctl )[^'\n])*)"
)
"""A command about a place, up to where the next one or another thought begins."""


def tell_kubectl(context: str, kubeconfig: Path | None) -> None:
    """Let every `kubectl` that a message names reach this cluster, not the one that it reaches by default."""
    words = ["--context", context, *(["--kubeconfig", str(kubeconfig)] if kubeconfig else [])]
    INVOCATION.kubectl = " ".join(map(_quoted, words))


def completed(text: str) -> str:
    """The text with each command in it completed; as it is where this run was given nothing.

    What a command says itself is kept, so that it may be completed again. A password in the ledger's address is not
    repeated.
    """
    if INVOCATION.kubectl:
        text = re.sub(r"\bkubectl (?=create |get |-n )", lambda _: f"kubectl {INVOCATION.kubectl} ", text)
    given = (INVOCATION.profile, INVOCATION.ledger, INVOCATION.name, INVOCATION.deployment_id, INVOCATION.config)
    if "1ctl " not in text or not any(given):
        return text
    return re.sub(_MENTION, _completed, text)


def naming(text: str, option: str) -> str:
    """The completed text, in which each command about an app names it by this option; for text about one of many apps."""
    return re.sub(_MENTION, lambda found: _completed(found, option), text)


def _completed(found: re.Match[str], option: str = "") -> str:
    said, output, rest = found[0], found["output"] or "", f"{found['rest']} "
    if rest.startswith(" --help "):
        return said
    group, sub = found["group"], (found["sub"] or "").strip()
    end = len(said) - len(found["rest"])
    if group == "deploy" and sub not in (*OF_AN_APP["deploy"].split(), "list"):
        end = said.index("deploy") + len("deploy")  # the word after it goes on with the sentence
        sub = ""
    of_an_app = sub in OF_AN_APP.get(group or "", "").split() or (group, sub) == ("deploy", "")
    if of_an_app and group == "worker" and re.match(r" \w", rest):
        of_an_app = False  # it names its app
    begin = len("1ctl") + len(output)
    place = _place(rest, with_ledger=not found.string[: found.start()].endswith(WITHOUT))
    return f"1ctl{place}{output}{said[begin:end]}{_app(rest, option) if of_an_app else ''}{said[end:]}"


def _place(rest: str, *, with_ledger: bool) -> str:
    place = f" -p {_quoted(INVOCATION.profile)}" if INVOCATION.profile else ""
    if INVOCATION.ledger and with_ledger and " --ledger " not in rest:
        from cli.profiles import shown_address  # noqa: PLC0415 - needed only where an address was given

        place += f" --ledger {_quoted(shown_address(INVOCATION.ledger) or '')}"
    return place


def _app(rest: str, option: str) -> str:
    if any(f" {said} " in rest for said in ("--name", "-d", "--deployment-id", "--config")):
        return ""
    if option:
        return f" {option}"
    if INVOCATION.name:
        return f" --name {_quoted(INVOCATION.name)}"
    if INVOCATION.deployment_id:
        return f" -d {_quoted(INVOCATION.deployment_id)}"
    return f" --config {_quoted(INVOCATION.config)}" if INVOCATION.config else ""


def _quoted(text: str) -> str:
    import shlex  # noqa: PLC0415 - needed only where something was given

    return shlex.quote(text)
