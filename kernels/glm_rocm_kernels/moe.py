"""GLM's mixture of experts: `route` chooses each token's experts, `experts` runs them, `moe` does both.

Launches: `route` one; `experts` four (prepare, gate and up, down, sum); `moe` four up to ROUTED_TOGETHER tokens, where
the first launch also routes, and five beyond. No result is summed in an order that timing decides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from glm_rocm_kernels._triton import current_arch
from glm_rocm_kernels.checks import (
    FLOATS,
    FP8_MAX,
    INDICES,
    MIN_SCALE,
    check_indices,
    check_one_of,
    check_range,
    check_tensor,
)
from glm_rocm_kernels.errors import KernelArgumentError
from glm_rocm_kernels.launch import LaunchChoice, choose, launch
from glm_rocm_kernels.moe_details._down import down_kernel, sum_kernel
from glm_rocm_kernels.moe_details._gate_up import gate_up_kernel
from glm_rocm_kernels.moe_details._prepare import prepare_kernel
from glm_rocm_kernels.moe_details._route import route_kernel

QUANTS = ("none", "channel_token", "block")
BLOCK = 128
"""Rows and columns of a weight block, and the width of an activation group."""
ROUTED_TOGETHER = 64
"""Tokens up to which one workgroup routes and aligns: more would wait for it longer than for a second launch."""
FINISH_ELEMENTS = 512
"""Elements of a row block that a warp finishes at a time: 8 registers a lane and tensor."""


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
            "TOP_K_2": _pow2(self.top_k),
            "GROUPS": self.n_group,
            "GROUPS_2": _pow2(self.n_group),
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
    def blocks(self) -> int:
        """The most blocks that any ids can fill: one for each expert that has a pair, and the full ones."""
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


def route(
    logits: Tensor,
    bias: Tensor,
    *,
    top_k: int,
    n_group: int = 1,
    topk_group: int = 1,
    normalize: bool = True,
    scale: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Sigmoid routing with a correction bias that chooses and never weighs.

    s = sigmoid(logits); the top_k of s + bias are chosen among the topk_group groups whose two best sum highest;
    weights are s of the chosen, divided by (their sum + 1e-20) where `normalize`, times `scale`.

    Args:
        logits: `[T, E]` fp32, rows strided.
        bias: `[E]` fp32.

    Returns:
        ids `[T, top_k]` int32 in falling order of s + bias, the lower id first among equals, and weights
        `[T, top_k]` fp32.

    Raises:
        KernelArgumentError: an argument's shape, dtype, stride, device or range.
    """
    routing = Routing(top_k, n_group, topk_group, normalize, scale)
    _check_routing(logits, bias, routing)
    tokens, experts = logits.shape
    ids = torch.empty(tokens, top_k, dtype=torch.int32, device=logits.device)
    weights = torch.empty(tokens, top_k, dtype=torch.float32, device=logits.device)
    choice = choose("moe.route", current_arch(), "float32", E=experts, M=tokens)
    launch(
        route_kernel,
        (-(-tokens // choice["ROWS"]),),
        choice,
        logits,
        bias,
        ids,
        weights,
        tokens,
        logits.stride(0),
        float(scale),
        EXPERTS=experts,
        EXPERTS_2=_pow2(experts),
        ROWS=choice["ROWS"],
        **routing.constants(experts),
    )
    return ids, weights


def experts(
    x: Tensor,
    w13: Tensor,
    w2: Tensor,
    ids: Tensor,
    weights: Tensor,
    *,
    w13_scale: Tensor | None = None,
    w2_scale: Tensor | None = None,
    quant: str = "none",
    expert_map: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Sum over a token's experts of weight * (w2 (silu(gate) * up)).

    Args:
        x: `[T, H]` bf16, fp16 or fp32, rows strided.
        w13: `[E, 2N, H]`, rows 0:N the gate, N:2N the up projection; of x's dtype, or FP8. Contiguous.
        w2: `[E, H, N]`, likewise.
        ids: `[T, K]` int32 or int64, strided. Negative ids, and on an accelerator ids beyond the experts, add nothing.
        weights: `[T, K]` fp32, applied after w2. Contiguous.
        w13_scale, w2_scale: fp32, contiguous. channel_token: `[E, 2N, 1]` and `[E, H, 1]`. block:
            `[E, 2 ceil(N/128), ceil(H/128)]` and `[E, ceil(H/128), ceil(N/128)]`.
        quant: `none`, `channel_token` (x with a scale per token) or `block` (per token and 128 columns).
        expert_map: `[E_global]` int32 or int64: the local number of a global id, -1 for an expert on another rank.
        out: `[T, H]` of x's dtype to write to, strided.

    Returns:
        `[T, H]` of x's dtype, `out` where given.

    Raises:
        KernelArgumentError: an argument's shape, dtype, stride, device or range.
        LaunchRefusedError: the architecture has no matrix instruction for the weights' dtype.
    """
    plan = _check_experts(x, w13, w2, ids, weights, w13_scale, w2_scale, quant, expert_map, out)
    return _run(plan, x, w13, w2, ids, weights, w13_scale, w2_scale, expert_map, out)


def moe(
    x: Tensor,
    logits: Tensor,
    bias: Tensor,
    w13: Tensor,
    w2: Tensor,
    *,
    top_k: int,
    n_group: int = 1,
    topk_group: int = 1,
    normalize: bool = True,
    scale: float = 1.0,
    w13_scale: Tensor | None = None,
    w2_scale: Tensor | None = None,
    quant: str = "none",
    expert_map: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """`experts` of what `route` chooses, from router logits to the summed output. Arguments as theirs."""
    routing = Routing(top_k, n_group, topk_group, normalize, scale)
    _check_routing(logits, bias, routing)
    if x.shape[0] != logits.shape[0]:
        raise KernelArgumentError("logits", f"of {logits.shape[0]} tokens", f"{x.shape[0]}, those of `x`")
    if x.shape[0] > ROUTED_TOGETHER:
        ids, weights = route(
            logits, bias, top_k=top_k, n_group=n_group, topk_group=topk_group, normalize=normalize, scale=scale
        )
        return experts(
            x,
            w13,
            w2,
            ids,
            weights,
            w13_scale=w13_scale,
            w2_scale=w2_scale,
            quant=quant,
            expert_map=expert_map,
            out=out,
        )
    ids = torch.empty(x.shape[0], top_k, dtype=torch.int32, device=x.device)
    weights = torch.empty(x.shape[0], top_k, dtype=torch.float32, device=x.device)
    plan = _check_experts(x, w13, w2, ids, weights, w13_scale, w2_scale, quant, expert_map, out, written=False)
    return _run(plan, x, w13, w2, ids, weights, w13_scale, w2_scale, expert_map, out, (routing, logits, bias))


def _run(
    plan: Plan,
    x: Tensor,
    w13: Tensor,
    w2: Tensor,
    ids: Tensor,
    weights: Tensor,
    w13_scale: Tensor | None,
    w2_scale: Tensor | None,
    expert_map: Tensor | None,
    out: Tensor | None,
    routed: tuple[Routing, Tensor, Tensor] | None = None,
) -> Tensor:
    """Allocate and launch; where `routed`, the first launch fills `ids` and `weights`."""
    if out is None:
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
    if plan.tokens == 0:
        return out
    new = _Allocator(x.device)
    gate_up, down, total = plan.gate_up, plan.choice("down"), plan.choice("sum")
    order = new(plan.blocks * gate_up["BLOCK_M"], dtype=torch.int32)
    block_expert, arrivals = new(2, plan.blocks, dtype=torch.int32)
    codes, x_scale = x, None
    if plan.fp8:
        codes = new(plan.tokens, plan.hidden, dtype=plan.product)
        x_scale = new(plan.tokens, plan.scales(plan.hidden), dtype=torch.float32)
    tables = (order, block_expert, arrivals)
    _prepare(plan, x, ids, weights, expert_map, tables, codes, x_scale, routed)

    n, splits = plan.intermediate, plan.splits
    partial = None
    if splits > 1:
        partial = new(splits, plan.pairs, 2 * n, dtype=torch.float32)
    elif plan.fp8:
        partial = new(plan.pairs, n, dtype=torch.float32)
    hidden = new(plan.pairs, n, dtype=plan.product)
    hidden_scale = new(plan.pairs, plan.scales(n), dtype=torch.float32) if plan.fp8 else None
    n_2 = max(_pow2(n), BLOCK)
    launch(
        gate_up_kernel,
        (-(-n // gate_up["BLOCK_N"]), plan.blocks, splits),
        gate_up,
        codes,
        x_scale,
        w13,
        w13_scale,
        *tables,
        partial,
        hidden,
        hidden_scale,
        codes.stride(0),
        plan.pairs,
        N_2=n_2,
        TOP_K=plan.top_k,
        LIMIT=plan.limit,
        MIN_SCALE=MIN_SCALE,
        FINISH_ROWS=min(max(FINISH_ELEMENTS * gate_up.options["num_warps"] // n_2, 1), gate_up["BLOCK_M"]),
        WARPS=gate_up.options["num_warps"],
        SPLITS=splits,
        BLOCK_K=plan.block_k(gate_up, plan.hidden),
        **{name: gate_up[name] for name in ("BLOCK_N", "DIRECT", "OPERAND")},
        **plan.tile,
    )
    y = new(plan.pairs, plan.hidden, dtype=torch.float32 if down["WIDE_SUM"] else x.dtype)
    launch(
        down_kernel,
        (-(-plan.hidden // down["BLOCK_N"]), plan.blocks),
        down,
        hidden,
        hidden_scale,
        w2,
        w2_scale,
        weights,
        order,
        block_expert,
        y,
        WIDE=plan.wide,
        **{name: down[name] for name in ("BLOCK_N", "BLOCK_K", "DIRECT", "OPERAND", "UNROLL")},
        **plan.tile,
    )
    launch(
        sum_kernel,
        (plan.tokens, -(-plan.hidden // total["BLOCK_N"])),
        total,
        y,
        ids,
        expert_map,
        out,
        *ids.stride(),
        0 if expert_map is None else expert_map.shape[0],
        *out.stride(),
        HIDDEN=plan.hidden,
        EXPERTS=plan.experts,
        TOP_K=plan.top_k,
        HAS_MAP=expert_map is not None,
        WIDE=plan.wide,
        BLOCK_N=total["BLOCK_N"],
    )
    return out


def _prepare(
    plan: Plan,
    x: Tensor,
    ids: Tensor,
    weights: Tensor,
    expert_map: Tensor | None,
    tables: tuple[Tensor, Tensor, Tensor],
    codes: Tensor,
    x_scale: Tensor | None,
    routed: tuple[Routing, Tensor, Tensor] | None,
) -> None:
    """The first launch: route where asked, align, quantise x."""
    choice = plan.choice("prepare")
    routing, logits, bias = routed or (Routing(plan.top_k, 1, 1, False, 1.0), None, None)
    router_experts = plan.experts if logits is None else logits.shape[1]
    scales = plan.scales(plan.hidden)
    chunks = -(-plan.tokens // choice["TOKENS"])
    launch(
        prepare_kernel,
        (chunks + (plan.tokens if plan.fp8 else 0),),
        choice,
        logits,
        bias,
        ids,
        weights,
        expert_map,
        *tables,
        x,
        codes,
        x_scale,
        plan.tokens,
        chunks,
        plan.blocks,
        0 if expert_map is None else expert_map.shape[0],
        0 if logits is None else logits.stride(0),
        *ids.stride(),
        x.stride(0),
        float(routing.scale),
        EXPERTS=plan.experts,
        EXPERTS_2=_pow2(plan.experts),
        HAS_MAP=expert_map is not None,
        TOKENS=choice["TOKENS"],
        SEVERAL=chunks > 1,
        BLOCK_M=plan.gate_up["BLOCK_M"],
        BLOCK_E=choice["BLOCK_E"],
        HIDDEN=plan.hidden,
        GROUP=BLOCK if plan.quant == "block" else _pow2(plan.hidden),
        SCALES=scales,
        SCALES_2=_pow2(scales),
        LIMIT=plan.limit,
        MIN_SCALE=MIN_SCALE,
        QUANTISE=plan.fp8,
        ROUTE=logits is not None,
        ROUTE_EXPERTS=router_experts,
        ROUTE_EXPERTS_2=_pow2(router_experts),
        ROUTE_ROWS=choice["ROUTE_ROWS"],
        **routing.constants(router_experts),
    )


class _Allocator:
    """Workspace on the device of the call."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __call__(self, *shape: int, dtype: torch.dtype) -> Tensor:
        return torch.empty(*shape, dtype=dtype, device=self.device)


def _check_routing(logits: Tensor, bias: Tensor, routing: Routing) -> None:
    check_tensor("logits", logits, shape=(None, None), dtypes=(torch.float32,), unit_stride=1)
    count = logits.shape[1]
    check_tensor("bias", bias, shape=(count,), dtypes=(torch.float32,), device=logits.device, unit_stride=0)
    check_range("n_group", routing.n_group, 1, max(count, 1))
    if count % routing.n_group:
        raise KernelArgumentError("n_group", str(routing.n_group), f"a divisor of the {count} experts")
    check_range("topk_group", routing.topk_group, 1, routing.n_group)
    check_range("top_k", routing.top_k, 1, count)


def _check_experts(
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


def _pow2(value: int) -> int:
    """The next power of two."""
    return 1 << max(value - 1, 0).bit_length()
