"""Routing and experts in torch. Signatures: `glm_rocm.ops.moe`.

The rows of all tokens are sorted by expert once; each expert that was hit then costs two fp32 products on a slice, and
everything between the products runs on all rows at once. Results return to their slots before they are added, so a
token's sum has one order whatever else is in the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import silu

from glm_rocm.backends.torch_kernels.linear import require_scheme, widen_blocks
from glm_rocm.backends.torch_kernels.quant import quantized_rows, widen


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
    scores = logits.float().sigmoid()  # [T, E]
    choice = scores + bias  # [T, E]
    if n_group > 1:
        choice = _keep_groups(choice.unflatten(1, (n_group, -1)), topk_group)
    ids = choice.sort(dim=-1, descending=True, stable=True).indices[:, :top_k]
    weights = scores.gather(1, ids)
    if normalize:
        weights /= weights.sum(-1, keepdim=True) + 1e-20
    return ids.to(torch.int32), weights * scale


def _keep_groups(grouped: Tensor, count: int) -> Tensor:
    """Scores `[T, G, E/G]` -> `[T, E]` with -inf outside the `count` groups whose two best sum highest."""
    group_score = grouped.topk(min(2, grouped.shape[-1]), dim=-1).values.sum(-1)  # [T, G]
    kept = group_score.sort(dim=-1, descending=True, stable=True).indices[:, :count]
    dropped = torch.ones_like(group_score, dtype=torch.bool).scatter_(1, kept, False)
    return grouped.masked_fill(dropped[..., None], float("-inf")).flatten(1)


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
    require_scheme(quant, w13_scale, w2_scale)
    tokens, top_k = ids.shape
    local = ids.reshape(-1)  # [T K]
    if expert_map is not None:
        local = torch.where(local < 0, -1, expert_map[local.clamp_min(0).long()])
    expert_of, order = local.sort(stable=True)
    token_of = order if top_k == 1 else order // top_k
    spans = _spans(expert_of.tolist())

    rows = x.index_select(0, token_of)  # [T K, H]
    hidden = _grouped(rows, w13, w13_scale, quant, spans)  # [T K, 2N]
    gate, up = hidden.chunk(2, -1)
    results = _grouped(silu(gate) * up, w2, w2_scale, quant, spans)  # [T K, H]

    results *= weights.reshape(-1, 1).index_select(0, order)
    if spans and spans[0][1] == 0 and spans[-1][2] == tokens * top_k:
        slots = torch.empty_like(results)
    else:
        slots = torch.zeros_like(results)
    owned = slice(spans[0][1], spans[-1][2]) if spans else slice(0, 0)
    slots.index_copy_(0, order[owned], results[owned])
    summed = slots.view(tokens, top_k, -1).sum(1)  # [T, H]
    return summed.to(x.dtype) if out is None else out.copy_(summed)


def _spans(experts_sorted: list[int]) -> list[tuple[int, int, int]]:
    """(expert, first row, last row + 1) of each expert hit, from the sorted expert of each row; negatives left out."""
    spans: list[tuple[int, int, int]] = []
    start = 0
    for row in range(1, len(experts_sorted) + 1):
        if row == len(experts_sorted) or experts_sorted[row] != experts_sorted[start]:
            if experts_sorted[start] >= 0:
                spans.append((experts_sorted[start], start, row))
            start = row
    return spans


def _grouped(
    x: Tensor, w: Tensor, scale: Tensor | None, quant: str, spans: list[tuple[int, int, int]]
) -> Tensor:
    """`x[a:b] @ w[expert].T` for every span, fp32 `[rows, N]`; rows outside every span are left uninitialised."""
    result = torch.empty(x.shape[0], w.shape[1], dtype=torch.float32, device=x.device)
    values, factor = (x.float(), None) if quant == "none" else quantized_rows(x, w.dtype, quant)
    for expert, start, end in spans:
        if quant == "block":
            wide = widen_blocks(w[expert], scale[expert] if scale is not None else None)
        else:
            wide = widen(w[expert])
        torch.mm(values[start:end], wide.T, out=result[start:end])
        if quant == "channel_token" and scale is not None:
            result[start:end] *= scale[expert].view(1, -1)
    if factor is not None:
        result *= factor
    return result
