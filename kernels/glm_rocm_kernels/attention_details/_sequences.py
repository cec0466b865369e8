"""Which sequence of the batch a program works for, and which part of its context."""

import triton.language as tl

from glm_rocm_kernels._triton import jit


@jit
def find_tile(start_ptr, index, sequences, RATIO: tl.constexpr, ROWS: tl.constexpr, SLACK: tl.constexpr):
    """The sequence and the tile of its rows that stand at `index` of the grid.

    The rows of one KV head are (query, head) pairs, RATIO to a query, cut into tiles of ROWS. Sequence b's tiles begin
    at (start[b] * RATIO + b * SLACK) // ROWS with SLACK = ROWS - gcd(RATIO, ROWS): enough room for its last, partly
    filled tile, so that the grid's extent follows from T and B alone. A tile past the sequence's rows has no work.
    """
    low = 0
    high = sequences
    while high - low > 1:
        middle = (low + high) // 2
        if (tl.load(start_ptr + middle) * RATIO + middle * SLACK) // ROWS <= index:
            low = middle
        else:
            high = middle
    return low, index - (tl.load(start_ptr + low) * RATIO + low * SLACK) // ROWS


@jit
def find_owner(start_ptr, token, sequences):
    """The last sequence whose first row is not past `token`."""
    low = 0
    high = sequences
    while high - low > 1:
        middle = (low + high) // 2
        if tl.load(start_ptr + middle) <= token:
            low = middle
        else:
            high = middle
    return low


@jit
def split_length(context, SPLITS: tl.constexpr, SHORTEST: tl.constexpr):
    """Tokens of one split: a SPLITS-th of the context in whole turns of the loop, 32 each, but no fewer than SHORTEST.
    Where it is `context` or more there is but one split."""
    return tl.maximum(SHORTEST, (context + (SPLITS * 32 - 1)) // (SPLITS * 32) * 32)
