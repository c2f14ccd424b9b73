"""`1ctl worker run`: leads, or stands by; one leader for each ledger and cluster."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import collect_garbage_as_usual, origin
from cli.exit_codes import UsageError
from cli.failure import exit_code_of
from cli.options import INVOCATION, offer
from cli.recording import LEDGER_FAILURES, not_applied
from cli.session import Session
from cli.status_facts import drifted
from cli.worker_stop import Stop, stopping_on_signals
from ledger import values
from ledger.errors import LedgerDeniedError, OneCtlError, RefusedError

if TYPE_CHECKING:
    import logging

    from effects.endpoints import Pages
    from effects.metrics import Metrics
    from effects.term import Settings
    from effects.tracing import Span
    from effects.worker import TermEnd, Worker
    from ledger.request import Request
    from ledger.spec import AppId

DEFAULT_LISTEN = "127.0.0.1:9464"

ANSWER_SECONDS = 40.0
"""How long an answer of the database may take; it waits for other writers for thirty itself."""

ALIVE_SECONDS = 120.0
"""For how long the leading thread may be silent before the process calls itself unhealthy: longer than it waits for
anything, so that what is wrong is in this process, and starting it again helps."""


def run(
    once: Annotated[bool, typer.Option("--once", help="Apply what is recorded by now, then end.")] = False,
    drift: Annotated[
        str,
        typer.Option(
            metavar="heal|report",
            autocompletion=offer("drift"),
            help="What to do about objects that were edited by hand.",
        ),
    ] = "heal",
    threads: Annotated[int, typer.Option(metavar="N", min=1, max=64, help="Apps worked on at once.")] = 8,
    lease: Annotated[str, typer.Option(metavar="TIME", help="How long leadership lasts unrenewed.")] = "5s",
    resync: Annotated[str, typer.Option(metavar="TIME", help="How often everything is listed again.")] = "10m",
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT|none", help="Where /metrics, /healthz and /readyz are.")
    ] = DEFAULT_LISTEN,
) -> None:
    """Apply what is recorded, until stopped.

    Several may run for one ledger and cluster: one leads, the others stand by. Logs are JSON lines on stderr.

    The first one of a cluster enables it. After 'worker disable' they wait until 'worker enable'.

    Example:  1ctl worker run --listen 127.0.0.1:9464
    """
    if drift not in ("heal", "report"):
        raise UsageError(f'invalid --drift "{drift}": expected heal or report')
    address = _address(listen)
    from effects.app_work import DisabledError  # noqa: PLC0415

    collect_garbage_as_usual()
    session = Session(patience=ANSWER_SECONDS)
    _require_namespace(session, resident=not once)
    request = origin.request()
    settings = _settings(session, heals=drift == "heal", threads=threads, lease=lease, resync=resync)
    _log_json()
    stop = Stop()
    ended: TermEnd | None = None
    with _telling(session), _refusing_denied(), stopping_on_signals(stop) as signals:
        prepare: Callable[[], None] | None = partial(_prepare, session, request, resident=not once)
        worker, metrics = _worker(session, settings, request)
        # Listening comes first: a worker that cannot run must not be named in the ledger.
        with _listening(None if once else address, worker, metrics):
            if once or isinstance(session.place.ledger, Path):  # waiting would not make a file usable
                _prepare(session, request, resident=not once)
                prepare = None
            try:
                if once:
                    ended = worker.run_once(stop)
                else:
                    worker.run(stop, prepare)
            except DisabledError as disabled:
                session.terminal.notice(disabled.message)
    if signal.SIGINT in signals:
        raise KeyboardInterrupt
    if once:
        _tell(session, ended)


def _require_namespace(session: Session, *, resident: bool) -> None:
    """Refuse a namespace that does not exist. A worker that stays can wait for a cluster that cannot be asked now."""
    from effects.cluster import ClusterUnreachableError  # noqa: PLC0415

    try:
        session.require_namespace()
    except ClusterUnreachableError as error:
        if not resident:
            raise
        session.terminal.warn(f"{error.message} The worker keeps trying.")


def _settings(session: Session, *, heals: bool, threads: int, lease: str, resync: str) -> Settings:
    from effects.term import Settings  # noqa: PLC0415

    lease_seconds = values.duration(lease, of="lease")
    if lease_seconds < 1:
        raise RefusedError(f'--lease "{lease}" is too short', hint="Example: --lease 5s")
    return Settings(
        cluster=session.place.cluster,
        gateway=session.place.gateway,
        threads=threads,
        heals=heals,
        lease_seconds=lease_seconds,
        resync_seconds=values.duration(resync, of="resync"),
    )


def _prepare(session: Session, request: Request, *, resident: bool) -> None:
    """See that the ledger is there and names a worker; warn if the identity is not here. May be repeated."""
    from ledger.events import WorkerEnabled  # noqa: PLC0415

    if not session.reader.may_append():
        raise RefusedError(
            "this ledger is only read here, so nothing is applied from it",
            hint="See where it goes on: 1ctl ledger status",
        )
    session.ledger.create(request)
    session.store.require_worker_rights()
    if resident and session.reader.worker_order(session.place.cluster) is None:
        session.ledger.mark(WorkerEnabled(cluster=session.place.cluster), request)
    if not session.ledger.holds_identity():
        detail = "it opens secrets and is not on this machine, so apps with secrets will be parked"
        log = _log()
        log.warning("no identity", extra={"detail": f"{detail}; point ONECTL_IDENTITY to it"})


@contextmanager
def _refusing_denied() -> Iterator[None]:
    """What the database does not allow its user to do is a refusal: starting again gives the same answer."""
    try:
        yield
    except LedgerDeniedError as error:
        hint = "Its owner grants this login what a worker needs: GRANT onectl_worker TO ...;   (1ctl ledger roles makes it)"
        raise RefusedError(error.message, hint=hint) from error


def _worker(session: Session, settings: Settings, request: Request) -> tuple[Worker, Metrics]:
    import random  # noqa: PLC0415
    import uuid  # noqa: PLC0415
    from dataclasses import replace  # noqa: PLC0415

    from effects.metrics import Metrics  # noqa: PLC0415
    from effects.term import Equipment  # noqa: PLC0415
    from effects.worker import Worker  # noqa: PLC0415

    metrics = Metrics(
        leading=lambda: worker.term is not None,
        queued=lambda: len(term.queue) if (term := worker.term) is not None else 0,
        parked=lambda: len(term.parked) if (term := worker.term) is not None else 0,
        lag=lambda: worker.lag(),  # noqa: PLW0108 - there is no worker yet
    )
    equipment = Equipment(
        store=session.store,
        make_ledger=session.make_ledger,
        cluster=session.cluster,
        request=replace(request, actor="1ctl/worker", reason=None),
        chance=random.random,
        measures=metrics,
        span=_spans(),
    )
    lease = session.store.lease(
        settings.cluster,
        holder=str(uuid.uuid4()),
        note=f"{socket.gethostname()}, process {os.getpid()}",
        seconds=settings.lease_seconds,
    )
    worker = Worker(settings, equipment, lease)
    return worker, metrics


def _spans() -> Span:
    from effects.tracing import spans  # noqa: PLC0415

    span, finish = spans()
    INVOCATION.closing.append(finish)
    return span


def _tell(session: Session, ended: TermEnd | None) -> None:
    """Say how a run with `--once` went.

    Raises:
        RefusedError: Another worker leads.
        CommandError: The cluster is not as the ledger asks, or nobody can say that it is.
    """
    if ended is None:
        raise RefusedError("another worker leads", hint="See it: 1ctl worker status")
    why, left = ended.why, dict(ended.failing)
    try:
        left = left if why else {**dict(_left(session)), **left}
    except LEDGER_FAILURES as error:
        why = error.message
    if session.terminal.json:
        session.terminal.document(_document(session.place.cluster, why, left))
    for app_id in sorted(left, key=str):
        session.terminal.warn(f"{app_id.namespace}/{app_id.name}: {left[app_id]}")
    again = "Run this again when that is fixed."
    if why:
        raise not_applied(f"not every app was worked on: {why}", hint=None, again=again)
    if left:
        names = ", ".join(app_id.name for app_id in sorted(left, key=str))
        raise not_applied(names, hint="What the cluster refuses: 1ctl worker status", again=again)
    session.terminal.success("The cluster is as the ledger asks")


def _document(cluster: str, why: str | None, left: Mapping[AppId, str]) -> dict[str, object]:
    apps = [{"namespace": each.namespace, "app_label": each.name, "why": left[each]} for each in sorted(left, key=str)]
    return {"cluster": cluster, "applied": not why and not left, "why": why, "left": apps}


def _left(session: Session) -> Iterator[tuple[AppId, str]]:
    """The apps that the cluster does not have as the ledger asks, as far as the ledger knows, with why."""
    for app_id in session.reader.apps(session.place.cluster):
        app = session.reader.app(app_id)
        life = app.leaving or app.life
        if life is not None and life.parked is not None:
            yield app_id, f"{life.parked.reason}: {life.parked.message}"
        elif app.dirty:
            yield app_id, "it is not applied"
        elif app.life is not None and app.life.drift:
            yield app_id, f"edited by hand: {', '.join(drifted(app.life))}"


def _address(listen: str) -> tuple[str, int] | None:
    """Host and port; None for "none"."""
    if listen == "none":
        return None
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f'invalid --listen "{listen}": expected HOST:PORT or none')
    return host.strip("[]"), int(port)


@contextmanager
def _listening(address: tuple[str, int] | None, worker: Worker, metrics: Metrics) -> Iterator[None]:
    if address is None:
        yield
        return
    from effects.endpoints import serving  # noqa: PLC0415

    host, port = address
    with serving(address, _pages(worker, metrics)) as chosen:
        if port == 0:
            sys.stderr.write(f"listening on {host}:{chosen}\n")
        yield


def _pages(worker: Worker, metrics: Metrics) -> Pages:
    from effects.endpoints import Reply, yes_or_no  # noqa: PLC0415
    from effects.metrics import CONTENT_TYPE  # noqa: PLC0415

    def is_alive() -> bool:
        return time.monotonic() - worker.alive_at < ALIVE_SECONDS

    return {
        "/metrics": lambda: Reply(200, CONTENT_TYPE, metrics.text()),
        "/healthz": lambda: yes_or_no(is_alive()),
        "/readyz": lambda: yes_or_no(is_alive() and worker.is_ready),
    }


def _log() -> logging.Logger:
    import logging  # noqa: PLC0415 - a worker's only

    return logging.getLogger("onectl.worker")


@contextmanager
def _telling(session: Session) -> Iterator[None]:
    """The log begins with what runs where, and ends with why and the exit code, even if a person is told more."""
    from cli.profiles import shown_address  # noqa: PLC0415
    from cli.version import PROGRAM  # noqa: PLC0415

    log, place = _log(), session.place
    where = {"cluster": place.cluster, "namespace": place.namespace, "context": place.context}
    log.info("start", extra={"program": PROGRAM, "ledger": shown_address(place.ledger), **where})
    try:
        yield
    except OneCtlError as error:
        about = {"error": type(error).__name__, "detail": error.message, "exit_code": int(exit_code_of(error))}
        log.error("ended", extra=about)  # noqa: TRY400 - no traceback, which may quote anything
        raise
    except Exception as error:
        about = {"error": type(error).__name__, "exit_code": int(exit_code_of(error))}
        log.error("ended", extra=about)  # noqa: TRY400 - likewise
        raise
    log.info("ended")


def _log_json() -> None:
    """One JSON object a line, on stderr: time (UTC), level, message, and what it is about."""
    import logging  # noqa: PLC0415

    from pythonjsonlogger.orjson import OrjsonFormatter  # noqa: PLC0415

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        OrjsonFormatter(["levelname", "message"], rename_fields={"levelname": "level"}, timestamp="time")
    )
    log = logging.getLogger("onectl")
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
