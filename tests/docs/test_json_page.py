"""docs/json.md names every key of every document, with its type, and no other.

What commands print is in golden files, which `tests/cli/test_json.py` makes by running them; documents that those do not
show are made here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from effects.cluster import LEDGER_LABEL, LIFE_LABEL, Ref
from tests.cli.test_json import FOLDER, shape
from tests.cli_support import ROOT, Cli, commands, tamper, write_toml

PAGE = (ROOT / "docs" / "json.md").read_text()
PATHS = {path for path in commands() if path}

DRY_RUN = "--dry-run"
FREE = {"data", "events[].data", "configuration.set", "configuration.in_pods", "fingerprints"}
"""Objects whose keys are the user's, or those of an event."""
ELSEWHERE = {"completion"}
"""Commands with a format of their own, which is described where it belongs."""
NOT_ON_THE_SANDBOX = {"ledger migrate", "worker replay"}
"""Commands that need a database or another cluster."""

Keys = Mapping[str, str]
"""Types by path: ``key_values[].key``."""


@cache
def sections() -> Mapping[str, Keys]:
    """The keys that the page shows for each command; under `--dry-run` those of a plan."""
    found: dict[str, Keys] = {DRY_RUN: dict(_rows(PAGE.split("\n## ")[0]))}
    for heading, text in re.findall(r"^### ([^\n]+)\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE):
        for command in re.findall(r"`([^`]+)`", heading):
            found[command] = dict(_rows(text))
    return found


def _rows(text: str) -> Iterator[tuple[str, str]]:
    for names, types in re.findall(r"^\| (`[^|]+`) \| ([^|]*) \|", text, re.MULTILINE):
        keys, kinds = re.findall(r"`([^`]+)`", names), types.strip().split(", ")
        yield from zip(keys, kinds if len(kinds) == len(keys) else kinds * len(keys), strict=True)


def flat(shaped: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Paths and types of a document's shape, as `shape` makes it."""
    if isinstance(shaped, list):
        if path:
            yield path, "array"
        for each in shaped:
            yield from flat(each, f"{path}[]" if path else "")
    elif isinstance(shaped, dict):
        if path and not path.endswith("[]"):
            yield path, "object"
        for key, each in () if path in FREE else shaped.items():
            yield from flat(each, f"{path}.{key}" if path else key)
    elif not path.endswith("[]"):
        yield path, shaped


def shown(section: str, printed: Mapping[str, list[Any]]) -> dict[str, set[str]]:
    """The types that a section's documents have, by key."""
    found: dict[str, set[str]] = {}
    for document in printed[section]:
        for path, kind in flat(document):
            found.setdefault(path, set()).add(kind)
    return found


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """The shapes of each command's documents."""
    found: dict[str, list[Any]] = {section: [] for section in sections()}
    for path in sorted(FOLDER.glob("*.json")):
        words = path.stem.split("-")
        end = next(end for end in range(len(words), 0, -1) if _named(words[:end]) is not None)
        section = DRY_RUN if path.stem.endswith("dry-run") else " ".join(_named(words[:end]) or ())
        found[section].append(json.loads(path.read_text()))
    for section, document in _more(tmp_path_factory.mktemp("documents")):
        found[section].append(shape(document))
    return found


def _named(words: list[str]) -> tuple[str, ...] | None:
    return next((path for path in PATHS if "-".join(path) == "-".join(words)), None)


def _more(base: Path) -> Iterator[tuple[str, Any]]:
    write_toml(base / "svc", "user-service")
    cli = Cli(base / "home", base / "svc")

    def run(*args: str, code: int = 0) -> Any:
        done = cli.run("-o", "json", *args)
        assert done.code == code, done
        return done.json

    yield "deploy releases", run("deploy", "--image", "nginx:1", "--wait") and run("deploy", "releases")
    run("env", "create", "--env", "A=b")
    assert cli.run("-o", "json", "deploy", "--image", "broken:2", "--wait").code == 4
    run("deploy", "mark-bad", "2", "--reason", "loses orders")
    run("deploy", "mark-bad", "1", "--undo", "--reason", "never was")
    yield "deploy diff", run("deploy", "diff", "1", "2")
    run("deploy", "rollback", "-y")
    yield "deploy releases", run("deploy", "releases")
    yield "deploy rollback", run("deploy", "rollback", "--version", "1", "-y")
    yield DRY_RUN, run("deploy", "restart", "--dry-run")

    cluster = cli.cluster()
    service = Ref("Service", "default", "user-service")
    seen = cluster.look(service, ledger_id="")
    assert seen is not None
    cluster.delete(service, uid=seen.uid)
    ours = {LEDGER_LABEL: run("ledger", "status")["ledger_id"]}
    for name, labels in (("stray", {**ours, LIFE_LABEL: "unknown"}), ("unlabelled", ours)):
        metadata = {"name": name, "namespace": "default", "labels": labels}
        cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}, manager="late", expect=None)
    cluster.close()
    yield "deploy diff live", run("deploy", "diff", "live")
    yield "ledger orphans", run("ledger", "orphans")

    yield "audit checkpoint", run("audit", "checkpoint")
    cli.run("audit", "checkpoint", "--file", str(base / "note")).done()
    yield "audit verify", run("audit", "verify", "--against", str(base / "note"))
    proof = run("audit", "prove", "--position", "3")
    yield "audit prove", proof
    (base / "proof").write_text(proof["proof"])
    key = run("audit", "log", "--kind", "LedgerCreated")[0]["data"]["verification_key"]
    yield "audit verify-proof", run("audit", "verify-proof", str(base / "proof"), "--key", key)
    since = run("audit", "prove", "--since", str(base / "note"))
    yield "audit prove", since
    (base / "since").write_text(since["proof"])
    yield (
        "audit verify-proof",
        run("audit", "verify-proof", str(base / "since"), "--key", key, "--old", str(base / "note")),
    )
    yield "audit witness-key", run("audit", "witness-key", str(base / "w.key"), "--name", "w.example/1")
    (base / "w").mkdir()
    witness = ("audit", "witness", str(base / "w"), "--key", key, "--accept", str(base / "note"))
    yield "audit witness", run(*witness)
    yield "audit witness", run(*witness, "--cosign", str(base / "w.key"), "--file", str(base / "cosigned"))
    (base / "w.pub").write_text(run("audit", "witness-key", str(base / "w.key"))["key"])
    cosigned = run("audit", "prove", "--position", "3", "--checkpoint", str(base / "cosigned"))
    (base / "proof").write_text(cosigned["proof"])
    check = ("audit", "verify-proof", str(base / "proof"), "--key", key)
    yield "audit verify-proof", run(*check, "--witness", str(base / "w.pub"))
    yield "ledger roles", run("ledger", "roles")

    other = cli.having(ONECTL_LEDGER="other.db")  # what the first one made is in its way
    other.run("deploy", "--image", "nginx:1", "--detach").done()
    other.run("deploy", "status").failed(8)
    yield "worker retry", other.run("-o", "json", "worker", "retry", "--all").failed(8).json

    run("deploy", "destroy", "-y")
    yield "deploy list", run("deploy", "list", "--all")
    tamper(cli.ledger, "UPDATE stored_events SET state = '{}' WHERE notification_id = 3")
    yield "audit verify", run("audit", "verify", code=7)


