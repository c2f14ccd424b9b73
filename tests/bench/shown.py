"""How figures are written, on the page and on a terminal. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tests.bench.figures import Aim, Spread

_SCALES: Mapping[str, tuple[tuple[float, str], ...]] = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "B": ((1e6, "MB"), (1e3, "kB"), (1.0, "B")),
}


def table(headers: list[str], rows: Iterable[list[str]]) -> str:
    """A table in Markdown."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def spread_text(spread: Spread, unit: str) -> str:
    """A figure: the median, with the quartiles in brackets."""
    factor, name = _scale(spread.median, unit)
    median, low, high = (_digits(value / factor) for value in (spread.median, spread.low, spread.high))
    said = f"{median} {name}".rstrip()
    return said if low == high else f"{said} ({low} to {high})"


def ratio_text(ratio: Spread) -> str:
    """A ratio, likewise."""
    said = f"{ratio.median:.2f}x"
    return said if ratio.turns == 1 else f"{said} ({ratio.low:.2f} to {ratio.high:.2f})"


def aim_text(aim: Aim, unit: str) -> str:
    """What is aimed at; the unit is that of the figures."""
    sign = "≥" if aim.at_least else "≤"
    if aim.of == "ratio":
        return f"{sign} {aim.limit:g}x"
    factor, name = _scale(aim.limit, unit)
    return f"{sign} {_digits(aim.limit / factor)} {name}".rstrip()


def _scale(value: float, unit: str) -> tuple[float, str]:
    """What to divide by, and what the unit is then called."""
    scales = _SCALES.get(unit)
    if scales is None:
        return 1.0, unit
    return next((scale for scale in scales if abs(value) >= scale[0]), scales[-1])


def _digits(value: float) -> str:
    """Three digits that mean something."""
    if value == round(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
