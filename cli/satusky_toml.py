"""Finds and reads ``satusky.toml``, the file beside the code that says what the app is called and what it needs.

* A file that was asked for is read or the command ends: never another one, never none.
* One file is read. A ``satusky.staging.toml`` takes nothing from the ``satusky.toml`` beside it.
* Nothing in it is ignored: a key that is not known is an error, since it may be a misspelt one.

It does not fill in defaults, and it does not know flags: see the commands.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ledger import values
from ledger.errors import InvalidValueError, RefusedError
from ledger.text import Lines, lines_of
from ledger.value import Value, value

FILE_NAME = "satusky.toml"
MAX_FILE_BYTES = 1_048_576

_NEEDS_NAME = Lines("Add:", "  [app]", '  name = "your-app"')

_CHECKS: Mapping[str, Callable[[Any], str | int]] = {
    "name": values.app_name,
    "port": values.port,
    "cpu": values.cpu,
    "memory": values.memory,
    "replicas": values.replicas,
    "health_path": values.health_path,
    "image_pull_secret": values.image_pull_secret,
}
_NUMBERS = ("port", "replicas")


class ConfigError(RefusedError):
    """A ``satusky.toml`` is missing, cannot be read, or says something that is not acceptable."""


@value
class AppConfig(Value):
    """What one ``satusky.toml`` says. Everything but the name is None when the file does not say it.

    Attributes:
        path: The file it was read from.
        name: Name of the app.
        port: Container and service port.
        cpu: Kubernetes quantity.
        memory: Kubernetes quantity in ``Mi`` or ``Gi``.
        replicas: Number of pods.
        health_path: Path of the HTTP readiness probe.
        image_pull_secret: Name of a Secret in the namespace.
    """

    path: Path
    name: str
    port: int | None = None
    cpu: str | None = None
    memory: str | None = None
    replicas: int | None = None
    health_path: str | None = None
    image_pull_secret: str | None = None


def find(config: str | None, start: Path) -> Path | None:
    """Returns the file to read, or None when none was asked for and there is none.

    * Nothing asked for: the nearest ``satusky.toml`` from `start` upwards.
    * A path (it ends in ``.toml`` or has a separator): that file; of a directory, its ``satusky.toml``.
    * A name such as ``staging``: ``satusky.staging.toml`` in the nearest directory that has it or a
      ``satusky.toml``; failing that, the ``satusky.toml`` of a directory of that name in `start`.

    Args:
        config: What was asked for, or None.
        start: The directory to start from; a relative path is relative to it.

    Raises:
        ConfigError: What was asked for does not exist.
    """
    if config is None:
        directory = _nearest(start, FILE_NAME)
        return directory / FILE_NAME if directory else None
    if not config:
        hint = "Give a path or a name, or leave it out to use the nearest satusky.toml."
        raise ConfigError("--config is empty", hint=hint)
    if config in {".", ".."} or config.endswith(".toml") or _has_separator(config):
        return _at(start / config)
    return _named(config, start)


def read(path: Path) -> AppConfig:
    """Returns what the file says, every value checked.

    Raises:
        ConfigError: It cannot be read, is not TOML, lacks the name, or has a key or value that is not acceptable.
    """
    document = _parsed(_text(path), path)
    table = _app_table(document, path)
    checked: dict[str, Any] = {key: _checked(key, value, path) for key, value in table.items()}
    return AppConfig(path=path, **checked)


# Finding


def _nearest(start: Path, *names: str) -> Path | None:
    """Returns the nearest directory, from `start` upwards, that has one of these files."""
    begin = start.absolute()
    return next((place for place in (begin, *begin.parents) if any(_present(place / name) for name in names)), None)


def _present(path: Path) -> bool:
    # A dangling link counts: to pass over it would pick the file of another app further up.
    return os.path.lexists(path)


def _has_separator(text: str) -> bool:
    return os.sep in text or (os.altsep is not None and os.altsep in text)


def _at(path: Path) -> Path:
    # Unlike Path.is_dir, this says no of what cannot be looked at.
    if os.path.isdir(path):  # noqa: PTH112
        if _present(path / FILE_NAME):
            return path / FILE_NAME
        raise ConfigError(f"{shown(path)} has no {FILE_NAME}", hint="Name the file itself, or another directory.")
    if _present(path):
        return path
    raise ConfigError(f"{shown(path)} does not exist", hint=_alternatives(path.parent))


def _named(name: str, start: Path) -> Path:
    file_name = f"satusky.{name}.toml"
    directory = _nearest(start, file_name, FILE_NAME)
    if directory is not None and _present(directory / file_name):
        return directory / file_name
    if _present(start / name / FILE_NAME):
        return start / name / FILE_NAME
    if directory is None:
        looked = f"in {shown(start)} or any directory above it"
        raise ConfigError(
            f"{file_name} not found {looked}", hint=f"Give the path of the file: --config path/to/{file_name}"
        )
    raise ConfigError(f"{file_name} not found in {shown(directory)}, beside {FILE_NAME}", hint=_alternatives(directory))


def _alternatives(directory: Path) -> str:
    """Returns a sentence about the files that could be chosen."""
    try:
        there = sorted(path.name for path in directory.glob("satusky*.toml"))
    except OSError:
        there = []
    if there:
        return f"In {shown(directory)} there is: {', '.join(there)}"
    first, *more = lines_of(_NEEDS_NAME)
    return Lines(f"Check the path, or create the file. {first}", *more)


# Reading


def _text(path: Path) -> str:
    data = _bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        message = f"{shown(path)}:{line}: not UTF-8, which a TOML file must be"
        raise ConfigError(message, hint="Save the file as UTF-8.") from error


def _bytes(path: Path) -> bytes:
    try:
        # Looked at before it is opened: opening a named pipe waits for its writer.
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            what = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
            raise ConfigError(f"{shown(path)} is {what}", hint="Name a TOML file.")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        message = f"{shown(path)} cannot be read: {reason}"
        raise ConfigError(message, hint="Check that it exists and that you may read it.") from error
    if len(data) > MAX_FILE_BYTES:
        message = f"{shown(path)} is larger than 1 MiB: not the configuration of an app"
        raise ConfigError(message, hint="Name another file.")
    return data


def _parsed(text: str, path: Path) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - most commands read no file

    try:
        return tomllib.loads(text)
    except RecursionError:
        message = f"{shown(path)}: nested too deeply"
    except ValueError as error:
        message = _syntax_message(str(error), text, path)
    raise ConfigError(message, hint='Text is quoted and numbers are not, for instance: cpu = "0.25" and port = 8080')


def _syntax_message(error: str, text: str, path: Path) -> str:
    """Returns the parser's message with the line in front, where editors and terminals look for it."""
    what, _, place = error.partition(" (at ")
    found = re.match(r"line ([0-9]+)", place)
    if found:
        return f"{shown(path)}:{found[1]}: {what}"
    if place:
        return f"{shown(path)}:{text.rstrip().count(chr(10)) + 1}: {what} at the end of the file"
    # A number of thousands of digits has no place in its message.
    return f"{shown(path)}: {what}"


