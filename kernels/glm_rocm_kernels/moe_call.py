"""What a mixture-of-experts call is made of: its arguments, checked, and everything that their shapes decide."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from glm_rocm_kernels._triton import current_arch
from glm_rocm_kernels.checks import FLOATS, FP8_MAX, INDICES, check_indices, check_one_of, check_range, check_tensor
from glm_rocm_kernels.errors import KernelArgumentError
from glm_rocm_kernels.launch import LaunchChoice, choose

QUANTS = ("none", "channel_token", "block")
BLOCK = 128
"""Rows and columns of a weight block, and the width of an activation group."""


LOOKED_UP = 512
"""Pairs up to which a block's own are looked up in the ids: each program reads all of them."""


@dataclass(frozen=True)
class Routing:
    """How experts are chosen; the arguments of `route`."""

    top_k: int
    n_group: int
    topk_group: int
    normalize: bool
    scale: float

    def constants(self, experts: int) -> dict[str, int | bool]:
        """The device code's constants."""
        return {
            "TOP_K": self.top_k,
            "TOP_K_2": next_power_of_two(self.top_k),
            "GROUPS": self.n_group,
            "GROUPS_2": next_power_of_two(self.n_group),
            "KEPT_GROUPS": self.topk_group,
            "NORMALIZE": self.normalize,
        }


