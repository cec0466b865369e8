"""Draw the loss of a training run: `python -m glm_rocm.pocket.curve RUN_FOLDER/log.jsonl loss.svg`."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

WIDTH, HEIGHT, MARGIN = 640, 300, 44
LINES = {"loss": ("#c2410c", "next token"), "mtp_loss": ("#1d4ed8", "MTP, one further")}
FLOOR, CEILING = 0.01, 10.0
"""The ends of the logarithmic loss axis."""

Entry = dict[str, float]
Place = Callable[[float], float]


def read_log(path: Path) -> list[Entry]:
    """The entries of a training log; of a step that was trained twice, after a resumption, the later one."""
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return sorted({entry["step"]: entry for entry in entries}.values(), key=lambda entry: float(entry["step"]))


def _axes(most: float, x: Place, y: Place) -> list[str]:
    parts = []
    for loss in (0.01, 0.1, 1.0, 10.0):
        parts.append(f'<line x1="{MARGIN}" x2="{WIDTH - 10}" y1="{y(loss):.1f}" y2="{y(loss):.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{MARGIN - 6}" y="{y(loss) + 4:.1f}" text-anchor="end">{loss:g}</text>')
    for million in range(int(most / 1e6) + 1):
        label = f'<text x="{x(million * 1e6):.1f}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle">{million}</text>'
        parts.append(label)
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">million tokens seen</text>')
    return parts


def curve(entries: list[Entry]) -> str:
    """An SVG of the loss on target tokens over the tokens seen, both losses on a logarithmic axis."""
    most = max(entry["tokens"] for entry in entries)
    span = math.log10(CEILING / FLOOR)

    def x(tokens: float) -> float:
        return MARGIN + tokens / most * (WIDTH - MARGIN - 10)

    def y(loss: float) -> float:
        height = math.log10(CEILING / min(CEILING, max(FLOOR, loss))) / span
        return 10 + height * (HEIGHT - MARGIN - 10)

    box = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
    parts = [f'<svg {box} font-family="sans-serif" font-size="12">', '<rect width="100%" height="100%" fill="#fff"/>']
    parts += _axes(most, x, y)
    for row, (name, (colour, title)) in enumerate(LINES.items()):
        points = " ".join(f"{x(e['tokens']):.1f},{y(e[name]):.1f}" for e in entries if e[name] > 0)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(f'<text x="{WIDTH - 20}" y="{30 + 18 * row}" text-anchor="end" fill="{colour}">{title}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m glm_rocm.pocket.curve", description="Draw a training run's loss.")
    parser.add_argument("log", type=Path, help="log.jsonl of a run")
    parser.add_argument("svg", type=Path, help="file to write")
    options = parser.parse_args()
    options.svg.write_text(curve(read_log(options.log)), encoding="utf-8")


if __name__ == "__main__":
    main()
