"""The documents say what the code does: their examples are run, their tables and links compared with the tree."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from ledger.events import SCHEMA_VERSIONS
from tests.docs import command_lines

ROOT = Path(__file__).parents[2]
PACKAGES = ("ledger", "projections", "effects", "cli")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
ADRS = sorted(path.name for path in (ROOT / "docs" / "adr").glob("[0-9]*.md"))

OF_THE_SOAK = {"--apps", "--commands", "--faults"}
"""Options that documents name and that are not those of `1ctl`."""

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_END = "-- end of a command --"


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _commands(text: str) -> list[tuple[str, str]]:
    """Every command of the console blocks and the output shown for it."""
    found: list[tuple[str, list[str]]] = []
    for block in _BLOCK.findall(text):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return [(command, "\n".join(shown)) for command, shown in found]


_VARYING = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<id>"),
    (r"\b[a-z]+-[0-9a-z]{7}\.satusky\.com", "<domain>"),
    (r"\d+ events, head [0-9a-f]{16}\b", "<n> events, head <hash>"),
    (r"@\d+\b", "@<n>"),
    (r"\b[0-9a-f]{64}\b", "<hash>"),
    (r"\bpositions 1 to \d+", "positions 1 to <n>"),
    (r"\bposition \d+", "position <n>"),
    (r"just now|\d+ seconds? ago", "<age>"),
    (r"(?m)^💡 Deployment status: NotReady \(\d+ pct\)\n", ""),  # whether it is seen is a matter of time
    (r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})", "<time>"),
    (r"(?m)^\d+ +(?=<time>)", "<n> "),
)


def _normal(text: str) -> str:
    for pattern, name in _VARYING:
        text = re.sub(pattern, name, text)
    return text


def _run(commands: list[str], directory: Path) -> list[str]:
    """What each command prints, stderr included, all of them in one shell."""
    script = "exec 2>&1 < /dev/null\n" + "\n".join(
        f"{command}\ncode=$?; printf '%s\\n' {shlex.quote(_END)}; (exit $code)" for command in commands
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ONECTL_")}
    environment = {
        **clean,
        "HOME": str(directory),
        "ONECTL_ACTOR": "ana",
        "ONECTL_HOME": str(directory / "home"),
        "ONECTL_SANDBOX_SECONDS": "0.3",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "NO_COLOR": "1",
    }
    done = subprocess.run(
        ["bash", "-c", script], cwd=directory, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return [part.strip("\n") for part in done.stdout.split(f"{_END}\n")[:-1]]


@pytest.mark.parametrize("document", [path for path in DOCUMENTS if _BLOCK.search(path.read_text())], ids=_name)
def test_console_blocks_print_what_they_show(document: Path, tmp_path: Path) -> None:
    commands = _commands(document.read_text())

    printed = _run([command for command, _ in commands], tmp_path)

    seen = [f"$ {command}\n{_normal(output)}" for (command, _), output in zip(commands, printed, strict=True)]
    assert seen == [f"$ {command}\n{_normal(shown)}" for command, shown in commands]


def test_there_are_console_blocks_to_run() -> None:
    assert len(_commands((ROOT / "README.md").read_text())) >= 8


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_links_lead_somewhere(document: Path) -> None:
    dead = [link for link in _links(document.read_text()) if not _resolves(document, link)]

    assert dead == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_commands_that_documents_show_or_name_exist_with_their_options(document: Path) -> None:
    text = document.read_text()
    faults = {line: command_lines.fault(line) for line in (*command_lines.shown(text), *command_lines.named(text))}

    assert {line: fault for line, fault in faults.items() if fault is not None} == {}
    assert set(command_lines.options(text)) - command_lines.known_options() - OF_THE_SOAK == set()


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("1ctl deploy --at-release 1", "1ctl deploy has no option --at-release"),
        ("1ctl -p prod deploy list --limit 3 | jq .", None),
        ("1ctl deploy lst", "1ctl deploy has no command lst"),
        ("1ctl deploy adopt service/shop --uid U --reason ours", None),
        ("1ctl env list KEY", "1ctl env list takes 0 arguments"),
        ("1ctl app get --config=staging > file", None),
    ],
)
def test_a_command_that_nobody_could_run_is_found(line: str, fault: str | None) -> None:
    assert command_lines.fault(line) == fault


def test_there_are_commands_to_look_at() -> None:
    text = (ROOT / "README.md").read_text()
    assert len([*command_lines.shown(text)]) > 20
    assert len([*command_lines.named(text)]) > 5


def test_every_page_is_reached_by_links_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        linked = [(page.parent / link.partition("#")[0]).resolve() for link in _links(page.read_text())]
        waiting += [each / "README.md" if each.is_dir() else each for each in linked if _is_page(each)]

    assert [path for path in DOCUMENTS if path not in reached] == []


def _is_page(path: Path) -> bool:
    return path.suffix == ".md" or (path / "README.md").is_file()


def test_the_index_has_every_page_and_its_purpose() -> None:
    rows = re.findall(r"^\| \[([^\]]+)\]\(([^)]+)\) \| (.+) \|$", (ROOT / "docs/README.md").read_text(), re.MULTILINE)

    pages = {path for path in DOCUMENTS if path.parent in (ROOT / "docs", ROOT / "docs" / "install")}
    pages |= {ROOT / "docs/adr/README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"}
    assert sorted((ROOT / "docs" / link).resolve() for _, link, _ in rows) == sorted(pages - {ROOT / "docs/README.md"})


def test_the_index_of_decisions_has_each_with_its_title_and_status() -> None:
    text = (ROOT / "docs/adr/README.md").read_text()
    rows = re.findall(r"^\| (\d+) \| \[(.+)\]\((\S+)\) \| (.+) \| (.+) \|$", text, re.MULTILINE)

    assert [name for _, _, name, _, _ in rows] == ADRS
    for number, title, name, _, status in rows:
        assert (ROOT / "docs/adr" / name).read_text().startswith(f"# {number}. {title}\n")
        assert re.match(r"accepted|superseded by \d+", status)


def _links(text: str) -> Iterator[str]:
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)):
        if "://" not in link:
            yield link


def _resolves(document: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (document.parent / path).resolve() if path else document
    if not target.exists():
        return False
    if not anchor:
        return True
    headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
    return anchor in {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _variables(*directories: str) -> set[str]:
    files = [path for directory in directories for path in (ROOT / directory).rglob("*.py")]
    return {name for path in files for name in re.findall(r"\bONECTL_[A-Z][A-Z_]*[A-Z]\b", path.read_text())}


def _table(heading: str) -> list[list[str]]:
    section = (ROOT / "README.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip().strip("`") for cell in row] for row in rows[1:]]


def test_the_readme_lists_every_environment_variable_and_no_other() -> None:
    listed = {row[0] for row in _table("Environment variables")}
    helpers = {"ONECTL_TEST_KUBECONFIG", "ONECTL_TEST_REQUIRE"}

    assert _variables(*PACKAGES) - listed == set()
    assert listed - _variables(*PACKAGES) == helpers
    assert helpers <= _variables("tests")


def test_the_readme_lists_every_exit_code() -> None:
    assert [(int(row[0]), row[1]) for row in _table("Exit codes")] == [(code.value, code.name) for code in ExitCode]


def test_operations_say_what_to_do_on_every_exit_code() -> None:
    section = (ROOT / "docs/operations.md").read_text().split("## Exit codes\n")[1].split("\n## ")[0]

    assert [int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)] == [*ExitCode]


def test_the_glossary_explains_every_event() -> None:
    glossary = (ROOT / "docs/glossary.md").read_text()

    assert [kind.__name__ for kind in SCHEMA_VERSIONS if f"| `{kind.__name__}` |" not in glossary] == []


def test_the_glossary_says_which_events_nothing_records_yet() -> None:
    """An event that is only read is marked, so that nobody looks for the command that makes it."""
    glossary = (ROOT / "docs/glossary.md").read_text()
    made = {name for package in PACKAGES for path in (ROOT / package).glob("*.py") for name in _called(path)}
    marked = set(re.findall(r"^\| `(\w+)` \|.*Not recorded by this version\.", glossary, re.MULTILINE))

    assert marked == {kind.__name__ for kind in SCHEMA_VERSIONS if kind.__name__ not in made}


def _called(path: Path) -> set[str]:
    """Names called in a module, patterns of a `match` not being calls."""
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return {call.id for call in calls if isinstance(call, ast.Name)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_files_that_documents_name_exist(document: Path) -> None:
    named = re.findall(r"`((?:ledger|projections|effects|cli|tests|docs)/[\w./-]+?)`", document.read_text())

    assert [path for path in named if not (ROOT / path).exists()] == []


def test_decisions_are_numbered_without_gaps() -> None:
    assert [int(name[:4]) for name in ADRS] == list(range(1, len(ADRS) + 1))


@pytest.mark.parametrize("name", ADRS)
def test_a_decision_has_its_four_parts_on_one_page(name: str) -> None:
    text = (ROOT / "docs/adr" / name).read_text()

    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences", "Passed over"]
    assert text.startswith(f"# {int(name[:4])}. ")
    assert len(text.splitlines()) <= 80


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    names = {re.split(r"[\[<>=~! ]", line)[0] for line in project["project"]["dependencies"]}
    names |= {re.split(r"[\[<>=~! ]", line)[0] for line in project["dependency-groups"]["dev"]}
    text = (ROOT / "docs/adr/0013-dependencies.md").read_text()

    assert sorted(name for name in names if f"`{name}`" not in text) == []


_NAMES = {"yaml": "pyyaml", "pythonjsonlogger": "python-json-logger", "prometheus_client": "prometheus-client"}
"""Of libraries that are imported by another name than they are installed by."""


def test_a_dependency_enters_where_its_reason_says() -> None:
    """Its door in pyproject.toml lets through the modules that are named beside it, and no others but neighbours."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    doors: dict[str, set[str]] = {}
    for module, library in (let.split(" -> ") for each in contracts for let in each.get("ignore_imports", ())):
        doors.setdefault(_NAMES.get(library, library), set()).add(f"{module.replace('.', '/')}.py")
    text = (ROOT / "docs/adr/0013-dependencies.md").read_text()
    named = dict(re.findall(r"^\| `([\w-]+)` \| [^|]+ \| (.+) \|$", text, re.MULTILINE))

    assert len(doors.keys() & named.keys()) == 9
    for name in doors.keys() & named.keys():
        paths = set(re.findall(r"`([^`]+)`", named[name]))
        assert paths <= doors[name] if "its neighbours" in named[name] else paths == doors[name], name


def test_the_oracle_shares_only_the_vocabulary_with_what_it_judges() -> None:
    """The linter of imports does not see tests, which are no package."""
    tree = ast.parse((ROOT / "tests/projections/oracle.py").read_text())
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]

    ours = {module for module in modules if module.split(".")[0] in {*PACKAGES, "tests"}}
    assert ours <= {"ledger.events", "ledger.envelope", "ledger.spec"}
