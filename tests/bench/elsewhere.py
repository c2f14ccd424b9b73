"""Whether another machine says the same: the ratios of two runs side by side, for the end of the page. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tests.bench.figures import Spread
from tests.bench.record import Measured
from tests.bench.shown import ratio_text, table

NOISE = 0.15
"""How much two medians of the same may differ by, as a part of the smaller one."""

_INTRODUCTION = f"""\
## On another machine

The ratios above beside those of another machine, [bench-elsewhere.json](bench-elsewhere.json), where
`python -m tests.bench --directory DIR` wrote it as `DIR/bench.json`. They are the same within noise where the middle halves of both
overlap, or where the medians are less than {NOISE:.0%} apart.
"""


def within_noise(here: Spread, there: Spread) -> bool:
    """Whether two ratios can be taken for the same."""
    low, high = sorted((here.median, there.median))
    return (here.low <= there.high and there.low <= here.high) or high - low <= low * NOISE


def elsewhere(here: Mapping[str, Measured], there: Mapping[str, Measured]) -> str:
    """The section of the page.

    Args:
        here: What was measured on the machine that the page is about, by row.
        there: What was measured on the other one, by row.
    """
    rows = list(_rows(here, there))
    same = sum(row[-1] == "yes" for row in rows)
    compared = table(["row", "what", "beside", "here", "there", "within noise"], rows)
    summary = f"{same} of {len(rows)} ratios are the same within noise."
    return "\n".join([_INTRODUCTION, f"{summary}\n", f"{compared}\n", f"There: {_circumstances(there)}."]) + "\n"


def _rows(here: Mapping[str, Measured], there: Mapping[str, Measured]) -> Iterator[list[str]]:
    for name in (name for name in here if name in there):
        known = {(line.what, line.other): line.ratio for line in there[name].lines}
        for line in here[name].lines:
            other = known.get((line.what, line.other))
            if line.ratio is not None and other is not None:
                said = "yes" if within_noise(line.ratio, other) else "no"
                yield [name, line.what, line.other or "-", ratio_text(line.ratio), ratio_text(other), said]


def _circumstances(rows: Mapping[str, Measured]) -> str:
    machines = sorted({"; ".join(f"{name} {value}" for name, value in row.machine.items()) for row in rows.values()})
    commits = [f"{name} at `{row.commit}`" for name, row in rows.items()]
    return f"{'. '.join(machines)}. {', '.join(commits)}"
