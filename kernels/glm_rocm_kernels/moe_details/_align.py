"""Alignment: which pairs (token, slot) each block of BLOCK_M rows of the products holds, and of which expert.

`order [blocks * BLOCK_M]` holds pair numbers, -1 in the padding, and `block_expert [blocks]` the expert of each block,
-1 of one that holds nothing. Within an expert the pairs keep their order, so nothing depends on timing. Both tables are
for the second product; the first product's programs find their block's expert and pairs by themselves, which costs
less than a launch, and the first of each block writes the tables.

A batch of few pairs has a block for each pair: `look_up` finds in the ids whether it begins one. Of a larger one, a
program of the launch before sorts the pairs of each chunk of tokens, and no program waits for another; `find_expert`
and `find_pairs` search the chunks.
"""

from __future__ import annotations

import triton.language as tl

from glm_rocm_kernels._triton import jit

SEARCHED = tl.constexpr(16)
"""Chunks that a block's pairs are looked for in together."""


@jit
def _local_experts(
    ids,
    expert_map,
    token,
    slot,
    there,
    stride_token,
    stride_slot,
    experts_global,
    EXPERTS: tl.constexpr,
    HAS_MAP: tl.constexpr,
):
    """This rank's expert of each pair that is `there`; -1 where there is none."""
    expert = tl.load(ids + token * stride_token + slot * stride_slot, mask=there, other=-1).to(tl.int32)
    if HAS_MAP:
        known = (expert >= 0) & (expert < experts_global)
        expert = tl.load(expert_map + expert, mask=known, other=-1).to(tl.int32)
    return tl.where((expert >= 0) & (expert < EXPERTS), expert, -1)


@jit
def sort_chunk(
    ids,
    expert_map,
    chunk_order,
    chunk_counts,
    chunk_ends,
    chunk,
    tokens,
    stride_token,
    stride_slot,
    experts_global,
    EXPERTS: tl.constexpr,
    EXPERTS_2: tl.constexpr,
    TOP_K: tl.constexpr,
    TOP_K_2: tl.constexpr,
    HAS_MAP: tl.constexpr,
    TOKENS: tl.constexpr,
):
    """Sort the pairs of one chunk of TOKENS tokens by expert.

    `chunk_order [chunks, PAIRS]` gets their numbers, `chunk_counts` and `chunk_ends [chunks, EXPERTS_2]` how many each
    expert has and where they end. A constant with the suffix 2 is the next power of two.
    """
    PAIRS: tl.constexpr = TOKENS * TOP_K_2
    token = chunk * TOKENS + tl.arange(0, TOKENS)[:, None]
    slot = tl.arange(0, TOP_K_2)[None, :]
    there = (token < tokens) & (slot < TOP_K)
    own = _local_experts(
        ids, expert_map, token, slot, there, stride_token, stride_slot, experts_global, EXPERTS, HAS_MAP
    )
    own = tl.reshape(own, (PAIRS,))
    counts = tl.histogram(tl.maximum(own, 0), EXPERTS_2, mask=own >= 0)  # [EXPERTS_2]
    pair = tl.arange(0, PAIRS)
    keys = tl.sort(tl.where(own >= 0, own, EXPERTS_2) * PAIRS + pair).to(tl.uint32)  # unsigned: divides by shifting
    local = keys % PAIRS
    number = (chunk * TOKENS + (local // TOP_K_2).to(tl.int32)) * TOP_K + (local % TOP_K_2).to(tl.int32)
    each = tl.arange(0, EXPERTS_2)
    tl.store(chunk_order + chunk * PAIRS + pair, number, mask=(keys // PAIRS).to(tl.int32) < EXPERTS_2)
    tl.store(chunk_counts + chunk * EXPERTS_2 + each, counts)
    tl.store(chunk_ends + chunk * EXPERTS_2 + each, tl.cumsum(counts, 0))


@jit
def look_up(
    ids,
    expert_map,
    block,
    pairs,
    stride_token,
    stride_slot,
    experts_global,
    EXPERTS: tl.constexpr,
    TOP_K: tl.constexpr,
    HAS_MAP: tl.constexpr,
    PAIRS_2: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    """The expert of the pair whose number is `block`, and the pairs of the block that it begins, `[BLOCK_M]`.

    It begins one if a multiple of BLOCK_M of pairs of its expert come before it; -1 in place of the expert if not.
    """
    pair = tl.arange(0, PAIRS_2)
    token, slot = pair // TOP_K, pair % TOP_K
    experts = _local_experts(
        ids, expert_map, token, slot, pair < pairs, stride_token, stride_slot, experts_global, EXPERTS, HAS_MAP
    )
    token, slot = block // TOP_K, block % TOP_K
    expert = _local_experts(
        ids, expert_map, token, slot, True, stride_token, stride_slot, experts_global, EXPERTS, HAS_MAP
    )
    same = experts == expert
    before = tl.sum((same & (pair < block)).to(tl.int32), 0)
    expert = tl.where(before % BLOCK_M == 0, expert, -1)
    count = tl.where(expert < 0, 0, tl.minimum(tl.sum(same.to(tl.int32), 0) - before, BLOCK_M))
    row = tl.arange(0, BLOCK_M)
    found = tl.where(row == 0, block, -1)
    last = block
    for following in range(1, count):  # one by one: few experts of a small batch have more than one pair
        last = tl.min(tl.where(same & (pair > last), pair, PAIRS_2), 0)
        found = tl.where(row == following, last, found)
    return expert, found


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
