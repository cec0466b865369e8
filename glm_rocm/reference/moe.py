"""Routing and experts as their definitions, one token and one expert at a time. Signatures: `glm_rocm.ops.moe`."""

from __future__ import annotations

import torch
from torch import Tensor

from glm_rocm.reference.linear import linear


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
    """See `glm_rocm.ops.moe.Route`."""
    scores = torch.sigmoid(logits.float())  # [T, E]
    choice = scores + bias.float()  # [T, E]
    if n_group > 1:
        grouped = choice.view(-1, n_group, choice.shape[1] // n_group)  # [T, G, E/G]
        group_score = grouped.sort(-1, descending=True).values[..., :2].sum(-1)  # [T, G]
        kept = group_score.sort(dim=-1, descending=True, stable=True).indices[:, :topk_group]
        mask = torch.zeros_like(group_score, dtype=torch.bool).scatter_(1, kept, True)
        # -inf and not 0: a bias may make the best score of a kept group negative (vllm 31478).
        choice = grouped.masked_fill(~mask[..., None], float("-inf")).flatten(1)
    ids = choice.sort(dim=-1, descending=True, stable=True).indices[:, :top_k]
    weights = scores.gather(1, ids)
    if normalize:
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
    return ids.to(torch.int32), weights * scale


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
    """See `glm_rocm.ops.moe.Experts`; the result is fp32 unless `out` is given."""
    result = torch.zeros(x.shape, dtype=torch.float32, device=x.device)
    for token in range(x.shape[0]):
        for slot in range(ids.shape[1]):
            expert = int(ids[token, slot])
            if expert >= 0 and expert_map is not None:
                expert = int(expert_map[expert])
            if expert < 0:
                continue
            row = swiglu(
                x[token : token + 1],
                w13[expert],
                w2[expert],
                w13_scale=None if w13_scale is None else w13_scale[expert],
                w2_scale=None if w2_scale is None else w2_scale[expert],
                quant=quant,
            )
            result[token] += weights[token, slot].float() * row[0]
    return result if out is None else out.copy_(result)


def swiglu(
    x: Tensor,
    w13: Tensor,
    w2: Tensor,
    *,
    w13_scale: Tensor | None = None,
    w2_scale: Tensor | None = None,
    quant: str = "none",
) -> Tensor:
    """One SwiGLU MLP, `[T, H]` fp32: an expert, the shared expert, or the MLP of a dense layer.

    Args:
        x: `[T, H]`.
        w13: `[2N, H]`, the gate's rows, then the up projection's; its scale likewise, one half each.
        w2: `[H, N]`.
    """
    gate_scale, up_scale = (None, None) if w13_scale is None else w13_scale.chunk(2, 0)
    gate_weight, up_weight = w13.chunk(2, 0)
    gate = linear(x, gate_weight, w_scale=gate_scale, quant=quant)  # [T, N]
    up = linear(x, up_weight, w_scale=up_scale, quant=quant)
    return linear(torch.nn.functional.silu(gate) * up, w2, w_scale=w2_scale, quant=quant)
