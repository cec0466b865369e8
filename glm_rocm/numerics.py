"""FP8 formats as data, quantise and convert, and the error metrics that every gate uses.

Two FP8 formats matter to GLM. `float8_e4m3fn` (OCP) is what checkpoints hold and what gfx950, gfx12 and NVIDIA compute
in; `float8_e4m3fnuz` is what gfx94x (MI300X) computes in. One bit pattern means half as much in fnuz as in fn, the
pattern 0x80 is -0 in fn and NaN in fnuz, and the NaN patterns 0x7f / 0xff of fn are finite (+-240) in fnuz. So a
checkpoint goes to MI300X by patching those three patterns and doubling the scale; forgetting the doubling costs a
calc_diff of exactly 0.2.

The metrics are taken per token and the worst token counts: one wrong expert in a pool of M tokens is diluted M times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from glm_rocm.errors import ParityError, UsageError

MIN_SCALE = 2.0**-40
"""Smallest quantisation scale: a row of zeros gets it, so no scale is zero and no code is NaN (flashinfer 2595)."""


@dataclass(frozen=True)
class Float8Format:
    """One 8-bit float with 4 exponent and 3 mantissa bits.

    Attributes:
        name: the torch dtype's name.
        bias: exponent bias.
        finite_max: the largest finite value.
        quant_max: the value that the largest element of a row is mapped to. For fnuz it is 224, not 240: the pattern
            that is 448 in fn is 224 in fnuz, so both formats use the same codes (vLLM, input_quant_fp8.py and
            tests/kernels/quant_utils.py, ROCM_FP8FNUZ_MAX).
        nan_codes: the bit patterns that are NaN.
    """

    name: str
    bias: int
    finite_max: float
    quant_max: float
    nan_codes: frozenset[int]

    @property
    def dtype(self) -> torch.dtype:
        """The torch dtype."""
        found: torch.dtype = getattr(torch, self.name)
        return found


E4M3FN = Float8Format("float8_e4m3fn", 7, 448.0, 448.0, frozenset({0x7F, 0xFF}))
E4M3FNUZ = Float8Format("float8_e4m3fnuz", 8, 240.0, 224.0, frozenset({0x80}))
FORMATS = {E4M3FN.dtype: E4M3FN, E4M3FNUZ.dtype: E4M3FNUZ}


def format_of(dtype: torch.dtype) -> Float8Format:
    """The FP8 format of a torch dtype.

    Raises:
        UsageError: the dtype is not one of the two formats.
    """
    if dtype not in FORMATS:
        known = ", ".join(f"`{entry.name}`" for entry in FORMATS.values())
        raise UsageError(f"dtype `{dtype}` is no FP8 format that GLM is served in", required=f"one of {known}")
    return FORMATS[dtype]


def quantize_rows(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Symmetric dynamic quantisation, one scale per row of the last dimension.

    Args:
        x: `[..., K]` any float dtype. A NaN or Inf makes its own row NaN and no other.
        dtype: an FP8 dtype.

    Returns:
        codes `[..., K]` of `dtype` and scale `[..., 1]` fp32 with `x ~ codes * scale`; scale = max|x| / quant_max.
    """
    limit = format_of(dtype).quant_max
    wide = x.float()
    if wide.shape[-1] == 0:
        return wide.to(dtype), wide.new_full((*wide.shape[:-1], 1), MIN_SCALE)
    scale = (wide.abs().amax(-1, keepdim=True) / limit).clamp_min(MIN_SCALE)
    return (wide / scale).clamp(-limit, limit).to(dtype), scale


def dequantize(codes: Tensor, scale: Tensor) -> Tensor:
    """`codes * scale` in fp32; scale `[..., 1]` per row, or of any shape that broadcasts."""
    return codes.float() * scale.float()


def expand_blocks(scale: Tensor, rows: int, columns: int, block: tuple[int, int]) -> Tensor:
    """Block scales `[..., ceil(rows/b0), ceil(columns/b1)]` repeated for every element, `[..., rows, columns]`."""
    grown = scale.float().repeat_interleave(block[0], -2).repeat_interleave(block[1], -1)
    return grown[..., :rows, :columns]


