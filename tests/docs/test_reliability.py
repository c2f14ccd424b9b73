"""docs/reliability.md shows what docs/reliability.json holds, and that alone."""

from __future__ import annotations

from tests.faults.reliability import DOCUMENT, in_document, read


def test_the_tables_are_those_that_the_figures_make() -> None:
    written = DOCUMENT.read_text()
    assert written == in_document(read(), written)
