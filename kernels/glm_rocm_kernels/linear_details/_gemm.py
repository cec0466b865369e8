"""`x @ w.T`, tile by tile, plain or FP8, whole or in parts along K."""

from __future__ import annotations

import triton.language as tl

from glm_rocm_kernels._triton import jit


@jit
def tile_of(program, rows, outputs, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, GROUP_M: tl.constexpr):
    """The tile of a program: GROUP_M tiles of rows share each tile of weights, so that it is read from L2."""
    tiles_m, tiles_n = tl.cdiv(rows, BLOCK_M), tl.cdiv(outputs, BLOCK_N)
    group = program // (GROUP_M * tiles_n)
    first = group * GROUP_M
    height = tl.minimum(tiles_m - first, GROUP_M)
    inside = program % (GROUP_M * tiles_n)
    return first + inside % height, inside // height


@jit
def gemm(
    x,
    w,
    x_scale,
    w_scale,
    bias,
    out,
    rows,
    outputs,
    inner,
    steps,
    x_row,
    x_column,
    w_row,
    w_column,
    x_scale_row,
    w_scale_row,
    w_scale_column,
    QUANT: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    SPLIT: tl.constexpr,
    EVEN_K: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
):
    """Program (tile, part): `steps` blocks of K of one tile. SPLIT: fp32 sums go to `out [parts, rows, outputs]`.

    Rows and outputs past the end read the last one, and are not stored: only K needs a mask.
    """
    tile_m, tile_n = tile_of(tl.program_id(0), rows, outputs, BLOCK_M, BLOCK_N, GROUP_M)
    part = tl.program_id(1)
    row = tl.minimum(tile_m * BLOCK_M + tl.arange(0, BLOCK_M), rows - 1)
    column = tl.minimum(tile_n * BLOCK_N + tl.arange(0, BLOCK_N), outputs - 1)
    first = part * steps * BLOCK_K
    k = first + tl.arange(0, BLOCK_K)
    if WIDE:  # 2^31 elements or more
        x_at, w_at = row.to(tl.int64)[:, None] * x_row, column.to(tl.int64)[None, :] * w_row
    else:
        x_at, w_at = row[:, None] * x_row, column[None, :] * w_row
    x_at += k[None, :] * x_column  # [BLOCK_M, BLOCK_K]
    w_at += k[:, None] * w_column  # [BLOCK_K, BLOCK_N]
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for step in range(0, tl.minimum(steps, tl.cdiv(inner - first, BLOCK_K))):
        if EVEN_K:
            a, b = tl.load(x + x_at), tl.load(w + w_at)
        else:
            left = inner - first - step * BLOCK_K
            inside = tl.arange(0, BLOCK_K) < left
            a = tl.load(x + x_at, mask=inside[None, :], other=0.0)
            b = tl.load(w + w_at, mask=inside[:, None], other=0.0)
        if QUANT == "block":  # BLOCK_K is the 128 columns of one scale
            at = part * steps + step
            a_scale = tl.load(x_scale + row * x_scale_row + at)
            b_scale = tl.load(w_scale + column // 128 * w_scale_row + at * w_scale_column)
            total += tl.dot(a, b, out_dtype=tl.float32) * (a_scale[:, None] * b_scale[None, :])
        elif QUANT == "channel_token":
            total = tl.dot(a, b, total)
        else:
            total = tl.dot(a, b, total, input_precision=PRECISION)
        x_at += BLOCK_K * x_column
        w_at += BLOCK_K * w_column
    row = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    column = tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
    if SPLIT:
        at = (part * rows + row).to(tl.int64)[:, None] * outputs + column[None, :]
    else:
        total = finish(
            total, row, column, x_scale, w_scale, bias, rows, outputs, x_scale_row, w_scale_row, QUANT, HAS_BIAS
        )
        at = row.to(tl.int64)[:, None] * outputs + column[None, :]
    tl.store(out + at, total.to(out.dtype.element_ty), mask=(row < rows)[:, None] & (column < outputs)[None, :])


@jit
def finish(
    total,
    row,
    column,
    x_scale,
    w_scale,
    bias,
    rows,
    outputs,
    x_scale_row,
    w_scale_row,
    QUANT: tl.constexpr,
    HAS_BIAS: tl.constexpr,
):
    """Scales per token and channel, then the bias, on the fp32 sum."""
    if QUANT == "channel_token":
        token = tl.load(x_scale + row * x_scale_row, mask=row < rows, other=0.0)
        channel = tl.load(w_scale + column * w_scale_row, mask=column < outputs, other=0.0)
        total = total * token[:, None] * channel[None, :]
    if HAS_BIAS:
        total += tl.load(bias + column, mask=column < outputs, other=0.0).to(tl.float32)[None, :]
    return total


@jit
def add_parts(
    parts,
    x_scale,
    w_scale,
    bias,
    out,
    rows,
    outputs,
    x_scale_row,
    w_scale_row,
    QUANT: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Program (row, tile of outputs): the parts' sums, always in the same order, then as `finish`."""
    row = tl.program_id(0) + tl.arange(0, 1)
    column = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    valid = (column < outputs)[None, :]
    total = tl.zeros((1, BLOCK_N), tl.float32)
    for part in tl.static_range(PARTS):
        at = (part * rows + row).to(tl.int64)[:, None] * outputs + column[None, :]
        total += tl.load(parts + at, mask=valid, other=0.0)
    total = finish(total, row, column, x_scale, w_scale, bias, rows, outputs, x_scale_row, w_scale_row, QUANT, HAS_BIAS)
    tl.store(out + row.to(tl.int64)[:, None] * outputs + column[None, :], total.to(out.dtype.element_ty), mask=valid)
