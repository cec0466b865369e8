"""Bias, per-head RMS norm and partial NeoX rotation of a token's heads, and their way into the cache."""

from __future__ import annotations

import triton.language as tl

from glm_rocm_kernels._triton import jit


@jit
def load_part(base, bias, head, valid_head, offset, stride, WIDTH: tl.constexpr, PADDED: tl.constexpr, D: tl.constexpr):
    """Columns `offset` to `offset + WIDTH` of some heads, with their bias, `[HEADS, PADDED]` fp32, 0 beyond WIDTH."""
    column = tl.arange(0, PADDED)
    valid = valid_head[:, None] & (column < WIDTH)[None, :]
    x = tl.load(base + head[:, None] * stride + (offset + column)[None, :], mask=valid, other=0.0).to(tl.float32)
    if bias is not None:
        x += tl.load(bias + head[:, None] * D + (offset + column)[None, :], mask=valid, other=0.0).to(tl.float32)
    return x


@jit
def weighted(x, weight, factor, offset, WIDTH: tl.constexpr, PADDED: tl.constexpr):
    """`x * factor * weight` for a part of each head."""
    column = tl.arange(0, PADDED)
    w = tl.load(weight + offset + column, mask=column < WIDTH, other=0.0).to(tl.float32)
    return x * factor[:, None] * w[None, :]


@jit
def norm_and_rotate(
    base,
    bias,
    weight,
    angles,
    head,
    valid_head,
    stride,
    eps,
    D: tl.constexpr,
    HALF: tl.constexpr,
    PADDED_HALF: tl.constexpr,
    PADDED_REST: tl.constexpr,
):
    """Three parts of each head: the two halves that are rotated with each other, and the rest.

    Returns:
        `[HEADS, PADDED_HALF]` twice and `[HEADS, PADDED_REST]`, fp32. The paddings are powers of two, at least 1.
    """
    REST: tl.constexpr = D - 2 * HALF
    first = load_part(base, bias, head, valid_head, 0, stride, HALF, PADDED_HALF, D)
    second = load_part(base, bias, head, valid_head, HALF, stride, HALF, PADDED_HALF, D)
    rest = load_part(base, bias, head, valid_head, 2 * HALF, stride, REST, PADDED_REST, D)
    if weight is not None:
        squares = tl.sum(first * first, 1) + tl.sum(second * second, 1) + tl.sum(rest * rest, 1)
        factor = tl.rsqrt(squares / D + eps)
        first = weighted(first, weight, factor, 0, HALF, PADDED_HALF)
        second = weighted(second, weight, factor, HALF, HALF, PADDED_HALF)
        rest = weighted(rest, weight, factor, 2 * HALF, REST, PADDED_REST)
    pair = tl.arange(0, PADDED_HALF)
    cos = tl.load(angles + pair, mask=pair < HALF, other=0.0).to(tl.float32)[None, :]
    sin = tl.load(angles + HALF + pair, mask=pair < HALF, other=0.0).to(tl.float32)[None, :]
    return first * cos - second * sin, second * cos + first * sin, rest


@jit
def narrowed(x, scale, LIMIT: tl.constexpr, DTYPE: tl.constexpr):
    """fp32 in the dtype of its destination; where that is FP8, `x / scale` saturated to LIMIT, NaN staying NaN."""
    if LIMIT > 0:
        x = x / scale
        x = tl.where(x == x, tl.clamp(x, -LIMIT, LIMIT), x)
    return x.to(DTYPE)


@jit
def store_part(
    base, x, head, valid_head, offset, stride, scale, LIMIT: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr
):
    """The opposite of `load_part`."""
    column = tl.arange(0, PADDED)
    valid = valid_head[:, None] & (column < WIDTH)[None, :]
    at = head[:, None] * stride + (offset + column)[None, :]
    tl.store(base + at, narrowed(x, scale, LIMIT, base.dtype.element_ty), mask=valid)


