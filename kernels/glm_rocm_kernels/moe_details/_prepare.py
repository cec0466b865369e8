"""What stands before the products, in one launch: routing of a small batch, alignment, and x in FP8.

Alignment sorts the pairs (token, slot) by expert and pads each expert's run to whole blocks of BLOCK_M:
`order [blocks * BLOCK_M]` holds pair numbers, -1 in the padding, and `block_expert [blocks]` the expert of each block,
-1 beyond the last. Within an expert the pairs keep their order, so the result does not depend on timing.

Each program aligns one chunk of tokens, for which it needs to know the others: it counts all ids itself, which are few
bytes, rather than wait for anyone.
"""

from __future__ import annotations

import triton.language as tl

from glm_rocm_kernels._triton import jit
from glm_rocm_kernels.moe_details._route import route_rows
from glm_rocm_kernels.quant_details._quantize import largest_magnitude, scale_of, to_codes


@jit
def _local_experts(
    ids,
    expert_map,
    token,
    tokens,
    stride_token,
    stride_slot,
    experts_global,
    EXPERTS: tl.constexpr,
    TOP_K: tl.constexpr,
    TOP_K_2: tl.constexpr,
    HAS_MAP: tl.constexpr,
):
    """This rank's expert of each pair of some tokens, `[len(token), TOP_K_2]`; -1 where there is none."""
    slot = tl.arange(0, TOP_K_2)[None, :]
    there = (token[:, None] < tokens) & (slot < TOP_K)
    expert = tl.load(ids + token[:, None] * stride_token + slot * stride_slot, mask=there, other=-1).to(tl.int32)
    if HAS_MAP:
        known = (expert >= 0) & (expert < experts_global)
        expert = tl.load(expert_map + expert, mask=known, other=-1).to(tl.int32)
    return tl.where((expert >= 0) & (expert < EXPERTS), expert, -1)


