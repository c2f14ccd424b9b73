"""`1ctl completion`: the script that makes a shell complete commands, options and values."""

from __future__ import annotations

from typing import Annotated

import typer
from typer._completion_shared import get_completion_script

from cli.exit_codes import UsageError
from cli.lazy import say
from cli.options import offer

SHELLS = ("bash", "zsh", "fish")


def completion(
    shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish", autocompletion=offer("shells"), help="Which shell.")],
) -> None:
    """Print the script that completes commands in a shell.

    Any shell may run this. For bash, put the example into ~/.bashrc.

    Example:  source <(1ctl completion bash)
    """
    if shell not in SHELLS:
        raise UsageError(f'cannot complete commands in "{shell}"', hint=f"Choose: {', '.join(SHELLS)}")
    say(get_completion_script(prog_name="1ctl", complete_var="_1CTL_COMPLETE", shell=shell))
