"""The `1ctl` commands that documents show or name, and what is wrong with them, without running any."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from tests.docs.command_reference import commands

_SHELL = re.compile(r"^```(?:sh|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_BLOCK = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
_ENDS = {"|", "||", "&&", ";", "&", ">", "<", "<<", "<<<", "(", ")", ");"}


def shown(text: str) -> Iterator[str]:
    """Lines of shell blocks that run `1ctl`, from there on."""
    for block in _SHELL.findall(re.sub(r"(?m)^ +(?=```)", "", text)):
        for line in block.replace("\\\n", " ").splitlines():
            for _, command in re.findall(r"(^|[\s|(])(1ctl\s[^#]*)", line.removeprefix("$ ")):
                yield command


def named(text: str) -> Iterator[str]:
    """Inline code that is a command: with `1ctl` before it, or with a group's name and more."""
    groups = {path[0] for path in commands() if len(path) == 2}
    for code in re.findall(r"`([^`]+)`", _BLOCK.sub("", text)):
        words = code.replace("\n", " ")
        first, _, rest = words.partition(" ")
        if first == "1ctl":
            yield words
        elif first in groups and rest:
            yield f"1ctl {words}"


def options(text: str) -> Iterator[str]:
    """Options that stand in inline code by themselves."""
    for code in re.findall(r"`([^`]+)`", _BLOCK.sub("", text)):
        if found := re.match(r"--?[a-z][a-z-]*", code):
            yield found[0]


def known_options() -> set[str]:
    """Those of any command."""
    return {name for command in commands().values() for name in _options(command)}


def fault(line: str) -> str | None:
    """Why a command line cannot be meant, or None: a word that is no command, an option that is not known."""
    return _fault(list(_words(line))[1:])


def _words(line: str) -> Iterator[str]:
    """The words of one command, up to the next one."""
    lexer = shlex.shlex(line.replace("…", "..."), posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    for word in lexer:
        if word in _ENDS:
            return
        yield word


def _fault(words: Sequence[str]) -> str | None:
    known = commands()
    path: tuple[str, ...] = ()
    given, skip = 0, False
    for word in words:
        takes_value = _options(known[()]) | _options(known[path])
        if skip:
            skip = False
        elif word.startswith("-") and len(word) > 1:
            name, equals, _ = word.partition("=")
            if name not in takes_value:
                return f"{' '.join(('1ctl', *path))} has no option {name}"
            skip = takes_value[name] and not equals
        elif (*path, _canonical(path, word)) in known:
            path = (*path, _canonical(path, word))
        elif _is_group(known[path]) and word != "...":
            return f"{' '.join(('1ctl', *path))} has no command {word}"
        else:
            given += 1
    most = sum(param.nargs for param in known[path].params if param.param_type_name == "argument")
    return f"{' '.join(('1ctl', *path))} takes {most} arguments" if given > most and "..." not in words else None


def _canonical(path: tuple[str, ...], word: str) -> str:
    from cli.main import _COMMANDS

    first = {target: name for name, target in reversed(_COMMANDS.items())}
    return first[_COMMANDS[word]] if not path and word in _COMMANDS else word


def _is_group(command: Any) -> bool:
    return hasattr(command, "list_commands")


def _options(command: Any) -> dict[str, bool]:
    """By name, whether it takes a value."""
    found = {"-h": False, "--help": False}
    for param in command.params:
        if param.param_type_name == "option":
            found |= dict.fromkeys((*param.opts, *param.secondary_opts), not param.is_flag)
    return found