@jit
def norm_rope_heads(
    source,
    target,
    bias,
    weight,
    angles,
    block,
    heads,
    source_head,
    target_head,
    scale,
    eps,
    LIMIT: tl.constexpr,
    D: tl.constexpr,
    HALF: tl.constexpr,
    PADDED_HALF: tl.constexpr,
    PADDED_REST: tl.constexpr,
    HEADS: tl.constexpr,
):
    """One block of heads of one token, from `source` to `target`."""
    REST: tl.constexpr = D - 2 * HALF
    head = block * HEADS + tl.arange(0, HEADS)
    valid = head < heads
    first, second, rest = norm_and_rotate(
        source, bias, weight, angles, head, valid, source_head, eps, D, HALF, PADDED_HALF, PADDED_REST
    )
    store_part(target, first, head, valid, 0, target_head, scale, LIMIT, HALF, PADDED_HALF)
    store_part(target, second, head, valid, HALF, target_head, scale, LIMIT, HALF, PADDED_HALF)
    store_part(target, rest, head, valid, 2 * HALF, target_head, scale, LIMIT, REST, PADDED_REST)


@jit
def norm_rope(
    q,
    k,
    positions,
    cos_sin,
    q_weight,
    k_weight,
    q_out,
    k_out,
    q_heads,
    k_heads,
    q_token,
    q_head,
    k_token,
    k_head,
    angle_row,
    eps,
    D: tl.constexpr,
    HALF: tl.constexpr,
    PADDED_HALF: tl.constexpr,
    PADDED_REST: tl.constexpr,
    HEADS: tl.constexpr,
):
    """Program (token, block): blocks of query heads first, then of key heads."""
    token = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    q_blocks = tl.cdiv(q_heads, HEADS)
    angles = cos_sin + tl.load(positions + token).to(tl.int64) * angle_row
    if block < q_blocks:
        norm_rope_heads(
            q + token * q_token, q_out + token * q_heads * D, None, q_weight, angles, block, q_heads, q_head, D,
            1.0, eps, 0, D, HALF, PADDED_HALF, PADDED_REST, HEADS,
        )  # fmt: skip
    else:
        norm_rope_heads(
            k + token * k_token, k_out + token * k_heads * D, None, k_weight, angles, block - q_blocks, k_heads, k_head,
            D, 1.0, eps, 0, D, HALF, PADDED_HALF, PADDED_REST, HEADS,
        )  # fmt: skip


@jit
def bias_norm_rope_store(
    q,
    k,
    v,
    q_bias,
    k_bias,
    v_bias,
    positions,
    cos_sin,
    slots,
    q_weight,
    k_weight,
    q_out,
    k_cache,
    v_cache,
    k_scale,
    v_scale,
    q_heads,
    k_heads,
    q_token,
    q_head,
    k_token,
    k_head,
    v_token,
    v_head,
    k_block,
    k_slot,
    k_cache_head,
    v_block,
    v_slot,
    v_cache_head,
    angle_row,
    eps,
    capacity,
    BLOCK_SIZE: tl.constexpr,
    LIMIT: tl.constexpr,
    D: tl.constexpr,
    HALF: tl.constexpr,
    PADDED_HALF: tl.constexpr,
    PADDED_REST: tl.constexpr,
    PADDED_D: tl.constexpr,
    HEADS: tl.constexpr,
):
    """Program (token, block): blocks of query heads first; then of key and value heads, to the token's cache slot."""
    token = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    q_blocks = tl.cdiv(q_heads, HEADS)
    angles = cos_sin + tl.load(positions + token).to(tl.int64) * angle_row
    if block < q_blocks:
        norm_rope_heads(
            q + token * q_token, q_out + token * q_heads * D, q_bias, q_weight, angles, block, q_heads, q_head, D,
            1.0, eps, 0, D, HALF, PADDED_HALF, PADDED_REST, HEADS,
        )  # fmt: skip
    else:
        slot = tl.load(slots + token).to(tl.int64)
        if (slot >= 0) & (slot < capacity):
            page, inside = slot // BLOCK_SIZE, slot % BLOCK_SIZE
            block -= q_blocks
            norm_rope_heads(
                k + token * k_token, k_cache + page * k_block + inside * k_slot, k_bias, k_weight, angles, block,
                k_heads, k_head, k_cache_head, k_scale, eps, LIMIT, D, HALF, PADDED_HALF, PADDED_REST, HEADS,
            )  # fmt: skip
            head = block * HEADS + tl.arange(0, HEADS)
            valid = head < k_heads
            values = load_part(v + token * v_token, v_bias, head, valid, 0, v_head, D, PADDED_D, D)
            target = v_cache + page * v_block + inside * v_slot
            store_part(target, values, head, valid, 0, v_cache_head, v_scale, LIMIT, D, PADDED_D)
