"""Where secret values come from: the command line, a file, stdin, or a prompt that does not echo."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cli.exit_codes import UsageError
from cli.inputs import is_stdin, one_reads_stdin, read_text, without_pairs
from ledger import values
from ledger.errors import RefusedError

if TYPE_CHECKING:
    from cli.terminal import Terminal


def given_secrets(
    terminal: Terminal, *, pairs: Sequence[str], file: Path | None, ask: Sequence[str]
) -> Mapping[str, bytes]:
    """The values by key; a pair on the command line wins over a line of a file.

    Raises:
        UsageError: There is nothing to set, or two would read stdin.
        InvalidValueError: A name or a line is not acceptable; the error holds no value.
        RefusedError: The file cannot be read or holds no value, or a key has none.
    """
    one_reads_stdin(("--kv-file", file), ask=ask)
    given: dict[str, str] = {}
    if file is not None or not (pairs or ask):
        given.update(_lines(file))
    if pairs:
        terminal.warn("A secret on the command line is visible to others in `ps`, and stays in your shell's history.")
        terminal.notice("Better: 1ctl secret create --kv-file FILE, or --key KEY, which asks.")
        given.update(values.env_pair(pair, secret=True) for pair in pairs)
    given.update(_asked(ask))
    if not given and file is not None:
        raise without_pairs(file)
    if not given:
        raise UsageError("no secret given: pass --kv-file FILE, or KEY=VALUE lines on stdin, or --key KEY")
    return {key: value.encode() for key, value in given.items()}


def _lines(file: Path | None) -> dict[str, str]:
    named = Path("-") if file is None else file
    if is_stdin(named) and sys.stdin.isatty():
        return {}
    return values.env_file(read_text(named), "stdin" if is_stdin(named) else str(named), secret=True)


def _asked(keys: Sequence[str]) -> dict[str, str]:
    """A value for each key. Of stdin, one key takes all that there is, several take a line each."""
    for key in keys:
        values.secret_name(key)
    answers = dict(zip(keys, _typed(keys) if sys.stdin.isatty() else _read(len(keys)), strict=False))
    for key in keys:
        if not answers.get(key):
            raise RefusedError(f"no value given for {key}", hint=_what_it_takes(len(keys)))
        values.env_value(answers[key], field=f"value of {key}")
    return answers


def _what_it_takes(count: int) -> str:
    if sys.stdin.isatty():
        return "Type one at the prompt."
    return "With one --key, stdin is its value; it was empty." if count == 1 else "Each --key takes one line of input."


def _typed(keys: Sequence[str]) -> Iterator[str]:
    from getpass import getpass  # noqa: PLC0415 - only where somebody types

    for key in keys:
        try:
            yield getpass(f"{key}: ")
        except EOFError:
            return


def _read(count: int) -> Sequence[str]:
    if count == 0:
        return []
    content = re.sub(r"\r?\n\Z", "", sys.stdin.read())
    if count == 1:
        return [content]
    lines = re.split(r"\r?\n", content)
    if len(lines) > count:
        raise RefusedError(
            f"{len(lines)} lines of input for {count} keys",
            hint="A value of several lines is read alone: 1ctl secret create --key KEY < FILE",
        )
    return lines
