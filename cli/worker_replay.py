"""`1ctl worker replay`: the ledger's apps in another cluster, for instance because theirs is lost."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.answers import declined
from cli.exit_codes import CommandError, ExitCode
from cli.follow_up import tell_kubectl
from cli.moment import AsOfOption, AtPositionOption, When, resolve
from cli.options import YesOption, not_empty
from cli.progress import clear, progress
from cli.session import Session
from ledger.errors import OneCtlError, RefusedError
from ledger.text import Lines, lines_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from effects.recurring import Outage
    from effects.replay import Replay
    from ledger.spec import AppId


def replay(
    context: Annotated[str, typer.Option(metavar="CTX", callback=not_empty, help="Context of the cluster to fill.")],
    kubeconfig: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Kubeconfig [the profile's, else ~/.kube/config].")
    ] = None,
    as_of: AsOfOption = None,
    at_position: AtPositionOption = None,
    yes: YesOption = False,
) -> None:
    """Fill an empty cluster with what the ledger asks for.

    All apps of this profile's cluster are applied there; nothing is recorded. Namespaces must exist. It may be repeated.
    What a cluster that does not answer keeps from being applied is tried again, for as long as other apps come through.

    Example:  1ctl worker replay --context prod-2 --as-of "2h ago"
    """
    from effects.kubernetes_cluster import KubernetesCluster  # noqa: PLC0415
    from effects.replay import Replay  # noqa: PLC0415

    session = Session()
    moment = resolve(session, When(as_of=as_of, at_position=at_position), app_id=None, deployment_id=None)
    kubeconfig = kubeconfig or session.place.kubeconfig
    tell_kubectl(context, kubeconfig)
    with KubernetesCluster.connect(kubeconfig=kubeconfig, context=context) as cluster:

        def make() -> Replay:
            return Replay(
                ledger=session.make_ledger(),
                cluster=cluster,
                gateway=session.place.gateway,
                upto=moment.position if moment else None,
            )

        there = make()
        apps = [app_id for app_id in session.reader.apps(session.place.cluster) if there.life(app_id) is not None]
        _check_namespaces(cluster.namespace_exists, apps, context)
        question = f"Apply {len(apps)} apps of cluster {session.place.cluster} to context {context}?"
        if not yes and not session.terminal.confirm(question):
            declined(session, {"replayed": False})
            return
        sent, failed = _replay(session, make, apps)
    if session.terminal.json:
        session.terminal.document(
            {
                "context": context,
                "apps": len(apps),
                "objects_sent": sent,
                "failed": [
                    {"namespace": a.namespace, "app": a.name, "message": e.message, "hint": e.hint} for a, e in failed
                ],
            }
        )
    for app_id, error in failed:
        hint = f"  ({' '.join(lines_of(error.hint))})" if error.hint else ""
        session.terminal.warn(f"{app_id.namespace}/{app_id.name}: {error.message}{hint}")
    if failed:
        raise CommandError(
            f"{len(failed)} of {len(apps)} apps were not applied",
            code=ExitCode.FAILED,
            hint="Fix what is said about each app, and run it again: what is applied is not sent twice.",
        )
    session.terminal.success(f"{len(apps)} apps in {context} are as the ledger asks; {sent} objects had to be sent")


def _check_namespaces(exists: Callable[[str], bool], apps: Sequence[AppId], context: str) -> None:
    missing = [name for name in sorted({app_id.namespace for app_id in apps}) if not exists(name)]
    if missing:
        raise RefusedError(
            f"context {context} has no namespace {', '.join(missing)}",
            hint=Lines(*(f"Create it: kubectl create namespace {name}" for name in missing)),
        )


class _Told:
    """Says that something is tried again, and less and less often while that goes on."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._outage: Outage | None = None

    def __call__(self, error: OneCtlError) -> None:
        from effects.recurring import fails  # noqa: PLC0415

        self._outage, is_news = fails(self._outage, time.monotonic())
        if is_news:
            clear()
            self._session.terminal.notice(f"It is tried again: {error.message}")


def _replay(
    session: Session, make: Callable[[], Replay], apps: Sequence[AppId]
) -> tuple[int, list[tuple[AppId, OneCtlError]]]:
    """How many objects were sent, and which apps could not be applied, in their order."""
    from effects.replay import replay_all  # noqa: PLC0415

    sent = 0
    done = 0
    failed: dict[AppId, OneCtlError] = {}
    try:
        with progress("Applying") as show, closing(replay_all(make, apps, retried=_Told(session))) as each:
            for number, (app_id, outcome) in enumerate(each, start=1):
                if isinstance(outcome, OneCtlError):
                    failed[app_id] = outcome
                else:
                    done, sent = done + 1, sent + outcome
                show(number, len(apps))
    except KeyboardInterrupt:  # those in work were finished meanwhile, and are not counted
        session.terminal.notice(
            f"At least {done} of {len(apps)} apps are applied. Run it again: it goes on, and sends nothing twice."
        )
        raise
    return sent, [(app_id, failed[app_id]) for app_id in apps if app_id in failed]
