"""What stands before the products, in one launch: routing, sorting of the pairs where they are many, x in FP8."""

from __future__ import annotations

import triton.language as tl

from glm_rocm_kernels._triton import jit
from glm_rocm_kernels.moe_details._align import sort_chunk
from glm_rocm_kernels.moe_details._route import route_rows
from glm_rocm_kernels.quant_details._quantize import largest_magnitude, scale_of, to_codes


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
    arrivals,
    chunk_order,
    chunk_counts,
    chunk_ends,
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
    SORT: tl.constexpr,
    ARRIVALS: tl.constexpr,
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
    """The first `chunks` programs have TOKENS tokens each: ROUTE routes them, SORT sorts their pairs. Each other one
    quantises a row of x.

    ROUTE_EXPERTS are those of the router, EXPERTS those of this rank's weights; with an expert map they differ.
    `arrivals [blocks]` becomes 0, ARRIVALS of them at a time.
    """
    program = tl.program_id(0)
    if program < chunks:
        if ROUTE:
            for first in range(program * TOKENS, tl.minimum((program + 1) * TOKENS, tokens), ROUTE_ROWS):
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
        for block in range(program * ARRIVALS, blocks, chunks * ARRIVALS):
            b = block + tl.arange(0, ARRIVALS)
            tl.store(arrivals + b, 0, mask=b < blocks)
        if SORT:
            if ROUTE:
                tl.debug_barrier()  # the ids, written by one wave, are read by another
            sort_chunk(
                ids,
                expert_map,
                chunk_order,
                chunk_counts,
                chunk_ends,
                program,
                tokens,
                stride_token,
                stride_slot,
                experts_global,
                EXPERTS,
                EXPERTS_2,
                TOP_K,
                TOP_K_2,
                HAS_MAP,
                TOKENS,
            )
    elif QUANTISE:
        _quantise_row(x, codes, scales, program - chunks, stride_x, HIDDEN, GROUP, SCALES, SCALES_2, LIMIT, MIN_SCALE)
