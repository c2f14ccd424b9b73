"""`1ctl env`: an app's environment values. They reach its pods with the next deploy or restart."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.exit_codes import UsageError
from cli.lazy import command_group
from cli.moment import When
from cli.options import Change, Which, offer

app = command_group({"create": "cli.env:create", "list": "cli.env:list_values", "unset": "cli.env:unset"})


_EPILOG = """\b
Examples:
  1ctl env create --env LOG_LEVEL=debug
  1ctl env list --at-release 1"""


@app.callback(epilog=_EPILOG)
def env() -> None:
    """Environment values of an app."""


def create(
    env: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A value; repeatable.")] = None,
    env_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Values from a file of KEY=VALUE lines; - is stdin.")
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Accept values that look like credentials.")] = False,
    *,
    which: Which,
    change: Change,
) -> None:
    """Set environment values; others stay.

    Example:  1ctl env create --env USER_SERVICE_URL=https://...
    """
    from cli.configuration import changed  # noqa: PLC0415
    from cli.deploy_flow import given_env  # noqa: PLC0415
    from cli.inputs import without_pairs  # noqa: PLC0415
    from ledger.commands import SetEnv  # noqa: PLC0415

    values = given_env(env or [], env_file)
    if not values and env_file is not None:
        raise without_pairs(env_file)
    if not values:
        raise UsageError("no value given: pass --env KEY=VALUE or --env-file FILE")
    changed(
        SetEnv(values=values, plain=plain),
        which,
        change,
        done="✅ Environment {app} created successfully",
    )


def unset(
    key: Annotated[
        list[str],
        typer.Option(
            "--key", "-k", metavar="KEY", autocompletion=offer("environment"), help="Key to remove; repeatable."
        ),
    ],
    *,
    which: Which,
    change: Change,
) -> None:
    """Remove environment values.

    Example:  1ctl env unset --key USER_SERVICE_URL
    """
    from cli.configuration import changed, removed_line  # noqa: PLC0415
    from ledger.commands import UnsetEnv  # noqa: PLC0415

    changed(
        UnsetEnv(keys=tuple(dict.fromkeys(key))),
        which,
        change,
        done=removed_line(key, "environment"),
    )


def list_values(
    all_: Annotated[bool, typer.Option("--all", help="Of all apps in the namespace.")] = False,
    *,
    which: Which,
    when: When,
) -> None:
    """List an app's environment values.

    IN PODS says whether its pods have them: yes once pods are known to be ready, which '1ctl deploy status' finds out.

    Example:  1ctl -o json env list
    """
    from cli.configuration_lists import show_environments  # noqa: PLC0415

    show_environments(when, which, all_=all_)