def _app_table(document: dict[str, Any], path: Path) -> dict[str, Any]:
    """Returns the content of ``[app]``, having checked that every key is known and the name is there."""
    for key in document:
        if key != "app":
            raise _outside_app(key, path)
    table = document.get("app", {})
    if not isinstance(table, dict):
        raise ConfigError(f"app in {shown(path)} is {_displayed(table)}: must be a table", hint=_NEEDS_NAME)
    for key in table:
        if key not in _CHECKS:
            message = f"{_key(key)} in {shown(path)} is not a key of [app]"
            raise ConfigError(message, hint=_suggestion(key) or f"The keys of [app] are: {', '.join(_CHECKS)}")
    if "name" not in table:
        raise ConfigError(f"{shown(path)} is missing 'name'", hint=_NEEDS_NAME)
    return table


def _outside_app(key: str, path: Path) -> ConfigError:
    if key in _CHECKS:
        hint = f"Put {key} below a line [app]."
    else:
        hint = _suggestion(key, among=("app",)) or _suggestion(key) or "Everything is in one table, [app]."
    return ConfigError(f"{_key(key)} in {shown(path)} is outside [app], the only table that is known", hint=hint)


def _suggestion(key: str, *, among: Iterable[str] = tuple(_CHECKS)) -> str | None:
    import difflib  # noqa: PLC0415 - needed for an error only

    nearest = difflib.get_close_matches(key.lower().replace("-", "_"), among, n=1)
    return f"Did you mean {nearest[0]}?" if nearest else None


def _checked(key: str, value: object, path: Path) -> str | int:
    try:
        return _value(key, value)
    except InvalidValueError as error:
        message = f"{key} in {shown(path)} is {_displayed(value)}: {error.reason}"
        example = error.example if key in _NUMBERS else _quoted(error.example)
        raise ConfigError(message, hint=f"Example: {key} = {example}") from error


def _value(key: str, value: object) -> str | int:
    if key in _NUMBERS or isinstance(value, str):
        return _CHECKS[key](value)
    raise InvalidValueError(key, None, "must be text, in quotes", example=_as_text(key, value))


def _as_text(key: str, value: object) -> str:
    """Returns an acceptable text near to a number, ``0.25`` for 0.25; for anything else, any example."""
    try:
        return str(_CHECKS[key](_displayed(value) if isinstance(value, int | float) else ""))
    except InvalidValueError as error:
        return error.example


# Showing


def shown(path: Path) -> str:
    """Returns how messages name a file: relative when it is below the working directory, else absolute."""
    try:
        here = Path.cwd()
    except OSError:
        return str(path)
    absolute = Path(os.path.normpath(here / path))
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)


def _displayed(value: object) -> str:
    """Returns a value as the file would have it, cut short when long."""
    match value:
        case bool():
            text = str(value).lower()
        case str():
            text = _quoted(value)
        case dict():
            text = "a table"
        case list():
            text = "an array"
        case int() if value.bit_length() > 64:
            # Python refuses to write out numbers of thousands of digits.
            text = "a number of more than 64 bits"
        case _:
            text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _key(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else _quoted(text)


def _quoted(text: str) -> str:
    import json  # noqa: PLC0415 - needed for an error only

    return json.dumps(text, ensure_ascii=not text.isprintable())
