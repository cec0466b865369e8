"""A line chart on two logarithmic axes, drawn as SVG in the page's own colours; lines differ in dash and mark too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, PLOT = 512, 200
LEFT, RIGHT, TOP = 52, 12, 10
BELOW = 34
ROW = 16
FLOOR = 1e-9
"""Figures below this are drawn at it: an error of 0 has no place on a logarithmic axis."""
CORNERS = {
    "octagon": ((-1.2, -2.8), (1.2, -2.8), (2.8, -1.2), (2.8, 1.2), (1.2, 2.8), (-1.2, 2.8), (-2.8, 1.2), (-2.8, -1.2)),
    "square": ((-2.3, -2.3), (2.3, -2.3), (2.3, 2.3), (-2.3, 2.3)),
    "triangle": ((0, -3), (3, 2.4), (-3, 2.4)),
    "diamond": ((0, -3.4), (3.4, 0), (0, 3.4), (-3.4, 0)),
}
MARKS = tuple(CORNERS)
DASHES = ("", "6 3", "2 3", "8 3 2 3")


@dataclass(frozen=True)
class Series:
    """A line: its name and its points (M, figure), M rising."""

    name: str
    points: tuple[tuple[int, float], ...]


def chart(series: Sequence[Series], gates: Sequence[tuple[float, str]]) -> str:
    """The figures over M, the gates (limit, what for) as dashed lines; a legend below names every line."""
    limits = [limit for limit, _ in gates]
    values = [max(value, FLOOR) for line in series for _, value in line.points if math.isfinite(value)]
    low = math.floor(math.log10(min([*values, *limits]) * 0.9))
    high = math.ceil(math.log10(max([*values, *limits]) * 1.1))
    most = max(m for line in series for m, _ in line.points)
    right = max(1.0, math.log2(most))

    def x(m: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log2(max(m, 1)) / right

    def y(value: float) -> float:
        logged = high if not math.isfinite(value) else math.log10(max(value, FLOOR))
        return TOP + PLOT * (high - min(max(logged, low), high)) / (high - low)

    height = TOP + PLOT + BELOW + ROW * len(series)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="error of the worst token over M" '
        'font-family="system-ui,sans-serif" font-size="11" fill="currentColor" xmlns="http://www.w3.org/2000/svg">'
    ]
    for power in range(low, high + 1, max(1, (high - low) // 5)):
        at = y(10.0**power)
        parts.append(_line(LEFT, at, WIDTH - RIGHT, at, "var(--line,#ccc)"))
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">1e{power}</text>')
    for power in range(0, math.floor(right) + 1, max(1, round(right / 6))):
        parts.append(f'<text x="{x(2**power):.1f}" y="{TOP + PLOT + 14}" text-anchor="middle">{2**power}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{TOP + PLOT + 28}" text-anchor="end">M, tokens</text>')
    for limit, name in gates:
        parts.append(_line(LEFT, y(limit), WIDTH - RIGHT, y(limit), "var(--bad,#b00)", "4 3"))
        parts.append(
            f'<text x="{WIDTH - RIGHT}" y="{y(limit) - 4:.1f}" text-anchor="end">gate {limit:g}, {name}</text>'
        )
    for index, line in enumerate(series):
        parts += _drawn(
            line, index, [(x(m), y(value)) for m, value in line.points], height - ROW * (len(series) - index)
        )
    return "".join(parts) + "</svg>"


def _drawn(line: Series, index: int, places: Sequence[tuple[float, float]], legend: float) -> list[str]:
    dash, mark = DASHES[index // len(MARKS) % len(DASHES)], MARKS[index % len(MARKS)]
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
    style = f'fill="none" stroke="var(--accent,#06c)" stroke-width="1.3" stroke-dasharray="{dash}"'
    drawn = [f'<polyline points="{path}" {style}/>']
    drawn += [
        _mark(mark, px, py, f"M {m}: {value:.3g}") for (px, py), (m, value) in zip(places, line.points, strict=True)
    ]
    drawn.append(_mark(mark, LEFT + 4, legend + 7, line.name))
    drawn.append(f'<text x="{LEFT + 14}" y="{legend + 11}">{escape(line.name)}</text>')
    return drawn


def _mark(kind: str, x: float, y: float, words: str) -> str:
    corners = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in CORNERS[kind])
    return f'<polygon points="{corners}" fill="var(--accent,#06c)"><title>{escape(words)}</title></polygon>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dash: str = "") -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-dasharray="{dash}"/>'
    )
