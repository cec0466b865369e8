"""A roofline from the bench's counts: published roofs, and where each case lies by the bench's model of time.

Used by make_pictures.py. Plain SVG: a README's pictures may load nothing from elsewhere.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

from glm_rocm.target import Target

WIDTH, HEIGHT = 860, 470
LEFT, RIGHT, TOP, BOTTOM = 78, 24, 58, 62
X = (0.5, 3000.0)  # useful FLOP per byte that has to move
Y = (0.05, 5000.0)  # TFLOP/s
INK, DIM, GRID = "#e6edf3", "#8b949e", "#21262d"
PAGE, OURS, VLLM, ROOF = "#0d1117", "#3fb950", "#ff7b72", "#58a6ff"
HALO = f'stroke="{PAGE}" stroke-width="3" paint-order="stroke"'
"""Around words, so that lines do not cross them."""
LABELS = {
    "decode": "decode, context 512",
    "decode-batch": "decode, 320 sequences",
    "verify": "MTP verify",
    "prefill": "prefill 128",
    "moe-fp8-m1": "MoE FP8, M 1",
    "moe-fp8-m16": "MoE FP8, M 16",
    "moe-bf16-m1": "MoE bf16, M 1",
}
"""The cases drawn: more would lie on top of each other."""
BELOW = frozenset({"decode-batch", "moe-bf16-m1", "moe-fp8-m1", "verify"})
"""Whose words stand under the line, since another's stand above it."""


def roofline_picture(counts: Path, target: Target) -> str:
    """The picture of `counts`, the CSV that `glm-rocm bench --against vllm --csv` wrote for `target`."""
    with counts.open(encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["case"] in LABELS]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="12.5"'
        ' font-family="system-ui, sans-serif" role="img">',
        f"<title>Useful work a second by the bench's model on {target.name}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{PAGE}"/>',
        _text(LEFT, 26, f"{target.name} ({target.arch}), one rank of GLM-4.6 at TP 8", INK, size=15),
        _text(LEFT, 44, "useful TFLOP/s by a model of counted machine code, not measured; roofs as published", DIM),
        *_axes(),
        *_roofs(target),
    ]
    for case, label in LABELS.items():
        parts += _pair([row for row in rows if row["case"] == case], label, below=case in BELOW)
    parts += [*_legend(), "</svg>"]
    return "\n".join(parts) + "\n"


def _pair(rows: list[dict[str, str]], label: str, *, below: bool) -> Iterator[str]:
    """vLLM's point, ours, a line between them, and the case's name at the right one."""
    points = []
    for row in rows:
        flops = int(row["useful_flops"])
        x = _x(flops / int(row["ideal_bytes"]))
        y = _y(flops / float(row["model_us"]) / 1e6)
        points.append((x, y, OURS if row["who"] == "ours" else VLLM))
    if len(points) == 2:
        (x, y, _), (_, other, _) = points
        yield f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{x:.1f}" y2="{other:.1f}" stroke="{DIM}" stroke-width="1"/>'
    for x, y, colour in reversed(points):
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}" stroke="{PAGE}" stroke-width="1.5"/>'
    if points:
        x = points[0][0]
        y = max(y for _, y, _ in points) + 19 if below else min(y for _, y, _ in points) - 10
        yield _text(x, y, label, INK, anchor="middle")


def _roofs(target: Target) -> Iterator[str]:
    bandwidth = target.hbm_bytes_per_s or 0.0
    for name, peak, lift in (("bf16", target.bf16_flops or 0.0, -16), ("FP8", target.fp8_flops or 0.0, 6)):
        corner = peak / bandwidth
        yield _path([(X[0], X[0] * bandwidth / 1e12), (corner, peak / 1e12), (X[1], peak / 1e12)])
        yield _text(_x(X[1]) - 4, _y(peak / 1e12) - lift, f"{name}, {peak / 1e12:.0f} TFLOP/s", ROOF, anchor="end")
    angle = math.degrees(math.atan2(_y(1) - _y(10), _x(10) - _x(1)))
    x, y = _x(60), _y(60 * bandwidth / 1e12) - 8
    yield f'<g transform="rotate({-angle:.1f} {x:.1f} {y:.1f})">'
    yield _text(x, y, f"memory, {bandwidth / 1e12:.1f} TB/s", ROOF, anchor="middle") + "</g>"


def _axes() -> Iterator[str]:
    for exponent in range(-1, 4):
        value = 10.0**exponent
        if X[0] <= value <= X[1]:
            yield f'<line x1="{_x(value):.1f}" y1="{TOP}" x2="{_x(value):.1f}" y2="{HEIGHT - BOTTOM}" stroke="{GRID}"/>'
            yield _text(_x(value), HEIGHT - BOTTOM + 18, f"{value:g}", DIM, anchor="middle")
        if Y[0] <= value <= Y[1]:
            yield f'<line x1="{LEFT}" y1="{_y(value):.1f}" x2="{WIDTH - RIGHT}" y2="{_y(value):.1f}" stroke="{GRID}"/>'
            yield _text(LEFT - 8, _y(value) + 4, f"{value:g}", DIM, anchor="end")
    yield _text(
        (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 22, "useful FLOP per byte of cache or weights", DIM, anchor="middle"
    )
    middle = (TOP + HEIGHT - BOTTOM) / 2
    yield f'<g transform="rotate(-90 22 {middle})">' + _text(22, middle, "TFLOP/s", DIM, anchor="middle") + "</g>"


def _legend() -> Iterator[str]:
    for place, (name, colour) in enumerate((("ours", OURS), ("vLLM 0.32 Triton", VLLM))):
        y = HEIGHT - BOTTOM - 34 + 18 * place
        yield f'<circle cx="{WIDTH - 160}" cy="{y}" r="5" fill="{colour}"/>' + _text(WIDTH - 148, y + 4, name, INK)


def _path(points: list[tuple[float, float]]) -> str:
    places = " L ".join(f"{_x(x):.1f} {_y(y):.1f}" for x, y in points)
    return f'<path d="M {places}" fill="none" stroke="{ROOF}" stroke-width="1.5"/>'


def _text(x: float, y: float, words: str, colour: str, *, anchor: str = "start", size: float = 12.5) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}" font-size="{size}" {HALO}>{words}</text>'
    )


def _x(value: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * math.log(value / X[0]) / math.log(X[1] / X[0])


def _y(value: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * math.log(value / Y[0]) / math.log(Y[1] / Y[0])
