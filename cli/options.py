"""Options that several commands share, and where their values go.

Those that belong together are a set: a command takes it as one argument, and `cli.lazy` spreads it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import typer

from cli.exit_codes import UsageError


class Invocation:
    """One run of the program.

    Attributes:
        output: ``table`` or ``json``.
        profile: Name of the profile for this run only, or None.
        ledger: Ledger file or URL for this run only, or None.
        name: Of the app that the command is about, if it was named so.
        deployment_id: Of that app, if it was named so.
        config: The `satusky.toml` that names it, as given, or None.
        kubectl: Options with which `kubectl` reaches the cluster that the command is about, or nothing.
        closing: What to call when the run ends, however it does.
        request_id: Of the request that is made; None as long as there is none, so nothing can have been recorded.
        is_named: Whether the user has given that request its id, so that an earlier run may have recorded it.
        is_asking: Whether the user is asked whether to go on, so that this run has not recorded what it was asked for.
        has_output: Whether something was, or would be, written on stdout for a program that is not a JSON document.
        recorded: Whether that request is in the ledger, so that to repeat the command would ask for it once more.
    """

    def __init__(self) -> None:
        self.output = "table"
        self.profile: str | None = None
        self.ledger: str | None = None
        self.name: str | None = None
        self.deployment_id: str | None = None
        self.config: str | None = None
        self.kubectl = ""
        self.closing: list[Callable[[], None]] = []
        self.request_id: str | None = None
        self.is_named = False
        self.is_asking = False
        self.has_output = False
        self.recorded = False

    def close(self) -> None:
        """Give back what the run has opened."""
        while self.closing:
            self.closing.pop()()

    @property
    def json(self) -> bool:
        """Whether stdout is to hold one JSON document."""
        return self.output == "json"


INVOCATION = Invocation()
"""Of this process: filled while the command line is parsed, so that errors are printed in the right form."""


def _set_output(value: str | None) -> str | None:
    if value is not None:
        if value not in ("table", "json"):
            raise UsageError(f'invalid --output "{value}": expected table or json')
        INVOCATION.output = value
    return value


def offer(of: str) -> Callable[[str], list[tuple[str, str]]]:
    """What completes the value of an option in a shell; see `cli.offers`, which is imported only then.

    Args:
        of: What sort of value it is.
    """

    def offered(incomplete: str) -> list[tuple[str, str]]:
        from cli.offers import offers  # noqa: PLC0415 - only for a shell that asks

        return [(value, about) for value, about in offers(of) if value.startswith(incomplete)]

    return offered


NEVER_EMPTY = frozenset({"FILE", "DIR", "PATH", "CHECKPOINT", "KEYFILE", "KEY"})
"""Options and arguments with one of these words as their metavar are refused when they are empty.

