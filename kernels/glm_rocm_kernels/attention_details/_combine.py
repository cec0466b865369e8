"""The splits of one row, brought to one maximum and added in their order, in fp32."""

import triton.language as tl

from glm_rocm_kernels._triton import jit
from glm_rocm_kernels.attention_details._paged import NOTHING
from glm_rocm_kernels.attention_details._sequences import find_owner, split_length

PARTS = tl.constexpr(16)
"""Splits that one turn of the loop adds."""


@jit
def combine(
    part_ptr,
    stat_ptr,
    out_ptr,
    start_ptr,
    context_ptr,
    v_scale,
    sequences,
    fewest,
    most,
    out_token,
    out_head,
    stat_plane,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    SPLITS: tl.constexpr,
    SHORTEST: tl.constexpr,
    BY_SEQUENCE: tl.constexpr,
):
    """Grid: (query heads, T), or (query heads, B * most) BY_SEQUENCE: the rows of `attend`'s parts. A row whose context
    was one split is finished already, a row past the batch is nobody's."""
    head = tl.program_id(0)
    row = tl.program_id(1)
    if BY_SEQUENCE:
        sequence = row // most
        start = tl.load(start_ptr + sequence)
        token = start + row % most
    else:
        sequence = find_owner(start_ptr, row, sequences)
        start = tl.load(start_ptr + sequence)
        token = row
    end = tl.load(start_ptr + sequence + 1)
    context = tl.load(context_ptr + sequence)
    length = split_length(context, SPLITS, SHORTEST)
    if (token >= end) | (context <= length) | (end - start < fewest) | (end - start > most):
        return
    seen = context - (end - token) + 1
    d = tl.arange(0, D)
    first = (row * HEADS + head) * SPLITS
    top = tl.full([1], NOTHING, tl.float32)
    total = tl.zeros([1], tl.float32)
    result = tl.zeros([D], tl.float32)
    done = 0
    while done * length < seen:
        part = done + tl.arange(0, PARTS)
        live = part * length < seen
        peak = tl.load(stat_ptr + first + part, mask=live, other=NOTHING)
        weight = tl.load(stat_ptr + stat_plane + first + part, mask=live, other=0.0)
        x = tl.load(part_ptr + ((first + part) * D)[:, None] + d[None, :], mask=live[:, None], other=0.0)
        higher = tl.maximum(top, tl.max(peak, 0, keep_dims=True))
        fade = tl.exp2(top - higher)
        share = tl.exp2(peak - higher)
        total = total * fade + tl.sum(weight * share, 0, keep_dims=True)
        result = result * fade + tl.sum(x * share[:, None], 0)
        top = higher
        done += PARTS
    pointers = out_ptr + token.to(tl.int64) * out_token + head * out_head + d
    tl.store(pointers, (result * (v_scale / total)).to(out_ptr.dtype.element_ty))
