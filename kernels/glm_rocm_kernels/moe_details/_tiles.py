"""Tiles of a grouped product's operands.

A weight of a small batch is read once, so a detour through LDS only costs. `DIRECT` tiles are laid out such that the
widest load (16 bytes a lane) leaves each lane with exactly what the matrix instruction wants of it: lane l has row
l % 16 and, in each chunk of 64 bytes of a row, the 16 bytes number l // 16. Two things make that the layout which
Triton chooses by itself: the tile is loaded with the lanes' dimensions spelled out, and the order of a row's elements
is permuted into the order in which the instruction counts K. A product does not care about the order of K as long as
both operands have the same, and both come through here. The compiler then finds nothing to convert.

All of it holds for one warp, which is what `DIRECT` launches have: two would split the rows of x between them.
"""

from __future__ import annotations

import triton.language as tl

from glm_rocm_kernels._triton import jit


@jit
def load_tile(
    base,
    rows,
    k,
    end,
    ROWS: tl.constexpr,
    BLOCK_K: tl.constexpr,
    EVEN: tl.constexpr,
    DIRECT: tl.constexpr,
    RUN: tl.constexpr,
    OPERAND: tl.constexpr,
):
    """`[ROWS, BLOCK_K]`, columns k to k + BLOCK_K of the rows that start `rows` elements after `base`.

    Args:
        rows: `[ROWS]`.
        end: columns from here on are 0; not looked at where EVEN.
        RUN: elements that lie side by side for one lane, 16 bytes of them.
        OPERAND: elements that one lane gives one matrix instruction.
    """
    if DIRECT:
        CHUNKS: tl.constexpr = BLOCK_K // (4 * RUN)
        chunk = tl.arange(0, CHUNKS)[:, None, None, None, None]
        part = tl.arange(0, 4)[None, None, :, None, None]
        element = tl.arange(0, RUN)[None, None, None, None, :]
        column = k + chunk * (4 * RUN) + part * RUN + element
        pointers = base + (tl.reshape(rows, (1, ROWS // 16, 1, 16, 1)) + column)
        tile = _load(pointers, column, end, EVEN)  # [CHUNKS, ROWS / 16, 4, 16, RUN]
        tile = tl.reshape(tl.permute(tile, (1, 3, 0, 2, 4)), (ROWS, BLOCK_K))
        # From memory's order of columns (chunk, part, element) to the instruction's, which has `part` next to last.
        if OPERAND < RUN:
            tile = tl.reshape(tile, (ROWS, BLOCK_K // (4 * RUN), 4, RUN // OPERAND, OPERAND))
            tile = tl.reshape(tl.permute(tile, (0, 1, 3, 2, 4)), (ROWS, BLOCK_K))
        elif OPERAND > RUN:
            tile = tl.reshape(tile, (ROWS, BLOCK_K // (4 * OPERAND), OPERAND // RUN, 4, RUN))
            tile = tl.reshape(tl.permute(tile, (0, 1, 3, 2, 4)), (ROWS, BLOCK_K))
        return tile
    column = k + tl.arange(0, BLOCK_K)[None, :]
    return _load(base + (rows[:, None] + column), column, end, EVEN)


@jit
def _load(pointers, column, end, EVEN: tl.constexpr):
    if EVEN:
        return tl.load(pointers)
    return tl.load(pointers, mask=column < end, other=0.0)


@jit
def rows_of_block(order, block, BLOCK_M: tl.constexpr):
    """The pairs of a block, `[BLOCK_M]`, and which of them are real; the others repeat the block's first pair.

    A repeated row is computed and thrown away: that costs nothing in a tile, and needs no mask on any load.
    """
    pair = tl.load(order + block * BLOCK_M + tl.arange(0, BLOCK_M))
    valid = pair >= 0
    return tl.where(valid, pair, tl.load(order + block * BLOCK_M)), valid
