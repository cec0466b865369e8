"""From launch records to one row: counts as executed, and a model of the time on the card.

The model is a model. A launch takes the longest of three times, and launches follow each other without a gap:

- issue: the busiest compute unit holds ceil(workgroups / units) of the average workgroup. An instruction of any class
  takes its SIMD for four cycles, as a vector instruction of 64 lanes takes one of 16 lanes; waves are dealt out evenly
  to the unit's four SIMDs. Real units issue scalar, memory and MFMA instructions of other waves beside it.
- MFMA: the work issued on the busiest compute unit at the rate that gives the card's published peak.
- bytes: each distinct 128-byte line of the arguments moves once, at the published bandwidth.

It knows no latency, no cache but that, and no launch overhead, which is why launches are a column of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from glm_rocm.target import Target

if TYPE_CHECKING:
    from cdna_emulator import LaunchRecord

CLOCK_HZ = {"gfx942": 2.1e9, "gfx950": 2.4e9}
"""Peak engine clocks of MI300X and MI355X (AMD's data sheets)."""
SIMDS = 4
ISSUE_CYCLES = 4
FP32_SHARE = 1 / 8
"""Of the bf16 MFMA rate: 163.4 of 1307.4 TFLOPS on MI300X, 157.3 of 2500 on gfx950, where 1/8 flatters it."""
_SHAPE = re.compile(r"mfma_\w+?_(\d+)x(\d+)x(\d+)_?(.*)")


@dataclass(frozen=True)
class Launch:
    """One launch of a row. Times are the model's, in microseconds."""

    kernel: str
    grid: tuple[int, int, int]
    warps: int
    instructions: int
    vgprs: int
    lds_bytes: int
    occupancy: float
    issue_us: float
    mfma_us: float
    memory_us: float

    @property
    def workgroups(self) -> int:
        return self.grid[0] * self.grid[1] * self.grid[2]

    @property
    def model_us(self) -> float:
        return max(self.issue_us, self.mfma_us, self.memory_us)


@dataclass(frozen=True)
class Counts:
    """What one call of a case did, all launches together unless said otherwise.

    Attributes:
        mfma: useful over issued MFMA work; None where the case has no matrix product.
        bytes_over_ideal: cache or weight bytes asked for over what they are once; None where nothing is streamed.
        useful_flops, ideal_bytes: what the results need, whoever computes them.
        vgprs, occupancy: of the launch with the most instructions; occupancy in waves of a SIMD.
        model_us: see the module.
    """

    instructions: int
    workgroups: tuple[int, ...]
    valu: int
    salu: int
    vmem: int
    lds: int
    mfma_instructions: int
    mfma_flops: int
    mfma: float | None
    load_bytes: int
    store_bytes: int
    bytes_over_ideal: float | None
    streamed_bytes: int
    useful_flops: int
    ideal_bytes: int
    lds_read_bytes: int
    lds_write_bytes: int
    bank_conflicts: int
    barriers: int
    vgprs: int
    occupancy: float
    launches: int
    model_us: float
    each: tuple[Launch, ...]

    def to_json(self) -> dict[str, Any]:
        """As `--json` shows it."""
        return asdict(self)


def count(
    records: Sequence[LaunchRecord],
    target: Target,
    *,
    useful_flops: int,
    ideal_bytes: int,
    streamed: Iterable[str],
    sample: int = 1,
) -> Counts:
    """One row from what a call launched.

    Args:
        records: in order of launch.
        target: the card; its units, bandwidth and peaks are the model's.
        useful_flops: that the results need; 0 for none.
        ideal_bytes: of the arguments named in `streamed`; 0 for none.
        streamed: names of kernel arguments.
        sample: of how many parts one ran in the launches that did not run whole.
    """
    scales = [sample if record.counters.workgroups < record.workgroups else 1 for record in records]
    each = tuple(_launch(record, target, scale) for record, scale in zip(records, scales, strict=True))
    totals = [record.counters.scaled(scale) for record, scale in zip(records, scales, strict=True)]
    names = frozenset(streamed)
    asked = sum(
        (traffic.load_bytes + traffic.store_bytes) * scale
        for record, scale in zip(records, scales, strict=True)
        for argument, traffic in record.traffic.items()
        if names & set(argument.split(", "))
    )
    largest = max(each, key=lambda launch: launch.instructions)

    def total(name: str) -> int:
        return sum(int(getattr(counters, name)) for counters in totals)

    flops = total("mfma_flops")
    return Counts(
        instructions=total("instructions"),
        workgroups=tuple(launch.workgroups for launch in each),
        valu=total("valu"),
        salu=total("salu"),
        vmem=total("vmem"),
        lds=total("lds"),
        mfma_instructions=total("mfma"),
        mfma_flops=flops,
        mfma=useful_flops / flops if useful_flops and flops else None,
        load_bytes=total("load_bytes"),
        store_bytes=total("store_bytes"),
        bytes_over_ideal=asked / ideal_bytes if ideal_bytes else None,
        streamed_bytes=asked,
        useful_flops=useful_flops,
        ideal_bytes=ideal_bytes,
        lds_read_bytes=total("lds_read_bytes"),
        lds_write_bytes=total("lds_write_bytes"),
        bank_conflicts=total("lds_bank_conflicts"),
        barriers=total("barrier"),
        vgprs=largest.vgprs,
        occupancy=largest.occupancy,
        launches=len(each),
        model_us=sum(launch.model_us for launch in each),
        each=each,
    )


def _launch(record: LaunchRecord, target: Target, scale: int) -> Launch:
    workgroups = max(record.workgroups, 1)
    busiest = -(-workgroups // target.compute_units)
    simds = min(SIMDS, busiest * record.warps)
    instructions = record.counters.instructions * scale
    cycles = busiest * instructions / workgroups / simds * ISSUE_CYCLES
    mfma = mfma_seconds(record.mnemonics, target) * scale * busiest * target.compute_units / workgroups
    lines = sum(traffic.line_bytes for traffic in record.traffic.values()) * scale
    return Launch(
        kernel=record.name,
        grid=record.grid,
        warps=record.warps,
        instructions=instructions,
        vgprs=record.registers.vgprs,
        lds_bytes=record.shared,
        occupancy=record.occupancy,
        issue_us=cycles / CLOCK_HZ[record.arch] * 1e6,
        mfma_us=mfma * 1e6,
        memory_us=lines / (target.hbm_bytes_per_s or float("inf")) * 1e6,
    )


def mfma_seconds(mnemonics: dict[str, int] | Any, target: Target) -> float:
    """Seconds that these MFMA instructions take when every compute unit has an equal share of them."""
    seconds = 0.0
    for name, executed in mnemonics.items():
        found = _SHAPE.search(name)
        if found is None:
            continue
        m, n, k = (int(size) for size in found.groups()[:3])
        blocks = int(re.search(r"(\d+)b_", found[4])[1]) if re.search(r"(\d+)b_", found[4]) else 1  # type: ignore[index]
        seconds += 2 * m * n * k * blocks * executed / _rate(found[4], target)
    return seconds


def _rate(operands: str, target: Target) -> float:
    bf16 = target.bf16_flops or float("inf")
    if "fp8" in operands or "bf8" in operands or "f8f6f4" in operands:
        return target.fp8_flops or float("inf")
    if operands == "f32" or "xf32" in operands:
        return bf16 * FP32_SHARE
    return bf16
