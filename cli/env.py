"""`1ctl env`: an app's environment values. They reach its pods with the next deploy or restart."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.lazy import group
from cli.options import ConfigOption, DeploymentIdOption, ReasonOption, RequestIdOption

app = typer.Typer(
    cls=group({"create": "cli.env:create", "list": "cli.env:list_values", "unset": "cli.env:unset"}),
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
)


@app.callback()
def env() -> None:
    """Environment values of an app."""


def create(
    env: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A value; repeatable.")] = None,
    env_file: Annotated[Path | None, typer.Option(metavar="FILE", help="Values from a file.")] = None,
    deployment_id: DeploymentIdOption = None,
    config: ConfigOption = None,
    reason: ReasonOption = None,
    request_id: RequestIdOption = None,
) -> None:
    """Set environment values; others stay.

    Example:  1ctl env create --env USER_SERVICE_URL=https://...
    """
    from cli.configuration import changed  # noqa: PLC0415
    from cli.deploy_flow import given_env  # noqa: PLC0415
    from ledger.commands import SetEnv  # noqa: PLC0415

    values = given_env(env or [], env_file)
    if not values:
        raise typer.BadParameter("no value given: pass --env KEY=VALUE or --env-file FILE")
    changed(
        SetEnv(values=values),
        done="✅ Environment {app} created successfully",
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
    """Remove environment values.

    Example:  1ctl env unset --key USER_SERVICE_URL
    """
    from cli.configuration import changed, removed_line  # noqa: PLC0415
    from ledger.commands import UnsetEnv  # noqa: PLC0415

    changed(
        UnsetEnv(keys=tuple(dict.fromkeys(key))),
        done=removed_line(key, "environment"),
        deployment_id=deployment_id,
        config=config,
        reason=reason,
        request_id=request_id,
    )


def list_values(deployment_id: DeploymentIdOption = None, config: ConfigOption = None) -> None:
    """List an app's environment, and whether its pods have it yet.

    Example:  1ctl -o json env list
    """
    from cli.configuration import loaded_with_history  # noqa: PLC0415
    from projections.configuration_views import environment  # noqa: PLC0415

    session, app, life, history = loaded_with_history(deployment_id=deployment_id, config=config)
    view = environment(app.id, life, history)
    if session.terminal.json:
        session.terminal.document([view.to_json()] if view else [])
    elif view is None:
        session.terminal.info("No environment values found")
    else:
        rows = [[each.key, each.value, "yes" if each.in_pods else "after restart"] for each in view.values]
        rows += [[key, "(unset)", "until restart"] for key in view.only_in_pods]
        session.terminal.table(["KEY", "VALUE", "IN PODS"], rows)
