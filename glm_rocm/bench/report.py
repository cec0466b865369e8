"""Rows as data to keep: JSON, CSV, and whether what was to be reached is reached."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

from glm_rocm.bench.cases import Case
from glm_rocm.bench.count import Counts
from glm_rocm.bench.run import Counted, Row

COLUMNS = (
    "case",
    "what",
    "arch",
    "sample",
    "who",
    "instructions",
    "workgroups",
    "launches",
    "further_launches",
    "mfma",
    "bytes_over_ideal",
    "useful_flops",
    "ideal_bytes",
    "load_bytes",
    "store_bytes",
    "lds_read_bytes",
    "lds_write_bytes",
    "bank_conflicts",
    "barriers",
    "vgprs",
    "occupancy",
    "model_us",
    "calc_diff",
)

SAMPLING_ERROR = 0.97
"""MFMA figures of sampled cases are held against each other within this."""


def to_csv(rows: Iterable[Row]) -> str:
    """One line a contender; figures in full, workgroups by launch joined by `+`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        for contender in row.contenders:
            writer.writerow(_line(row, contender))
    return text.getvalue()


def misses(row: Row) -> list[str]:
    """What our kernels do not reach in a row, each with found and required.

    Held against the case's figures on gfx942, where they were set, and everywhere against the peer's instructions and
    its useful MFMA.
    """
    found = list(_missed(row.case, row.ours.counts)) if row.arch == "gfx942" else []
    peer = row.peer
    if peer is None:
        return found
    if row.ours.counts.instructions > peer.counts.instructions:
        found.append(f"instructions {row.ours.counts.instructions}, vLLM {peer.counts.instructions}")
    mine, theirs = row.ours.counts.mfma or 0.0, peer.counts.mfma or 0.0
    if mine < SAMPLING_ERROR * theirs:
        found.append(f"useful MFMA {mine:.2f}, vLLM {theirs:.2f}")
    return found


def _missed(case: Case, counts: Counts) -> Iterator[str]:
    reach = case.reach
    if reach.instructions and counts.instructions > reach.instructions:
        yield f"instructions {counts.instructions}, to reach at most {reach.instructions}"
    if max(counts.workgroups) < reach.workgroups:
        yield f"workgroups {max(counts.workgroups)}, to reach at least {reach.workgroups}"
    if reach.mfma and (counts.mfma or 0.0) < reach.mfma:
        yield f"useful MFMA {counts.mfma or 0.0:.2f}, to reach at least {reach.mfma:.2f}"
    if reach.bytes and (counts.bytes_over_ideal or 0.0) > reach.bytes:
        yield f"bytes {counts.bytes_over_ideal:.2f}x, to reach at most {reach.bytes:.2f}x"
    if reach.lds_reads and counts.lds_read_bytes > reach.lds_reads * counts.streamed_bytes:
        ratio = counts.lds_read_bytes / counts.streamed_bytes
        yield f"LDS reads {ratio:.2f}x of the weights, to reach at most {reach.lds_reads:.2f}x"
    if reach.launches and counts.launches > reach.launches:
        yield f"launches {counts.launches}, to reach at most {reach.launches}"


def _line(row: Row, contender: Counted) -> dict[str, Any]:
    counts = contender.counts
    line = {
        "case": row.case.name,
        "what": row.case.describe(),
        "arch": row.arch,
        "sample": row.case.sample,
        "who": contender.who,
        "workgroups": "+".join(map(str, counts.workgroups)),
        "launches": contender.launches,
        "further_launches": contender.further_launches,
        "calc_diff": f"{contender.calc_diff:.3g}",
    }
    rest = {name: getattr(counts, name) for name in COLUMNS if name not in line}
    return line | {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in rest.items()}
