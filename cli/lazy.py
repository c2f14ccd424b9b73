"""Command groups that import and build a command only when it is asked for: a cold start pays for one command.

Every command also takes the global options (`-o json`, `-p NAME`, `--ledger`), so they may stand before or after it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any, ClassVar, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command as build

from cli.options import GLOBAL_OPTIONS, INVOCATION, refuse_empty

USAGE_EXIT_CODE = 2


def say(text: str) -> None:
    """Print what was asked about the program itself, without what commands need to print.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        from cli.terminal import OutputError  # noqa: PLC0415 - needed for an error only

        raise OutputError(f"the output cannot be written: {error.strerror}") from error


class _Helpful:
    """A command whose help fails as its other output does, and that takes no empty files and keys."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Like the base class."""
        rest: list[str] = super().parse_args(ctx, args)  # type: ignore[misc]
        if not ctx.resilient_parsing:
            refuse_empty(ctx)
        return rest

    def get_help_option(self, ctx: Any) -> Any:
        """Like the base class, with our own way to print."""
        option = super().get_help_option(ctx)  # type: ignore[misc]
        if option is not None:
            option.callback = _show_help
        return option


def _show_help(ctx: Any, _param: Any, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        say(ctx.get_help())
        ctx.exit()


class LeafCommand(_Helpful, TyperCommand):
    """One command, with the global options besides its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _global_params(self.params)


class LazyGroup(_Helpful, TyperGroup):
    """A group whose commands are named by text, ``module:function`` or ``module:app``.

    Attributes:
        targets: By command name, what to import. The first name of a target is shown in help, others are aliases.
    """

    targets: ClassVar[Mapping[str, str]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _global_params(self.params)
        self.no_args_is_help = False  # see `parse_args`

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Like the base class; a group that cannot do anything by itself says what it has."""
        rest = super().parse_args(ctx, args)
        if not (rest or ctx._protected_args or self.invoke_without_command or ctx.resilient_parsing):  # noqa: SLF001
            if INVOCATION.json:  # a document is promised, which the error has
                from cli.exit_codes import UsageError  # noqa: PLC0415 - needed for an error only

                raise UsageError("name a command", hint=f"Run '{ctx.command_path} --help' for usage")
            sys.stderr.write(f"{ctx.get_help()}\n")
            ctx.exit(USAGE_EXIT_CODE)
        return rest

    def list_commands(self, ctx: Any) -> list[str]:
        """Names for help and completion, in the order given, without aliases."""
        return list({target: name for name, target in reversed(list(self.targets.items()))}.values())[::-1]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, built now; None if there is none of that name."""
        target = self.targets.get(cmd_name)
        return None if target is None else _command(target, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Like the base class, with our words for a command that does not exist."""
        if args and args[0] not in self.targets and not args[0].startswith("-"):
            from cli.suggestions import suggestion  # noqa: PLC0415 - needed for an error only

            groups = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
            below = {name: list(each.targets) for name, each in groups.items() if isinstance(each, LazyGroup)}
            meant = suggestion(
                args[0],
                self.targets,
                below,
                path=ctx.command_path,
                acts=self.invoke_without_command,
                has_options=self._has_options(ctx, args),
            )
            ctx.fail(f'command "{args[0]}" not found{meant}')
        if len(args) > 1 and (bare := _without_options(self.targets.get(args[0], ""), args)) is not None:
            return args[0], bare, args[1:]
        return super().resolve_command(ctx, args)

    def _has_options(self, ctx: Any, args: list[str]) -> bool:
        """Whether options of the group's own were given, before a word or after it."""
        own = {name for param in self.params if param.expose_value for name in param.opts}
        return any(is_given(ctx, name) for name in ctx.params) or any(each.partition("=")[0] in own for each in args)


def is_given(ctx: Any, name: str) -> bool:
    """Whether an option stands on the command line; a variable of the environment says nothing about what is meant."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def group(targets: Mapping[str, str]) -> type[LazyGroup]:
    """A group class with these commands."""
    return type("Group", (LazyGroup,), {"targets": targets})


def command_group(targets: Mapping[str, str], **more: Any) -> typer.Typer:
    """A group with these commands, as all of ours are.

    Args:
        targets: As for `LazyGroup`.
        more: For `typer.Typer`, besides.
    """
    return typer.Typer(
        cls=group(targets),
        rich_markup_mode=None,
        add_completion=False,
        context_settings={"help_option_names": ["--help", "-h"]},
        **more,
    )


def _without_options(target: str, args: list[str]) -> Any:
    """A group's cheaper form, if it has one and the next word is one of its commands."""
    if target.partition(":")[2] != "app":
        return None
    made = getattr(import_module(target.partition(":")[0]), "bare", None)
    if made is None or args[1] not in made.info.cls.targets:
        return None
    return _command(target.replace(":app", ":bare"), args[0])


@cache
def _command(target: str, name: str) -> Any:
    module, _, attribute = target.partition(":")
    made = getattr(import_module(module), attribute)
    if isinstance(made, typer.Typer):
        own = made.registered_callback
        if own is not None and own.callback is not None:
            own.callback = spread(own.callback)
        built = build(made)
    else:
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(name, cls=LeafCommand)(spread(made))
        built = build(single)
    built.name = name
    return built


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """The command with every field of its option sets as an option of its own; itself if it takes no set.

    A set is a `NamedTuple` whose fields are annotated as options are: `cli.options.Which`. The command's own parameters
    keep their order, and a set's fields stand where it stood.

    Args:
        command: Its sets are annotated with classes that its module imports, and are keyword-only: they follow
            parameters that have defaults.
    """
    parameters = inspect.signature(command, eval_str=True).parameters
    sets = {name: each.annotation for name, each in parameters.items() if hasattr(each.annotation, "_field_defaults")}
    if not sets:
        return command

    def called(**given: Any) -> None:
        for name, own in sets.items():
            given[name] = own(**{field: given.pop(field) for field in own._fields})
        command(**given)

    shown = [
        option for name, each in parameters.items() for option in (_options(sets[name]) if name in sets else [each])
    ]
    called.__name__, called.__doc__ = command.__name__, command.__doc__
    called.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined] # what `inspect` asks for
    return called


def _options(own: Any) -> list[inspect.Parameter]:
    """The fields of an option set, as parameters."""
    annotations, defaults = get_type_hints(own, include_extras=True), own._field_defaults
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=defaults.get(name, inspect.Parameter.empty),
            annotation=annotations[name],
        )
        for name in own._fields
    ]


def _global_params(own: list[Any]) -> list[Any]:
    """The global options, but for those that a command has of its own."""
    names = {param.name for param in own}
    return [param for param in _all_global_params() if param.name not in names]


@cache
def _all_global_params() -> list[Any]:
    carrier = typer.Typer(add_completion=False, rich_markup_mode=None)
    carrier.command()(GLOBAL_OPTIONS)
    params = [param for param in build(carrier).params if param.name != "help"]
    for param in params:
        param.expose_value = False
        setattr(param, "hidden", True)  # noqa: B010 - typed on options only; `1ctl --help` shows these once
    return params
