"""The floats that numpy lacks, as bit patterns: to fp32 and back with torch's rounding.

A cast to FP8 follows torch where the value is beyond the format: e4m3fn saturates, e4m3fnuz gives NaN. Kernels clamp
before they cast, since cards differ from each other here too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import triton.language as tl
from numpy.typing import NDArray

Array = NDArray[Any]

TORCH = {
    tl.float8e4nv: torch.float8_e4m3fn,
    tl.float8e4b8: torch.float8_e4m3fnuz,
    tl.float8e5: torch.float8_e5m2,
    tl.float8e5b16: torch.float8_e5m2fnuz,
    tl.bfloat16: torch.bfloat16,
}
"""The types that numpy lacks: the interpreter keeps their bits as unsigned integers."""

NUMPY = {tl.float16: np.float16, tl.float32: np.float32, tl.float64: np.float64}

_BYTES = torch.arange(256, dtype=torch.uint8)
_VALUES = {ty: _BYTES.view(dtype).float().numpy() for ty, dtype in TORCH.items() if dtype.itemsize == 1}


def is_packed(ty: Any) -> bool:
    """Whether values of a Triton type are kept as bit patterns."""
    return ty in TORCH


def decode(bits: Array, ty: Any) -> Array:
    """Bit patterns of a packed type to fp32; exact."""
    if ty == tl.bfloat16:
        return (bits.astype(np.uint32) << 16).view(np.float32)
    values: Array = _VALUES[ty][bits.view(np.uint8)]
    return values


def encode(values: Array, ty: Any) -> Array:
    """Values to bit patterns of a packed type, rounded to nearest even through fp32, as torch does."""
    rounded = torch.from_numpy(np.array(values, dtype=np.float32, copy=True)).to(TORCH[ty])
    bits: Array = rounded.view(torch.uint8).numpy() if ty != tl.bfloat16 else rounded.view(torch.uint16).numpy()
    return bits


def convert(data: Array, source: Any, target: Any) -> Array:
    """Data of one float type as the data of another."""
    if source == target:
        return data
    wide = decode(data, source) if is_packed(source) else data
    return encode(wide, target) if is_packed(target) else wide.astype(NUMPY[target])
