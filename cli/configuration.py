"""What `1ctl env` and `1ctl secret` share: record a change of configuration, apply it, say when pods will see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from cli import origin
from cli.answers import answering, declined, own_life, with_names
from cli.recording import record, show_plan
from cli.session import Session
from cli.target import meant, named
from ledger.commands import PurgeSecret, SetEnv, SetSecrets, UnsetEnv, UnsetSecrets
from ledger.spec import AppId
from ledger.text import Lines, lines_of

if TYPE_CHECKING:
    from cli.options import Change, Which

ConfigurationCommand: TypeAlias = SetEnv | UnsetEnv | SetSecrets | UnsetSecrets | PurgeSecret


def changed(
    command: ConfigurationCommand,
    which: Which,
    change: Change,
    *,
    done: str,
    session: Session | None = None,
    secret_values: Mapping[str, bytes] | None = None,
    question: str | None = None,
) -> None:
    """Record a change of configuration and apply it.

    Args:
        command: The change.
        which: The app, as given.
        change: Why, and whether only to show what would happen.
        done: The line to print; ``{app}`` stands for the app's name.
        session: This run's session, if the caller has one.
        secret_values: For `SetSecrets`.
        question: What to ask before anything is recorded, where ``{app}`` stands for the app with its deployment and
            place; None: nothing. A request that was recorded before needs no
            answer, and what is refused is not asked about.
    """
    session = session or Session()
    request = origin.request(request_id=change.request_id, reason=change.reason)
    app = meant(session, request, which)
    if change.dry_run:
        show_plan(session, app.id, command, request, secret_values=secret_values)
        return
    if question is not None and session.store.request(request.request_id) is None:
        session.ledger.plan(app.id, command)
        if not session.terminal.confirm(question.replace("{app}", named(app))):
            declined(session, with_names(request, {"purged": False}, deployment_id=app.deployment_id))
            return
    session.applying.look_back(app, request)
    outcome = record(session, app.id, command, request, secret_values=secret_values, life=app.deployment_id)
    life = own_life(outcome)
    content = _content(app.id, command, changed=bool(outcome.recorded))
    with answering(session, request, outcome, lambda: content):
        if outcome.repeated and isinstance(command, SetSecrets):
            session.terminal.notice("Secret values of a repeated request are not compared.")
        session.applying.apply(app.id, request)
        if not outcome.recorded:
            session.terminal.info(f"Environment {app.id.name} has these values already — no change.")
        for line in lines_of(done) if outcome.recorded else ():
            session.terminal.line(line.replace("{app}", app.id.name))
        if outcome.recorded or life.configuration != life.roll.configuration:
            session.terminal.notice(
                "Running pods keep what they have until the next deploy or restart: 1ctl deploy restart"
            )


def removed_line(keys: Sequence[str], where: str) -> str:
    """What `unset` says."""
    return Lines(*(f'✅ Key "{key}" removed from {where}' for key in dict.fromkeys(keys)))


def _content(app_id: AppId, command: ConfigurationCommand, *, changed: bool) -> dict[str, object]:
    content: dict[str, object] = {"app_label": app_id.name, "keys": _keys(command)}
    match command:
        case SetEnv():
            return {**content, "changed": changed}
        case PurgeSecret():
            return {**content, "purged": True}
        case _:
            return content


def _keys(command: ConfigurationCommand) -> list[str]:
    match command:
        case SetEnv():
            return sorted(command.values)
        case PurgeSecret():
            return [command.key]
        case _:
            return sorted(command.keys)
