"""docs/configuration.md names every key, field and variable that the program knows, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli import origin, satusky_toml
from cli.profiles import DEFAULT_DOMAIN_SUFFIX, DEFAULT_GATEWAY, Profile
from ledger.spec import Spec
from tests.cli_support import ROOT, Cli, write_toml

PAGE = (ROOT / "docs" / "configuration.md").read_text()


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """A user in the directory of an app that is not deployed."""
    write_toml(tmp_path / "svc", "user-service")
    return Cli(tmp_path / "home", tmp_path / "svc")


def section(name: str) -> str:
    return PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]


def rows(text: str) -> dict[str, list[str]]:
    """The cells of a table's lines by what the first one holds in backticks."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:2] == "| "]
    return {cells[0].strip("`"): cells[1:] for cells in lines[1:]}


def test_every_key_of_the_file_is_there_with_its_type_and_default() -> None:
    shown = rows(section("satusky.toml"))
    assert list(shown) == list(satusky_toml._CHECKS)
    spec = Spec(image="nginx")
    for key, (kind, default, _) in shown.items():
        assert kind == ("number" if key in satusky_toml._NUMBERS else "text")
        assert default == ("" if key == "name" else str(getattr(spec, key) or "none"))


def test_the_example_of_the_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "satusky.toml").write_text(section("satusky.toml").split("```toml\n")[1].split("```")[0])
    assert satusky_toml.read(tmp_path / "satusky.toml").name == "user-service"


def test_every_field_of_a_profile_is_there_with_its_option_and_variable() -> None:
    shown = rows(section("Profiles"))
    assert tuple(shown) == Profile._fields
    for field, (option, variable, *_) in shown.items():
        assert (option, variable) == (f"`--{field.replace('_', '-')}`", f"`ONECTL_{field.upper()}`")
    assert [shown[field][-1] for field in ("domain_suffix", "gateway")] == [
        f"`{DEFAULT_DOMAIN_SUFFIX}`",
        f"`{DEFAULT_GATEWAY}`",
    ]


def test_the_example_of_profiles_is_what_is_written(cli: Cli) -> None:
    cli.run("profile", "create", "prod", "--context", "my-cluster", "--namespace", "shop").done()
    cli.run("profile", "use", "prod").done()
    shown = section("Profiles").split("```json\n")[1].split("```")[0]
    assert (cli.home / "profiles.json").read_text() == shown


def test_every_variable_of_continuous_integration_is_there_in_its_order() -> None:
    named = re.findall(r"`([A-Z_]+)`", section("Who is recorded"))
    github = ["GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID"]
    assert named == ["ONECTL_ACTOR", *origin._CI_ACTORS, *github, *origin._CI_RUNS]


def test_every_file_of_a_home_is_in_the_list_of_operations(cli: Cli, tmp_path: Path) -> None:
    cli.run("deploy", "--image", "nginx:1").done()
    cli.run("secret", "create", input="A=b\n").done()
    cli.run("secret", "rotate-keys", "-y").done()
    cli.run("audit", "prove", "--position", "1", "--file", str(tmp_path / "proof")).done()
    cli.run("ledger", "backup", str(tmp_path / "backup.db")).done()
    cli.run("ledger", "restore", str(tmp_path / "backup.db"), "-y").done()
    cli.run("worker", "run", "--once").done()
    cli.run("profile", "create", "prod", "--context", "my-cluster", "--namespace", "shop").done()

    text = (ROOT / "docs" / "operations.md").read_text().split("## Where files lie\n")[1].split("\n## ")[0]
    listed = set(re.findall(r"`((?:ledgers|keys|checkpoints)/[^`]+|[a-z]+\.(?:json|db))`", text))
    found = {_general(path.relative_to(cli.home)) for path in cli.home.rglob("*") if path.is_file()}
    assert found - listed == set()
    assert listed - found <= {"ledgers/NAME.db-wal", "ledgers/NAME.db-shm", "ledgers/NAME.db-journal"}


def _general(path: Path) -> str:
    """The name as the list has it, with words for what differs from home to home."""
    name = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "LEDGER-ID", str(path))
    name = re.sub(r"^ledgers/sandbox\.db", "ledgers/NAME.db", name)
    return re.sub(r"(?<=before-).+$", "TIME", name).replace("worker-sandbox", "worker-CLUSTER")
