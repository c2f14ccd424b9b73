"""`1ctl audit log` and `1ctl audit export`: the ledger as an auditor reads it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.age import local_time
from cli.exit_codes import UsageError
from cli.moment import AtPositionOption, When, parse_since, parse_until, resolve
from cli.options import countable, not_empty, offer
from cli.session import Session
from ledger import audit_log
from ledger.audit_log import Entry, Filter
from ledger.clock import SystemClock
from ledger.errors import AppNotFoundError, RefusedError
from ledger.events import SCHEMA_VERSIONS, EnvSet, RolledBack, WorkerIdentitySet
from ledger.founding import founding
from ledger.sealing import identity_fingerprint

if TYPE_CHECKING:
    from ledger.store import Store
    from ledger.telling import Told

DEFAULT_LINES = 50

AppFilter = Annotated[
    str | None,
    typer.Option("--app", metavar="NAME", callback=not_empty, autocompletion=offer("apps"), help="Only this app."),
]
NamespaceFilter = Annotated[
    str | None, typer.Option("--namespace", metavar="NS", callback=not_empty, help="Only this namespace.")
]
ActorFilter = Annotated[
    str | None, typer.Option("--actor", metavar="NAME", callback=not_empty, help="Only what this actor asked for.")
]
KindFilter = Annotated[
    list[str] | None,
    typer.Option(
        "--kind", metavar="KIND", autocompletion=offer("kinds"), help="Only this kind, e.g. Deployed; repeatable."
    ),
]
SinceFilter = Annotated[str | None, typer.Option("--since", metavar="TIME", help="From then: ISO 8601, or '2h ago'.")]
UntilFilter = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Up to then, that second or day included.")
]
KeyFilter = Annotated[str | None, typer.Option("--key", metavar="KEY", help="Only events that name this key.")]
RequestFilter = Annotated[
    str | None, typer.Option("--request-id", metavar="ID", callback=not_empty, help="Only what this request led to.")
]


def log(
    app: AppFilter = None,
    namespace: NamespaceFilter = None,
    actor: ActorFilter = None,
    kind: KindFilter = None,
    since: SinceFilter = None,
    until: UntilFilter = None,
    key: KeyFilter = None,
    request_id: RequestFilter = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, callback=countable, help="The last N [50; JSON: all].")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new ones as they come.")] = False,
    at_position: AtPositionOption = None,
) -> None:
    """Show what was recorded, oldest first.

    The whole ledger, unless filtered.

    Example:  1ctl audit log --app user-service --since '2h ago'
    """
    if follow and (until is not None or at_position is not None):
        raise UsageError(
            "--follow goes on with what comes; --until and --at-position end before it",
            hint="Run '1ctl audit log --help' for usage",
        )
    session = Session.for_questions()
    now_us = SystemClock().now_us()
    wanted = Filter(
        app=app,
        namespace=namespace,
        actor=actor,
        kinds=[_known_kind(each) for each in kind or ()],
        key=key,
        request_id=request_id,
        since_us=parse_since(since, now_us) if since is not None else None,
        until_us=parse_until(until, now_us) if until is not None else None,
    )
    if wanted.since_us is not None and wanted.until_us is not None and wanted.since_us > wanted.until_us:
        raise UsageError("--since is later than --until: nothing can lie between them")
    moment = resolve(session, When(at_position=at_position), app_id=None, deployment_id=None)
    show(session, wanted, limit=limit, follow=follow, upto=moment.position if moment else None)


def _known_kind(text: str) -> str:
    """The kind of event of that name, however it is capitalised.

    Raises:
        UsageError: There is none; "nothing found" would be misleading.
    """
    kinds = {kind.__name__.lower(): kind.__name__ for kind in SCHEMA_VERSIONS}
    if text.lower() in kinds:
        return kinds[text.lower()]
    from difflib import get_close_matches  # noqa: PLC0415 - needed for an error only

    close = [kinds[each] for each in get_close_matches(text.lower(), kinds, 3)]
    hint = f"Did you mean {' or '.join(close)}?" if close else f"There are: {', '.join(sorted(kinds.values()))}"
    raise UsageError(f'there is no kind of event "{text}"', hint=hint)


def show(session: Session, wanted: Filter, *, limit: int | None, follow: bool, upto: int | None) -> None:
    """Print matching entries; with `follow`, go on until interrupted, one JSON document a line in JSON mode."""
    store, terminal = session.store, session.terminal
    if follow:
        _follow(session, wanted, limit or DEFAULT_LINES)
        return
    count = limit or DEFAULT_LINES
    if terminal.json and limit is None:
        entries: Sequence[Entry] = list(audit_log.entries(store, wanted, upto=upto))
    else:
        entries = audit_log.newest(store, wanted, count, upto=upto)
    if not entries and wanted.app is not None and wanted.cluster is None:
        _refuse_unknown(session, wanted.app, wanted.namespace)
    if terminal.json:
        terminal.document([entry.to_json() for entry in entries])
        return
    if not entries:
        terminal.info("No events found")
        return
    terminal.table(["POSITION", "TIME", "APP", "EVENT", "ACTOR", "WHAT"], [_cells(entry) for entry in entries])
    older = _older(wanted, entries, count)
    if older is not None:
        terminal.notice(f"{older} not shown. See more: add --limit N   (all of them: -o json)")


def _refuse_unknown(session: Session, app: str, namespace: str | None) -> None:
    """Refuse to say "nothing found" about an app that nothing was ever recorded about: its name is misspelt.

    Raises:
        AppNotFoundError: There never was one of that name, in the namespace if one is given.
    """
    lived = session.reader.apps(session.place.cluster)
    names = {each.name for each in lived if namespace in (None, each.namespace)}
    # In another cluster, or before it ever was deployed: all is read once more, for a name that is most likely wrong.
    if app in names or audit_log.newest(session.store, Filter(app=app, namespace=namespace), 1):
        return
    from difflib import get_close_matches  # noqa: PLC0415 - needed for an error only

    close = get_close_matches(app, names, 1)
    raise AppNotFoundError(
        f'nothing was ever recorded about an app "{app}"' + (f" in namespace {namespace}" if namespace else ""),
        hint=(f'Did you mean "{close[0]}"? ' if close else "") + "See which there are: 1ctl deploy list --all --wide",
    )


def _older(wanted: Filter, entries: Sequence[Entry], count: int) -> str | None:
    """What is left out before these entries, as a clause; None for nothing.

    Positions have no gaps, so all of them are counted by the first that is shown. Of those that match a filter nobody
    knows how many there are, nor whether there is one more, without reading what lies before.
    """
    before = entries[0].row.position - 1
    if len(entries) < count or before == 0:
        return None
    if wanted == Filter(kinds=wanted.kinds) and not wanted.kinds:
        return f"{before} older {'event is' if before == 1 else 'events are'}"
    return "Older events, if there are any, are"


def export(
    format_: Annotated[
        str, typer.Option("--format", metavar="jsonl|csv|cloudevents", autocompletion=offer("formats"), help="Format.")
    ] = "jsonl",
    file: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to; default: stdout.")] = None,
) -> None:
    """Write the whole ledger to a file or stdout.

    JSON lines can be imported again with all proofs. Secrets are not in it.

    Example:  1ctl audit export --format jsonl --file ledger.jsonl
    """
    from cli.options import INVOCATION  # noqa: PLC0415
    from cli.progress import progress  # noqa: PLC0415
    from ledger.durable_files import write_all_durably  # noqa: PLC0415
    from ledger.export import FORMATS  # noqa: PLC0415

    INVOCATION.has_output = file is None  # whoever keeps stdout must not keep an error as an export
    if format_ not in FORMATS:
        raise UsageError(f'invalid --format "{format_}": expected {", ".join(FORMATS)}')
    session = Session.for_questions()
    head = session.store.head().position
    shown = nullcontext(_silent) if file is None and sys.stdout.isatty() else progress("Exporting")
    with shown as told:
        entries = _counted(audit_log.entries(session.store, Filter(), upto=head), head, told)
        lines = FORMATS[format_](entries, _origin(session.store))
        if file is None:
            session.terminal.bytes(lines)
            return
        try:
            write_all_durably(file, lines)
        except OSError as error:
            raise RefusedError(f"{file} cannot be written: {error.strerror}", hint="Name another file.") from error
    session.terminal.success(f"Exported {head} events to {file}")
    if session.terminal.json:
        session.terminal.document({"file": str(file), "format": format_, "events": head})


def _counted(entries: Iterable[Entry], head: int, told: Told) -> Iterator[Entry]:
    for entry in entries:
        told(entry.row.position, head)
        yield entry


def _silent(_done: int, _total: int) -> None:
    """The lines themselves go to the terminal: they show how far the export is."""


def _origin(store: Store) -> str:
    first = founding(store)
    return first.origin if first is not None else ""


def _follow(session: Session, wanted: Filter, count: int) -> None:
    import orjson  # noqa: PLC0415

    from cli.following import until_interrupted  # noqa: PLC0415

    with until_interrupted():
        for entry in audit_log.followed(session.store, wanted, count):
            if session.terminal.json:
                session.terminal.bytes([orjson.dumps(entry.to_json()) + b"\n"])
            else:
                session.terminal.line("  ".join(_cells(entry)))


def _cells(entry: Entry) -> list[str]:
    when = local_time(entry.row.recorded_us)
    app = str(entry.subject.get("app") or "-")
    actor = str(entry.meta.get("actor") or "-")
    return [str(entry.row.position), when, app, entry.row.topic, actor, _what(entry)]


def _what(entry: Entry) -> str:
    """The event's data and its reason on one line; long texts are cut."""
    if not entry.is_readable:
        return "cannot be read. See: 1ctl audit verify --deep"
    data = entry.document.get("data")
    data = data if isinstance(data, dict) else {}  # of a line that was forged
    plain = _PLAIN.get(entry.row.topic)
    parts = [
        f"{name}={_short(value)}"
        for name, value in data.items()
        if value not in (None, [], {}) and name not in _QUIET and name != plain
    ]
    parts += _pairs(data.get(plain))
    parts += _changers(data.get("fields"))
    if entry.row.topic == WorkerIdentitySet.__name__:
        with suppress(ValueError):  # of a line that was forged
            parts.append(f"identity={identity_fingerprint(str(data.get('public_key')))}")
    reason = entry.meta.get("reason")
    return ", ".join(parts + ([f'reason "{_short(reason)}"'] if reason else [])) or "-"


