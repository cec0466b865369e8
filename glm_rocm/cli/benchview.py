"""The bench's rows as a terminal shows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from glm_rocm.bench.report import misses
from glm_rocm.cli.console import bullets, heading

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from glm_rocm.bench.cases import Case
    from glm_rocm.bench.run import Counted, Row
    from glm_rocm.bench.timing import TimedRow

Columns = Sequence[tuple[str, int]]
GROUPS_WIDTH = 17
COUNTS = (
    ("", 6),
    ("instr.", 7),
    ("workgroups", GROUPS_WIDTH),
    ("MFMA", 6),
    ("bytes", 8),
    ("LDS", 6),
    ("confl.", 7),
    ("barr.", 6),
    ("VGPR", 5),
    ("occ.", 5),
    ("launches", 9),
    ("model", 7),
)
TIMES = (("", 6), ("median us", 12), ("p10", 10), ("p90", 10), ("of roofline", 13))
"""Heads and widths. A case's own line runs across them, which no table does."""
LEGEND = (
    "instr.: wave-instructions of all Triton launches. MFMA: useful over issued work. bytes: cache or weight bytes "
    "asked for over what they are once. LDS: bytes read. occ.: waves of a SIMD in the largest launch. launches: `+` "
    "counts those that are no Triton kernels and so in no other column. model: microseconds by a model (the longest of "
    "issue on the busiest compute unit, MFMA and memory, launch after launch), not a measurement.",
    "Every workgroup of every launch ran, and all results were held to the reference; where a case says that a part "
    "ran, the part's were.",
)


def counts_view(rows: Sequence[Row], target: str, seconds: float) -> RenderableType:
    """Case by case, our line and the peer's under it; then what is not reached."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text(f"machine code of {target}, {seconds:.0f} CPU seconds\n", "bold")]
    parts += [_heads(COUNTS), *(line for row in rows for line in _case(row))]
    parts += [heading("how to read it"), bullets(LEGEND)]
    apart = {row.case.peer_launches for row in rows if row.case.peer_launches}
    parts += [heading("vLLM, not run"), bullets(sorted(apart))] if apart else []
    missed = [f"{row.case.name}: {text}" for row in rows for text in misses(row)]
    if missed:
        parts += [heading("not reached"), bullets(missed)]
    return Group(*parts)


def times_view(rows: Sequence[TimedRow], device: str) -> RenderableType:
    """Case by case: median, 10th and 90th percentile, and the share of what the device was measured to be able to."""
    from rich.console import Group
    from rich.text import Text

    lines = [_heads(TIMES)]
    for row in rows:
        lines.append(_title(row.case))
        for timed in row.contenders:
            figures = (f"{value:.1f}" for value in (timed.median_us, timed.p10_us, timed.p90_us))
            lines.append(_line((timed.who, *figures, f"{timed.share:.1%}" if timed.share else ""), TIMES))
    return Group(Text(f"time on {device}\n", "bold"), *lines)


def _title(case: Case) -> Text:
    from rich.text import Text

    sampled = f", part 1 of {case.sample} ran" if case.sample > 1 else ""
    return Text(f"  {case.name}", "bold").append(f"  {case.describe()}{sampled}", "not bold dim")


def _heads(columns: Columns) -> Text:
    line = _line((name for name, _ in columns), columns)
    line.stylize("dim")
    return line


def _line(cells: Iterable[str], columns: Columns) -> Text:
    from rich.text import Text

    return Text("  " + "".join(cell.rjust(width) for cell, (_, width) in zip(cells, columns, strict=True)))


def _case(row: Row) -> Iterator[Text]:
    yield _title(row.case)
    for contender in row.contenders:
        yield _line(_figures(contender), COUNTS)


def _figures(contender: Counted) -> tuple[str, ...]:
    counts = contender.counts
    groups = "+".join(map(str, counts.workgroups))
    further = f"+{contender.further_launches}" if contender.further_launches else ""
    return (
        contender.who,
        short(counts.instructions),
        groups if len(groups) < GROUPS_WIDTH else f"up to {short(max(counts.workgroups))}",
        "" if counts.mfma is None else f"{counts.mfma:.2f}",
        "" if counts.bytes_over_ideal is None else f"{counts.bytes_over_ideal:.2f}",
        short(counts.lds_read_bytes),
        short(counts.bank_conflicts),
        short(counts.barriers),
        str(counts.vgprs),
        f"{counts.occupancy:g}",
        f"{counts.launches}{further}",
        f"{counts.model_us:.1f}",
    )


def short(number: int) -> str:
    """`9.1k`, `1.46M`: three figures."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g}{unit}"
    return str(number)
