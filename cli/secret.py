"""`1ctl secret`: an app's secrets. Values are sealed before they are stored, and never shown again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.lazy import command_group
from cli.moment import When
from cli.options import Change, Which, YesOption, offer

app = command_group(
    {
        "create": "cli.secret:create",
        "list": "cli.secret:list_keys",
        "unset": "cli.secret:unset",
        "purge": "cli.secret:purge",
        "rotate-keys": "cli.rotate_keys:rotate_keys",
    }
)


_EPILOG = """\b
Examples:
  1ctl secret create --kv-file secrets.env
  1ctl secret list --all"""


@app.callback(epilog=_EPILOG)
def secret() -> None:
    """Secrets of an app: sealed, never shown again."""


def create(
    kv: Annotated[
        list[str] | None,
        typer.Option("--kv", "--env", metavar="KEY=VALUE", help="A secret; repeatable. Others can see it in `ps`."),
    ] = None,
    kv_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Secrets from a file of KEY=VALUE lines; - is stdin.")
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            "--key", "-k", metavar="KEY", autocompletion=offer("secrets"), help="Ask for this one's value; repeatable."
        ),
    ] = None,
    *,
    which: Which,
    change: Change,
) -> None:
    """Set secrets; others stay.

    Without --kv, --kv-file or --key, KEY=VALUE lines are read from stdin. With
    one --key, stdin is its value, of as many lines as it has.

    Example:  1ctl secret create --kv-file secrets.env
    """
    from cli.configuration import changed  # noqa: PLC0415
    from cli.secret_input import given_secrets  # noqa: PLC0415
    from cli.session import Session  # noqa: PLC0415
    from ledger.commands import SetSecrets  # noqa: PLC0415

    session = Session()
    values = given_secrets(session.terminal, pairs=kv or [], file=kv_file, ask=key or [])
    changed(
        SetSecrets(keys=tuple(sorted(values))),
        which,
        change,
        done="✅ Secret {app} created successfully",
        session=session,
        secret_values=values,
    )


def unset(
    key: Annotated[
        list[str],
        typer.Option("--key", "-k", metavar="KEY", autocompletion=offer("secrets"), help="Key to remove; repeatable."),
    ],
    *,
    which: Which,
    change: Change,
) -> None:
    """Remove secrets.

    Example:  1ctl secret unset --key JWT_SECRET
    """
    from cli.configuration import changed, removed_line  # noqa: PLC0415
    from ledger.commands import UnsetSecrets  # noqa: PLC0415

    changed(
        UnsetSecrets(keys=tuple(dict.fromkeys(key))),
        which,
        change,
        done=removed_line(key, "secrets"),
    )


def purge(
    key: Annotated[
        str, typer.Argument(metavar="KEY", autocompletion=offer("secrets"), help="Secret whose value leaked.")
    ],
    yes: YesOption = False,
    *,
    which: Which,
    change: Change,
) -> None:
    """Delete every value that a secret ever had.

    For instance because one leaked. No release that used it can be rolled back to afterwards.

    Example:  1ctl secret purge JWT_SECRET --reason "leaked in a log"
    """
    from cli.configuration import changed  # noqa: PLC0415
    from ledger.commands import PurgeSecret  # noqa: PLC0415

    changed(
        PurgeSecret(key=key),
        which,
        change,
        done=f"✅ Every value of {key} is deleted",
        question=None if yes else f"Delete every value that {key} of {{app}} ever had? This cannot be undone.",
    )


def list_keys(
    all_: Annotated[bool, typer.Option("--all", help="Of all apps in the namespace.")] = False,
    *,
    which: Which,
    when: When,
) -> None:
    """List the names of an app's secrets, never values.

    IN PODS says whether its pods have the newest version: yes once pods are known to be ready, which '1ctl deploy status'
    finds out.

    Example:  1ctl secret list
    """
    from cli.configuration_lists import show_secrets  # noqa: PLC0415

    show_secrets(when, which, all_=all_)