@jit
def _align(
    ids,
    expert_map,
    order,
    block_expert,
    arrivals,
    chunk,
    tokens,
    stride_token,
    stride_slot,
    experts_global,
    chunks,
    blocks,
    EXPERTS: tl.constexpr,
    EXPERTS_2: tl.constexpr,
    TOP_K: tl.constexpr,
    TOP_K_2: tl.constexpr,
    HAS_MAP: tl.constexpr,
    TOKENS: tl.constexpr,
    SEVERAL: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_E: tl.constexpr,
):
    """Place the pairs of chunk number `chunk` of `chunks` (several: SEVERAL), and fill its share of the tables."""
    PAIRS: tl.constexpr = TOKENS * TOP_K_2
    token = tl.arange(0, TOKENS)
    own = _local_experts(
        ids,
        expert_map,
        chunk * TOKENS + token,
        tokens,
        stride_token,
        stride_slot,
        experts_global,
        EXPERTS,
        TOP_K,
        TOP_K_2,
        HAS_MAP,
    )
    own = tl.reshape(own, (PAIRS,))
    counts = tl.histogram(tl.maximum(own, 0), EXPERTS_2, mask=own >= 0)  # [EXPERTS_2]
    total = counts
    before = tl.zeros((EXPERTS_2,), tl.int32)
    if SEVERAL:
        total = tl.zeros((EXPERTS_2,), tl.int32)
        for other in range(chunks):
            theirs = _local_experts(
                ids,
                expert_map,
                other * TOKENS + token,
                tokens,
                stride_token,
                stride_slot,
                experts_global,
                EXPERTS,
                TOP_K,
                TOP_K_2,
                HAS_MAP,
            )
            theirs = tl.reshape(theirs, (PAIRS,))
            found = tl.histogram(tl.maximum(theirs, 0), EXPERTS_2, mask=theirs >= 0)
            total += found
            before += tl.where(other < chunk, found, 0)
    expert_blocks = (total + BLOCK_M - 1) // BLOCK_M
    block_end = tl.cumsum(expert_blocks, 0)
    start = (block_end - expert_blocks) * BLOCK_M  # where each expert's rows begin

    # Pairs of one expert stand together once sorted; a place among them is the place in all less the expert's first.
    pair = tl.arange(0, PAIRS)
    keys = tl.sort(tl.where(own >= 0, own, EXPERTS_2) * PAIRS + pair).to(tl.uint32)  # unsigned: divides by shifting
    expert = (keys // PAIRS).to(tl.int32)
    first = tl.cumsum(counts, 0) - counts
    place = pair + tl.gather(start + before - first, tl.minimum(expert, EXPERTS_2 - 1), 0)
    local = keys % PAIRS
    number = (chunk * TOKENS + (local // TOP_K_2).to(tl.int32)) * TOP_K + (local % TOP_K_2).to(tl.int32)
    tl.store(order + place, number, mask=expert < EXPERTS_2)

    each = tl.arange(0, EXPERTS_2)
    if chunk == 0:
        for row in range(0, BLOCK_M, BLOCK_PADDING):
            j = row + tl.arange(0, BLOCK_PADDING)[None, :]
            padding = total[:, None] + j < (expert_blocks * BLOCK_M)[:, None]
            tl.store(order + (start + total)[:, None] + j, -1, mask=padding)
    for block in range(chunk * BLOCK_E, blocks, chunks * BLOCK_E):
        b = block + tl.arange(0, BLOCK_E)
        whose = tl.sum((block_end[None, :] <= b[:, None]).to(tl.int32), 1)
        last = tl.max(tl.where(expert_blocks > 0, each, -1), 0)
        tl.store(block_expert + b, tl.where(whose <= last, whose, -1), mask=b < blocks)
        tl.store(arrivals + b, 0, mask=b < blocks)


BLOCK_PADDING = tl.constexpr(16)
"""Rows of padding written at a time, of every expert."""


@jit
def _quantise_row(
    x,
    codes,
    scales,
    token,
    stride_x,
    HIDDEN: tl.constexpr,
    GROUP: tl.constexpr,
    GROUPS: tl.constexpr,
    GROUPS_2: tl.constexpr,
    LIMIT: tl.constexpr,
    MIN_SCALE: tl.constexpr,
):
    """One row of x in FP8: GROUPS groups of GROUP columns, a power of two, with a scale each."""
    group = tl.arange(0, GROUPS_2)
    column = group[:, None] * GROUP + tl.arange(0, GROUP)[None, :]
    there = column < HIDDEN
    row = tl.load(x + token.to(tl.int64) * stride_x + column, mask=there, other=0.0).to(tl.float32)
    scale = scale_of(largest_magnitude(row, 1), LIMIT, MIN_SCALE)
    code = to_codes(tl.div_rn(row, tl.broadcast_to(scale[:, None], row.shape)), LIMIT, codes.dtype.element_ty)
    tl.store(codes + token.to(tl.int64) * HIDDEN + column, code, mask=there)
    tl.store(scales + token * GROUPS + group, scale, mask=group < GROUPS)


@jit
def prepare_kernel(
    logits,
    bias,
    ids,
    weights,
    expert_map,
    order,
    block_expert,
    arrivals,
    x,
    codes,
    scales,
    tokens,
    chunks,
    blocks,
    experts_global,
    stride_logits,
    stride_token,
    stride_slot,
    stride_x,
    scale,
    EXPERTS: tl.constexpr,
    EXPERTS_2: tl.constexpr,
    TOP_K: tl.constexpr,
    TOP_K_2: tl.constexpr,
    HAS_MAP: tl.constexpr,
    TOKENS: tl.constexpr,
    SEVERAL: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_E: tl.constexpr,
    HIDDEN: tl.constexpr,
    GROUP: tl.constexpr,
    SCALES: tl.constexpr,
    SCALES_2: tl.constexpr,
    LIMIT: tl.constexpr,
    MIN_SCALE: tl.constexpr,
    QUANTISE: tl.constexpr,
    ROUTE: tl.constexpr,
    ROUTE_EXPERTS: tl.constexpr,
    ROUTE_EXPERTS_2: tl.constexpr,
    GROUPS: tl.constexpr,
    GROUPS_2: tl.constexpr,
    KEPT_GROUPS: tl.constexpr,
    NORMALIZE: tl.constexpr,
    ROUTE_ROWS: tl.constexpr,
):
    """The first `chunks` programs align (and, where ROUTE, the only one routes before); the others quantise a row each.

    ROUTE_EXPERTS are those of the router, EXPERTS those of this rank's weights; with an expert map they differ.
    """
    program = tl.program_id(0)
    if program < chunks:
        if ROUTE:
            for first in range(0, tokens, ROUTE_ROWS):
                route_rows(
                    logits,
                    bias,
                    ids,
                    weights,
                    first,
                    tokens,
                    stride_logits,
                    scale,
                    ROUTE_EXPERTS,
                    ROUTE_EXPERTS_2,
                    TOP_K,
                    TOP_K_2,
                    GROUPS,
                    GROUPS_2,
                    KEPT_GROUPS,
                    NORMALIZE,
                    ROUTE_ROWS,
                )
            tl.debug_barrier()  # the ids, written by one wave, are read by another
        _align(
            ids,
            expert_map,
            order,
            block_expert,
            arrivals,
            program,
            tokens,
            stride_token,
            stride_slot,
            experts_global,
            chunks,
            blocks,
            EXPERTS,
            EXPERTS_2,
            TOP_K,
            TOP_K_2,
            HAS_MAP,
            TOKENS,
            SEVERAL,
            BLOCK_M,
            BLOCK_E,
        )
    elif QUANTISE:
        _quantise_row(x, codes, scales, program - chunks, stride_x, HIDDEN, GROUP, SCALES, SCALES_2, LIMIT, MIN_SCALE)
