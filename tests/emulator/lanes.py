"""What the tests of vector instructions share: awkward operands, and one instruction run over many lanes at once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cdna_emulator import lab

Bits = npt.NDArray[Any]
LANES = 64
MOST = 32 * LANES
WORD = 0xFFFFFFFF

WORDS = (0, 1, 2, 3, 7, 15, 16, 31, 32, 33, 63, 64, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFF)
WORDS += (0x800000, 0xFFFFFF, 0x1000000, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFF0000, 0xFFFF8000, 0xFFFFFFFF)
WORDS += (0x12345678, 0x89ABCDEF, 0x0F0F0F0F, 0xAAAAAAAA)
HALVES = (0, 1, 2, 15, 16, 17, 0x7F, 0x80, 0xFF, 0x100, 0x7FFE, 0x7FFF, 0x8000, 0x8001, 0xFFFE, 0xFFFF, 0x1234, 0xABCD)
DOUBLES = (0, 1, 63, 64, 0xFFFFFFFF, 1 << 32, (1 << 32) + 1, 0x7FFFFFFFFFFFFFFF, 1 << 63, (1 << 63) + 1, (1 << 64) - 1)
DOUBLES += (0x123456789ABCDEF0, 0xFEDCBA9876543210)

# Signed zeros, smallest and largest denormals and normals, ties, integers' ends, infinities, quiet and signalling NaNs.
F32 = (0, 0x80000000, 1, 0x80000001, 0x7FFFFF, 0x807FFFFF, 0x800000, 0x80800000, 0x3F7FFFFF, 0x3F800000, 0xBF800000)
F32 += (0x3F800001, 0x3F000000, 0xBF000000, 0x3FC00000, 0x40200000, 0xC0200000, 0x40490FDB, 0x4B000000, 0x4B7FFFFF)
F32 += (0xCB000001, 0x33800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC12345)
F32 += (0x7F800001, 0xFFA00000, 0x42B8AA3B, 0xC2FE0000, 0x3DCCCCCD)
F16 = (
    0,
    0x8000,
    1,
    0x8001,
    0x3FF,
    0x83FF,
    0x400,
    0x8400,
    0x3BFF,
    0x3C00,
    0xBC00,
    0x3C01,
    0x3800,
    0xB800,
    0x3E00,
    0x4100,
)
F16 += (0xC100, 0x4248, 0x6400, 0x67FF, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0xFE12, 0x7C01, 0xFD00, 0x2E66)
F64 = (0, 1 << 63, 1, (1 << 63) + 1, 0xFFFFFFFFFFFFF, 0x10000000000000, 0x3FEFFFFFFFFFFFFF, 0x3FF0000000000000)
F64 += (0xBFF0000000000000, 0x3FF0000000000001, 0x3FE0000000000000, 0x4004000000000000, 0xC004000000000000)
F64 += (0x400921FB54442D18, 0x4330000000000000, 0x433FFFFFFFFFFFFF, 0x7FEFFFFFFFFFFFFF, 0x7FF0000000000000)
F64 += (0xFFF0000000000000, 0x7FF8000000000000, 0xFFF8000000012345, 0x7FF0000000000001, 0x3FB999999999999A)


def tuples(values: Sequence[int], count: int, dtype: Any, *, seed: int = 0) -> list[Bits]:
    """`count` sources of up to 2048 lanes: all tuples of the values if they fit, else a sample; then random bits."""
    rng = np.random.default_rng(seed)
    size = np.dtype(dtype).itemsize * 8
    given = np.array(list(itertools.product(values, repeat=count)) if len(values) ** count < 50_000 else [], dtype)
    if len(given) == 0:
        given = rng.choice(np.array(values, dtype), (MOST, count))
    if len(given) > MOST - 512:
        given = given[rng.permutation(len(given))[: MOST - 512]]
    noise = rng.integers(0, 2**size, (512, count), dtype=dtype)
    rows = np.concatenate([given, noise])
    rows = np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % LANES, axis=0)])
    return [np.ascontiguousarray(column) for column in rows.T]


def execute(
    text: str, arch: str, sources: Sequence[Bits], *, registers: Sequence[int] = (2, 4, 6), **state: Any
) -> lab.State:
    """Run `text` in as many waves as the sources, in v2, v4 and v6, fill."""
    vgprs = {r: s.reshape(-1, LANES) for r, s in zip(registers, sources, strict=False)}
    vgprs.update({int(r): v for r, v in state.pop("vgprs", {}).items()})
    return lab.run(text, arch, vgprs=vgprs, waves=len(sources[0]) // LANES, **state)


def words(state: lab.State, register: int) -> npt.NDArray[np.uint32]:
    """A register of all waves, uint32 [lanes]."""
    return np.ascontiguousarray(state.waves_v[:, register]).reshape(-1)


def wide(state: lab.State, register: int) -> npt.NDArray[np.uint64]:
    """A pair of registers of all waves, uint64 [lanes]."""
    return words(state, register).astype(np.uint64) | words(state, register + 1).astype(np.uint64) << np.uint64(32)


def masks(state: lab.State, register: int) -> npt.NDArray[np.bool_]:
    """A pair of scalar registers of all waves as one truth value a lane."""
    pair = np.ascontiguousarray(state.waves_s[:, register : register + 2]).view(np.uint8)
    return np.unpackbits(pair, axis=1, bitorder="little").reshape(-1).astype(bool)


def show(got: Bits, wanted: Bits, good: npt.NDArray[np.bool_], sources: Sequence[Bits]) -> str:
    """The first lane that differs."""
    lane = int(np.argmin(good))
    operands = ", ".join(f"{int(s[lane]):#x}" for s in sources)
    return f"lane {lane} ({operands}): {int(got[lane]):#x}, wanted {int(wanted[lane]):#x}; {int((~good).sum())} differ"
