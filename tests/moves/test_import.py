"""An export read back: a replica with the original's positions, hashes and answers, or nothing at all."""

from __future__ import annotations

import random
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest

from ledger.audit_log import Entry
from ledger.codec import decode, encode
from ledger.errors import LedgerBusyError, LedgerDamagedError, RefusedError
from ledger.events import Redacted
from ledger.export import jsonl
from ledger.importing import import_ledger
from ledger.leaf import GENESIS, chain_hash, leaf_hash
from ledger.sqlite_store import SqliteStore
from ledger.store import Row
from ledger.streams import LEDGER_STREAM
from ledger.verify import verify_chain
from tests.faults import dose
from tests.moves.support import EMPTY, User, grow, head, opened, position_of, rows


@pytest.fixture
def export(user: User, tmp_path: Path) -> Path:
    path = tmp_path / "ledger.jsonl"
    user.run("audit", "export", "--file", str(path)).done()
    return path


def refused(path: Path, content: bytes) -> str:
    with closing(opened(path)) as store:
        with pytest.raises(LedgerDamagedError) as caught:
            import_ledger(store, content.splitlines(keepends=True))
        assert store.head() == EMPTY
        assert store.positions(1, limit=1) == []
    return caught.value.message


def test_a_replica_has_the_same_lines_and_gives_the_same_answers(user: User, export: Path, elsewhere: str) -> None:
    result = user.run("audit", "import", str(export), ledger=elsewhere).done()
    assert "as a read-only replica" in result.stdout
    assert rows(elsewhere) == rows(user.ledger)
    user.answers_as_told(elsewhere)
    assert user.json("audit", "verify", ledger=elsewhere)["intact"]
    life = user.json("deploy", "list")[0]["deployment_id"]
    with closing(opened(elsewhere)) as replica, closing(opened(user.ledger)) as original:
        assert replica.life(life) == original.life(life) is not None


def test_the_originals_checkpoint_proves_positions_of_the_replica(user: User, export: Path, tmp_path: Path) -> None:
    replica, checkpoint = tmp_path / "replica.db", str(tmp_path / "checkpoint")
    user.run("audit", "import", str(export), ledger=replica).done()
    user.run("audit", "checkpoint", "--file", checkpoint).done()
    user.run("audit", "verify", "--against", checkpoint, ledger=replica).done()
    for position in ("1", "7", "30"):
        prove = ("audit", "prove", "--position", position, "--checkpoint", checkpoint)
        assert user.run(*prove, ledger=replica).done().stdout == user.run(*prove).done().stdout


@pytest.mark.parametrize(("format_", "name"), [("csv", "CSV"), ("cloudevents", "CloudEvents")])
def test_an_export_for_other_programs_is_not_called_damaged(
    user: User, tmp_path: Path, elsewhere: str, format_: str, name: str
) -> None:
    path = str(tmp_path / "export")
    user.run("audit", "export", "--format", format_, "--file", path).done()
    error = user.run("audit", "import", path, ledger=elsewhere).failed(3).error
    assert f"❌ this is a {name} export, which cannot be imported\nExport it as JSON lines: " in error
    assert "--format jsonl" in error


def test_nothing_can_be_recorded_in_a_replica(user: User, export: Path, elsewhere: str) -> None:
    user.run("audit", "import", str(export), ledger=elsewhere).done()
    before = head(elsewhere)
    for command in (("deploy", "--image", "nginx:9", "--detach"), ("deploy", "scale", "--replicas", "3")):
        assert "read-only replica of 1ctl.dev/ledger/" in user.run(*command, ledger=elsewhere).failed(3).error
    assert "replica" in user.run("ledger", "backup", "b.db", ledger=elsewhere).failed(3).error
    assert head(elsewhere) == before


def test_an_export_is_read_from_stdin(user: User, export: Path, tmp_path: Path) -> None:
    replica = tmp_path / "replica.db"
    user.run("audit", "import", "-", ledger=replica, stdin=export.read_text()).done()
    assert rows(replica) == rows(user.ledger)