def test_every_command_has_its_section() -> None:
    groups = {path[:-1] for path in PATHS} - {("deploy",)}
    ends = {" ".join(path) for path in PATHS - groups}
    assert sections().keys() - {DRY_RUN, "deploy diff live"} == ends - ELSEWHERE


@pytest.mark.parametrize("section", [each for each in sections() if each not in NOT_ON_THE_SANDBOX])
def test_a_section_has_every_key_with_its_type_and_no_other(section: str, printed: dict[str, list[Any]]) -> None:
    together = [each for each, keys in sections().items() if keys == sections()[section]]
    found: dict[str, set[str]] = {}
    for each in together:
        for path, kinds in shown(each, printed).items():
            found[path] = found.get(path, set()) | kinds
    page = dict(sections()[section])
    if section == DRY_RUN:  # of `secret rotate-keys` only
        identities = {path: kind for path, kind in sections()["ledger status"].items() if path.startswith("identities")}
        page |= {"rewrapped": "number", "left": "number", **identities}

    assert found.keys() - page.keys() == set()
    assert {path for path in page.keys() - found.keys() if not _inside_what_was_empty(path, found)} == set()
    for path, kinds in found.items():
        assert kinds <= set(page[path].replace(" or ", " ").split()) or page[path] == "any", (path, kinds)


def _inside_what_was_empty(path: str, found: Mapping[str, set[str]]) -> bool:
    """Whether it is a part of something that no document has anything in."""
    outer = re.sub(r"(\[\])?\.[^.]+$", "", path)
    inside = [other for other in found if other.startswith((f"{outer}.", f"{outer}[]"))]
    return outer != path and outer in found and not inside


def test_what_follows_is_json_lines(tmp_path: Path) -> None:
    """One document a line, with the keys of the section."""
    write_toml(tmp_path / "svc", "user-service")
    cli = Cli(tmp_path / "home", tmp_path / "svc")
    cli.run("deploy", "--image", "nginx:1", "--wait").done()
    for args, section in (
        (("deploy", "events", "--follow", "--limit", "2"), "deploy events"),
        (("audit", "log", "--follow", "--limit", "2"), "audit log"),
        (("deploy", "status", "--watch"), "deploy status"),
    ):
        process = cli.start("-o", "json", *args)
        assert process.stdout is not None
        line = process.stdout.readline()
        process.kill()
        process.communicate()
        assert set(json.loads(line)) == {key for key in sections()[section] if "." not in key}
