"""The second product, weighted, and the sum over a token's experts in the order of its slots."""

from __future__ import annotations

import triton.language as tl

from glm_rocm_kernels._triton import jit
from glm_rocm_kernels.moe_details._gate_up import BLOCK, CHANNEL_TOKEN
from glm_rocm_kernels.moe_details._tiles import load_tile, rows_of_block


@jit
def down_kernel(
    hidden,
    hidden_scale,
    w,
    w_scale,
    weights,
    order,
    block_expert,
    y,
    HIDDEN: tl.constexpr,
    N: tl.constexpr,
    QUANT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    UNROLL: tl.constexpr,
    WIDE: tl.constexpr,
    DIRECT: tl.constexpr,
    RUN: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (tiles of H, blocks): `y [pairs, H]`, each row times its routing weight."""
    tile = tl.program_id(0)
    block = tl.program_id(1)
    expert = tl.load(block_expert + block)
    if expert < 0:
        return
    pair, valid = rows_of_block(order, block, BLOCK_M)
    h_rows = pair * N
    n = tile * BLOCK_N + tl.arange(0, BLOCK_N)
    column = tl.minimum(n, HIDDEN - 1)
    w_rows = column * N
    w_expert = w + expert.to(tl.int64) * (HIDDEN * N)

    EVEN: tl.constexpr = N % BLOCK_K == 0
    SCALES: tl.constexpr = (N + 127) // 128
    acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    if QUANT == BLOCK:
        block_scale = w_scale + (expert * ((HIDDEN + 127) // 128) + tile * BLOCK_N // 128) * SCALES
    if UNROLL:
        for step in tl.static_range((N + BLOCK_K - 1) // BLOCK_K):
            k = step * BLOCK_K
            a = load_tile(hidden, h_rows, k, N, BLOCK_M, BLOCK_K, EVEN or k + BLOCK_K <= N, DIRECT, RUN, OPERAND)
            b = load_tile(w_expert, w_rows, k, N, BLOCK_N, BLOCK_K, EVEN or k + BLOCK_K <= N, DIRECT, RUN, OPERAND)
            if QUANT == BLOCK:
                row_scales = tl.load(hidden_scale + pair * SCALES + k // 128) * tl.load(block_scale + k // 128)
                acc += tl.dot(a, b.T) * row_scales[:, None]
            else:
                acc = tl.dot(a, b.T, acc, input_precision=PRECISION)
    else:
        for k in range(0, N, BLOCK_K):
            a = load_tile(hidden, h_rows, k, N, BLOCK_M, BLOCK_K, EVEN, DIRECT, RUN, OPERAND)
            b = load_tile(w_expert, w_rows, k, N, BLOCK_N, BLOCK_K, EVEN, DIRECT, RUN, OPERAND)
            if QUANT == BLOCK:
                row_scales = tl.load(hidden_scale + pair * SCALES + k // 128) * tl.load(block_scale + k // 128)
                acc += tl.dot(a, b.T) * row_scales[:, None]
            else:
                acc = tl.dot(a, b.T, acc, input_precision=PRECISION)
    row = tl.load(weights + pair)
    if QUANT == CHANNEL_TOKEN:
        row *= tl.load(hidden_scale + pair)
        acc *= tl.load(w_scale + expert * HIDDEN + column)[None, :]
    acc *= row[:, None]
    base = pair.to(tl.int64) if WIDE else pair
    place = y + (base * HIDDEN)[:, None] + n[None, :]
    tl.store(place, acc.to(y.dtype.element_ty), mask=valid[:, None] & (n < HIDDEN)[None, :])


@jit
def sum_kernel(
    y,
    ids,
    expert_map,
    out,
    stride_token,
    stride_slot,
    experts_global,
    stride_out,
    stride_column,
    HIDDEN: tl.constexpr,
    EXPERTS: tl.constexpr,
    TOP_K: tl.constexpr,
    HAS_MAP: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Grid (tokens, tiles of H): the rows of y that belong to a token, added in the order of its slots."""
    token = tl.program_id(0)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_N,), tl.float32)
    row = token.to(tl.int64) if WIDE else token
    for slot in tl.static_range(TOP_K):
        expert = tl.load(ids + token * stride_token + slot * stride_slot).to(tl.int32)
        if HAS_MAP:
            known = (expert >= 0) & (expert < experts_global)
            expert = tl.load(expert_map + expert, mask=known, other=-1).to(tl.int32)
        theirs = tl.where(n < HIDDEN, expert, -1)
        there = (theirs >= 0) & (theirs < EXPERTS)
        acc += tl.load(y + (row * TOP_K + slot) * HIDDEN + n, mask=there, other=0.0).to(tl.float32)
    place = out + row * stride_out + n * stride_column
    tl.store(place, acc.to(out.dtype.element_ty), mask=n < HIDDEN)
