"""What must hold of a ledger after every fault. Each is stated here once, by searching, without the code it judges.

The numbers are those of docs/reliability.md. A line that contradicts one of them is a `Violation`, which says where.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from cli.exit_codes import ExitCode
from ledger import checkpoint as notes
from ledger.checkpoint import load_signing_key
from ledger.codec import recorded
from ledger.envelope import Recorded
from ledger.errors import OneCtlError
from ledger.events import (
    Deployed,
    Destroyed,
    DomainAssigned,
    DomainClaimed,
    DomainReleased,
    LedgerEvent,
    ObservedEvent,
    RolledBack,
)
from ledger.keys import KeyFiles
from ledger.ledger_key import ledger_key
from ledger.proof import verify_extension, verify_proof
from ledger.proving import checkpoint_now, prove_position, prove_since
from ledger.reader import LedgerReader
from ledger.store import ModelStore, RequestRow, Row
from ledger.verify import verify_chain
from projections.app_list import APP_LIST
from projections.runner import rebuild
from tests.cli_support import Result
from tests.faults.canary import traces
from tests.projections.stores import catch_up

ALL = 1_000_000
OBSERVED = get_args(ObservedEvent)
ABOUT_THE_LEDGER = get_args(LedgerEvent)


class Violation(AssertionError):  # noqa: N818 - a fact about the program, not an error of it
    """An invariant does not hold; its number, and how."""


def hold(condition: object, text: str) -> None:
    """Raises unless the condition is true."""
    if not condition:
        raise Violation(text)


# -- 1. Requests, positions ----------------------------------------------------------------------------------------


def positions_have_no_gap(store: ModelStore) -> Sequence[Row]:
    """1. Every line of the ledger; their positions are 1, 2, 3 ... and the head is the last of them.

    A worker that goes on may record more meanwhile: the head is read before and after, and may have moved in between.
    """
    before = store.head()
    rows = store.positions(-(2**63), limit=ALL)
    after = store.head()
    hold([row.position for row in rows] == list(range(1, len(rows) + 1)), "1: positions have a gap")
    for head in (before, after):
        row = rows[head.position - 1] if 0 < head.position <= len(rows) else None
        kept = row is None or tuple(head) == (row.position, row.recorded_us, row.chain)
        hold(kept, f"1: the head of {head.position} is not what line {head.position} is")
    between = before.position <= len(rows) <= after.position
    hold(between, f"1: the head says {before.position}, then {after.position}, the last line is {len(rows)}")
    return rows


def requests_are_recorded_once(store: ModelStore, *, sent: Collection[str], acknowledged: Collection[str]) -> None:
    """1. An acknowledged request is in the ledger exactly once, any other at most once, and nothing that nobody sent."""
    places = asked_at(lines_of(store))
    for request_id, positions in places.items():
        hold(request_id in sent, f"1: {request_id} was recorded, and nobody sent it")
        first, last = positions[0], positions[-1]
        hold(positions == list(range(first, last + 1)), f"1: {request_id} was recorded more than once, at {positions}")
        row = store.request(request_id)
        hold(row is not None, f"1: {request_id} was recorded, but a repetition would not be recognised")
        assert row is not None
        hold(
            (row.first_position, row.last_position) == (first, last),
            f"1: {request_id} is at {first} to {last}, and known at {row.first_position} to {row.last_position}",
        )
    for request_id in acknowledged:
        hold(request_id in places, f"1: {request_id} was acknowledged and is not in the ledger")
    known = {RequestRow(*row).request_id for row in store.ask("ledger.requests_page", {"after": "", "limit": ALL})}
    hold(known == set(places), f"1: requests known but not recorded, or the reverse: {known ^ set(places)}")


def asked_at(lines: Iterable[Recorded]) -> dict[str, list[int]]:
    """By request id, the positions that it was answered with.

    Facts observed on its behalf are not its answer, and what is only about the ledger itself has no request to repeat.
    """
    places: dict[str, list[int]] = {}
    about_apps: set[str] = set()
    for line in lines:
        if line.envelope.request_id is not None and not isinstance(line.event, OBSERVED):
            places.setdefault(line.envelope.request_id, []).append(line.position)
            if not isinstance(line.event, ABOUT_THE_LEDGER):
                about_apps.add(line.envelope.request_id)
    return {request_id: found for request_id, found in places.items() if request_id in about_apps}


# -- 2. Releases, domains ------------------------------------------------------------------------------------------


def releases_are_consecutive(lines: Sequence[Recorded]) -> None:
    """2. In each life they are 1, 2, 3 ..., one a request."""
    numbers: dict[str, list[int]] = {}
    by_request: dict[tuple[str, str | None], int] = {}
    for line in lines:
        if isinstance(line.event, Deployed | RolledBack):
            life = _life(line)
            numbers.setdefault(life, []).append(line.event.release)
            key = (life, line.envelope.request_id)
            hold(key not in by_request, f"2: request {key[1]} made two releases, at {by_request.get(key)} and later")
            by_request[key] = line.position
    for life, found in numbers.items():
        hold(found == list(range(1, len(found) + 1)), f"2: life {life} has the releases {found}")


def domains_belong_to_one_app(lines: Sequence[Recorded]) -> None:
    """2. At every position a host name is one life's at most, and a life keeps the one it got until it ends."""
    owners: dict[str, str] = {}
    given: dict[str, str] = {}
    for line in lines:
        match line.event:
            case DomainClaimed(domain=domain):
                hold(domain not in owners, f"2: {domain} was claimed again at {line.position}")
                owners[domain] = _life(line)
            case DomainReleased(domain=domain):
                hold(owners.pop(domain, None) == _life(line), f"2: {domain} was released at {line.position} by another")
            case DomainAssigned(domain=domain):
                hold(_life(line) not in given, f"2: life {_life(line)} got another domain at {line.position}")
                hold(domain not in given.values(), f"2: {domain} was assigned twice, again at {line.position}")
                given[_life(line)] = domain
            case _:
                pass
    ended = {_life(line) for line in lines if isinstance(line.event, Destroyed)}
    opened = {life: domain for life, domain in given.items() if life not in ended}
    hold(owners == {domain: life for life, domain in opened.items()}, f"2: claimed {owners}, assigned {opened}")


