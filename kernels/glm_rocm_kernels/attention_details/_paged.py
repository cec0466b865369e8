"""Attention of one tile of query rows to one split of its sequence's context: online softmax over the pages.

A tile holds rows of one KV head, (query, head) pairs packed one after the other: 12 heads waste a quarter of a 16-row
matrix tile with one query and nothing with four, and each key and value is read once for all of them. TILES of TILE
rows share what a turn of the loop loads. Where the context is one split the rows are finished here; else each split
leaves its maximum, sum and unnormalised result to `_combine`.
"""

import triton.language as tl

from glm_rocm_kernels._triton import jit
from glm_rocm_kernels.attention_details._pages import load_keys, load_values, pair_scores, pair_values, single_values
from glm_rocm_kernels.attention_details._sequences import find_tile, split_length

NOTHING = tl.constexpr(-1e30)
"""The maximum of a row that has seen no key yet. Finite: the difference of two of them is 0 and not NaN."""


@jit
def load_queries(q_ptr, row, rows, stride_token, stride_head, RATIO: tl.constexpr, D: tl.constexpr, TILE: tl.constexpr):
    """Rows `row` to `row + TILE` of a sequence and KV head, `[TILE, D]`, 0 past `rows`."""
    at = row + tl.arange(0, TILE)
    live = at < rows
    offset = (at // RATIO) * stride_token + (at % RATIO) * stride_head
    if TILE == 16:  # one warp's: spread as `_pages` says
        d = tl.reshape(tl.arange(0, D // 8) * 8, [D // 32, 4, 1, 1]) + tl.arange(0, 8)[None, None, None, :]
        q = tl.load(q_ptr + (d + offset[None, None, :, None]), mask=live[None, None, :, None], other=0.0)
        return tl.reshape(tl.permute(q, (2, 0, 1, 3)), [TILE, D])
    else:
        return tl.load(q_ptr + (tl.arange(0, D)[None, :] + offset[:, None]), mask=live[:, None], other=0.0)


@jit
def narrow(x, dtype: tl.constexpr, BF16_BY_HAND: tl.constexpr):
    """fp32 in another dtype. By hand, where the hardware has no bf16 cast (gfx942): ties round up and not to even, and
    there is no test for the NaN whose payload that overflows, since none is made of bf16 or FP8."""
    if BF16_BY_HAND and dtype == tl.bfloat16:
        return ((x.to(tl.int32, bitcast=True) + 0x8000) >> 16).to(tl.int16).to(tl.bfloat16, bitcast=True)
    else:
        return x.to(dtype)


@jit
def store_rows(
    out_ptr, offset, live, x, D: tl.constexpr, TILE: tl.constexpr, VECTOR: tl.constexpr, BF16_BY_HAND: tl.constexpr
):
    """Write `x[TILE, D]`, its columns as `pair_values` left them, to rows at `offset[TILE]`, VECTOR at a time."""
    E: tl.constexpr = D // 16
    x = tl.reshape(x, [TILE // 16, 16, E // VECTOR, VECTOR, 4, 4])  # column 16 e + 4 g + r is element E (4 g + r) + e
    x = tl.permute(x, (2, 5, 0, 4, 1, 3))  # [E / VECTOR, r, TILE / 16, g, 16, VECTOR]
    d = tl.reshape(tl.arange(0, E // VECTOR) * VECTOR, [E // VECTOR, 1, 1, 1, 1, 1])
    d += tl.reshape(tl.arange(0, 4) * E, [1, 4, 1, 1, 1, 1]) + tl.reshape(tl.arange(0, 4) * (4 * E), [1, 1, 1, 4, 1, 1])
    d += tl.reshape(tl.arange(0, VECTOR), [1, 1, 1, 1, 1, VECTOR])
    pointers = out_ptr + (tl.reshape(offset, [1, 1, TILE // 16, 1, 16, 1]) + d)
    x = narrow(x, out_ptr.dtype.element_ty, BF16_BY_HAND)
    tl.store(pointers, x, mask=tl.reshape(live, [1, 1, TILE // 16, 1, 16, 1]))


@jit
def see_up_to(scores, limit, TILE: tl.constexpr):
    """-inf in `scores[TILE, 16]` from column `limit[TILE]` on."""
    left = limit[:, None] - (tl.arange(0, 4) * 4)[None, :]  # the columns in fours: a lane then compares with constants
    seen = left[:, :, None] > tl.arange(0, 4)[None, None, :]
    return tl.where(tl.reshape(seen, [TILE, 16]), scores, float("-inf"))


@jit
def weigh(weights, v, result, BF16_BY_HAND: tl.constexpr, FP8_DOT: tl.constexpr):
    """`result + weights @ v`, multiplied in v's dtype; FP8 weights in two pieces, rounded and what that lost, which is
    bf16's precision for as many matrix instructions."""
    if FP8_DOT:
        rounded = weights.to(v.dtype)
        lost = (weights - rounded.to(tl.float32)).to(v.dtype)
        return tl.dot(lost, v, tl.dot(rounded, v, result))
    return tl.dot(narrow(weights, v.dtype, BF16_BY_HAND), v, result, input_precision="ieee")


@jit
def load_turn(
    k_ptr,
    v_ptr,
    table_ptr,
    position,
    last,
    k_block,
    k_slot,
    v_block,
    v_slot,
    D: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    PAIRED: tl.constexpr,
    MASKED: tl.constexpr,
    LONG: tl.constexpr,
):
    """Keys, by group, and values of one turn: the 16, PAIRED 32, tokens from `position` on."""
    k0 = load_keys(k_ptr, table_ptr, position, last, k_block, k_slot, D, BLOCK_SIZE, MASKED)
    v0 = load_values(v_ptr, table_ptr, position, last, v_block, v_slot, D, BLOCK_SIZE, MASKED)
    if PAIRED:
        k1 = load_keys(k_ptr, table_ptr, position + 16, last, k_block, k_slot, D, BLOCK_SIZE, MASKED)
        v1 = load_values(v_ptr, table_ptr, position + 16, last, v_block, v_slot, D, BLOCK_SIZE, MASKED)
        return (k0, k1), pair_values(v0, v1, D, LONG)
    else:
        return (k0,), single_values(v0, D)


@jit
def advance(
    state,
    queries,
    limits,
    k_ptr,
    v_ptr,
    table_ptr,
    position,
    last,
    factor,
    k_block,
    k_slot,
    v_block,
    v_slot,
    D: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    TILES: tl.constexpr,
    TILE: tl.constexpr,
    PAIRED: tl.constexpr,
    MASKED: tl.constexpr,
    BF16_BY_HAND: tl.constexpr,
    FP8_DOT: tl.constexpr,
):
    """The state (maximum, sum, result of each tile) after the turn of 16, PAIRED 32, tokens from `position` on."""
    dtype: tl.constexpr = queries[0].dtype
    SHIFT: tl.constexpr = 7 if FP8_DOT else 0  # weights up to 128: FP8 loses precision below 2^-7
    keys, v = load_turn(
        k_ptr, v_ptr, table_ptr, position, last, k_block, k_slot, v_block, v_slot, D, BLOCK_SIZE, PAIRED, MASKED,
        FP8_DOT,
    )  # fmt: skip
    if not FP8_DOT:
        v = v.to(dtype)
    scores = ()  # type: tuple[tl.tensor, ...]
    for i in tl.static_range(TILES):
        for group in tl.static_range(2 if PAIRED else 1):
            scores += (tl.dot(queries[i], keys[group].to(dtype), input_precision="ieee"),)
    after = ()  # type: tuple[tl.tensor, ...]
    for i in tl.static_range(TILES):
        if PAIRED:
            s0 = scores[2 * i]
            s1 = scores[2 * i + 1]
            if MASKED:
                s0 = see_up_to(s0, limits[i] - position, TILE)
                s1 = see_up_to(s1, limits[i] - position - 16, TILE)
            s = pair_scores(s0, s1, TILE, FP8_DOT)
        else:
            s = scores[i]
            if MASKED:
                s = see_up_to(s, limits[i] - position, TILE)
        top = tl.maximum(state[3 * i], tl.max(s, 1) * factor)
        weights = tl.exp2(s * factor - (top - SHIFT)[:, None])
        fade = tl.exp2(state[3 * i] - top)
        total = state[3 * i + 1] * fade + tl.sum(weights, 1)
        result = weigh(weights, v, state[3 * i + 2] * fade[:, None], BF16_BY_HAND, FP8_DOT)
        after += (top, total, result)
    return after


@jit
def attend(
    q_ptr,
    k_ptr,
    v_ptr,
    out_ptr,
    table_ptr,
    start_ptr,
    context_ptr,
    part_ptr,
    stat_ptr,
    factor,
    v_scale,
    sequences,
    fewest,
    most,
    q_token,
    q_head,
    k_block,
    k_slot,
    k_head,
    v_block,
    v_slot,
    v_head,
    out_token,
    out_head,
    table_row,
    stat_plane,
    RATIO: tl.constexpr,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    TILES: tl.constexpr,
    TILE: tl.constexpr,
    SLACK: tl.constexpr,
    SPLITS: tl.constexpr,
    SHORTEST: tl.constexpr,
    PAIRED: tl.constexpr,
    PEELED: tl.constexpr,
    BF16_BY_HAND: tl.constexpr,
    FP8_DOT: tl.constexpr,
):
    """Grid: (SPLITS, KV heads, tiles). Sequences of fewer than `fewest` queries or more than `most` are another's.

    SLACK < 0: each sequence has one tile, the grid's last axis counts sequences and each owns `most` rows of `part`.
    """
    ROWS: tl.constexpr = TILES * TILE
    split = tl.program_id(0)
    kv_head = tl.program_id(1)
    sequence = tl.program_id(2)
    tile = 0
    if SLACK >= 0:
        sequence, tile = find_tile(start_ptr, sequence, sequences, RATIO, ROWS, SLACK)
    context = tl.load(context_ptr + sequence)
    begin = split * split_length(context, SPLITS, SHORTEST)
    start = tl.load(start_ptr + sequence)
    queries_here = tl.load(start_ptr + sequence + 1) - start
    row = tile * ROWS
    rows = queries_here * RATIO
    unseen = context - queries_here  # row r sees the keys up to this position + r // RATIO
    end = tl.minimum(
        begin + split_length(context, SPLITS, SHORTEST), unseen + (tl.minimum(row + ROWS, rows) - 1) // RATIO + 1
    )
    if (row >= rows) | (begin >= end) | (queries_here < fewest) | (queries_here > most):
        return

    q_ptr += start.to(tl.int64) * q_token + kv_head * RATIO * q_head
    k_ptr += kv_head * k_head
    v_ptr += kv_head * v_head
    table_ptr += sequence.to(tl.int64) * table_row
    queries = ()  # type: tuple[tl.tensor, ...]
    limits = ()  # type: tuple[tl.tensor, ...]
    state = ()  # type: tuple[tl.tensor, ...]
    for i in tl.static_range(TILES):
        at = row + i * TILE
        queries += (load_queries(q_ptr, at, rows, q_token, q_head, RATIO, D, TILE),)
        limits += (tl.minimum(unseen + (at + tl.arange(0, TILE)) // RATIO + 1, end),)
        state += (tl.full([TILE], NOTHING, tl.float32), tl.zeros([TILE], tl.float32))
        state += (tl.zeros([TILE, D], tl.float32),)

    TURN: tl.constexpr = 32 if PAIRED else 16
    masked = begin
    if PEELED:
        masked = tl.maximum(begin, tl.minimum(end, unseen + row // RATIO + 1) // TURN * TURN)
        for position in range(begin, masked, TURN):
            state = advance(
                state, queries, limits, k_ptr, v_ptr, table_ptr, position, end - 1, factor, k_block, k_slot, v_block,
                v_slot, D, BLOCK_SIZE, TILES, TILE, PAIRED, False, BF16_BY_HAND, FP8_DOT,
            )  # fmt: skip
    for position in range(masked, end, TURN):
        state = advance(
            state, queries, limits, k_ptr, v_ptr, table_ptr, position, end - 1, factor, k_block, k_slot, v_block,
            v_slot, D, BLOCK_SIZE, TILES, TILE, PAIRED, True, BF16_BY_HAND, FP8_DOT,
        )  # fmt: skip

    for i in tl.static_range(TILES):
        at = row + i * TILE + tl.arange(0, TILE)
        # unsigned, another division than the one above: so its results are not kept through the loop, whose registers
        # are all taken (of one division, the compiler spills them)
        token = start + (at.to(tl.uint32) // RATIO).to(tl.int32)
        head = kv_head * RATIO + (at.to(tl.uint32) % RATIO).to(tl.int32)
        live = at < rows
        if SPLITS > 1 and context > split_length(context, SPLITS, SHORTEST):
            if SLACK < 0:
                token += sequence * most - start
            part = (token * HEADS + head) * SPLITS + split
            tl.store(stat_ptr + part, state[3 * i], mask=live)
            tl.store(stat_ptr + stat_plane + part, state[3 * i + 1], mask=live)
            store_rows(part_ptr, part * D, live, state[3 * i + 2], D, TILE, min(4, D // 16), BF16_BY_HAND)
        else:
            result = state[3 * i + 2] * (v_scale / state[3 * i + 1])[:, None]
            store_rows(
                out_ptr, token * out_token + head * out_head, live, result, D, TILE, min(8, D // 16), BF16_BY_HAND
            )
