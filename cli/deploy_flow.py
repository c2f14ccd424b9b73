"""What `1ctl deploy` does: merge flags and file, record the release, apply it with the five steps, wait if asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cli import answers, origin, satusky_toml
from cli.deadline import Deadline
from cli.exit_codes import UsageError
from cli.former import former_life, say_what_is_left_behind
from cli.inputs import is_stdin, one_reads_stdin, read_text
from cli.moment import life_of
from cli.options import NO_PROBE
from cli.recording import LEDGER_FAILURES, record, show_plan
from cli.session import Session
from cli.target import target, working_directory
from ledger import values
from ledger.commands import Deploy
from ledger.errors import RefusedError
from ledger.events import Deployed, DomainAssigned
from ledger.landmarks import release_lines
from ledger.text import Lines

if TYPE_CHECKING:
    from cli.deploy import Wish
    from cli.options import Change, Waiting, Which
    from cli.satusky_toml import AppConfig
    from effects.cluster import Ref
    from ledger.app import App, Life
    from ledger.ledger import Outcome
    from ledger.request import Request
    from ledger.spec import AppId

_V = TypeVar("_V")


def run(wish: Wish, which: Which, change: Change, waiting: Waiting) -> None:
    """Deploy.

    Raises:
        RefusedError: Nothing was recorded.
        CommandError: Recorded; its code says how far it got.
    """
    if waiting.wait and wish.detach:
        raise UsageError("--wait and --detach exclude each other")
    one_reads_stdin(("--env-file", wish.env_file), ("--kv-file", wish.kv_file), ask=wish.key or [])
    session = Session()
    timeout = waiting.seconds()
    app_id, command = _command(session, wish, which)
    secrets = _given_secrets(session, wish)
    command = replace(command, secret_keys=tuple(sorted(secrets)))
    request = origin.request(request_id=change.request_id, reason=change.reason, git=True)
    before = session.reader.app(app_id)
    _check_before(session, before, request, detach=wish.detach, dry_run=change.dry_run)
    former = former_life(session, before)
    if change.dry_run:
        plan = show_plan(session, app_id, command, request, secret_values=secrets)
        if plan.events:
            say_what_is_left_behind(session, former, plan.after.life, recorded=False)
        return
    outcome = record(
        session, app_id, command, request, secret_values=secrets, life=which.deployment_id, applies=not wish.detach
    )
    if outcome.repeated and secrets:
        session.terminal.notice("Secret values of a repeated request are not compared.")
    released = _released(outcome)
    answers.own_life(outcome)
    with answers.answering(session, request, outcome, lambda: _content(session, outcome)):
        session.terminal.info(f"Using pre-built image: {released.spec.image}")
        _say_changes(session, before, outcome, former)
        if wish.detach:
            _detached(session, app_id, released)
            return
        deadline = Deadline.after(timeout) if waiting.wait else None
        app = _apply(session, outcome, request, deadline)
        if deadline is not None:
            answers.wait(session, app, outcome, request, deadline)


# -- Before recording --------------------------------------------------------------------------------------------------


def _command(session: Session, wish: Wish, which: Which) -> tuple[AppId, Deploy]:
    app_id, file = _app_and_file(session, which)
    return app_id, _flags_over_file(wish, file)


def _app_and_file(session: Session, which: Which) -> tuple[AppId, AppConfig | None]:
    if which.deployment_id is not None:
        app_id = target(session, which._replace(config=None))  # its file may be that of another one
        return app_id, satusky_toml.read(_found(which)) if which.config else None
    path = satusky_toml.find(which.config, working_directory())
    file = satusky_toml.read(path) if path is not None else None
    if path is not None and file is not None and which.config is None and which.name not in (None, file.name):
        where = satusky_toml.shown(path)
        session.terminal.notice(
            f'{where} is about app "{file.name}", so its settings are not used for "{which.name}". '
            f"To use them all the same: --config {where}"
        )
        file = None
    name = which.name if which.name is not None else file.name if file else None
    if name is None:
        raise RefusedError(
            "no app name: there is no satusky.toml here or above",
            hint=Lines("Pass --name NAME, or write satusky.toml:", "  [app]", '  name = "your-app"'),
        )
    return session.app_id(values.app_name(name)), file


def _found(which: Which) -> Path:
    path = satusky_toml.find(which.config, working_directory())
    assert path is not None  # a file that is named must exist
    return path


def _flags_over_file(wish: Wish, file: AppConfig | None) -> Deploy:
    """What was given; what was not is None and keeps its current value. `--machine ""` means any machine, an empty path no probe."""

    def over(flag: _V | None, from_file: _V | None) -> _V | None:
        return flag if flag is not None else from_file

    return Deploy(
        image=wish.image,
        machines=None if wish.machine is None else tuple(name for name in wish.machine if name),
        port=over(wish.port, file.port if file else None),
        cpu=over(wish.cpu, file.cpu if file else None),
        memory=over(wish.memory, file.memory if file else None),
        replicas=over(wish.replicas, file.replicas if file else None),
        health_path=over("" if wish.health_path == NO_PROBE else wish.health_path, file.health_path if file else None),
        image_pull_secret=file.image_pull_secret if file else None,
        env=given_env(wish.env or [], wish.env_file),
        plain=wish.plain,
    )


def given_env(pairs: Sequence[str], file: Path | None) -> dict[str, str]:
    """Environment from a file, which may be ``-`` for stdin, and from flags, which win.

    Raises:
        InvalidValueError: A line or a pair is not KEY=VALUE.
        RefusedError: The file cannot be read.
    """
    env: dict[str, str] = {}
    if file is not None:
        env.update(values.env_file(read_text(file), "stdin" if is_stdin(file) else satusky_toml.shown(file)))
    env.update(values.env_pair(pair, secret=False) for pair in pairs)
    return env


def _given_secrets(session: Session, wish: Wish) -> Mapping[str, bytes]:
    """The secrets that come with the release; an app that needs some would fail without them."""
    if wish.kv_file is None and not wish.key:
        return {}
    from cli.secret_input import given_secrets  # noqa: PLC0415 - most releases come without

    return given_secrets(session.terminal, pairs=[], file=wish.kv_file, ask=wish.key or [])


def _check_before(session: Session, app: App, request: Request, *, detach: bool, dry_run: bool) -> None:
    """Refuse what could not be applied, while nothing is recorded."""
    if detach and not (app.life is not None and app.life.secrets):
        return  # before the effects side is imported, which such a request does not need
    session.applying.check_roll(app, request)
    if detach:
        return
    session.applying.check_place(app, request)
    if not dry_run:
        session.applying.look_back(app, request)


# -- After recording ---------------------------------------------------------------------------------------------------


def _apply(session: Session, outcome: Outcome, request: Request, deadline: Deadline | None) -> App:
    """Apply, printing each step once it is true, in the order that users know."""
    app, terminal = outcome.app, session.terminal
    assert app.life is not None
    steps = _Steps(
        session, app.life, domain_is_new=any(isinstance(each.event, DomainAssigned) for each in outcome.recorded)
    )
    applied = session.applying.apply(app.id, request, steps.done, deadline=deadline)
    terminal.success(f"🚀 Deployment for {app.id.name} is successful! Your app is live at: https://{app.life.domain}")
    terminal.line(f"Deployment ID: {app.life.deployment_id}")
    return applied


class _Steps:
    """The step lines. Applying may begin again; a line that was printed stays printed."""

    def __init__(self, session: Session, life: Life, *, domain_is_new: bool) -> None:
        self._terminal = session.terminal
        self._life = life
        self._domain_is_new = domain_is_new
        self._printed: set[str] = set()

    def done(self, ref: Ref) -> None:
        """The cluster has this object as desired. Configuration comes before the Deployment that reads it."""
        if ref.kind not in ("Deployment", "Service", "HTTPRoute") or ref.kind in self._printed:
            return
        self._printed.add(ref.kind)
        app = ref.name
        if ref.kind == "Deployment":
            self._terminal.step(2, "Creating/updating deployment", app)
        elif ref.kind == "Service":
            self._terminal.step(3, "Configuring services", app)
            self._terminal.step(4, "Setting up environment and storage", app)
        else:
            self._say_domain()
            self._terminal.step(5, "Configuring public routing and dependencies", app)

    def _say_domain(self) -> None:
        if not self._domain_is_new:
            return
        self._terminal.info(
            f"No existing public route found for deployment {self._life.deployment_id}, will create new one: "
            "No public route found"
        )
        self._terminal.info(f"Generated new domain: {self._life.domain}")


def _released(outcome: Outcome) -> Deployed:
    """The release that the request made, now or when it was first recorded."""
    return next(each.event for each in outcome.recorded if isinstance(each.event, Deployed))


def _detached(session: Session, app_id: AppId, released: Deployed) -> None:
    session.terminal.success(f"Release {released.release} of {app_id.name} is recorded")
    session.terminal.line(f"Deployment ID: {released.deployment_id}")
    applies = (
        "A worker applies it; '1ctl deploy status' shows"
        if session.reader.has_worker(session.place.cluster)
        else "'1ctl deploy status' applies it and shows"
    )
    session.terminal.notice(f"It is not applied yet. {applies} where it stands.")


def _say_changes(session: Session, before: App, outcome: Outcome, former: Life | None) -> None:
    """On a redeploy, what this release changes, on stderr; on one after a destroy, what it leaves behind."""
    from projections.changes import changes, in_words  # noqa: PLC0415 - like all that is said once it is recorded

    if outcome.repeated:
        return
    first = outcome.recorded[0]
    if first.version != before.version + 1:  # somebody else was first
        before = session.reader.app(outcome.app.id, upto=first.position - 1)
    changed = in_words(changes(before.life, outcome.app.life))
    if changed:
        session.terminal.notice(f"Changed: {changed}")
    if before.life is None:
        say_what_is_left_behind(session, former, outcome.app.life, recorded=True)


def _content(session: Session, outcome: Outcome) -> dict[str, object]:
    """The release that was made, as it last was while it was the newest."""
    from projections.app_views import deployment  # noqa: PLC0415

    try:
        life = _as_it_last_was(session, outcome.app.id, _released(outcome))
    except LEDGER_FAILURES:  # it was read when the release was recorded; what failed since has its own error
        assert outcome.app.life is not None
        life = outcome.app.life
    return deployment(outcome.app.id, life).to_json()


def _as_it_last_was(session: Session, app_id: AppId, released: Deployed) -> Life:
    span = life_of(session, app_id, released.deployment_id)
    _, following = release_lines(session.store, span, released.release)
    life = session.reader.app(app_id, upto=following.position - 1 if following is not None else None).life
    assert life is not None
    return life
