"""The splits of one row, brought to one maximum and added in their order, in fp32."""

import triton.language as tl

from glm_rocm_kernels._triton import jit
from glm_rocm_kernels.attention_details._paged import NOTHING, narrow
from glm_rocm_kernels.attention_details._sequences import find_owner, split_length


@jit
def load_parts(stat_ptr, stat_plane, column_ptr, first, done, length, seen, D: tl.constexpr, PARTS: tl.constexpr):
    """Maximum and sum `[PARTS, ROWS]` and columns `[PARTS, 2, ROWS, 4, 4]` of the splits from `done` on; nothing where
    there are no more."""
    part = done + tl.arange(0, PARTS)
    at = first[None, :] + part[:, None]
    if (done + (PARTS - 1)) * length < seen:
        peak = tl.load(stat_ptr + at)
        weight = tl.load(stat_ptr + stat_plane + at)
        x = tl.load(column_ptr + tl.reshape(part * D, [PARTS, 1, 1, 1, 1]))
    else:
        live = part * length < seen
        peak = tl.load(stat_ptr + at, mask=live[:, None], other=NOTHING)
        weight = tl.load(stat_ptr + stat_plane + at, mask=live[:, None], other=0.0)
        columns = column_ptr + tl.reshape(part * D, [PARTS, 1, 1, 1, 1])
        x = tl.load(columns, mask=tl.reshape(live, [PARTS, 1, 1, 1, 1]), other=0.0)
    return peak, weight, x


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
    RATIO: tl.constexpr,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    SPLITS: tl.constexpr,
    SHORTEST: tl.constexpr,
    BY_SEQUENCE: tl.constexpr,
    ROWS: tl.constexpr,
    PARTS: tl.constexpr,
    BF16_BY_HAND: tl.constexpr,
):
    """Grid: (D / 32, KV heads, T), or (.., B * most) BY_SEQUENCE: the rows of `attend`'s parts. A program brings 32
    columns of one query's RATIO heads together. A query whose context was one split is finished already, one past the
    batch is nobody's."""
    kv_head = tl.program_id(1)
    row = tl.program_id(2)
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
    head = tl.arange(0, ROWS)
    first = ((row * HEADS + kv_head * RATIO) + tl.minimum(head, RATIO - 1)) * SPLITS  # [ROWS]
    # a lane has 8 columns of one head, as two vectors of four
    d = tl.program_id(0) * 32 + tl.reshape(tl.arange(0, 2) * 4, [1, 2, 1, 1, 1])
    d += tl.reshape(tl.arange(0, 4) * 8, [1, 1, 1, 4, 1]) + tl.reshape(tl.arange(0, 4), [1, 1, 1, 1, 4])
    columns = part_ptr + ((first * D)[None, None, :, None, None] + d)
    top = tl.full([ROWS], NOTHING, tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    result = tl.zeros([1, 2, ROWS, 4, 4], tl.float32)
    for done in range(0, SPLITS, PARTS):
        if done * length < seen:
            peak, weight, x = load_parts(stat_ptr, stat_plane, columns, first, done, length, seen, D, PARTS)
            higher = tl.maximum(top, tl.max(peak, 0))
            share = tl.exp2(peak - higher[None, :])
            fade = tl.exp2(top - higher)
            total = total * fade + tl.sum(weight * share, 0)
            result = result * tl.reshape(fade, [1, 1, ROWS, 1, 1])
            result += tl.sum(x * tl.reshape(share, [PARTS, 1, ROWS, 1, 1]), 0, keep_dims=True)
            top = higher
    result *= tl.reshape(v_scale / total, [1, 1, ROWS, 1, 1])
    offset = (kv_head * RATIO + head) * out_head
    pointers = out_ptr + token.to(tl.int64) * out_token + (tl.reshape(offset, [1, 1, ROWS, 1, 1]) + d)
    tl.store(
        pointers,
        narrow(result, out_ptr.dtype.element_ty, BF16_BY_HAND),
        mask=tl.reshape(head < RATIO, [1, 1, ROWS, 1, 1]),
    )
