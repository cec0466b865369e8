"""The report's pictures, drawn by matplotlib as SVG inside the page; lines differ in dash and mark, not in colour."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from glm_rocm.validate.statistics import BIN_EDGES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 5.3
"""Inches; the page shows two beside each other at this size."""
ABOVE = 2.2
"""Inches of the axes' height."""
LEGEND_ROW, LEGEND_WIDTH = 0.16, 72
"""Inches of a line of the legend, and the characters that it holds."""
FLOOR = 1e-9
"""Figures below this are drawn at it: an error of 0 has no place on a logarithmic axis."""
INK, GATE, BARS = "#0b4f85", "#a01d16", "#6f9fc4"
MARKS, DASHES = "os^DvP", ("-", "--", ":", "-.")
STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: it can be found and read aloud
    "svg.hashsalt": "glm-rocm",  # the same report is the same bytes
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "legend.frameon": False,
}
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


@dataclass(frozen=True)
class Series:
    """A line: its name and its points (M, figure), M rising."""

    name: str
    points: tuple[tuple[int, float], ...]


def available() -> bool:
    """Whether pictures can be drawn in this environment."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


def over_m(series: Sequence[Series], gates: Sequence[tuple[float, str]], title: str) -> str:
    """The figures over M on two logarithmic axes, the gates (limit, what for) dashed; a legend names every line.

    What is not finite has no place on an axis: it is drawn as a cross at the top and called so.
    """
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        names = [textwrap.fill(line.name, LEGEND_WIDTH) for line in series]
        below = 0.55 + LEGEND_ROW * (sum(name.count("\n") + 1 for name in names) + 1)
        figure, axes = _axes(below)
        finite = [max(value, FLOOR) for line in series for _, value in line.points if math.isfinite(value)]
        top = 3 * max([*finite, *(limit for limit, _ in gates)])
        for index, line in enumerate(series):
            sizes = [m for m, _ in line.points]
            values = [min(max(value, FLOOR), top) if math.isfinite(value) else top for _, value in line.points]
            axes.plot(
                sizes, values, linewidth=1, markersize=4, color=INK, marker=MARKS[index % len(MARKS)],
                linestyle=DASHES[index // len(MARKS) % len(DASHES)], label=names[index],
            )  # fmt: skip
        broken = sorted({m for line in series for m, value in line.points if not math.isfinite(value)})
        if broken:
            axes.plot(broken, [top] * len(broken), "x", color=GATE, markersize=9, label="NaN or infinite")
        for limit, name in gates:
            axes.axhline(limit, color=GATE, linewidth=1, linestyle="--")
            axes.annotate(
                f"gate {limit:g}, {name}", (1, limit), xycoords=("axes fraction", "data"), xytext=(0, 3),
                textcoords="offset points", ha="right", color=GATE,
            )  # fmt: skip
        axes.set(yscale="log", xlabel="M, tokens", ylabel="calc_diff, worst token")
        axes.set_ylim(10.0 ** math.floor(math.log10(min([*finite, top / 3]))), top)
        axes.yaxis.set_minor_formatter(lambda value, _: "")
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        figure.legend(
            loc="lower left", borderaxespad=0, handlelength=3.5, fontsize=8, labelspacing=0.25, bbox_to_anchor=(0, 0)
        )
        return _svg(figure, title)


def histogram(counts: Mapping[str, Sequence[int]], title: str) -> str:
    """How many tokens have which KL divergence, a row of bars for each variant on one axis."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        from matplotlib.figure import Figure

        figure = Figure((WIDTH, 0.6 + 1.05 * len(counts)), layout="constrained")
        rows = figure.subplots(len(counts), 1, sharex=True, squeeze=False)[:, 0]
        edges = [math.log10(edge) for edge in BIN_EDGES]
        for axes, (name, numbers) in zip(rows, counts.items(), strict=True):
            axes.stairs(numbers, edges, fill=True, facecolor=BARS, edgecolor=INK)
            axes.set_title(name, loc="left", fontsize=9)
            axes.grid(axis="x", visible=False)
        rows[-1].set_xlabel("KL divergence of the next token, nats (the first bar: all below)")
        rows[-1].xaxis.set_major_formatter(lambda value, _: f"1e{value:.0f}")
        rows[len(rows) // 2].set_ylabel("tokens")
        return _svg(figure, title)


def _axes(below: float) -> tuple[Figure, Axes]:
    """Axes over `below` inches for the legend: a legend of any width leaves them as they are."""
    from matplotlib.figure import Figure

    height = ABOVE + below + 0.1
    figure = Figure((WIDTH, height))
    return figure, figure.add_axes((0.12, below / height, 0.86, ABOVE / height))


def _svg(figure: Figure, title: str) -> str:
    """The figure as an `<svg>` element without a header, named for those who do not see it."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata=NO_METADATA)
    drawn = file.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    return drawn.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
