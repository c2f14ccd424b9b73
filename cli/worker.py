"""`1ctl worker`: a process that applies what a team records."""

from __future__ import annotations

from cli.lazy import command_group

app = command_group(
    {
        "run": "cli.worker_run:run",
        "status": "cli.worker_status:status",
        "retry": "cli.worker_orders:retry",
        "enable": "cli.worker_orders:enable",
        "disable": "cli.worker_orders:disable",
        "replay": "cli.worker_replay:replay",
    }
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
