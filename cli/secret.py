"""`1ctl secret`: an app's secrets. Values are sealed before they are stored, and never shown again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.lazy import group
from cli.options import ConfigOption, DeploymentIdOption, ReasonOption, RequestIdOption

app = typer.Typer(
    cls=group({"create": "cli.secret:create", "list": "cli.secret:list_keys", "unset": "cli.secret:unset"}),
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
)


@app.callback()
def secret() -> None:
    """Secrets of an app."""


def create(
    kv: Annotated[
        list[str] | None,
        typer.Option("--kv", "--env", metavar="KEY=VALUE", help="A secret; repeatable. Others can see it in `ps`."),
    ] = None,
    kv_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Secrets from a file of KEY=VALUE lines; - is stdin.")
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option("--key", "-k", metavar="KEY", help="Ask for this one's value; repeatable.")
    ] = None,
    deployment_id: DeploymentIdOption = None,
    config: ConfigOption = None,
    reason: ReasonOption = None,
    request_id: RequestIdOption = None,
) -> None:
    """Set secrets; others stay. Without options, KEY=VALUE lines are read from stdin.

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
        done="✅ Secret {app} created successfully",
        session=session,
        secret_values=values,
        deployment_id=deployment_id,
        config=config,
        reason=reason,
        request_id=request_id,
    )


def unset(
    key: Annotated[list[str], typer.Option("--key", "-k", metavar="KEY", help="Key to remove; repeatable.")],
    deployment_id: DeploymentIdOption = None,
    config: ConfigOption = None,
    reason: ReasonOption = None,
    request_id: RequestIdOption = None,
) -> None:
    """Remove secrets.

    Example:  1ctl secret unset --key JWT_SECRET
    """
    from cli.configuration import changed, removed_line  # noqa: PLC0415
    from ledger.commands import UnsetSecrets  # noqa: PLC0415

    changed(
        UnsetSecrets(keys=tuple(dict.fromkeys(key))),
        done=removed_line(key, "secrets"),
        deployment_id=deployment_id,
        config=config,
        reason=reason,
        request_id=request_id,
    )


def list_keys(deployment_id: DeploymentIdOption = None, config: ConfigOption = None) -> None:
    """List the names of an app's secrets, and whether its pods have their newest version yet.

    Example:  1ctl secret list
    """
    from cli.configuration import loaded_with_history  # noqa: PLC0415
    from projections.configuration_views import secrets  # noqa: PLC0415

    session, app, life, history = loaded_with_history(deployment_id=deployment_id, config=config)
    view = secrets(app.id, life, history)
    if session.terminal.json:
        session.terminal.document([view.to_json()] if view else [])
    elif view is None:
        session.terminal.info("No secrets found")
    else:
        rows = [[each.key, str(each.version), "yes" if each.in_pods else "after restart"] for each in view.keys]
        rows += [[name, "(unset)", "until restart"] for name in view.only_in_pods]
        session.terminal.table(["KEY", "VERSION", "IN PODS"], rows)
