"""``-o json``: one document on stdout, whatever is said to a person meanwhile; its shape is frozen in golden files."""

from __future__ import annotations

import json
import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.exit_codes import ExitCode
from effects.sandbox import SandboxCluster
from tests.cli_support import GOLDEN, ID, ROOT, Cli, Result, commands, compare_golden, match, query, tamper, write_toml

FOLDER = GOLDEN / "json"
PAGE = (ROOT / "docs" / "json.md").read_text()

WITHOUT_DOCUMENT = {("audit", name) for name in ("checkpoint", "prove", "verify-proof", "witness", "witness-key")} | {
    ("ledger", "migrate"),
    ("ledger", "roles"),
    ("worker", "replay"),
    ("completion",),
}
"""Commands whose output has a format of its own, or that are about a database or a cluster."""


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """Each command's document, by the words it is called with; an app with everything set."""
    base = tmp_path_factory.mktemp("json")
    write_toml(base / "svc", "user-service", more='replicas = 2\nhealth_path = "/healthz"\nimage_pull_secret = "reg"\n')
    cli = Cli(base / "home", base / "svc")
    found: dict[str, Result] = {}

    def run(name: str, *args: str, input: str | None = None) -> None:  # noqa: A002
        found[name] = cli.run("-o", "json", *args, input=input).done()

    run("deploy", "deploy", "--image", "nginx:1", "--machine", "node-1", "--env", "A=b", "--reason", "first", "--wait")
    run("secret create", "secret", "create", "--key", "TOKEN", input="value\n")
    run("secret unset", "secret", "unset", "--key", "TOKEN")
    run("secret create again", "secret", "create", "--kv", "TOKEN=value")
    run("env create", "env", "create", "--env", "C=d")
    run("env unset", "env", "unset", "--key", "A")
    run("env list", "env", "list")
    run("secret list", "secret", "list")
    run("deploy restart", "deploy", "restart")
    run("deploy scale", "deploy", "scale", "--replicas", "3")
    # Its pods never become ready, however long the commands after it take.
    run("deploy detached", "deploy", "--image", "held:2", "--detach")
    run("deploy status", "deploy", "status")
    run("deploy get", "deploy", "get")
    run("deploy list", "deploy", "list")
    run("deploy list wide", "deploy", "list", "--wide")
    run("deploy releases", "deploy", "releases")
    run("deploy diff", "deploy", "diff", "1", "2")
    run("deploy blame", "deploy", "blame")
    run("deploy rollback no", "deploy", "rollback", "--version", "1", input="n\n")
    run("deploy rollback", "deploy", "rollback", "--version", "1", "-y")
    run("deploy mark-bad", "deploy", "mark-bad", "2", "--reason", "loses orders")
    run("deploy events", "deploy", "events")
    run("secret purge no", "secret", "purge", "TOKEN", input="n\n")
    run("secret purge", "secret", "purge", "TOKEN", "-y", "--reason", "leaked")
    cli.run("env", "create", "--env", "D=e").done()  # set, and not read by pods
    first, last = query(
        cli.ledger, "SELECT min(notification_id), max(notification_id) FROM stored_events WHERE topic = 'EnvSet'"
    )[0]
    redact = ["ledger", "redact", "--reason", "a password"]
    run("ledger redact dry-run", *redact, "--position", str(last), "--field", "values.D", "--dry-run")
    run("ledger redact no", *redact, "--position", str(first), "--field", "values.A", input="n\n")
    run("ledger redact", *redact, "--position", str(first), "--field", "values.A", "-y")
    run("secret rotate-keys no", "secret", "rotate-keys", input="n\n")
    run("secret rotate-keys dry-run", "secret", "rotate-keys", "--dry-run")
    run("secret rotate-keys", "secret", "rotate-keys", "-y")
    run("ledger status", "ledger", "status")
    run("ledger rebuild", "ledger", "rebuild")
    run("ledger backup", "ledger", "backup", str(base / "backup.db"))
    run("ledger restore no", "ledger", "restore", str(base / "backup.db"), input="n\n")
    run("ledger restore as-it-is no", "ledger", "restore", "--accept-loss", input="n\n")
    run("ledger restore", "ledger", "restore", str(base / "backup.db"), "-y")
    run("audit export", "audit", "export", "--file", str(base / "ledger.jsonl"))
    run("audit import", "--ledger", str(base / "replica.db"), "audit", "import", str(base / "ledger.jsonl"))
    run("audit log", "audit", "log")
    run("audit verify", "audit", "verify")
    run("deploy destroy no", "deploy", "destroy", input="n\n")
    run("deploy destroy", "deploy", "destroy", input="y\n")
    run("deploy restore", "deploy", "restore", "--without-secrets")
    run("ledger orphans", "ledger", "orphans")
    run("worker status", "worker", "status")
    run("worker retry", "worker", "retry")
    run("worker run", "worker", "run", "--once")
    run("worker enable", "worker", "enable")
    run("worker disable no", "worker", "disable", input="n\n")
    run("worker disable", "worker", "disable", "-y")
    other = ["--config", str(write_toml(base / "other", "other"))]
    run("deploy adopt", "deploy", "adopt", "service/other", "--uid", theirs(cli), "--reason", "made by hand", *other)
    run("ledger copy", "ledger", "copy", "--to", str(base / "moved.db"))
    run("profile create", "profile", "create", "prod", "--context", "ctx", "--namespace", "shop")
    run("profile use", "profile", "use", "prod")
    run("profile list", "profile", "list")
    run("profile current", "profile", "current")
    run("profile delete", "profile", "delete", "prod")
    return found


