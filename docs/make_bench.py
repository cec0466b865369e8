"""Fill the tables of docs/bench.md from docs/bench/*.csv. Run by `make pictures`.

python docs/make_bench.py [FILE]

The CSVs are what `glm-rocm bench --target ARCH --against vllm --csv docs/bench/ARCH.csv` writes.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from glm_rocm.bench.cases import CASES, Reach
from glm_rocm.cli.benchview import short

HERE = Path(__file__).parent
ARCHES = ("gfx942", "gfx950")
HEAD = (
    "case",
    "to reach",
    "",
    "instructions",
    "workgroups",
    "MFMA",
    "bytes",
    "LDS read",
    "conflicts",
    "barriers",
    "VGPR",
    "waves",
    "launches",
    "model us",
)
REACHES = {case.name: case.reach for case in CASES}


def table(arch: str) -> Iterator[str]:
    """The lines of one architecture's table."""
    with (HERE / "bench" / f"{arch}.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    yield "| " + " | ".join(HEAD) + " |"
    yield "| " + " | ".join("---" if place < 3 else "--:" for place in range(len(HEAD))) + " |"
    for row in rows:
        yield "| " + " | ".join(_cells(row, arch)) + " |"


def _cells(row: dict[str, str], arch: str) -> Iterator[str]:
    ours = row["who"] == "ours"
    sampled = f" (1 of {row['sample']} parts)" if row["sample"] != "1" else ""
    yield f"`{row['case']}`{sampled}" if ours else ""
    yield _words(REACHES[row["case"]]) if ours and arch == "gfx942" else ""
    yield row["who"]
    yield _bold(short(int(row["instructions"])), ours)
    yield row["workgroups"]
    yield _rounded(row["mfma"])
    yield _rounded(row["bytes_over_ideal"])
    yield from (short(int(row[name])) for name in ("lds_read_bytes", "bank_conflicts", "barriers"))
    yield row["vgprs"]
    yield row["occupancy"]
    yield row["launches"]
    yield f"{float(row['model_us']):.1f}"


def _words(reach: Reach) -> str:
    parts = []
    if reach.instructions:
        parts.append(f"at most {short(reach.instructions)}")
    if reach.workgroups:
        parts.append(f"{reach.workgroups} workgroups")
    if reach.mfma:
        parts.append(f"MFMA {reach.mfma:g}")
    if reach.bytes:
        parts.append(f"bytes {reach.bytes:g}")
    if reach.lds_reads:
        parts.append(f"LDS {reach.lds_reads:g} of weights")
    if reach.launches:
        parts.append(f"{reach.launches} launch" + "es" * (reach.launches > 1))
    return ", ".join(parts)


def _bold(text: str, yes: bool) -> str:
    return f"**{text}**" if yes else text


def _rounded(text: str) -> str:
    return f"{float(text):.2f}" if text else ""


def page(text: str) -> str:
    """`text` with each table between its marks made anew."""
    for arch in ARCHES:
        marks = rf"(<!-- table {arch} -->\n).*?(<!-- end -->)"
        filled = "\n".join(table(arch))
        text, found = re.subn(marks, lambda match, new=filled: f"{match[1]}{new}\n{match[2]}", text, flags=re.DOTALL)
        if found != 1:
            raise SystemExit(f"error: bench.md has {found} tables for {arch}\n\nhint: put `<!-- table {arch} -->` in")
    return text


if __name__ == "__main__":
    source = HERE / "bench.md"
    into = Path(sys.argv[1]) if len(sys.argv) > 1 else source
    into.write_text(page(source.read_text(encoding="utf-8")), encoding="utf-8")