def test_a_redacted_ledger_can_be_exported_imported_and_verified(user: User, tmp_path: Path, elsewhere: str) -> None:
    position = position_of(user, "EnvSet")
    field = "values.A"
    redact = ("--position", str(position), "--field", field, "--reason", "a password", "-y")
    user.run("ledger", "redact", *redact).done()
    export = tmp_path / "redacted.jsonl"
    user.run("audit", "export", "--file", str(export)).done()
    user.run("audit", "import", str(export), ledger=elsewhere).done()
    assert rows(elsewhere) == rows(user.ledger)
    assert user.json("audit", "verify", ledger=elsewhere)["intact"]
    lines = [line for line in export.read_bytes().splitlines(keepends=True) if b'"kind":"Redacted"' not in line]
    assert f"line {position} of the export holds an event that was changed" in refused(
        tmp_path / "cut.db", b"".join(lines)
    )


def test_a_redaction_that_somebody_adds_to_an_export_vouches_for_nothing(user: User, tmp_path: Path) -> None:
    lines = [Row(*row) for row in rows(user.ledger)]
    position, last = position_of(user, "EnvSet"), lines[-1]
    told = lines[position - 1]
    state = orjson.loads(told.state)
    state["data"]["values"]["A"], state["meta"]["salt"] = "evil", ""
    evil = orjson.dumps(state, option=orjson.OPT_SORT_KEYS)
    said = Redacted(
        position=position,
        field="reason",
        old_digest=sha256(told.state).hexdigest(),
        new_digest=sha256(evil).hexdigest(),
        signature=b64encode(bytes(64)).decode(),
    )
    place = (last.position + 1, LEDGER_STREAM.bytes, 99)
    redaction = encode(said, replace(decode(told.topic, told.state)[1], subject=None))
    leaf = leaf_hash(*place, last.recorded_us, "Redacted", redaction)
    lines[position - 1] = told._replace(state=evil)
    lines.append(Row(*place, "Redacted", redaction, last.recorded_us, leaf, chain_hash(last.chain, leaf)))
    origin = orjson.loads(lines[0].state)["data"]["origin"]
    forged = jsonl([Entry(row, orjson.loads(row.state)) for row in lines], origin)
    why = f"line {len(lines)} of the export is a redaction that the ledger's key did not sign"
    assert why in refused(tmp_path / "forged.db", b"".join(forged))


def same(row: Row) -> Row:
    return row


def rehashed(
    user: User, topic: str, change: Callable[[dict[str, Any]], object], place: Callable[[Row], Row] = same
) -> tuple[list[bytes], int]:
    """The lines of an export, had the first event of a topic been another one from the start; and which that is.

    Its place in its stream may be another one, too.
    """
    told = [Row(*row) for row in rows(user.ledger)]
    chosen = position_of(user, topic)
    chain, entries = GENESIS, []
    for row in told:
        state = row.state
        if row.position == chosen:
            document = orjson.loads(state)
            change(document)
            state = orjson.dumps(document)
            row = place(row)  # noqa: PLW2901
        leaf = leaf_hash(row.position, row.stream, row.version, row.recorded_us, row.topic, state)
        chain = chain_hash(chain, leaf)
        entries.append(Entry(row._replace(state=state, leaf=leaf, chain=chain), orjson.loads(state)))
    origin = orjson.loads(told[0].state)["data"]["origin"]
    return list(jsonl(entries, origin)), chosen


ODD: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "data is a text": ("Deployed", lambda event: event.update(data="x")),
    "no deployment id": ("Deployed", lambda event: event["data"].update(deployment_id=None)),
    "a number for an id": ("Deployed", lambda event: event["data"].update(deployment_id=7)),
    "a number for a key": ("Deployed", lambda event: event["data"].update(life_key=1)),
    "true for a number": ("Deployed", lambda event: event["data"].update(release=True)),
    "a huge number": ("Deployed", lambda event: event["data"].update(release=2**63)),
    "no meta": ("EnvSet", lambda event: event.update(meta=None)),
    "a number for a value": ("EnvSet", lambda event: event["data"]["values"].update(A=7)),
    "a list for values": ("EnvSet", lambda event: event["data"].update(values=["A"])),
    "a number for an actor": ("EnvSet", lambda event: event["meta"].update(actor=7)),
    "true for a schema": ("EnvSet", lambda event: event.update(schema=True)),
    "1.0 for a schema": ("EnvSet", lambda event: event.update(schema=1.0)),
    "another field": ("EnvSet", lambda event: event["data"].update(more=1)),
}


