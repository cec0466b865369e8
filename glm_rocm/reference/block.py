"""One whole GLM decoder layer in plain fp32: the maths of transformers' `Glm4MoeDecoderLayer` over a paged cache."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from glm_rocm.model.spec import ModelSpec
from glm_rocm.reference.attention import attention, store_kv
from glm_rocm.reference.moe import experts, route, swiglu
from glm_rocm.reference.norm_rope import norm_rope, rms_norm
from glm_rocm.reference.weights import AttentionWeights, BlockWeights, MlpWeights, MoeWeights


@dataclass(frozen=True)
class Cache:
    """One layer's pages, `[num_blocks, block_size, Hkv, D]` each, with the scales of an FP8 cache."""

    k: Tensor
    v: Tensor
    k_scale: float = 1.0
    v_scale: float = 1.0


@dataclass(frozen=True)
class Batch:
    """Which sequences the T rows belong to and where their keys go; see `glm_rocm.ops.attention` for each tensor."""

    positions: Tensor
    block_table: Tensor
    query_start: Tensor
    context_len: Tensor
    slots: Tensor


def block(x: Tensor, weights: BlockWeights, cache: Cache, batch: Batch, cos_sin: Tensor, spec: ModelSpec) -> Tensor:
    """`x [T, H]` through a decoder layer -> `[T, H]` fp32; the cache takes the new keys and values."""
    normed = rms_norm(x, weights.input_norm, spec.rms_eps)
    x = x.float() + self_attention(normed, weights.attention, cache, batch, cos_sin, spec)
    normed = rms_norm(x, weights.post_norm, spec.rms_eps)
    return x + feed_forward(normed, weights.mlp, spec)


def self_attention(
    x: Tensor, weights: AttentionWeights, cache: Cache, batch: Batch, cos_sin: Tensor, spec: ModelSpec
) -> Tensor:
    """Projections with bias, QK norm, rope on the first half of a head, paged causal attention, output projection."""
    tokens = x.shape[0]
    q = weights.q(x).view(tokens, spec.heads, spec.head_dim)
    k = weights.k(x).view(tokens, spec.kv_heads, spec.head_dim)
    v = weights.v(x).view(tokens, spec.kv_heads, spec.head_dim)
    q, k = norm_rope(q, k, batch.positions, cos_sin, q_weight=weights.q_norm, k_weight=weights.k_norm, eps=spec.rms_eps)
    store_kv(k, v, cache.k, cache.v, batch.slots, k_scale=cache.k_scale, v_scale=cache.v_scale)
    attended = attention(
        q,
        cache.k,
        cache.v,
        batch.block_table,
        batch.query_start,
        batch.context_len,
        scale=spec.head_dim**-0.5,
        k_scale=cache.k_scale,
        v_scale=cache.v_scale,
    )
    return weights.o(attended.flatten(1))


def feed_forward(x: Tensor, weights: MlpWeights | MoeWeights, spec: ModelSpec) -> Tensor:
    """The dense MLP, or routed experts plus the shared expert, which the routed scale does not touch."""
    if isinstance(weights, MlpWeights):
        return mlp(x, weights)
    logits = x.float() @ weights.router.float().T
    ids, gates = route(
        logits,
        weights.bias,
        top_k=spec.top_k,
        n_group=spec.n_group,
        topk_group=spec.topk_group,
        normalize=spec.norm_topk,
        scale=spec.routed_scale,
    )
    routed = experts(
        x,
        weights.w13.weight,
        weights.w2.weight,
        ids,
        gates,
        w13_scale=weights.w13.scale,
        w2_scale=weights.w2.scale,
        quant=weights.w13.quant,
    )
    return routed if weights.shared is None else routed + mlp(x, weights.shared)


def mlp(x: Tensor, weights: MlpWeights) -> Tensor:
    """A dense layer's MLP, or the shared expert, `[T, H]` fp32."""
    return swiglu(
        x,
        weights.w13.weight,
        weights.w2.weight,
        w13_scale=weights.w13.scale,
        w2_scale=weights.w2.scale,
        quant=weights.w13.quant,
    )


def one_sequence(tokens: int, block_size: int = 16, *, cached: int = 0) -> Batch:
    """A batch of one sequence: `tokens` new rows after `cached` ones, its pages in order from page 0."""
    total = cached + tokens
    pages = -(-total // block_size)
    positions = torch.arange(cached, total)
    return Batch(
        positions=positions,
        block_table=torch.arange(pages, dtype=torch.int32)[None],
        query_start=torch.tensor([0, tokens], dtype=torch.int32),
        context_len=torch.tensor([total], dtype=torch.int32),
        slots=positions,
    )


def empty_cache(tokens: int, spec: ModelSpec, block_size: int = 16) -> Cache:
    """An fp32 cache with room for `tokens` tokens of one sequence, full of NaN until written."""
    shape = (-(-tokens // block_size), block_size, spec.kv_heads, spec.head_dim)
    return Cache(torch.full(shape, float("nan")), torch.full(shape, float("nan")))
