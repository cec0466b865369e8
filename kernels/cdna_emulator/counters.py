"""What a launch did, in numbers that do not depend on the machine: instructions, bytes, lines, conflicts, registers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final

from .core import OperationClass, RawCounters

LINE_BYTES: Final = 128
LDS_BYTES: Final = {"gfx942": 65536, "gfx950": 163840}
"""Of a compute unit, and so the most that a workgroup may have."""
MOST_WAVES: Final = 8
"""Of one SIMD; a compute unit has four."""
REGISTER_FILE: Final = 512
"""Vector registers of a SIMD's lane, given out in eights."""


@dataclass(frozen=True)
class Counters:
    """One launch. Instructions are counted once per wave; bytes are what the active lanes ask for."""

    valu: int
    salu: int
    vmem: int
    lds: int
    mfma: int
    smem: int
    branch: int
    barrier: int
    wait: int
    scratch: int
    workgroups: int
    """That ran: fewer than the grid has when the launch is sampled."""
    waves: int
    mfma_flops: int
    """Issued: 2 M N K blocks of each MFMA, whatever of it is padding."""
    load_bytes: int
    store_bytes: int
    atomic_bytes: int
    instruction_lines: int
    """Distinct 128-byte lines of each global, buffer or flat instruction, summed."""
    lds_read_bytes: int
    lds_write_bytes: int
    lds_bank_conflicts: int
    """Extra cycles of LDS instructions whose lanes want several dwords of one bank."""

    @classmethod
    def of(cls, raw: RawCounters) -> Counters:
        """From the core's structure."""
        by_class = {each.name.lower(): int(raw.by_class[each]) for each in OperationClass}
        rest = {each.name: int(getattr(raw, each.name)) for each in fields(cls) if each.name not in by_class}
        return cls(**by_class, **rest)

    @property
    def instructions(self) -> int:
        """Wave-instructions of all classes."""
        return sum(int(getattr(self, each.name.lower())) for each in OperationClass)

    def scaled(self, factor: float) -> Counters:
        """Each number times `factor`, rounded: from a sample of the workgroups to all of them."""
        return replace(self, **{each.name: round(getattr(self, each.name) * factor) for each in fields(self)})

    def __add__(self, other: Counters) -> Counters:
        return Counters(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass(frozen=True)
class Registers:
    """What a wave of the kernel takes."""

    vgprs: int
    """Accumulation registers included."""
    agprs: int
    sgprs: int
    vgpr_spills: int
    sgpr_spills: int
    scratch_bytes: int
    """Of each lane."""


@dataclass(frozen=True)
class Traffic:
    """What a launch asked of one argument's memory."""

    load_bytes: int
    store_bytes: int
    line_bytes: int
    """Distinct 128-byte lines touched, in bytes: what has to come from memory at least."""


@dataclass(frozen=True)
class LaunchRecord:
    """One launch and what it did."""

    name: str
    arch: str
    grid: tuple[int, int, int]
    warps: int
    shared: int
    """Bytes of LDS of a workgroup."""
    registers: Registers
    counters: Counters
    """As executed: of the sampled workgroups only, when sampled."""
    mnemonics: Mapping[str, int]
    """Wave-instructions by mnemonic, as executed."""
    traffic: Mapping[str, Traffic]
    """By argument; arguments that share memory are one entry, named `a, b`."""

    @property
    def workgroups(self) -> int:
        """Of the whole grid."""
        return self.grid[0] * self.grid[1] * self.grid[2]

    @property
    def scale(self) -> float:
        """Workgroups of the grid over those that ran."""
        return self.workgroups / self.counters.workgroups if self.counters.workgroups else 1.0

    @property
    def estimate(self) -> Counters:
        """Counters of the whole grid: exact when all of it ran, else scaled from the sample."""
        return self.counters.scaled(self.scale)

    @property
    def occupancy(self) -> float:
        """Waves that one SIMD can hold, by vector registers, scalar registers and LDS; less than 1 where a workgroup
        of few waves takes all the LDS."""
        return occupancy(self.arch, self.registers, self.shared, self.warps)

    def mfma_utilisation(self, useful_flops: float) -> float:
        """Share of the MFMA work issued that is useful; the caller knows how much the problem needs."""
        issued = self.estimate.mfma_flops
        return useful_flops / issued if issued else 0.0


def occupancy(arch: str, registers: Registers, shared: int, warps: int) -> float:
    """Waves that one SIMD can hold.

    Limits: 512 vector registers in eights; more than 100 scalar registers cost one wave (LLVM, AMDGPUBaseInfo.cpp,
    `getOccupancyWithNumSGPRs`); LDS of the compute unit over that of a workgroup.
    """
    vector = REGISTER_FILE // max(8, -(-registers.vgprs // 8) * 8)
    scalar = MOST_WAVES if registers.sgprs <= 100 else 7
    lds = float(MOST_WAVES) if not shared else (LDS_BYTES[arch] // shared) * warps / 4
    return min(MOST_WAVES, vector, scalar, lds)
