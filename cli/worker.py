"""`1ctl worker`: a process that applies what a team records."""

from __future__ import annotations

import typer

from cli.lazy import group

app = typer.Typer(
    cls=group(
        {
            "run": "cli.worker_run:run",
            "status": "cli.worker_status:status",
            "retry": "cli.worker_orders:retry",
            "enable": "cli.worker_orders:enable",
            "disable": "cli.worker_orders:disable",
            "replay": "cli.worker_replay:replay",
        }
    ),
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


_EPILOG = """\b
Examples:
  1ctl worker run --once
  1ctl worker status"""


@app.callback(epilog=_EPILOG)
def worker() -> None:
    """Let one process apply what a team records.

    While a worker is enabled, commands only record; the worker changes the cluster, watches it, and sets back what was
    edited by hand.
    """
