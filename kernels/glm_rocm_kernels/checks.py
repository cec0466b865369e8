"""Argument checks shared by the wrappers. They read shapes, dtypes, strides and addresses, never a device's memory.

The one exception is stated where it is made: indices that lie on the CPU (the emulator, the interpreter) are held
against the memory that they index, since there a wrong one can be named instead of being read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from glm_rocm_kernels.errors import KernelArgumentError

FLOATS = (torch.bfloat16, torch.float16, torch.float32)
FP8_MAX = {torch.float8_e4m3fn: 448.0, torch.float8_e4m3fnuz: 224.0}
"""The FP8 formats and the value that a row's largest element is mapped to; for fnuz 224 and not its finite maximum of
240, so that both formats use the same codes (vLLM, input_quant_fp8.py)."""
FP8_FINITE_MAX = {torch.float8_e4m3fn: 448.0, torch.float8_e4m3fnuz: 240.0}
"""The formats' largest finite values, which a cache saturates to: its scale is static, so the whole range is used."""
MIN_SCALE = 2.0**-40
"""Smallest quantisation scale: a row of zeros gets it, so that no scale is zero."""
INDICES = (torch.int32, torch.int64)


def check_tensor(
    argument: str,
    x: Tensor,
    *,
    shape: Sequence[int | None],
    dtypes: Collection[torch.dtype],
    device: torch.device | None = None,
    unit_stride: int | None = None,
) -> None:
    """Hold one tensor to what a kernel reads it as.

    Args:
        argument: its name in the wrapper's signature.
        x: the tensor.
        shape: the extent of each dimension; None where any will do. Its length is the rank.
        dtypes: those that the kernel takes.
        device: where the other tensors are.
        unit_stride: the dimension whose elements must lie side by side.

    Raises:
        KernelArgumentError: the first thing that does not hold.
    """
    if not isinstance(x, Tensor):
        raise KernelArgumentError(argument, f"a `{type(x).__name__}`", "a tensor")
    if x.dtype not in dtypes:
        raise KernelArgumentError(argument, _name(x.dtype), " or ".join(map(_name, dtypes)))
    if x.dim() != len(shape) or any(want not in (None, got) for want, got in zip(shape, x.shape, strict=True)):
        required = ", ".join("any" if extent is None else str(extent) for extent in shape)
        raise KernelArgumentError(argument, f"of shape {list(x.shape)}", f"shape [{required}]")
    if device is not None and x.device != device:
        raise KernelArgumentError(argument, f"on `{x.device}`", f"`{device}`, where the other tensors are")
    if unit_stride is not None and x.shape[unit_stride] > 1 and x.stride(unit_stride) != 1:
        raise KernelArgumentError(
            argument,
            f"of strides {list(x.stride())}",
            f"stride 1 in dimension {unit_stride % x.dim()}; `.contiguous()` gives it",
        )
    if x.data_ptr() % x.element_size():
        raise KernelArgumentError(
            argument, f"at address {x.data_ptr():#x}", f"one that {x.element_size()}, its element's size, divides"
        )


def check_positive(argument: str, value: float) -> None:
    """A number above zero: a scale, an epsilon."""
    if not value > 0:
        raise KernelArgumentError(argument, f"{value:g}", "a number above 0")


def check_range(argument: str, value: int, low: int, high: int) -> None:
    """`low <= value <= high`."""
    if not low <= value <= high:
        raise KernelArgumentError(argument, str(value), f"{low} to {high}")


def check_one_of(argument: str, value: object, allowed: Collection[object]) -> None:
    """One of a few values."""
    if value not in allowed:
        raise KernelArgumentError(argument, f"`{value}`", " or ".join(f"`{entry}`" for entry in allowed))


def check_divides(argument: str, value: int, whole_argument: str, whole: int) -> None:
    """`value` is above zero and divides `whole` without rest."""
    if value <= 0 or whole % value:
        raise KernelArgumentError(argument, str(value), f"a divisor of {whole_argument} = {whole}")


def check_indices(argument: str, indices: Tensor, limit: int, *, negative: bool = False) -> None:
    """Indices on the CPU lie in `[0, limit)`, or below zero where `negative` entries are skipped by the kernel.

    On an accelerator nothing is read: that would stop the stream, and a captured graph has no values yet.
    """
    if indices.device.type != "cpu" or indices.numel() == 0:
        return
    bad = indices >= limit if negative else (indices >= limit) | (indices < 0)
    if bool(bad.any()):
        place = bad.nonzero()[0].tolist()
        raise KernelArgumentError(
            f"{argument}{place}",
            str(int(indices[tuple(place)])),
            ("any below 0, or " if negative else "") + f"0 to {limit - 1}",
        )


def check_block_table(
    block_table: Tensor, query_start: Tensor, context_len: Tensor, num_blocks: int, block_size: int
) -> None:
    """Each page that a sequence with queries owns exists, and no context is longer than its row; CPU tensors only.

    Args:
        block_table: `[B, max_blocks]` int32.
        query_start: `[B + 1]` int32.
        context_len: `[B]` int32.
        num_blocks: pages of the cache.
        block_size: tokens of a page.
    """
    if block_table.device.type != "cpu" or block_table.shape[0] == 0:
        return
    working = query_start.diff() > 0
    needed = torch.where(working, (context_len + block_size - 1) // block_size, 0)
    if bool((needed > block_table.shape[1]).any()):
        row = int(needed.argmax())
        raise KernelArgumentError(
            f"context_len[{row}]",
            str(int(context_len[row])),
            f"at most {block_table.shape[1] * block_size}, the row's pages",
        )
    owned = torch.arange(block_table.shape[1]) < needed[:, None]
    check_indices("block_table", torch.where(owned, block_table, 0), num_blocks)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
