"""Our kernels as torch operators, for the places where vLLM traces the model with dynamo.

A kernel may branch on the data (which experts are hit, how long a sequence is), which dynamo cannot follow; behind an
operator it need not. Run eagerly, the adapters call the kernel itself and save the dispatch.
"""

from __future__ import annotations

import torch

from glm_rocm.engines.active import experts, kernel


@torch.library.custom_op("glm_rocm::experts", mutates_args=("out",))
def experts_op(
    out: torch.Tensor,
    x: torch.Tensor,
    w13: torch.Tensor,
    w2: torch.Tensor,
    ids: torch.Tensor,
    weights: torch.Tensor,
    w13_scale: torch.Tensor | None,
    w2_scale: torch.Tensor | None,
    quant: str,
    expert_map: torch.Tensor | None,
) -> None:
    """`ops.moe.experts`, writing into `out` [T, H]."""
    experts(
        x, w13, w2, ids, weights, w13_scale=w13_scale, w2_scale=w2_scale, quant=quant, expert_map=expert_map, out=out
    )


@experts_op.register_fake
def _(
    out: torch.Tensor,
    x: torch.Tensor,
    w13: torch.Tensor,
    w2: torch.Tensor,
    ids: torch.Tensor,
    weights: torch.Tensor,
    w13_scale: torch.Tensor | None,
    w2_scale: torch.Tensor | None,
    quant: str,
    expert_map: torch.Tensor | None,
) -> None:
    return None


@torch.library.custom_op("glm_rocm::linear", mutates_args=())
def linear_op(
    x: torch.Tensor,
    weight: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    quant: str,
    out_dtype: torch.dtype,
) -> torch.Tensor:
    """`ops.linear`: x [T, K], weight [N, K] -> [T, N]."""
    result: torch.Tensor = kernel("linear")(x, weight, w_scale=scale, bias=bias, quant=quant, out_dtype=out_dtype)
    return result


@linear_op.register_fake
def _(
    x: torch.Tensor,
    weight: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    quant: str,
    out_dtype: torch.dtype,
) -> torch.Tensor:
    return x.new_empty((x.shape[0], weight.shape[0]), dtype=out_dtype)
