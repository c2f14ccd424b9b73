"""What `1ctl env` and `1ctl secret` share: record a change of configuration, apply it, say when pods will see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cli import inline, origin
from cli.session import Session
from cli.target import loaded
from ledger.commands import SetEnv, SetSecrets, UnsetEnv, UnsetSecrets


def changed(
    command: SetEnv | UnsetEnv | SetSecrets | UnsetSecrets,
    *,
    done: str,
    deployment_id: str | None,
    config: str | None,
    reason: str | None,
    request_id: str | None,
    session: Session | None = None,
    secret_values: Mapping[str, bytes] | None = None,
) -> None:
    """Record a change of configuration and apply it.

    Args:
        command: The change.
        done: The line to print; ``{app}`` stands for the app's name.
        deployment_id: As given.
        config: As given.
        reason: As given.
        request_id: As given.
        session: This run's session, if the caller has one.
        secret_values: For `SetSecrets`.
    """
    session = session or Session()
    request = origin.request(request_id=request_id, reason=reason)
    app = loaded(session, deployment_id=deployment_id, config=config)
    outcome = inline.record(session, app.id, command, request, secret_values=secret_values)
    if outcome.repeated and isinstance(command, SetSecrets):
        session.terminal.notice("Secret values of a repeated request are not compared.")
    inline.apply(session, app.id, request)
    session.terminal.line(done.replace("{app}", app.id.name))
    session.terminal.notice("Running pods keep what they have until the next deploy or restart: 1ctl deploy restart")
    if session.terminal.json:
        assert outcome.app.life is not None
        session.terminal.document(
            {
                "deployment_id": outcome.app.life.deployment_id,
                "app_label": app.id.name,
                "keys": sorted(command.values if isinstance(command, SetEnv) else command.keys),
                "request_id": request.request_id,
                "repeated": outcome.repeated,
            }
        )


def removed_line(keys: Sequence[str], where: str) -> str:
    """What `unset` says."""
    return "\n".join(f'✅ Key "{key}" removed from {where}' for key in dict.fromkeys(keys))