@pytest.mark.parametrize("odd", ODD)
def test_what_is_not_the_event_that_its_topic_names_is_refused_with_its_line(
    user: User, tmp_path: Path, odd: str
) -> None:
    topic, change = ODD[odd]
    lines, number = rehashed(user, topic, change)
    assert refused(tmp_path / "r.db", b"".join(lines)).startswith(f"line {number} of the export holds no {topic}")


def unchanged(_: dict[str, Any]) -> None:
    pass


def test_a_version_that_no_store_can_hold_is_refused(user: User, tmp_path: Path) -> None:
    lines, number = rehashed(user, "EnvSet", unchanged, lambda row: row._replace(version=2**63))
    told = refused(tmp_path / "r.db", b"".join(lines))
    assert told == f"line {number} of the export holds what no event can hold"


PLACES: dict[str, tuple[Callable[[Row], Row], str]] = {
    "a version is left out": (lambda row: row._replace(version=row.version + 1), "is not the next of its stream"),
    "a version before the first": (lambda row: row._replace(version=0), "is not the next of its stream"),
    "another stream": (lambda row: row._replace(stream=b"q" * 16, version=1), "lies in another stream"),
    "the ledger's stream": (lambda row: row._replace(stream=LEDGER_STREAM.bytes, version=3), "lies in another stream"),
}


@pytest.mark.parametrize("odd", PLACES)
def test_a_line_that_is_not_where_such_lines_are_is_refused(user: User, tmp_path: Path, odd: str) -> None:
    place, why = PLACES[odd]
    lines, number = rehashed(user, "EnvSet", unchanged, place)
    assert refused(tmp_path / "r.db", b"".join(lines)).startswith(f"line {number} of the export {why}")


def test_a_ledger_that_is_given_two_names_is_refused(user: User, tmp_path: Path) -> None:
    lines, _ = rehashed(user, "LedgerCreated", lambda event: event["data"].update(ledger_id="another"))
    assert refused(tmp_path / "r.db", b"".join(lines)).startswith("line 1 of the export gives the ledger two names")


def test_an_event_of_a_newer_program_is_imported_as_it_is(user: User, tmp_path: Path) -> None:
    lines, _ = rehashed(user, "EnvSet", lambda event: event.update(schema=99, data={"likes": ["what it likes"]}))
    with closing(opened(tmp_path / "r.db")) as store:
        import_ledger(store, lines)
        assert verify_chain(store).damage is None


def test_what_no_program_writes_is_not_taken_for_a_newer_one(user: User, tmp_path: Path) -> None:
    lines, _ = rehashed(user, "EnvSet", lambda event: event.update(schema=99, data=["what it likes"]))
    with closing(opened(tmp_path / "r.db")) as store, pytest.raises(LedgerDamagedError, match="no program writes"):
        import_ledger(store, lines)


@pytest.mark.parametrize("schema", [True, 1.0])
def test_what_only_python_takes_for_the_same_is_another_value(export: Path, tmp_path: Path, schema: object) -> None:
    documents = [{**orjson.loads(line), "schema": schema} for line in export.read_bytes().splitlines()]
    told = refused(tmp_path / "r.db", b"".join(orjson.dumps(document) + b"\n" for document in documents))
    assert told == 'line 1 of the export has a field "schema" that is not what its event says'


