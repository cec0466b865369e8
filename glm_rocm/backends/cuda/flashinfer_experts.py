"""Routed experts by FlashInfer's CUTLASS kernels: BF16, FP16, and FP8 blocks on Hopper. Signatures: `glm_rocm.ops.moe`.

CUTLASS wants the up projection above the gate, the other way round than a checkpoint has them (vLLM 0.32 turns them
for the same kernel, flashinfer_utils.py, swap_w13_to_w31). An engine turns them once, in place, by `prepare_experts`,
and calls `experts_prepared` from then on; `experts` turns a copy at every call, which is right for anyone and slow.
"""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


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
    """See `glm_rocm.ops.moe.Experts`."""
    w13, w13_scale = w13.clone(), None if w13_scale is None else w13_scale.clone()
    prepare_experts(w13, w13_scale)
    options = {"w13_scale": w13_scale, "w2_scale": w2_scale, "quant": quant, "expert_map": expert_map, "out": out}
    return experts_prepared(x, w13, w2, ids, weights, **options)  # type: ignore[arg-type]


@torch.no_grad()
def prepare_experts(w13: Tensor, w13_scale: Tensor | None) -> None:
    """Exchange gate and up of every expert in place, and of the scales where there are any; twice is as before.

    Args:
        w13: `[E, 2N, H]`.
        w13_scale: `[E, 2 N/128, H/128]` fp32, or None.
    """
    for stacked in (w13, w13_scale):
        if stacked is None:
            continue
        for expert in stacked:  # one at a time: the copy is as large as half an expert
            half = expert.shape[0] // 2
            gate = expert[:half].clone()
            expert[:half] = expert[half:]
            expert[half:] = gate


def experts_prepared(
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
    """As `experts`, with weights that `prepare_experts` has turned."""
    result = torch.empty_like(x, memory_format=torch.contiguous_format) if out is None else out
    if x.shape[0] == 0:
        return result
    ids, weights, silent = local_choice(ids, weights, expert_map)
    scales = [] if quant == "none" else [w13_scale, w2_scale]
    _fused_moe()(
        input=x.contiguous(),
        token_selected_experts=ids,
        token_final_scales=weights,
        fc1_expert_weights=w13,
        fc2_expert_weights=w2,
        output_dtype=x.dtype,
        quant_scales=scales,
        output=result,
        use_deepseek_fp8_block_scale=quant == "block",
        **_deterministic(),
    )
    return result.masked_fill_(silent, 0.0)


def local_choice(ids: Tensor, weights: Tensor, expert_map: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Ids `[T, K]` int32 and weights `[T, K]` fp32 as CUTLASS takes them, and the rows `[T, 1]` that have no expert.

    It knows no id that adds nothing: such a slot gets expert 0 with a weight of 0, and a row of nothing but such slots
    is zeroed afterwards, whatever it holds.
    """
    local = ids.long()
    if expert_map is not None:
        local = torch.where(local < 0, -1, expert_map[local.clamp_min(0)].long())
    elsewhere = local < 0
    kept = weights.float().masked_fill(elsewhere, 0.0)
    return local.clamp_min(0).to(torch.int32), kept, elsewhere.all(-1, keepdim=True)


@lru_cache(maxsize=1)
def _fused_moe() -> Any:
    from flashinfer.fused_moe import cutlass_fused_moe

    return cutlass_fused_moe


@lru_cache(maxsize=1)
def _deterministic() -> dict[str, bool]:
    """From 0.7 on the sum over experts is done by atomics unless told not to: its bits would vary from run to run."""
    return {"use_fused_finalize": False} if "use_fused_finalize" in inspect.signature(_fused_moe()).parameters else {}
