"""GLM's mixture of experts: `route` chooses each token's experts, `experts` runs them, `moe` does both.

Launches: `route` one; `experts` and `moe` four at most, whatever the batch: prepare (route, sort, quantise; not where
none of it is wanted), gate and up, down, sum. No result is summed in an order that timing decides.
"""

from __future__ import annotations

import torch
from torch import Tensor

from glm_rocm_kernels._triton import current_arch
from glm_rocm_kernels.checks import MIN_SCALE
from glm_rocm_kernels.errors import KernelArgumentError
from glm_rocm_kernels.launch import LaunchChoice, choose, launch
from glm_rocm_kernels.moe_call import BLOCK, Plan, Routing, check_experts, check_routing, next_power_of_two
from glm_rocm_kernels.moe_details._down import down_kernel, sum_kernel
from glm_rocm_kernels.moe_details._gate_up import gate_up_kernel
from glm_rocm_kernels.moe_details._prepare import prepare_kernel
from glm_rocm_kernels.moe_details._route import route_kernel

FINISH_ELEMENTS = 512
"""Elements of a row block that a warp finishes at a time: 8 registers a lane and tensor."""


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
    check_routing(logits, bias, routing)
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
        EXPERTS_2=next_power_of_two(experts),
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
    plan = check_experts(x, w13, w2, ids, weights, w13_scale, w2_scale, quant, expert_map, out)
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
    check_routing(logits, bias, routing)
    if x.shape[0] != logits.shape[0]:
        raise KernelArgumentError("logits", f"of {logits.shape[0]} tokens", f"{x.shape[0]}, those of `x`")
    ids = torch.empty(x.shape[0], top_k, dtype=torch.int32, device=x.device)
    weights = torch.empty(x.shape[0], top_k, dtype=torch.float32, device=x.device)
    plan = check_experts(x, w13, w2, ids, weights, w13_scale, w2_scale, quant, expert_map, out, written=False)
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
    experts_global = 0 if expert_map is None else expert_map.shape[0]
    gate_up, down, total = plan.gate_up, plan.choice("down"), plan.choice("sum")
    order = new(plan.blocks * gate_up["BLOCK_M"], dtype=torch.int32)
    block_expert, arrivals = new(2, plan.blocks, dtype=torch.int32)
    prepare = plan.choice("prepare")
    chunk = prepare["TOKENS" if plan.sorted else "ROUTE_ROWS"]
    chunks = -(-plan.tokens // chunk)
    chunk_order, chunk_counts, chunk_ends = None, None, None
    chunk_pairs = next_power_of_two(plan.pairs)
    if plan.sorted:
        chunk_pairs = chunk * next_power_of_two(plan.top_k)
        chunk_order = new(chunks, chunk_pairs, dtype=torch.int32)
        chunk_counts, chunk_ends = new(2, chunks, next_power_of_two(plan.experts), dtype=torch.int32)
    codes, x_scale = x, None
    if plan.fp8:
        codes = new(plan.tokens, plan.hidden, dtype=plan.product)
        x_scale = new(plan.tokens, plan.scales(plan.hidden), dtype=torch.float32)
    n, splits = plan.intermediate, plan.splits
    tables = (arrivals, chunk_order, chunk_counts, chunk_ends)
    if routed or plan.sorted or plan.fp8 or splits > 1:
        _prepare(plan, prepare, chunk, x, ids, weights, expert_map, tables, codes, x_scale, routed)

    partial = None
    if splits > 1:
        partial = new(splits, plan.pairs, 2 * n, dtype=torch.float32)
    elif plan.fp8:
        partial = new(plan.pairs, n, dtype=torch.float32)
    hidden = new(plan.pairs, n, dtype=plan.product)
    hidden_scale = new(plan.pairs, plan.scales(n), dtype=torch.float32) if plan.fp8 else None
    n_2 = max(next_power_of_two(n), BLOCK)
    launch(
        gate_up_kernel,
        (-(-n // gate_up["BLOCK_N"]), plan.blocks, splits),
        gate_up,
        codes,
        x_scale,
        w13,
        w13_scale,
        ids,
        expert_map,
        order,
        block_expert,
        *tables,
        partial,
        hidden,
        hidden_scale,
        codes.stride(0),
        *ids.stride(),
        experts_global,
        plan.pairs,
        chunks,
        N_2=n_2,
        TOP_K=plan.top_k,
        EXPERTS=plan.experts,
        EXPERTS_2=next_power_of_two(plan.experts),
        HAS_MAP=expert_map is not None,
        SORTED=plan.sorted,
        PAIRS=chunk_pairs,
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
        experts_global,
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
    choice: LaunchChoice,
    chunk: int,
    x: Tensor,
    ids: Tensor,
    weights: Tensor,
    expert_map: Tensor | None,
    tables: tuple[Tensor | None, ...],
    codes: Tensor,
    x_scale: Tensor | None,
    routed: tuple[Routing, Tensor, Tensor] | None,
) -> None:
    """The first launch: route where asked, sort the pairs of each `chunk` of tokens, quantise x."""
    chunks = -(-plan.tokens // chunk)
    routing, logits, bias = routed or (Routing(plan.top_k, 1, 1, False, 1.0), None, None)
    router_experts = plan.experts if logits is None else logits.shape[1]
    scales = plan.scales(plan.hidden)
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
        EXPERTS_2=next_power_of_two(plan.experts),
        HAS_MAP=expert_map is not None,
        TOKENS=chunk,
        SORT=plan.sorted,
        ARRIVALS=choice["ARRIVALS"],
        HIDDEN=plan.hidden,
        GROUP=BLOCK if plan.quant == "block" else next_power_of_two(plan.hidden),
        SCALES=scales,
        SCALES_2=next_power_of_two(scales),
        LIMIT=plan.limit,
        MIN_SCALE=MIN_SCALE,
        QUANTISE=plan.fp8,
        ROUTE=logits is not None,
        ROUTE_EXPERTS=router_experts,
        ROUTE_EXPERTS_2=next_power_of_two(router_experts),
        ROUTE_ROWS=choice["ROUTE_ROWS"],
        **routing.constants(router_experts),
    )


class _Allocator:
    """Workspace on the device of the call."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __call__(self, *shape: int, dtype: torch.dtype) -> Tensor:
        return torch.empty(*shape, dtype=dtype, device=self.device)
