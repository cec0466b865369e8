"""Keys and values of 16 tokens, read from their pages into the very registers that the matrix unit takes them from.

The shapes look roundabout and are the point. Triton spreads a load over lanes from its last dimension up, 16 bytes to
a lane; a dot wants its operands spread in the way of `v_mfma_*_16x16*`: lane l holds row l % 16 and, of the dimension
that is summed over, the 8 (second dot: 4) elements that begin at 8 (4) * (l // 16). Loaded in a shape whose last
dimensions are just those, then transposed by name alone, a tile needs no pass through LDS: with one warp the kernel
uses none. More warps share a tile, and Triton moves it through LDS in 16-byte pieces. On hardware of another layout
the same code is right too, and Triton moves the data.
"""

import triton.language as tl

from glm_rocm_kernels._triton import jit


@jit
def page_start(table_ptr, position, stride_block, stride_slot, BLOCK_SIZE: tl.constexpr):
    """Offset of `position`'s slot, int64; `position` a scalar or a tensor of cache positions."""
    page = tl.load(table_ptr + position // BLOCK_SIZE).to(tl.int64)
    return page * stride_block + (position % BLOCK_SIZE) * stride_slot


@jit
def load_keys(
    k_ptr,
    table_ptr,
    position,
    last,
    stride_block,
    stride_slot,
    D: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Keys of the tokens from `position` on, `[D, 16]`. MASKED: some are past `last`, and any others stand there."""
    d = tl.reshape(tl.arange(0, D // 8) * 8, [D // 32, 4, 1, 1]) + tl.arange(0, 8)[None, None, None, :]
    token = tl.arange(0, 16)
    if BLOCK_SIZE % 16 == 0:  # the 16 share a page
        if MASKED:
            position = tl.minimum(position, last // 16 * 16)
        k_ptr += page_start(table_ptr, position, stride_block, stride_slot, BLOCK_SIZE)
        offset = token * stride_slot
    else:
        offset = page_start(table_ptr, tl.minimum(position + token, last), stride_block, stride_slot, BLOCK_SIZE)
    k = tl.load(k_ptr + (d + offset[None, None, :, None]))  # [D/32, 4, 16, 8]
    return tl.reshape(tl.permute(k, (0, 1, 3, 2)), [D, 16])


@jit
def load_values(
    v_ptr,
    table_ptr,
    position,
    last,
    stride_block,
    stride_slot,
    D: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Values of the tokens from `position` on, `[4, 4, 16, D/16]`: of token 4 * second + first dimension the element
    D/16 * third + fourth. MASKED: 0 past `last`."""
    d = tl.arange(0, 16)[:, None] * (D // 16) + tl.arange(0, D // 16)[None, :]
    token = tl.arange(0, 4)[:, None] + tl.arange(0, 4)[None, :] * 4
    if BLOCK_SIZE % 16 == 0:
        first = position
        if MASKED:
            first = tl.minimum(position, last // 16 * 16)
        v_ptr += page_start(table_ptr, first, stride_block, stride_slot, BLOCK_SIZE)
        offset = token * stride_slot
    else:
        offset = page_start(table_ptr, tl.minimum(position + token, last), stride_block, stride_slot, BLOCK_SIZE)
    pointers = v_ptr + (offset[:, :, None, None] + d[None, None, :, :])
    if MASKED:
        left = (last - position) - tl.arange(0, 4)[None, :] * 4  # a lane then compares with constants
        return tl.load(pointers, mask=(tl.arange(0, 4)[:, None] <= left)[:, :, None, None], other=0.0)
    return tl.load(pointers)


@jit
def single_values(v, D: tl.constexpr):
    """One group as the second dot's operand `[16, D]`, its columns as in `pair_values`."""
    return tl.reshape(tl.permute(v, (1, 0, 3, 2)), [16, D])


@jit
def pair_values(v0, v1, D: tl.constexpr, LONG: tl.constexpr):
    """Two groups as the second dot's operand `[32, D]`. Its column 16 e + c is element D/16 * c + e; its rows stand in
    the order of `pair_scores`."""
    v = tl.join(v0, v1)  # [token % 4, token // 4, c, e, group]
    v = tl.permute(v, (1, 4, 0, 3, 2)) if LONG else tl.permute(v, (4, 1, 0, 3, 2))
    return tl.reshape(v, [32, D])


@jit
def pair_scores(s0, s1, TILE: tl.constexpr, LONG: tl.constexpr):
    """Scores of two groups, `[TILE, 16]` each, as `[TILE, 32]`, the second dot's other operand.

    In the tokens' order; LONG: in that of the FP8 matrix instruction, of which a lane takes 8 tokens at once, where it
    holds 4 of each group.
    """
    s = tl.reshape(tl.join(s0, s1), [TILE, 4, 4, 2])
    s = tl.permute(s, (0, 1, 3, 2)) if LONG else tl.permute(s, (0, 3, 1, 2))
    return tl.reshape(s, [TILE, 32])