def _life(line: Recorded) -> str:
    assert line.envelope.subject is not None
    return line.envelope.subject.deployment_id


# -- 3. What is known ----------------------------------------------------------------------------------------------


def read_models_equal_a_fresh_fold(store: ModelStore) -> None:
    """3. Caught up, the rows are those that folding the whole ledger anew gives; compared while nobody appends."""
    while (head := store.head()).position:
        catch_up(store, [APP_LIST])
        kept = _rows(store)
        rebuild(store, APP_LIST)
        anew = _rows(store)
        if store.head() == head:
            hold(kept == anew, f"3: the list was {kept}, folded anew it is {anew}")
            return


def _rows(store: ModelStore) -> list[tuple[object, ...]]:
    return sorted(store.ask("projections.app_list_rows", {}))


@dataclass(frozen=True, slots=True)
class Past:
    """What was answered before a fault: every line, and what was printed for questions about the past.

    Attributes:
        rows: All lines that were there.
        answers: By question, what is answered again (`Result.answer`).
        note: A signed checkpoint of then; None if nothing was recorded.
    """

    rows: tuple[Row, ...] = ()
    answers: tuple[tuple[tuple[str, ...], tuple[int, str]], ...] = ()
    note: bytes | None = None


NO_PAST = Past()


def the_past_is_unchanged(
    store: ModelStore, past: Past, ask: Callable[..., Result], *, only: Collection[int] | None = None
) -> None:
    """3. What was there is there, byte for byte, and questions about it are answered as they were.

    Args:
        store: The ledger.
        past: As it was.
        ask: Runs a command.
        only: Which of the questions to ask, by number; all of them if None.
    """
    rows = store.positions(1, len(past.rows), limit=ALL) if past.rows else []
    hold(tuple(rows) == past.rows, "3: lines that were there are others now")
    for number, (question, answer) in enumerate(past.answers):
        if only is None or number in only:
            result = ask(*question)
            hold(result.answer == answer, f"3: {' '.join(question)} now answers {result.stdout}")


# -- 5. Chain, proofs ----------------------------------------------------------------------------------------------


def chain_verifies(store: ModelStore) -> None:
    """5. `audit verify` has nothing to say, and saw every line."""
    before = store.head().position
    result = verify_chain(store)
    hold(result.damage is None, f"5: {result.damage}")
    _all_of(store, result.events, "checked", at_least=before)


def proofs_verify(store: ModelStore, keys: KeyFiles, *, before: bytes | None = None) -> bytes | None:
    """5. A checkpoint can be signed, first and last line proved, and that it continues an older one; the checkpoint.

    Args:
        store: The ledger; if it is empty there is nothing to prove.
        keys: Where its signing key is.
        before: A checkpoint from before the fault.
    """
    ledger_id = LedgerReader(store).ledger_id()
    if ledger_id is None:
        return None
    try:
        return _proved(store, keys.signing_path(ledger_id), before)
    except OneCtlError as error:
        raise Violation(f"5: {error}") from error


def _proved(store: ModelStore, signing_key: Path, before: bytes | None) -> bytes:
    key = ledger_key(store)
    old = notes.open_note(before, key) if before is not None else None
    lines = store.head().position
    note = checkpoint_now(store, load_signing_key(signing_key), previous=old)
    size = notes.open_note(note, key).size
    _all_of(store, size, "signed", at_least=lines)
    for position in {1, size}:
        proven = verify_proof(prove_position(store, position, note), key)
        hold(proven.entry.position == position, f"5: the proof of {position} is about {proven.entry.position}")
    if old is not None:
        signed = verify_extension(prove_since(store, old, note), old, key)
        hold(signed.size == size, "5: the proof of growth is about another checkpoint")
    return note


