"""docs/add-an-event.md is followed, step by step, in a copy of the sources: the type checker says what the page says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import dose

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "add-an-event.md").read_text()
DECIDING = ("ledger/app.py", "ledger/decide.py", "projections/releases.py", "projections/app_list.py")

EVENT, REQUEST, ARM = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
ERRORS = [
    line for block in re.findall(r"^```text\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE) for line in block.split("\n")
]

ROUND_TRIP = """
from ledger.codec import decode, encode
from ledger.envelope import Envelope, Source
from ledger.events import SCHEMA_VERSIONS, Annotated

meta = Envelope(actor="ana", reason=None, request_id="1", source=Source(program="", host="", commit=None, dirty=None,
    ci=None), subject=None, correlation_id="1", causation=None, clock="", salt="")
event = Annotated(note="seen")
assert decode("Annotated", encode(event, meta))[0] == event
del SCHEMA_VERSIONS[Annotated]
try:
    encode(event, meta)
except KeyError:
    print("as the page says")
"""


class Copy:
    """The packages that decide and fold, elsewhere."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for package in ("ledger", "projections"):
            shutil.copytree(ROOT / package, directory / package, ignore=shutil.ignore_patterns("__pycache__"))

    def edit(self, name: str, before: str, added: str) -> None:
        """Put text before the first line that begins with another; an import comes with it where that is one."""
        path = self.directory / name
        text = path.read_text()
        place = re.search(rf"^{re.escape(before)}", text, re.MULTILINE)
        assert place is not None, f"{name} has no line {before!r}"
        path.write_text(text[: place.start()] + added + text[place.start() :])

    def errors(self) -> list[str]:
        """What mypy prints, without line numbers and the summary, sorted."""
        command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), *DECIDING]
        done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, timeout=110, check=False)
        lines = [re.sub(r":\d+: ", ": ", line) for line in done.stdout.splitlines()]
        return (
            sorted(line for line in lines if not re.match(r"Found \d+ error|Success: ", line))
            + done.stderr.splitlines()
        )


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """The sources with the event and the request of the page, and no arm for them yet."""
    made = Copy(tmp_path)
    made.edit("ledger/events.py", "LedgerEvent: TypeAlias", f"{EVENT}\n\n")
    made.edit("ledger/events.py", "    | ReleaseMarkedBad", "    | Annotated\n")
    made.edit("ledger/events.py", "    ReleaseMarkedBad: 1", "    Annotated: 1,\n")
    made.edit("ledger/commands.py", "Command: TypeAlias", f"{REQUEST}\n\n")
    made.edit("ledger/commands.py", "    | MarkBad", "    | Annotate\n")
    return made


@dose.not_few("the type checker runs")
def test_the_type_checker_names_the_places_that_the_page_names_and_is_content_with_its_arms(copy: Copy) -> None:
    assert copy.errors() == sorted(filter(None, ERRORS))

    for name in DECIDING:
        copy.edit(name, "from ledger.events import", "from ledger.events import Annotated\n")
    copy.edit("ledger/decide.py", "from ledger.events import", "from ledger.commands import Annotate\n")
    arm = re.sub(r"(?m)^", " " * 8, ARM).rstrip(" ")
    copy.edit("ledger/decide.py", "        case MarkBad():", arm)
    copy.edit(
        "ledger/app.py", "        case Deployed() | Destroyed()", "        case Annotated():\n            return life\n"
    )
    copy.edit(
        "projections/releases.py", "        case RolloutCompleted():", "        case Annotated():\n            pass\n"
    )
    copy.edit("projections/app_list.py", "    | ReleaseMarkedBad", "    | Annotated\n")

    assert copy.errors() == []


def test_the_event_can_be_stored_and_a_missing_schema_version_shows_when_it_is(copy: Copy) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ROUND_TRIP], cwd=copy.directory, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("as the page says\n", "")
