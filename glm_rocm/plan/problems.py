"""The problems that a model poses to the kernels on one rank: each op at each shape, once."""

from __future__ import annotations

from glm_rocm.model.spec import BLOCK, ModelSpec
from glm_rocm.ops.attention import AttentionProblem
from glm_rocm.ops.linear import LinearProblem
from glm_rocm.ops.moe import ExpertsProblem, RouteProblem
from glm_rocm.ops.norm_rope import NormRopeProblem
from glm_rocm.ops.quant import QuantProblem

AnyProblem = AttentionProblem | RouteProblem | ExpertsProblem | LinearProblem | NormRopeProblem | QuantProblem

PROBLEMS: dict[str, type[AnyProblem]] = {
    "norm_rope": NormRopeProblem,
    "attention": AttentionProblem,
    "moe.route": RouteProblem,
    "moe.experts": ExpertsProblem,
    "linear": LinearProblem,
    "quant": QuantProblem,
}
"""Each op's problem, in the order of a decoder layer."""

OPS = tuple(PROBLEMS)

QUANT = {"none": "none", "fp8_channel_token": "channel_token", "fp8_block": "block"}
"""The kernels' word for a checkpoint's scheme."""


def problems_of(spec: ModelSpec, tp: int, *, dtype: str, kv_dtype: str, block_size: int) -> tuple[AnyProblem, ...]:
    """What one rank computes for `spec` at `tp`, in the order of a decoder layer, duplicates removed.

    Linear layers and activation quantisation are listed for FP8 checkpoints only: a BF16 linear is the engine's own
    matrix product.

    Args:
        dtype: of activations.
        kv_dtype: of the cache.
        block_size: tokens per cache page.

    Raises:
        PlanError: the model cannot be cut in `tp`.
    """
    rank = spec.per_rank(tp)
    quant = QUANT[spec.quantization.scheme]
    problems: list[AnyProblem] = [
        NormRopeProblem(rank.heads, rank.kv_heads, spec.head_dim, spec.rotary_dim, spec.qk_norm, dtype),
        AttentionProblem(rank.heads, rank.kv_heads, spec.head_dim, block_size, dtype, kv_dtype),
        RouteProblem(spec.experts, spec.top_k, spec.n_group, spec.topk_group),
        ExpertsProblem(
            experts=rank.experts,
            top_k=spec.top_k,
            hidden=spec.hidden,
            intermediate=rank.moe_intermediate,
            dtype=dtype,
            quant=quant,
            block=(BLOCK, BLOCK) if quant == "block" else None,
        ),
    ]
    if quant != "none":
        shapes = linear_shapes(spec, tp)
        problems += [LinearProblem(inputs, outputs, dtype, quant) for inputs, outputs in shapes]
        widths = sorted({inputs for inputs, _ in shapes} | {spec.hidden, rank.moe_intermediate})
        problems += [QuantProblem(width, dtype, quant) for width in widths]
    return tuple(dict.fromkeys(problems))


def linear_shapes(spec: ModelSpec, tp: int) -> tuple[tuple[int, int], ...]:
    """(in, out) features on one rank of the FP8 linears, fused as engines fuse them: qkv, output, gate and up, down."""
    rank, layer = spec.per_rank(tp), f"model.layers.{spec.layers - 1}."
    query, key = rank.heads * spec.head_dim, rank.kv_heads * spec.head_dim
    named = [
        (layer + "self_attn.q_proj", spec.hidden, query + 2 * key),
        (layer + "self_attn.o_proj", query, spec.hidden),
    ]
    if spec.first_dense:
        named += [
            ("model.layers.0.mlp.gate_proj", spec.hidden, 2 * rank.intermediate),
            ("model.layers.0.mlp.down_proj", rank.intermediate, spec.hidden),
        ]
    if spec.shared_experts:
        named += [
            (layer + "mlp.shared_experts.gate_proj", spec.hidden, 2 * rank.shared_intermediate),
            (layer + "mlp.shared_experts.down_proj", rank.shared_intermediate, spec.hidden),
        ]
    covered = ((inputs, outputs) for module, inputs, outputs in named if spec.quantization.covers(module))
    return tuple(dict.fromkeys(covered))