def test_of_an_import_that_failed_nothing_is_left(user: User, export: Path, tmp_path: Path) -> None:
    lines = export.read_bytes().splitlines(keepends=True)
    (tmp_path / "cut.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:-9])
    (tmp_path / "place").mkdir()
    user.run("audit", "import", str(tmp_path / "cut.jsonl"), ledger=tmp_path / "place" / "r.db").failed(7)
    assert list((tmp_path / "place").iterdir()) == []


def test_a_ledger_that_was_made_meanwhile_is_not_replaced(user: User, export: Path, tmp_path: Path) -> None:
    place = tmp_path / "r.db"

    def lines() -> Iterator[bytes]:
        yield from export.read_bytes().splitlines(keepends=True)
        shutil.copy(user.ledger, place)

    with closing(opened(place)) as store, pytest.raises(RefusedError, match="not empty"):
        import_ledger(store, lines())
    with closing(opened(place)) as store:
        assert store.instance() is not None
        assert rows(place) == rows(user.ledger)
    assert [path.name for path in tmp_path.iterdir() if "import" in path.name] == []


def test_of_two_imports_into_one_file_at_once_the_later_one_is_refused_and_the_other_is_whole(
    user: User, export: Path, tmp_path: Path
) -> None:
    replica = tmp_path / "replica.db"

    def meanwhile() -> Iterator[bytes]:
        with export.open("rb") as lines:
            yield next(lines)
            with closing(SqliteStore(replica)) as other, pytest.raises(LedgerBusyError, match="at work on"):
                import_ledger(other, export.read_bytes().splitlines())
            yield from lines

    with closing(SqliteStore(replica)) as store:
        import_ledger(store, meanwhile())
    assert rows(replica) == rows(user.ledger)
    assert not list(tmp_path.glob(".replica*"))


def test_only_an_empty_ledger_is_imported_into(user: User, export: Path) -> None:
    before = head(user.ledger)
    assert "not empty" in user.run("audit", "import", str(export)).failed(3).error
    assert head(user.ledger) == before


def test_any_flipped_bit_is_refused_and_its_line_is_named(export: Path, tmp_path: Path) -> None:
    content, chance = export.read_bytes(), random.Random(7)
    for offset in chance.sample(range(len(content)), 60):
        for bit in (0x01, 0x20):
            changed = bytearray(content)
            changed[offset] ^= bit
            line = content.count(b"\n", 0, offset) + 1
            assert f"line {line} " in refused(tmp_path / "r.db", bytes(changed)) + " ", (offset, bit)


def test_lines_that_are_missing_doubled_swapped_or_cut_off_are_refused(export: Path, tmp_path: Path) -> None:
    lines = export.read_bytes().splitlines(keepends=True)
    tried = {
        "line 5 ": [*lines[:4], *lines[5:]],
        "line 6 ": [*lines[:5], *lines[4:]],
        "line 3 ": [*lines[:2], lines[3], lines[2], *lines[4:]],
        f"line {len(lines)} ": [*lines[:-1], lines[-1][:-20]],
        "line 1 ": lines[1:],
        "no events": [],
    }
    for words, changed in tried.items():
        assert words in refused(tmp_path / "r.db", b"".join(changed))


def test_the_exit_code_of_a_damaged_export_is_7(user: User, export: Path, tmp_path: Path) -> None:
    export.write_bytes(export.read_bytes().replace(b"user:2", b"user:8"))
    assert "line " in user.run("audit", "import", str(export), ledger=tmp_path / "r.db").failed(7).error


def test_a_changed_version_is_blamed_on_its_own_line(export: Path, tmp_path: Path) -> None:
    content = export.read_bytes().replace(b'"version":1,', b'"version":2,', 1)
    assert "line 1 of the export holds an event that was changed" in refused(tmp_path / "r.db", content)


@pytest.mark.crash
@dose.not_few("thousands of lines are imported twice")
def test_an_import_that_is_killed_left_nothing_and_can_be_run_again(user: User, tmp_path: Path, elsewhere: str) -> None:
    grow(user.ledger, 4500)
    export = tmp_path / "long.jsonl"
    user.run("audit", "export", "--file", str(export)).done()
    lines = export.read_bytes().splitlines(keepends=True)
    process = user.cli.start("--ledger", elsewhere, "audit", "import", "-", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(b"".join(lines[:4200]))  # more than two pages are in the transaction, or will be soon
    process.stdin.flush()
    process.kill()
    process.communicate()
    assert head(elsewhere) == EMPTY
    user.run("audit", "import", str(export), ledger=elsewhere).done()
    assert rows(elsewhere) == rows(user.ledger)


def test_a_replica_never_touches_the_cluster(user: User, export: Path, tmp_path: Path) -> None:
    replica = tmp_path / "replica.db"
    user.run("audit", "import", str(export), ledger=replica).done()
    cluster = user.root / "home" / "sandbox.db"
    before = cluster.read_bytes()
    status = user.run("deploy", "status", ledger=replica).done()
    assert "only read here" in status.stderr
    for args in (("deploy", "destroy", "-y"), ("deploy", "restart"), ("deploy", "--image", "nginx")):
        assert user.run(*args, ledger=replica).code == 3
    assert cluster.read_bytes() == before