_QUIET = frozenset({"deployment_id", "life_key", "objects", "verification_key", "public_key"})
"""Fields that say nothing to a person, or that have a column of their own."""


_PLAIN = {EnvSet.__name__: "values", RolledBack.__name__: "env"}
"""By kind, the field that holds environment values: they are shown beside their keys."""

SHOWN_PAIRS = 5
"""Environment values of one event that fit into a cell."""


def _pairs(values: object) -> list[str]:
    """Environment values as recorded, each cut if it is long; a redacted one says so itself."""
    if not isinstance(values, dict):
        return []
    pairs = [_short(f"{key}={value}") for key, value in values.items()]
    more = len(pairs) - SHOWN_PAIRS
    return pairs if more <= 0 else [*pairs[:SHOWN_PAIRS], f"and {more} more"]


def _changers(fields: object) -> list[str]:
    """Of a drift: who changed the fields, by the names that the API server keeps; none where the object was deleted."""
    changed = [each for each in fields if isinstance(each, dict)] if isinstance(fields, list) else []
    names = dict.fromkeys(str(each["manager"]) for each in changed if each.get("manager"))
    return [f"by={_short(list(names))}"] if names else []


def _part(value: object) -> str:
    """Of what is several: of a drift, the field that was changed, which is none if the object was deleted."""
    said = value.get("field") if isinstance(value, dict) and "field" in value else value
    return "(object)" if said == "" else str(said)


def _short(value: object) -> str:
    if isinstance(value, dict) and "image" in value:
        return str(value["image"])
    text = ",".join(map(_part, value)) if isinstance(value, dict | list) else str(value)
    return text if len(text) <= 60 else text[:59] + "…"