@dataclass(frozen=True)
class Plan:
    """Everything about an experts call that its shapes decide: extents, launch choices, sizes of what is allocated."""

    tokens: int
    top_k: int
    experts: int
    hidden: int
    intermediate: int
    quant: str
    dtype: torch.dtype
    product: torch.dtype
    arch: str

    @cached_property
    def address(self) -> dict[str, int | str]:
        return {"M": self.tokens, "E": self.experts, "N": self.intermediate, "H": self.hidden, "quant": self.quant}

    def choice(self, kernel: str) -> LaunchChoice:
        return choose(f"moe.{kernel}", self.arch, str(self.product).removeprefix("torch."), **self.address)

    @cached_property
    def gate_up(self) -> LaunchChoice:
        return self.choice("gate_up")

    @property
    def fp8(self) -> bool:
        return self.quant != "none"

    @property
    def pairs(self) -> int:
        return self.tokens * self.top_k

    @property
    def sorted(self) -> bool:
        """Whether the pairs are too many to look them up."""
        return self.pairs > LOOKED_UP

    @property
    def blocks(self) -> int:
        """Blocks that the products are launched for: one a pair or, of sorted pairs, the most that any ids can fill,
        one for each expert that has a pair and the full ones."""
        if not self.sorted:
            return self.pairs
        used = min(self.experts, self.pairs)
        return used + (self.pairs - used) // self.gate_up["BLOCK_M"]

    @property
    def limit(self) -> float:
        return FP8_MAX.get(self.product, 0.0)

    def scales(self, width: int) -> int:
        """Activation scales of a row of `width` columns."""
        return -(-width // BLOCK) if self.quant == "block" else 1

    def block_k(self, choice: LaunchChoice, width: int) -> int:
        """The choice's step in K or, where it does not divide `width`, the part of it that does and is no less than
        an instruction's: full steps need no mask."""
        least = 4 * max(16 // self.product.itemsize, choice["OPERAND"])
        fitted = math.gcd(choice["BLOCK_K"], width)
        return fitted if fitted >= least else choice["BLOCK_K"]

    @cached_property
    def splits(self) -> int:
        """Programs that share the K of the first product, equal parts of whole steps."""
        steps = -(-self.hidden // self.block_k(self.gate_up, self.hidden))
        return max(count for count in range(1, self.gate_up["SPLITS"] + 1) if steps % count == 0)

    @property
    def wide(self) -> bool:
        """Whether the rows of the second product are too many for 32-bit offsets."""
        return self.pairs * self.hidden >= 2**31

    @property
    def tile(self) -> dict[str, Any]:
        """Constants that both products share."""
        return {
            "HIDDEN": self.hidden,
            "N": self.intermediate,
            "QUANT": QUANTS.index(self.quant),
            "BLOCK_M": self.gate_up["BLOCK_M"],
            "RUN": 16 // self.product.itemsize,
            "PRECISION": "ieee",
        }


def check_routing(logits: Tensor, bias: Tensor, routing: Routing) -> None:
    check_tensor("logits", logits, shape=(None, None), dtypes=(torch.float32,), unit_stride=1)
    count = logits.shape[1]
    check_tensor("bias", bias, shape=(count,), dtypes=(torch.float32,), device=logits.device, unit_stride=0)
    check_range("n_group", routing.n_group, 1, max(count, 1))
    if count % routing.n_group:
        raise KernelArgumentError("n_group", str(routing.n_group), f"a divisor of the {count} experts")
    check_range("topk_group", routing.topk_group, 1, routing.n_group)
    check_range("top_k", routing.top_k, 1, count)


def check_experts(
    x: Tensor,
    w13: Tensor,
    w2: Tensor,
    ids: Tensor,
    weights: Tensor,
    w13_scale: Tensor | None,
    w2_scale: Tensor | None,
    quant: str,
    expert_map: Tensor | None,
    out: Tensor | None,
    *,
    written: bool = True,
) -> Plan:
    """Hold the arguments to what the kernels read; `written`: the ids hold values already."""
    check_one_of("quant", quant, QUANTS)
    check_tensor("x", x, shape=(None, None), dtypes=FLOATS, unit_stride=1)
    tokens, hidden = x.shape
    weight_dtypes = (x.dtype,) if quant == "none" else tuple(FP8_MAX)
    check_tensor("w13", w13, shape=(None, None, hidden), dtypes=weight_dtypes, device=x.device)
    count, double, _ = w13.shape
    if double % 2 or not double:
        raise KernelArgumentError("w13", f"of shape {list(w13.shape)}", "[E, 2N, H]: as many gate as up rows")
    n = double // 2
    check_tensor("w2", w2, shape=(count, hidden, n), dtypes=(w13.dtype,), device=x.device)
    _check_contiguous("w13", w13)
    _check_contiguous("w2", w2)
    _check_scales(count, n, hidden, quant, w13_scale, w2_scale, x.device)
    check_tensor("ids", ids, shape=(tokens, None), dtypes=INDICES, device=x.device)
    check_range("the number of columns of ids", ids.shape[1], 1, 64)
    check_tensor("weights", weights, shape=tuple(ids.shape), dtypes=(torch.float32,), device=x.device)
    _check_contiguous("weights", weights)
    if expert_map is not None:
        check_tensor("expert_map", expert_map, shape=(None,), dtypes=INDICES, device=x.device, unit_stride=0)
        check_indices("expert_map", expert_map, count, negative=True)
    if written:
        check_indices("ids", ids, count if expert_map is None else expert_map.shape[0], negative=True)
    if out is not None:
        check_tensor("out", out, shape=(tokens, hidden), dtypes=(x.dtype,), device=x.device)
    if tokens * x.stride(0) >= 2**31:
        raise KernelArgumentError("x", f"of strides {list(x.stride())}", "fewer than 2**31 elements from end to end")
    return Plan(tokens, ids.shape[1], count, hidden, n, quant, x.dtype, w13.dtype, current_arch())


def _check_scales(
    count: int, n: int, hidden: int, quant: str, w13: Tensor | None, w2: Tensor | None, device: torch.device
) -> None:
    n_blocks, h_blocks = -(-n // BLOCK), -(-hidden // BLOCK)
    shapes = {
        "channel_token": ((count, 2 * n, 1), (count, hidden, 1)),
        "block": ((count, 2 * n_blocks, h_blocks), (count, h_blocks, n_blocks)),
    }
    for index, (argument, scale) in enumerate((("w13_scale", w13), ("w2_scale", w2))):
        if quant == "none":
            if scale is not None:
                raise KernelArgumentError(argument, "given", "None where `quant` is `none`")
            continue
        if scale is None:
            raise KernelArgumentError(argument, "None", f"fp32 of shape {list(shapes[quant][index])}")
        check_tensor(argument, scale, shape=shapes[quant][index], dtypes=(torch.float32,), device=device)
        _check_contiguous(argument, scale)


def _check_contiguous(argument: str, x: Tensor) -> None:
    if not x.is_contiguous():
        raise KernelArgumentError(argument, f"of strides {list(x.stride())}", "contiguous")


def next_power_of_two(value: int) -> int:
    """The next power of two."""
    return 1 << max(value - 1, 0).bit_length()