def theirs(cli: Cli) -> str:
    """The uid of a Service that somebody else made."""
    cluster = cli.cluster()
    metadata = {"name": "other", "namespace": "default"}
    spec = {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "selector": {"app": "theirs"}}
    manifest = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
    seen = cluster.apply(manifest, manager="theirs", expect=None)
    cluster.close()
    return seen.uid


def shape(value: Any) -> Any:
    """Types in place of values; of an array, each different shape of its elements once."""
    match value:
        case dict():
            return {key: shape(each) for key, each in value.items()}
        case list():
            shapes = {json.dumps(shape(each)): shape(each) for each in value}
            return [shapes[text] for text in sorted(shapes)]
        case None:
            return "null"
        case _:
            return {bool: "boolean", int: "number", float: "number", str: "string"}[type(value)]


def test_every_command_has_a_document(documents: dict[str, Result]) -> None:
    groups = {path[:-1] for path in commands()} - {("deploy",)}
    ends = {path for path in commands() if path not in groups} - WITHOUT_DOCUMENT
    assert {" ".join(path) for path in ends} <= documents.keys()


def test_the_shape_of_every_document_is_that_of_its_golden_file(documents: dict[str, Result]) -> None:
    for name, result in documents.items():
        compare_golden(FOLDER / f"{name.replace(' ', '-')}.json", json.dumps(shape(result.json), indent=2) + "\n")


def test_every_golden_file_has_its_command(documents: dict[str, Result]) -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {name.replace(" ", "-") for name in documents}


def test_stdout_is_the_document_and_nothing_else(documents: dict[str, Result]) -> None:
    for result in documents.values():
        assert result.stdout == json.dumps(result.json, indent=2, ensure_ascii=False) + "\n", result.command


def test_what_a_person_reads_goes_to_stderr(documents: dict[str, Result]) -> None:
    deploy = documents["deploy"]
    assert "Step 5/5: Configuring public routing and dependencies user-service ✓\n" in deploy.stderr
    assert "✅ Deployment is healthy — pods Running\n" in deploy.stderr
    assert "[y/N]: " in documents["deploy destroy"].stderr
    assert "TOKEN: " not in documents["secret create"].stdout


@pytest.mark.parametrize("name", ["deploy list", "deploy releases", "env list", "secret list", "profile list"])
def test_lists_are_arrays(documents: dict[str, Result], name: str) -> None:
    assert isinstance(documents[name].json, list)
    assert documents[name].json


def test_releases_come_newest_first(documents: dict[str, Result]) -> None:
    found = documents["deploy releases"].json
    assert [(each["version_number"], each["status"]) for each in found] == [(2, "active"), (1, "superseded")]


def test_a_list_has_no_domain_and_a_get_has_its_url(documents: dict[str, Result]) -> None:
    (listed,), got = documents["deploy list"].json, documents["deploy get"].json
    assert "domain" not in listed
    assert got["domain"].startswith("https://")
    assert got["deployment_id"] == listed["deployment_id"]


