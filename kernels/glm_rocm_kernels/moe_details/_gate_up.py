"""The first product: gate and up of a block of pairs in one program, SiLU and the product of both, and the next FP8.

A program has the same tile of columns of gate and of up, so what SiLU needs never leaves it. Two things need more than
one program: K split between several (SPLITS, where a small batch leaves compute units idle), and the scale of a row,
whose columns are in several. Both are finished by the last program to arrive of a block, from results that the others
left in memory, summed in the order of the splits: what comes out does not depend on which one is last.
"""

from __future__ import annotations

import triton.language as tl

from glm_rocm_kernels._triton import jit
from glm_rocm_kernels.moe_details._align import find_expert, find_pairs, look_up
from glm_rocm_kernels.moe_details._tiles import load_tile
from glm_rocm_kernels.quant_details._quantize import largest_magnitude, scale_of, to_codes

NONE = tl.constexpr(0)
CHANNEL_TOKEN = tl.constexpr(1)
BLOCK = tl.constexpr(2)


@jit
def _silu_times(gate, up):
    return gate / (1.0 + tl.exp2(gate * -1.4426950408889634)) * up


@jit
def _finish(
    order,
    partial,
    hidden,
    hidden_scale,
    block,
    count,
    pairs,
    N: tl.constexpr,
    N_2: tl.constexpr,
    QUANT: tl.constexpr,
    SPLITS: tl.constexpr,
    LIMIT: tl.constexpr,
    MIN_SCALE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Rows of a block from `partial` to `hidden`: add the splits, SiLU, quantise."""
    column = tl.arange(0, N_2)[None, :]
    for first in range(0, count, ROWS):
        row = first + tl.arange(0, ROWS)
        pair = tl.load(order + block * BLOCK_M + row, mask=row < count, other=0)
        there = (row < count)[:, None] & (column < N)
        if SPLITS == 1:
            h = tl.load(partial + pair[:, None] * N + column, mask=there, other=0.0)
        else:
            gate = tl.zeros((ROWS, N_2), tl.float32)
            up = tl.zeros((ROWS, N_2), tl.float32)
            for split in tl.static_range(SPLITS):
                pointers = partial + (split * pairs + pair)[:, None] * (2 * N) + column
                gate += tl.load(pointers, mask=there, other=0.0)
                up += tl.load(pointers + N, mask=there, other=0.0)
            h = _silu_times(gate, up)
        place = hidden + pair[:, None] * N + column
        if QUANT == NONE:
            tl.store(place, h.to(hidden.dtype.element_ty), mask=there)
        elif QUANT == CHANNEL_TOKEN:
            scale = scale_of(largest_magnitude(h, 1), LIMIT, MIN_SCALE)
            code = to_codes(tl.div_rn(h, tl.broadcast_to(scale[:, None], h.shape)), LIMIT, hidden.dtype.element_ty)
            tl.store(place, code, mask=there)
            tl.store(hidden_scale + pair, scale, mask=row < count)
        else:
            GROUPS: tl.constexpr = (N + 127) // 128
            parts = tl.reshape(h, (ROWS, N_2 // 128, 128))
            scale = scale_of(largest_magnitude(parts, 2), LIMIT, MIN_SCALE)
            parts = tl.div_rn(parts, tl.broadcast_to(scale[:, :, None], parts.shape))
            code = tl.reshape(to_codes(parts, LIMIT, hidden.dtype.element_ty), (ROWS, N_2))
            tl.store(place, code, mask=there)
            group = tl.arange(0, N_2 // 128)[None, :]
            tl.store(
                hidden_scale + pair[:, None] * GROUPS + group, scale, mask=(row < count)[:, None] & (group < GROUPS)
            )


@jit
def _load(
    x,
    x_rows,
    w_gate,
    w_up,
    w_rows,
    k,
    HIDDEN: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    DIRECT: tl.constexpr,
    RUN: tl.constexpr,
    OPERAND: tl.constexpr,
):
    """The tiles of x, gate and up at column k."""
    EVEN: tl.constexpr = HIDDEN % BLOCK_K == 0
    a = load_tile(x, x_rows, k, HIDDEN, BLOCK_M, BLOCK_K, EVEN, DIRECT, RUN, OPERAND)
    g = load_tile(w_gate, w_rows, k, HIDDEN, BLOCK_N, BLOCK_K, EVEN, DIRECT, RUN, OPERAND)
    u = load_tile(w_up, w_rows, k, HIDDEN, BLOCK_N, BLOCK_K, EVEN, DIRECT, RUN, OPERAND)
    return a, g, u


@jit
def _multiply(gate, up, a, g, u, x_scales, gate_scales, up_scales, k, QUANT: tl.constexpr, PRECISION: tl.constexpr):
    """gate and up with one step of K added; for block quantisation a step is one group of columns, with its scales."""
    if QUANT == BLOCK:
        group = k // 128
        x_scale = tl.load(x_scales + group)
        gate += tl.dot(a, g.T) * (x_scale * tl.load(gate_scales + group))[:, None]
        up += tl.dot(a, u.T) * (x_scale * tl.load(up_scales + group))[:, None]
    else:
        gate = tl.dot(a, g.T, gate, input_precision=PRECISION)
        up = tl.dot(a, u.T, up, input_precision=PRECISION)
    return gate, up


@jit
def gate_up_kernel(
    x,
    x_scale,
    w,
    w_scale,
    ids,
    expert_map,
    order,
    block_expert,
    arrivals,
    chunk_order,
    chunk_counts,
    chunk_ends,
    partial,
    hidden,
    hidden_scale,
    stride_x,
    stride_token,
    stride_slot,
    experts_global,
    pairs,
    chunks,
    HIDDEN: tl.constexpr,
    N: tl.constexpr,
    N_2: tl.constexpr,
    TOP_K: tl.constexpr,
    EXPERTS: tl.constexpr,
    EXPERTS_2: tl.constexpr,
    HAS_MAP: tl.constexpr,
    SORTED: tl.constexpr,
    PAIRS: tl.constexpr,
    QUANT: tl.constexpr,
    LIMIT: tl.constexpr,
    MIN_SCALE: tl.constexpr,
    SPLITS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    FINISH_ROWS: tl.constexpr,
    DIRECT: tl.constexpr,
    RUN: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
    WARPS: tl.constexpr,
):
    """Grid (tiles of N, blocks, SPLITS). `partial`: h in fp32, or gate and up of each split; see `_finish`.

    SORTED: the pairs are in sorted chunks of PAIRS; else there is a block for each of them, and PAIRS is the power of
    two that holds them all; see `_align`. The first program of a block writes its tables for the launches to come.
    """
    tile = tl.program_id(0)
    block = tl.program_id(1)
    split = tl.program_id(2)
    if SORTED:
        expert, row, count = find_expert(chunk_counts, block, chunks, EXPERTS_2, BLOCK_M, 4 * WARPS)
    else:
        expert, found = look_up(
            ids,
            expert_map,
            block,
            pairs,
            stride_token,
            stride_slot,
            experts_global,
            EXPERTS,
            TOP_K,
            HAS_MAP,
            PAIRS,
            BLOCK_M,
        )
    if tile + split == 0:
        tl.store(block_expert + block, expert)
    if expert < 0:
        return
    if SORTED:
        found = find_pairs(chunk_order, chunk_counts, chunk_ends, expert, row, count, chunks, PAIRS, EXPERTS_2, BLOCK_M)
    if tile + split == 0:
        tl.store(order + block * BLOCK_M + tl.arange(0, BLOCK_M), found)
    valid = found >= 0
    # A row of padding repeats a real one: computed and thrown away, it costs nothing in a tile and needs no mask.
    pair = tl.where(valid, found, tl.max(found, 0))
    token = pair // TOP_K
    x_rows = token * stride_x
    n = tile * BLOCK_N + tl.arange(0, BLOCK_N)
    w_rows = tl.minimum(n, N - 1) * HIDDEN
    w_gate = w + expert.to(tl.int64) * (2 * N * HIDDEN)
    w_up = w_gate + N * HIDDEN

    STEPS: tl.constexpr = (HIDDEN + BLOCK_K - 1) // BLOCK_K // SPLITS
    SCALES: tl.constexpr = (HIDDEN + 127) // 128
    N_SCALES: tl.constexpr = (N + 127) // 128
    x_scales = x_scale
    gate_scales = w_scale
    up_scales = w_scale
    if QUANT == BLOCK:
        x_scales = x_scale + token * SCALES
        gate_scales = w_scale + (expert * (2 * N_SCALES) + tile * BLOCK_N // 128) * SCALES
        up_scales = gate_scales + N_SCALES * SCALES
    gate = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    up = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    begin = split * (STEPS * BLOCK_K)
    if DIRECT:
        # Two sets of registers by turns: one is filled while the other is multiplied. Triton's own pipelining would
        # move the one to the other, a copy for each register loaded.
        a, g, u = _load(x, x_rows, w_gate, w_up, w_rows, begin, HIDDEN, BLOCK_M, BLOCK_N, BLOCK_K, DIRECT, RUN, OPERAND)
        TURNS: tl.constexpr = (STEPS - 1) // 2
        for turn in tl.range(0, TURNS, num_stages=1):
            k = begin + turn * (2 * BLOCK_K)
            b, h, v = _load(
                x, x_rows, w_gate, w_up, w_rows, k + BLOCK_K, HIDDEN, BLOCK_M, BLOCK_N, BLOCK_K, DIRECT, RUN, OPERAND
            )
            gate, up = _multiply(gate, up, a, g, u, x_scales, gate_scales, up_scales, k, QUANT, PRECISION)
            a, g, u = _load(
                x,
                x_rows,
                w_gate,
                w_up,
                w_rows,
                k + 2 * BLOCK_K,
                HIDDEN,
                BLOCK_M,
                BLOCK_N,
                BLOCK_K,
                DIRECT,
                RUN,
                OPERAND,
            )
            gate, up = _multiply(gate, up, b, h, v, x_scales, gate_scales, up_scales, k + BLOCK_K, QUANT, PRECISION)
        k = begin + TURNS * (2 * BLOCK_K)
        if STEPS % 2 == 0:
            b, h, v = _load(
                x, x_rows, w_gate, w_up, w_rows, k + BLOCK_K, HIDDEN, BLOCK_M, BLOCK_N, BLOCK_K, DIRECT, RUN, OPERAND
            )
            gate, up = _multiply(gate, up, a, g, u, x_scales, gate_scales, up_scales, k, QUANT, PRECISION)
            gate, up = _multiply(gate, up, b, h, v, x_scales, gate_scales, up_scales, k + BLOCK_K, QUANT, PRECISION)
        else:
            gate, up = _multiply(gate, up, a, g, u, x_scales, gate_scales, up_scales, k, QUANT, PRECISION)
    else:
        for step in range(STEPS):
            k = begin + step * BLOCK_K
            a, g, u = _load(x, x_rows, w_gate, w_up, w_rows, k, HIDDEN, BLOCK_M, BLOCK_N, BLOCK_K, DIRECT, RUN, OPERAND)
            gate, up = _multiply(gate, up, a, g, u, x_scales, gate_scales, up_scales, k, QUANT, PRECISION)
    if QUANT == CHANNEL_TOKEN:
        row_scales = tl.load(x_scale + token)[:, None]
        column = expert * (2 * N) + tl.minimum(n, N - 1)
        gate *= row_scales * tl.load(w_scale + column)[None, :]
        up *= row_scales * tl.load(w_scale + column + N)[None, :]

    there = valid[:, None] & (n < N)[None, :]
    if SPLITS > 1:
        place = partial + (split * pairs + pair)[:, None] * (2 * N) + n[None, :]
        tl.store(place, gate, mask=there)
        tl.store(place + N, up, mask=there)
    elif QUANT == NONE:
        place = hidden + pair[:, None] * N + n[None, :]
        tl.store(place, _silu_times(gate, up).to(hidden.dtype.element_ty), mask=there)
    else:
        tl.store(partial + pair[:, None] * N + n[None, :], _silu_times(gate, up), mask=there)

    if SPLITS > 1 or QUANT != NONE:
        if WARPS > 1:
            tl.debug_barrier()  # every warp's results are out before one thread says so
        arrived = tl.atomic_add(arrivals + block, 1, sem="acq_rel", scope="gpu")
        if arrived == (N + BLOCK_N - 1) // BLOCK_N * SPLITS - 1:
            count = tl.sum(valid.to(tl.int32), 0)
            _finish(
                order,
                partial,
                hidden,
                hidden_scale,
                block,
                count,
                pairs,
                N,
                N_2,
                QUANT,
                SPLITS,
                LIMIT,
                MIN_SCALE,
                BLOCK_M,
                FINISH_ROWS,
            )
