"""The log of a run to charts: geometry only, which the page's template draws as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from latentscape.report.words import number, term_words

WIDTH, HEIGHT = 400, 250
LEFT, RIGHT, TOP, BOTTOM = 68, 12, 12, 44
BOX = (WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM)

MOST_POINTS = 1200
"""Points that a drawn line has at most; of more, each stretch keeps its lowest and highest one."""

LOG_RATIO = 50
"""Positive values that spread over more than this factor get a logarithmic axis."""

Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: its place in pixels and its text."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: its look (`train`, `held-out` or `other-N`), SVG path, dots with texts, last value."""

    name: str
    look: str
    path: str
    dots: list[tuple[float, float, str]]
    last: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of WIDTH×HEIGHT pixels, ready to be drawn."""

    title: str
    unit: str
    is_log: bool
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[Line]
    description: str


def charts(log: Iterable[dict[str, Any]]) -> list[Chart]:
    """Every loss term with its training and held-out line, then learning rates and images per second."""
    records = [r for r in log if isinstance(r, dict)]
    train = [r for r in records if r.get("kind") == "train"]
    held_out = [r for r in records if r.get("kind") == "held_out"]
    names = list(dict.fromkeys(name for r in (*train, *held_out) for name in _table(r, "terms")))
    phases = {name.partition("/")[0] for name in names if "/" in name}
    found = []
    for name in names:
        phase, _, term = name.rpartition("/")
        words, unit = term_words(term)
        title = f"{words}, {phase.replace('_', ' ')} phase" if len(phases) > 1 and phase else words
        series = {"training": points_of(train, "terms", name), "held out": points_of(held_out, "terms", name)}
        found.append(chart(title, unit, series, ("train", "held-out")))
    rates = list(dict.fromkeys(name for r in train for name in _table(r, "learning_rate")))
    series = {name.replace("_", " "): points_of(train, "learning_rate", name) for name in rates}
    found.append(
        chart("learning rate", "step size of the optimiser", series, tuple(f"other-{i % 4}" for i in range(len(rates))))
    )
    speed = {"training": points_of(train, "", "images_per_second")}
    found.append(chart("speed", "images per second", speed, ("train",)))
    return [made for made in found if made is not None]


def _table(record: dict[str, Any], name: str) -> dict[str, Any]:
    value = record.get(name) if name else record
    return value if isinstance(value, dict) else {}


def points_of(records: list[dict[str, Any]], table: str, name: str) -> Points:
    """(step, value) of the records that have both as numbers; a value that is not finite stays, and is a gap."""
    pairs = ((r.get("step"), _table(r, table).get(name)) for r in records)
    return [(float(x), float(y)) for x, y in pairs if isinstance(x, (int, float)) and isinstance(y, (int, float))]


def thin(points: Points, most: int = MOST_POINTS) -> Points:
    """At most about `most` points: each stretch keeps its lowest and its highest, so that no spike is hidden."""
    if len(points) <= most:
        return points
    stretch = math.ceil(2 * len(points) / most)
    kept: Points = []
    for start in range(0, len(points), stretch):
        part = points[start : start + stretch]
        gaps = [p for p in part if not math.isfinite(p[1])][:1]
        values = [p for p in part if math.isfinite(p[1])]
        ends = {min(values, key=lambda p: p[1]), max(values, key=lambda p: p[1])} if values else set()
        kept += sorted({*ends, *gaps})
    return kept


def chart(title: str, unit: str, series: dict[str, Points], looks: Sequence[str]) -> Chart | None:
    """One chart of named lines, each with its look; None where no value is finite."""
    finite = [(x, y) for points in series.values() for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if not finite:
        return None
    xs, ys = [x for x, _ in finite], [y for _, y in finite]
    is_log = min(ys) > 0 and max(ys) / min(ys) > LOG_RATIO
    x_low, x_high = (min(xs), max(xs)) if max(xs) > min(xs) else (min(xs) - 1, max(xs) + 1)
    x_low = 0.0 if 0 <= x_low < 0.2 * x_high else x_low
    x_at = _scale(x_low, x_high, LEFT, WIDTH - RIGHT)
    y_at, y_ticks = _log_axis(min(ys), max(ys)) if is_log else _even_axis(min(ys), max(ys))
    lines = [
        _line(name, look, points, x_at, y_at)
        for (name, points), look in zip(series.items(), looks, strict=True)
        if any(math.isfinite(y) for _, y in points)
    ]
    ends = "; ".join(f"{line.name} ends at {line.last}" for line in lines)
    described = f"{title} over training steps {number(min(xs))} to {number(max(xs))}: {ends}"
    x_ticks = [Tick(round(x_at(v), 1), text) for v, text in even_ticks(x_low, x_high, 5)]
    return Chart(title, unit, is_log, x_ticks, y_ticks, lines, described)


def _line(name: str, look: str, points: Points, x_at: Callable[[float], float], y_at: Callable[[float], float]) -> Line:
    path, pen = [], "M"
    drawn = thin(points)
    for x, y in drawn:
        if math.isfinite(y):
            path.append(f"{pen}{x_at(x):.1f} {y_at(y):.1f}")
            pen = "L"
        else:
            pen = "M"
    # a line of few points shows them; one of a single point would be invisible without
    marked = [p for p in drawn if math.isfinite(p[1])] if len(drawn) <= 60 else []
    dots = [(round(x_at(x), 1), round(y_at(y), 1), f"step {number(x)}: {number(y)}") for x, y in marked]
    last = next(y for _, y in reversed(points) if math.isfinite(y))
    return Line(name, look, " ".join(path), dots, number(last))


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (value - low) / (high - low) * (end - start)


_SMALLEST_RANGE = 1e-300
"""Of values on an axis: what is closer together has no logarithm of its parts, and is drawn as one value."""


def _even_axis(low: float, high: float) -> tuple[Callable[[float], float], list[Tick]]:
    if high - low < _SMALLEST_RANGE:
        low, high = low - (abs(low) * 0.1 or 1), high + (abs(high) * 0.1 or 1)
    pad = 0.05 * (high - low)
    low, high = (0.0 if 0 <= low < 0.2 * high else low - pad), high + pad
    at = _scale(low, high, HEIGHT - BOTTOM, TOP)
    return at, [Tick(round(at(v), 1), text) for v, text in even_ticks(low, high, 7)]


def _log_axis(low: float, high: float) -> tuple[Callable[[float], float], list[Tick]]:
    bottom, top = math.log10(low) - 0.05, math.log10(high) + 0.05
    even = _scale(bottom, top, HEIGHT - BOTTOM, TOP)
    powers = range(math.floor(bottom), math.ceil(top) + 1)
    factors = (1, 2, 5) if top - bottom < 2.5 else (1,)
    every = max(1, len(powers) // 6)
    values = [f * 10.0**p for p in powers[::every] for f in factors if bottom <= math.log10(f * 10.0**p) <= top]
    return lambda value: even(math.log10(value)), [Tick(round(even(math.log10(v)), 1), number(v)) for v in values]


def even_ticks(low: float, high: float, about: int) -> list[tuple[float, str]]:
    """Round numbers between low and high, at most about so many, with texts that tell neighbours apart.

    They are multiples of 1, 2 or 5 times a power of ten.
    """
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(f * power for f in (1, 2, 5, 10, 20) if f * power >= rough)
    values = [k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if decimals > 6 or step >= 1e6:
        return [(v, f"{v:.3g}".replace("-", "−")) for v in values]
    return [(v, f"{v + 0.0:,.{decimals}f}".replace("-", "−")) for v in values]