def test_configuration_has_keys_and_never_a_secrets_value(documents: dict[str, Result]) -> None:
    (environment,), (secrets,) = documents["env list"].json, documents["secret list"].json
    assert [(each["key"], each["value"]) for each in environment["key_values"]] == [("C", "d")]
    assert "TOKEN" in json.dumps(secrets)
    assert "value" not in json.dumps(secrets).replace("key_values", "")


NO = {
    "deploy destroy": "destroyed",
    "deploy rollback": "rolled_back",
    "ledger redact": "redacted",
    "ledger restore": "restored",
    "secret purge": "purged",
    "secret rotate-keys": "rotated",
    "worker disable": "disabled",
}
"""By command that asks, the key that says whether it was done."""


@pytest.mark.parametrize(("command", "key"), NO.items())
def test_a_no_at_the_prompt_is_a_document_too(documents: dict[str, Result], command: str, key: str) -> None:
    said = documents[f"{command} no"]
    assert said.json[key] is False
    assert said.json.keys() <= {key, "deployment_id", "cluster", "request_id", "repeated"}
    assert said.stderr.endswith("💡 Aborted.\n")
    assert documents[command].json[key] is True
    assert f'`"{key}": false`' in PAGE


def test_a_ledger_that_lost_lines_and_is_not_given_up_is_told_likewise(documents: dict[str, Result]) -> None:
    assert documents["ledger restore as-it-is no"].json == {"restored": False}


def every_context_is_an_empty_cluster() -> None:
    """From now on whatever a kubeconfig names is a simulated cluster, with nothing in it."""
    from effects.kubernetes_cluster import KubernetesCluster

    def connect(**_: object) -> Any:
        return closing(SandboxCluster.open(Path("another.db"), startup_seconds=0))

    KubernetesCluster.connect = connect  # type: ignore[method-assign]


def test_a_replay_that_is_not_wanted_is_a_document_too(deployed: Cli) -> None:
    elsewhere = replace(deployed, change=f"{__name__}:{every_context_is_an_empty_cluster.__name__}")
    said = elsewhere.run("-o", "json", "worker", "replay", "--context", "new", input="n\n").done()
    assert said.json == {"replayed": False}
    assert said.stderr.endswith("💡 Aborted.\n")
    assert '`"replayed": false`' in PAGE


def test_every_change_tells_its_request_id(documents: dict[str, Result]) -> None:
    for name in ("deploy", "env create", "secret create", "deploy scale", "deploy restart", "deploy destroy"):
        match(ID, documents[name].json["request_id"])


@pytest.mark.parametrize("command", ["deploy list", "profile list", "audit log"])
def test_nothing_to_list_is_an_empty_array(cli: Cli, command: str) -> None:
    assert cli.run(*command.split(), "-o", "json").done().stdout == "[]\n"


@pytest.mark.parametrize("command", ["env list", "secret list"])
def test_nothing_set_is_an_empty_array(deployed: Cli, command: str) -> None:
    assert deployed.run("-o", "json", *command.split()).done().stdout == "[]\n"


@pytest.mark.parametrize(
    "args",
    [
        ["-o", "json", "deploy", "get"],
        ["--output=json", "deploy", "get"],
        ["deploy", "-o", "json", "get"],
        ["deploy", "get", "-o", "json"],
        ["deploy", "get", "--output", "json"],
        ["deploy", "get", "--output=json"],
        ["deploy", "get", "-ojson"],
        ["-o", "table", "deploy", "get", "-o", "json"],
        ["app", "get", "-o", "json"],
    ],
)
def test_the_option_may_stand_anywhere(deployed: Cli, args: list[str]) -> None:
    assert deployed.run(*args).done().json["app_label"] == "user-service"


def test_the_option_may_stand_after_deploy(cli: Cli) -> None:
    assert cli.run("deploy", "--image", "nginx", "-o", "json").done().json["release"] == 1


@pytest.mark.parametrize(
    "args", [["-o", "x", "deploy", "list"], ["deploy", "list", "--output=x"], ["deploy", "--output", "x", "list"]]
)
def test_another_format_is_refused(cli: Cli, args: list[str]) -> None:
    assert cli.run(*args).failed(2).error.startswith('❌ invalid --output "x": expected table or json\n')


# A failure has a document, too