def fn_to_fnuz(codes: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """The same numbers in the format of gfx94x: codes with the bit patterns kept, scale doubled.

    -0 (0x80) becomes 0, NaN (0x7f, 0xff) stays NaN (0x80), every other pattern is unchanged and worth half, which the
    doubled scale makes good exactly (vLLM, `normalize_e4m3fn_to_e4m3fnuz`, which does not keep NaN).

    Args:
        codes: any shape, `float8_e4m3fn`.
        scale: any shape, fp32.

    Returns:
        codes `float8_e4m3fnuz` and scale fp32, of the same shapes; the inputs are not modified.
    """
    if codes.dtype != E4M3FN.dtype:
        raise UsageError(
            f"codes of dtype `{codes.dtype}` cannot be converted to fnuz", required="`float8_e4m3fn` codes"
        )
    bits = codes.contiguous().view(torch.uint8)
    patched = torch.where(bits == 0x80, 0, bits)
    patched = torch.where((bits & 0x7F) == 0x7F, 0x80, patched).to(torch.uint8)
    return patched.view(E4M3FNUZ.dtype), scale * 2.0


@lru_cache(maxsize=8)
def decode_table(dtype: torch.dtype, device: torch.device) -> Tensor:
    """The 256 values of an FP8 dtype, `[256]` fp32, indexed by bit pattern."""
    every = torch.arange(256, dtype=torch.uint8, device=device)
    return every.view(format_of(dtype).dtype).float()


def calc_diff(got: Tensor, want: Tensor) -> Tensor:
    """1 - 2 sum(xy) / sum(x^2 + y^2) per token, in double (DeepGEMM, testing/numeric.py `calc_diff`).

    Args:
        got, want: `[T, ...]` of one shape.

    Returns:
        `[T]` fp64; 0 where both rows are all zero.
    """
    x, y = _rows(got), _rows(want)
    both = (x * x + y * y).sum(-1)
    # The numerator of 1 - 2xy/(x^2+y^2) is (x-y)^2: written so, equal rows give 0 and not a rounding error.
    return torch.where(both == 0, torch.zeros_like(both), ((x - y) ** 2).sum(-1) / both)


def max_abs(got: Tensor, want: Tensor) -> Tensor:
    """Largest |got - want| of each token over the RMS of the reference's row, `[T]` fp64; inf where `want` is all 0."""
    x, y = _rows(got), _rows(want)
    if x.shape[-1] == 0:
        return x.new_zeros(x.shape[0])
    largest = (x - y).abs().amax(-1)
    return torch.where(largest == 0, torch.zeros_like(largest), largest / y.pow(2).mean(-1).sqrt())


class Bounds(Protocol):
    """A largest calc_diff and a largest max_abs per token; `glm_rocm.ops.kernel.Tolerance` is one."""

    @property
    def calc_diff(self) -> float: ...

    @property
    def max_abs(self) -> float: ...


@dataclass(frozen=True)
class Comparison:
    """The worst token of a comparison: its figures by either metric and where they were found."""

    calc_diff: float
    calc_diff_token: int
    max_abs: float
    max_abs_token: int


def compare(
    got: Tensor, want: Tensor, tolerance: Bounds, *, label: str = "result", valid: int | None = None
) -> Comparison:
    """Hold a kernel's result against the reference, token by token.

    Args:
        got: `[T, ...]` the kernel's result.
        want: `[T, ...]` the reference's.
        tolerance: what the kernel declares.
        label: what is compared, for the message.
        valid: rows from here on are padding; they must be finite and are not compared. None: every row is valid.

    Returns:
        The worst token by either metric.

    Raises:
        ParityError: shapes differ, a value is NaN or Inf (in the reference as well), or a token is outside the
            tolerance.
    """
    if got.shape != want.shape:
        raise ParityError(
            f"{label} has shape {tuple(got.shape)}", required=f"the reference's shape {tuple(want.shape)}"
        )
    rows = got.shape[0] if valid is None else valid
    check_finite(want[:rows], label=f"the reference of {label}")
    check_finite(got[:rows], label=label)
    check_finite(got[rows:], label=f"the padding of {label}", first=rows)
    if rows == 0 or got[:rows].numel() == 0:
        return Comparison(0.0, 0, 0.0, 0)
    diff, diff_token = _worst(calc_diff, got[:rows], want[:rows])
    largest, largest_token = _worst(max_abs, got[:rows], want[:rows])
    if diff > tolerance.calc_diff:
        raise ParityError(
            f"{label}: token {diff_token} of {rows} has calc_diff {diff:.3g}",
            required=f"at most {tolerance.calc_diff:g}",
        )
    if largest > tolerance.max_abs:
        raise ParityError(
            f"{label}: token {largest_token} of {rows} is off by {largest:.3g} times its row's RMS",
            required=f"at most {tolerance.max_abs:g}",
        )
    return Comparison(diff, diff_token, largest, largest_token)


def check_finite(x: Tensor, *, label: str = "result", first: int = 0) -> None:
    """Raise ParityError naming the first token of `x [T, ...]` with a NaN or Inf; `first` is the number of row 0."""
    bad = (~torch.isfinite(_rows(x))).any(-1)
    if bool(bad.any()):
        token = int(bad.nonzero()[0])
        raise ParityError(f"{label}: token {first + token} holds NaN or Inf", required="finite values")


def _worst(metric: Callable[[Tensor, Tensor], Tensor], got: Tensor, want: Tensor) -> tuple[float, int]:
    values = metric(got, want)
    token = int(values.argmax())
    return float(values[token]), token


def _rows(x: Tensor) -> Tensor:
    return x.double().reshape(x.shape[0], x[0].numel() if x.shape[0] else 1)
