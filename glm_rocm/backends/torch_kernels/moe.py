"""Routing and experts in torch. Signatures: `glm_rocm.ops.moe`.

The rows of all tokens are sorted by expert once; each expert that was hit then costs two fp32 products on a slice, and
everything between the products runs on all rows at once. Results return to their slots before they are added, so a
token's sum has one order whatever else is in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import silu

from glm_rocm.backends.torch_kernels.linear import require_scheme, widen_blocks
from glm_rocm.backends.torch_kernels.quant import quantized_rows, widen

Span = tuple[int, int, int]
"""An expert, its first row, and the row after its last."""
CHUNK = 512
"""Tokens at once: more and the rows between the two products leave a CPU's cache."""


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
        choice = _keep_groups(choice.view(-1, n_group, choice.shape[1] // n_group), topk_group)
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
    result = torch.empty_like(x) if out is None else out
    if expert_map is not None:
        ids = torch.where(ids < 0, -1, expert_map[ids.clamp_min(0).long()])
    first_layer, second_layer = Grouped(w13, w13_scale, quant, 2), Grouped(w2, w2_scale, quant, 1)
    for start in range(0, x.shape[0], CHUNK):
        chunk = slice(start, start + CHUNK)
        result[chunk] = _mix(x[chunk], first_layer, second_layer, ids[chunk], weights[chunk].float())
    return result


@dataclass(frozen=True)
class Grouped:
    """One of an expert's two products for all experts: `w [E, N, K]`, its scale and scheme.

    `parts` weights lie one below the other, each with blocks of its own: gate and up in the first product.
    """

    w: Tensor
    scale: Tensor | None
    quant: str
    parts: int

    def prepare(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The activations `[T, K]` in fp32 as the product takes them, and the factor `[T, 1]` that its result needs."""
        return (x.float(), None) if self.quant == "none" else quantized_rows(x, self.w.dtype, self.quant)

    def __call__(self, values: Tensor, factor: Tensor | None, spans: list[Span]) -> Tensor:
        """`values[a:b] @ w[expert].T` for every span, fp32 `[rows, N]`; rows outside every span are uninitialised."""
        result = torch.empty(values.shape[0], self.w.shape[1], dtype=torch.float32, device=values.device)
        for expert, start, end in spans:
            rows = result[start:end]
            torch.mm(values[start:end], self.widened(expert).t(), out=rows)
            if self.quant == "channel_token" and self.scale is not None:
                rows *= self.scale[expert].view(1, -1)
        return result if factor is None else result.mul_(factor)

    def widened(self, expert: int) -> Tensor:
        """An expert's weight in fp32; per-channel scales are left for the result, which is smaller."""
        if self.quant == "block" and self.scale is not None:
            apart = zip(self.w[expert].chunk(self.parts), self.scale[expert].chunk(self.parts), strict=True)
            return torch.cat([widen_blocks(part, scale) for part, scale in apart])
        return widen(self.w[expert])


def _mix(x: Tensor, first_layer: Grouped, second_layer: Grouped, ids: Tensor, weights: Tensor) -> Tensor:
    """Every token through its experts and their results added up, `[T, H]` fp32."""
    tokens, top_k = ids.shape
    values, factor = first_layer.prepare(x)
    flat = ids.reshape(-1)  # [T K]
    order: Tensor | None = None
    if tokens == 1:  # its rows differ in expert already: nothing to sort
        rows, row_factor = values.expand(top_k, -1), factor
    else:
        flat, order = flat.sort(stable=True)
        token_of = order.div(top_k, rounding_mode="floor")
        rows = values.index_select(0, token_of)  # [T K, H]
        row_factor = None if factor is None else factor.index_select(0, token_of)
    spans = spans_of(flat.tolist())
    gate, up = first_layer(rows, row_factor, spans).chunk(2, -1)  # [T K, N] each
    results = second_layer(*second_layer.prepare(silu(gate).mul_(up)), spans)  # [T K, H]
    if sum(end - start for _, start, end in spans) != results.shape[0]:
        results[flat < 0] = 0.0
        weights = weights.masked_fill(ids < 0, 0.0)
    slots = results if order is None else torch.empty_like(results).index_copy_(0, order, results)
    return torch.bmm(weights.unsqueeze(1), slots.view(tokens, top_k, -1)).squeeze(1)


def spans_of(experts: list[int]) -> list[Span]:
    """The runs of one expert in the expert of each row; runs of a negative number are left out."""
    spans: list[Span] = []
    start = 0
    for row in range(1, len(experts) + 1):
        if row == len(experts) or experts[row] != experts[start]:
            if experts[start] >= 0:
                spans.append((experts[start], start, row))
            start = row
    return spans