def error_of(result: Result) -> dict[str, Any]:
    """The document of an error, which says what stderr says."""
    (name, error), *more = result.json.items()
    assert (name, more) == ("error", [])
    assert list(error) == ["code", "name", "message", "hint", "request_id"]
    assert error["code"] == result.code
    assert error["name"] == ExitCode(result.code).name
    said = [f"❌ {error['message']}", *(error["hint"] or "").splitlines()]
    assert result.error.splitlines() == said
    return error  # type: ignore[no-any-return]


def test_a_refusal_is_a_document(cli: Cli) -> None:
    refused = error_of(cli.run("-o", "json", "deploy", "get").failed(3))
    assert refused["name"] == "REFUSED"
    assert refused["request_id"] is None
    assert "Run '1ctl deploy' first" in refused["hint"]


def test_a_refused_request_is_named(deployed: Cli) -> None:
    refused = deployed.run("-o", "json", "deploy", "--image", "a b", "--request-id", "r-1").failed(3)
    assert error_of(refused)["request_id"] == "r-1"


def test_what_is_recorded_and_not_applied_has_the_document_of_what_was_recorded(deployed: Cli) -> None:
    lying = replace(deployed, change="tests.cli.test_terminal:an_api_server_that_lies")
    failed = lying.run("-o", "json", "deploy", "scale", "--replicas", "2", "--request-id", "r-2").failed(8).json
    assert (failed["replicas"], failed["request_id"]) == (2, "r-2")
    assert "error" not in failed


@pytest.mark.parametrize(
    "args",
    [
        ("-o", "json", "deploy", "--nonsense"),
        ("deploy", "--nonsense", "-o", "json"),
        ("deploy", "lst", "--output=json"),
        ("-ojson", "deploy", "--replicas", "many"),
        ("-o", "json", "deploy", "destroy"),
    ],
    ids=" ".join,
)
def test_a_command_line_that_is_not_understood_is_a_document_as_well(deployed: Cli, args: tuple[str, ...]) -> None:
    result = deployed.run(*args).failed(2)
    assert (result.json["error"]["name"], result.json["error"]["request_id"] is None) == (
        "USAGE",
        args[-1] != "destroy",
    )


@pytest.mark.parametrize(
    "args",
    [
        ("deploy", "--nonsense"),
        ("deploy", "--reason", "-o json", "--nonsense"),
        ("deploy", "--nonsense", "--", "-o", "json"),
    ],
    ids=" ".join,
)
def test_who_did_not_ask_for_json_gets_none(cli: Cli, args: tuple[str, ...]) -> None:
    assert cli.run(*args).failed(2).stdout == ""


def test_a_name_that_is_no_utf_8_does_not_spoil_the_document(cli: Cli) -> None:
    refused = cli.run("-o", "json", "deploy", "--config", "b\udcff.toml").failed(2)
    assert "not UTF-8" in refused.json["error"]["message"]


def test_an_error_after_the_document_adds_no_other(deployed: Cli) -> None:
    tamper(deployed.ledger, "UPDATE stored_events SET state = '{}' WHERE topic = 'Deployed'")
    assert deployed.run("-o", "json", "audit", "verify").failed(7).json["intact"] is False
    (cli := deployed.within(deployed.cwd.parent / "other")).cwd.mkdir()
    write_toml(cli.cwd, "other")
    assert cli.run("-o", "json", "deploy", "--image", "broken:2", "--wait").failed(4).json["release"] == 1


def test_an_export_is_never_mixed_with_an_error(deployed: Cli) -> None:
    tamper(deployed.ledger, "UPDATE stored_events SET leaf = 'x' WHERE topic = 'Deployed'")
    assert '"error"' not in deployed.run("-o", "json", "audit", "export").failed(7).stdout
    refused = deployed.run("-o", "json", "audit", "export", "--format", "xml").failed(2)
    assert refused.stdout == ""
    named = deployed.run("-o", "json", "audit", "export", "--format", "xml", "--file", "x").failed(2)
    assert error_of(named)["name"] == "USAGE"


def test_an_error_that_nobody_reads_keeps_its_code(cli: Cli) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with cli.start("-o", "json", "deploy", "get", stdout=writer) as process:
        os.close(writer)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 3
    assert b"Run '1ctl deploy' first" in stderr
    assert b"BrokenPipe" not in stderr