def _all_of(store: ModelStore, seen: int, verb: str, *, at_least: int) -> None:
    """Every line was seen; a worker that goes on may record more while somebody looks, so that is between two looks."""
    now = store.head().position
    hold(at_least <= seen <= now, f"5: {verb} {seen} of {at_least} to {now} lines")


# -- 6. Secrets ----------------------------------------------------------------------------------------------------


def canary_is_nowhere(value: str, *, files: Iterable[Path], texts: Mapping[str, str | bytes]) -> None:
    """6. Neither a file nor a text holds the secret, in any encoding it may have been put in.

    Args:
        value: The secret.
        files: Files, and directories with all that is in them.
        texts: Texts by what they are.
    """
    for path in files:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                found = traces(value, file.read_bytes())
                hold(not found, f"6: {file} holds the secret ({found})")
    for name, text in texts.items():
        found = traces(value, text.encode() if isinstance(text, str) else text)
        hold(not found, f"6: {name} holds the secret ({found})")


# -- 7. What was said ----------------------------------------------------------------------------------------------

RECORDED = {ExitCode.ROLLOUT_FAILED, ExitCode.TIMED_OUT, ExitCode.NOT_APPLIED}
NOT_RECORDED = {ExitCode.FAILED, ExitCode.USAGE, ExitCode.REFUSED, ExitCode.DAMAGED}
UNKNOWN = {
    ExitCode.UNKNOWN,
    ExitCode.INTERRUPTED,
    ExitCode.BROKEN_PIPE,
    *(128 + s for s in (signal.SIGTERM, signal.SIGHUP)),
}
SAYS_HOW_TO_FIND_OUT = re.compile(r"1ctl (audit log --request-id|deploy status)|same request id|--request-id")


def end_is_true(result: Result, *, was_recorded: bool, changes: bool = True) -> None:
    """7. Exit code and message say whether the request is in the ledger; no traceback.

    Args:
        result: How the command ended. If a signal ended it without a word, it said nothing that could be wrong, unless
            it had printed a success.
        was_recorded: Whether the request is in the ledger.
        changes: Whether the command records anything at all.
    """
    said = f"{result.command}: {result.code}\n{result.stdout}{result.stderr}"
    hold("Traceback" not in result.stderr and "something unexpected" not in result.stderr, f"7: a traceback: {said}")
    if not changes:
        return
    if says_another_did(result):
        hold(not was_recorded, f"7: it says that nothing is recorded, and it is: {said}")
        return
    if says_done(result):
        hold(was_recorded, f"7: it said that it was done, and nothing is recorded: {said}")
    if result.code in RECORDED or result.code == 0:
        hold(was_recorded, f"7: it says that it is recorded, and it is not: {said}")
    elif result.code in NOT_RECORDED:
        hold(not was_recorded, f"7: it says that it is not recorded, and it is: {said}")
    elif result.code in UNKNOWN and "Nothing was recorded" in result.stderr:
        hold(not was_recorded, f"7: it says that nothing is recorded, and it is: {said}")
    elif result.code in UNKNOWN:
        wordless = result.code == ExitCode.BROKEN_PIPE or not result.stderr
        hold(wordless or SAYS_HOW_TO_FIND_OUT.search(result.stderr), f"7: it does not say how to find out: {said}")
    else:
        hold(result.code < 0, f"7: an exit code that is not in the contract: {said}")


def says_another_did(result: Result) -> bool:
    """Whether it told that the app had been destroyed by another request, so that nothing was recorded of this one."""
    return "Another request has destroyed it" in result.stderr


def says_done(result: Result) -> bool:
    """Whether it told of a step that is taken after the request was recorded."""
    return bool(re.search(r"^(✅|Step \d/5)", result.stdout, re.MULTILINE))


# -- All of them ---------------------------------------------------------------------------------------------------


def lines_of(store: ModelStore) -> list[Recorded]:
    """Every event with its envelope."""
    return [recorded(row) for row in store.positions(1, limit=ALL)]


def ledger_is_whole(store: ModelStore, keys: KeyFiles, past: Past = NO_PAST) -> None:
    """1, 2, 3 and 5, as far as they need not know who asked for what."""
    rows = positions_have_no_gap(store)
    chain_verifies(store)
    lines = [recorded(row) for row in rows]
    releases_are_consecutive(lines)
    domains_belong_to_one_app(lines)
    read_models_equal_a_fresh_fold(store)
    proofs_verify(store, keys, before=past.note)
