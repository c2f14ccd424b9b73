"""`1ctl deploy`: make a release; and the group of commands on one app."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from cli.exit_codes import UsageError
from cli.lazy import command_group, is_given
from cli.options import NO_PROBE, Change, Waiting, Which

_CHANGES = "cli.deploy_changes"
_READS = "cli.deploy_reads"

_COMMANDS = {
    "get": f"{_READS}:get",
    "list": f"{_READS}:list_deployments",
    "releases": f"{_READS}:releases",
    "status": "cli.deploy_status:status",
    "diff": "cli.deploy_history:diff",
    "blame": "cli.deploy_history:blame",
    "events": "cli.deploy_history:events",
    "scale": f"{_CHANGES}:scale",
    "restart": f"{_CHANGES}:restart",
    "rollback": "cli.deploy_rollback:rollback",
    "mark-bad": "cli.deploy_rollback:mark_bad",
    "adopt": "cli.deploy_adopt:adopt",
    "restore": "cli.deploy_restore:restore",
    "destroy": f"{_CHANGES}:destroy",
    "delete": f"{_CHANGES}:destroy",
}

app = command_group(_COMMANDS, invoke_without_command=True)

bare = command_group(_COMMANDS)
"""The same group without the options of a deploy, which take long to build: for `1ctl deploy get` and the like."""


@bare.callback()
def _bare() -> None:
    pass


_EPILOG = "Example:  1ctl deploy --image nginx:alpine --machine compute-main-01 --wait"


def _probe_path(value: str | None) -> str | None:
    if value == "":
        raise UsageError(
            "--health-path is empty",
            hint=f"Is the variable that it comes from set? To remove the probe: --health-path {NO_PROBE}",
        )
    return value


class Wish(NamedTuple):
    """What a release is to be like, as typed; what is not given stays as it is."""

    image: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="Image to run. What is not given stays as it is.")
    ] = None
    machine: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Node the pods may run on; repeatable."),
    ] = None
    port: Annotated[int | None, typer.Option(metavar="PORT", help="Port the app listens on [8080].")] = None
    cpu: Annotated[str | None, typer.Option(metavar="CPU", help="CPU, e.g. 0.25 or 250m [0.5].")] = None
    memory: Annotated[str | None, typer.Option(metavar="SIZE", help="Memory, e.g. 128Mi [256Mi].")] = None
    replicas: Annotated[int | None, typer.Option(metavar="N", help="Number of pods [1, or one a machine].")] = None
    health_path: Annotated[
        str | None,
        typer.Option(metavar="PATH", callback=_probe_path, help="Path of the readiness probe; none removes it."),
    ] = None
    env: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Environment; repeatable.")] = None
    env_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Environment, a file of KEY=VALUE lines; - is stdin.")
    ] = None
    plain: Annotated[bool, typer.Option("--plain", help="Accept values that look like credentials.")] = False
    kv_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Secrets from a file of KEY=VALUE lines; - is stdin.")
    ] = None
    key: Annotated[
        list[str] | None, typer.Option("--key", "-k", metavar="KEY", help="Ask for this secret's value; repeatable.")
    ] = None
    detach: Annotated[bool, typer.Option("--detach", help="Return once it is recorded; do not apply it.")] = False


@app.callback(epilog=_EPILOG)
def deploy(context: typer.Context, *, wish: Wish, waiting: Waiting, which: Which, change: Change) -> None:
    """Deploy an app, or work with one that is deployed."""
    if context.invoked_subcommand is not None:
        _refuse_options_before_subcommand(context)
        return
    from cli.deploy_flow import run  # noqa: PLC0415 - subcommands need none of it

    run(wish, which, change, waiting)


def _refuse_options_before_subcommand(context: typer.Context) -> None:
    """`1ctl deploy --config x get` would silently ignore x."""
    command: Any = context.command
    own = {each.name for each in command.get_command(context, context.invoked_subcommand).params}
    for name in context.params:
        if is_given(context, name):
            where = (
                f"belongs after '{context.invoked_subcommand}'"
                if name in own
                else f"is an option of '{context.command_path}' itself, not of '{context.invoked_subcommand}'"
            )
            context.fail(f"--{name.replace('_', '-')} {where}")