For Python, an empty path is the working directory.
"""


def words_of(param: Any) -> frozenset[str]:
    """What an option or argument can be, by its metavar: of ``FILE|URL``, these two."""
    return frozenset((param.metavar or "").strip("[]").split("|"))


def refuse_empty(ctx: Any) -> None:
    """Refuse a file or key that is empty, for every command in this one place.

    Args:
        ctx: The command's, once its options are parsed.

    Raises:
        UsageError: There is one.
    """
    for param in ctx.command.params:
        given = ctx.params.get(param.name)
        if words_of(param) & NEVER_EMPTY:
            for value in given if isinstance(given, list | tuple) else [given]:
                not_empty(param, value)


def not_empty(param: typer.CallbackParam, value: str | None) -> str | None:
    """The value of an option or argument that says where a command acts, or on what.

    Raises:
        UsageError: It is empty, which would silently mean the default place; most likely a variable is not set.
    """
    if value == "":
        name = param.opts[0] if param.opts[0].startswith("-") else (param.metavar or "").strip("[]")
        default = "" if param.required else " For the default, leave it out."
        raise UsageError(f"{name} is empty", hint=f"Is the variable that it comes from set?{default}")
    return value


def _set_profile(param: typer.CallbackParam, value: str | None) -> str | None:
    if not_empty(param, value) is not None:
        INVOCATION.profile = value
    return value


def _set_ledger(param: typer.CallbackParam, value: str | None) -> str | None:
    if not_empty(param, value) is not None:
        INVOCATION.ledger = value
    return value


LARGEST_NUMBER = 2**53 - 1
"""No ledger gets there, every storage has room for it, and every reader of JSON keeps it exactly."""

DIGITS = 15
"""How many digits a number may have and still certainly not be larger."""


def countable(param: typer.CallbackParam, value: int | None) -> int | None:
    """The value of an option that counts releases, positions or lines.

    Raises:
        UsageError: It is larger than any of them can be.
    """
    if value is not None and value > LARGEST_NUMBER:
        name = param.opts[0] if param.opts[0].startswith("-") else param.metavar
        raise UsageError(f"{name} must be at most {LARGEST_NUMBER}")
    return value


def _set_name(value: str | None) -> str | None:
    INVOCATION.name = value
    return value


def _set_deployment_id(param: typer.CallbackParam, value: str | None) -> str | None:
    INVOCATION.deployment_id = not_empty(param, value)
    return value


def _set_config(value: str | None) -> str | None:
    INVOCATION.config = value
    return value


OutputOption = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="table|json",
        callback=_set_output,
        autocompletion=offer("outputs"),
        help="Output format.",
    ),
]
ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile",
        "-p",
        metavar="NAME",
        callback=_set_profile,
        autocompletion=offer("profiles"),
        help="Profile for this run only.",
    ),
]
LedgerOption = Annotated[
    str | None, typer.Option("--ledger", metavar="FILE|URL", callback=_set_ledger, help="Ledger for this run only.")
]


def GLOBAL_OPTIONS(  # noqa: N802 - a signature that is read, never called
    output: OutputOption = None, profile: ProfileOption = None, ledger: LedgerOption = None
) -> None:
    """The options that every command takes."""


ConfigOption = Annotated[
    str | None,
    typer.Option(metavar="PATH|NAME", callback=_set_config, help="A satusky.toml, or NAME of satusky.NAME.toml."),
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        callback=_set_name,
        autocompletion=offer("apps"),
        help="Name of the app; default: from satusky.toml.",
    ),
]
DeploymentIdOption = Annotated[
    str | None,
    typer.Option(
        "--deployment-id",
        "-d",
        metavar="ID",
        callback=_set_deployment_id,
        autocompletion=offer("deployments"),
        help="The app with this deployment id.",
    ),
]
LimitOption = Annotated[
    int | None, typer.Option(metavar="N", min=1, callback=countable, help="At most N [50; JSON: all].")
]
RequestIdOption = Annotated[
    str | None,
    typer.Option(
        metavar="ID", envvar="ONECTL_REQUEST_ID", show_envvar=False, help="Makes repeating safe ($ONECTL_REQUEST_ID)."
    ),
]
ReasonOption = Annotated[str | None, typer.Option(metavar="TEXT", help="Why; kept in the ledger.")]
DEFAULT_TIMEOUT = "5m"
WaitOption = Annotated[bool, typer.Option("--wait", "-w", help="Wait until the pods are ready.")]
TimeoutOption = Annotated[
    str | None, typer.Option(metavar="TIME", help=f"How long --wait waits: 90, 30s, 5m [{DEFAULT_TIMEOUT}].")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would happen, and do nothing.")]


NO_PROBE = "none"
"""What `--health-path` is given to remove the probe; it is no path, which begins with a slash."""


class Which(NamedTuple):
    """The app that a command is about; nothing given: that of the nearest satusky.toml."""

    name: NameOption = None
    deployment_id: DeploymentIdOption = None
    config: ConfigOption = None


class Waiting(NamedTuple):
    """Whether to wait for pods, and how long."""

    wait: WaitOption = False
    timeout: TimeoutOption = None

    def seconds(self) -> float:
        """How long to wait.

        Raises:
            InvalidValueError: What is given is not a duration.
            UsageError: It is given although nothing waits: whoever wrote it counts on an exit code that tells of the pods.
        """
        from ledger.values import duration  # noqa: PLC0415 - not needed for --help

        seconds = duration(DEFAULT_TIMEOUT if self.timeout is None else self.timeout)
        if self.timeout is not None and not self.wait:
            raise UsageError(
                "--timeout needs --wait: without it, nothing waits", hint="Add --wait, or leave --timeout out."
            )
        return seconds


class Change(NamedTuple):
    """What every change may be given: why, under which id, and whether only to show what it would lead to."""

    reason: ReasonOption = None
    request_id: RequestIdOption = None
    dry_run: DryRunOption = False
