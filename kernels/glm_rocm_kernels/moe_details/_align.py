"""Alignment: the pairs (token, slot) sorted by expert, each expert's run padded to whole blocks of BLOCK_M.

`order [blocks * BLOCK_M]` holds pair numbers, -1 in the padding, and `block_expert [blocks]` the expert of each block,
-1 beyond the last. Within an expert the pairs keep their order, so nothing depends on timing.

A batch of one chunk is aligned by one program. Of a larger one, a program for each chunk sorts its own pairs and says
how many each expert has; no program waits for another. The first product's programs, which start when all of that is
written, find the expert and the pairs of their block in it by themselves, which costs less than one more launch.
"""

from __future__ import annotations

import triton.language as tl

from glm_rocm_kernels._triton import jit

PADDED = tl.constexpr(16)
"""Rows of padding, of every expert, written together."""
SEARCHED = tl.constexpr(32)
"""Chunks that a block's pairs are looked for in together."""


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
def align_chunk(
    ids,
    expert_map,
    order,
    block_expert,
    arrivals,
    chunk_order,
    chunk_counts,
    chunk_ends,
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
    """Sort the pairs of one chunk of TOKENS tokens; where it is the only one (not SEVERAL), fill the tables.

    Where there are several: `chunk_order [chunks, PAIRS]` gets the chunk's pairs by expert, `chunk_counts` and
    `chunk_ends [chunks, EXPERTS_2]` how many each expert has and where they end. A constant with the suffix 2 is the
    next power of two.
    """
    PAIRS: tl.constexpr = TOKENS * TOP_K_2
    token = chunk * TOKENS + tl.arange(0, TOKENS)
    own = _local_experts(
        ids, expert_map, token, tokens, stride_token, stride_slot, experts_global, EXPERTS, TOP_K, TOP_K_2, HAS_MAP
    )
    own = tl.reshape(own, (PAIRS,))
    counts = tl.histogram(tl.maximum(own, 0), EXPERTS_2, mask=own >= 0)  # [EXPERTS_2]
    ends = tl.cumsum(counts, 0)
    pair = tl.arange(0, PAIRS)
    keys = tl.sort(tl.where(own >= 0, own, EXPERTS_2) * PAIRS + pair).to(tl.uint32)  # unsigned: divides by shifting
    expert = (keys // PAIRS).to(tl.int32)
    local = keys % PAIRS
    number = (chunk * TOKENS + (local // TOP_K_2).to(tl.int32)) * TOP_K + (local % TOP_K_2).to(tl.int32)
    each = tl.arange(0, EXPERTS_2)
    for block in range(chunk * BLOCK_E, blocks, chunks * BLOCK_E):
        b = block + tl.arange(0, BLOCK_E)
        tl.store(arrivals + b, 0, mask=b < blocks)
    if SEVERAL:
        tl.store(chunk_order + chunk * PAIRS + pair, number, mask=expert < EXPERTS_2)
        tl.store(chunk_counts + chunk * EXPERTS_2 + each, counts)
        tl.store(chunk_ends + chunk * EXPERTS_2 + each, ends)
    else:
        expert_blocks = (counts + BLOCK_M - 1) // BLOCK_M
        block_end = tl.cumsum(expert_blocks, 0)
        start = (block_end - expert_blocks) * BLOCK_M  # where each expert's rows begin
        # Sorted, an expert's pairs stand together: a place among them is the place among all less the expert's first.
        place = pair + tl.gather(start - (ends - counts), tl.minimum(expert, EXPERTS_2 - 1), 0)
        tl.store(order + place, number, mask=expert < EXPERTS_2)
        for row in range(0, BLOCK_M, PADDED):
            j = row + tl.arange(0, PADDED)[None, :]
            padding = counts[:, None] + j < (expert_blocks * BLOCK_M)[:, None]
            tl.store(order + (start + counts)[:, None] + j, -1, mask=padding)
        for block in range(0, blocks, BLOCK_E):
            b = block + tl.arange(0, BLOCK_E)
            whose = tl.sum((block_end[None, :] <= b[:, None]).to(tl.int32), 1)
            tl.store(block_expert + b, tl.where(whose < EXPERTS_2, whose, -1), mask=b < blocks)


@jit
def find_expert(chunk_counts, block, chunks, EXPERTS_2: tl.constexpr, BLOCK_M: tl.constexpr, PIECE: tl.constexpr):
    """A block's expert, or -1; the number of its first row among the expert's pairs; the number of those pairs."""
    each = tl.arange(0, EXPERTS_2)
    counts = tl.zeros((EXPERTS_2,), tl.int32)
    for first in range(0, chunks, PIECE):
        chunk = first + tl.arange(0, PIECE)[:, None]
        counts += tl.sum(tl.load(chunk_counts + chunk * EXPERTS_2 + each[None, :], mask=chunk < chunks, other=0), 0)
    expert_blocks = (counts + BLOCK_M - 1) // BLOCK_M
    block_end = tl.cumsum(expert_blocks, 0)
    expert = tl.sum((block_end <= block).to(tl.int32), 0)
    own = each == expert
    row = (block - tl.sum(tl.where(own, block_end - expert_blocks, 0), 0)) * BLOCK_M
    return tl.where(expert < EXPERTS_2, expert, -1), row, tl.sum(tl.where(own, counts, 0), 0)


@jit
def find_pairs(
    chunk_order,
    chunk_counts,
    chunk_ends,
    expert,
    row,
    count,
    chunks,
    PAIRS: tl.constexpr,
    EXPERTS_2: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    """The pairs of a block, `[BLOCK_M]`, -1 in the padding."""
    rank = row + tl.arange(0, BLOCK_M)  # among the expert's pairs
    place = tl.zeros((BLOCK_M,), tl.int32)
    passed = 0
    for first in range(0, chunks, SEARCHED):
        chunk = first + tl.arange(0, SEARCHED)
        there = chunk < chunks
        found = tl.load(chunk_counts + chunk * EXPERTS_2 + expert, mask=there, other=0)
        end = tl.load(chunk_ends + chunk * EXPERTS_2 + expert, mask=there, other=0)
        after = passed + tl.cumsum(found, 0)  # pairs in this chunk and before
        inside = (rank[:, None] >= (after - found)[None, :]) & (rank[:, None] < after[None, :])
        # From a rank to a place of `chunk_order`: the expert's pairs of the chunk end at `end`, their ranks at `after`.
        place += tl.sum(tl.where(inside, (chunk * PAIRS + end - after)[None, :] + rank[:, None], 0), 1)
        passed += tl.sum(found, 0)
    return tl.load(chunk_order + place, mask=rank < count, other=-1)
