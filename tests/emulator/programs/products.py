"""Matrix products of a language model: dense, in blocks of scaled fp8, and grouped by expert."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import triton
import triton.language as tl
from corpus.case import FP8, Case, close

BF16_ULP = 2.0**-8
"""Half a unit in the last place of a bf16, relative; the sums before it are in fp32."""


@triton.jit
def gemm(
    a, b, c, M, N, K, stride_a, stride_b, stride_c,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """c [M, N] = a [M, K] @ b [N, K].T"""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    columns = tl.program_id(1) * BN + tl.arange(0, BN)
    inner = tl.arange(0, BK)
    total = tl.zeros((BM, BN), tl.float32)
    for start in range(0, K, BK):
        left = start + inner < K
        x = tl.load(
            a + rows[:, None] * stride_a + (start + inner)[None, :], (rows < M)[:, None] & left[None, :], other=0.0
        )
        y = tl.load(
            b + columns[None, :] * stride_b + (start + inner)[:, None],
            (columns < N)[None, :] & left[:, None],
            other=0.0,
        )
        total = tl.dot(x, y, total)
    place = c + rows[:, None] * stride_c + columns[None, :]
    tl.store(place, total.to(c.dtype.element_ty), (rows < M)[:, None] & (columns < N)[None, :])


@triton.jit
def gemm_block_scaled(
    a, b, c, scale_a, scale_b, M, N, K, stride_a, stride_b, stride_c, stride_sa, stride_sb,
    BM: tl.constexpr, BN: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """As `gemm`, with a scale for each row and GROUP columns of a, and for each GROUP x GROUP block of b."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    columns = tl.program_id(1) * BN + tl.arange(0, BN)
    inner = tl.arange(0, GROUP)
    total = tl.zeros((BM, BN), tl.float32)
    for group in range(0, K // GROUP):
        at = group * GROUP + inner
        x = tl.load(a + rows[:, None] * stride_a + at[None, :], (rows < M)[:, None], other=0.0)
        y = tl.load(b + columns[None, :] * stride_b + at[:, None], (columns < N)[None, :], other=0.0)
        by_row = tl.load(scale_a + rows * stride_sa + group, rows < M, other=0.0)
        by_column = tl.load(scale_b + columns // GROUP * stride_sb + group, columns < N, other=0.0)
        total += tl.dot(x, y) * by_row[:, None] * by_column[None, :]
    place = c + rows[:, None] * stride_c + columns[None, :]
    tl.store(place, total.to(c.dtype.element_ty), (rows < M)[:, None] & (columns < N)[None, :])


@triton.jit
def grouped_gemm(
    x, w, out, slots, experts, weights, filled, tokens, N, K, stride_x, stride_e, stride_n, stride_out,
    TOPK: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """out [tokens * TOPK, N]: each token's row of x times the matrix of each of its experts, weighted.

    slots holds (token, choice) pairs sorted by expert and padded to BM; experts one expert for each BM of them.
    """
    block = tl.program_id(0)
    if block * BM >= tl.load(filled):
        return
    slot = tl.load(slots + block * BM + tl.arange(0, BM))
    valid = slot < tokens * TOPK
    expert = tl.load(experts + block).to(tl.int64)
    columns = tl.program_id(1) * BN + tl.arange(0, BN)
    inner = tl.arange(0, BK)
    total = tl.zeros((BM, BN), tl.float32)
    for start in range(0, K, BK):
        left = start + inner < K
        a = tl.load(
            x + (slot // TOPK)[:, None] * stride_x + (start + inner)[None, :],
            valid[:, None] & left[None, :],
            other=0.0,
        )
        b = tl.load(
            w + expert * stride_e + (columns % N)[None, :] * stride_n + (start + inner)[:, None],
            left[:, None],
            other=0.0,
        )
        total = tl.dot(a, b, total)
    total *= tl.load(weights + slot, valid, other=0.0)[:, None]
    place = out + slot[:, None] * stride_out + columns[None, :]
    tl.store(place, total.to(out.dtype.element_ty), valid[:, None] & (columns < N)[None, :])


def _random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _gemm_arguments(m: int, n: int, k: int, kind: Any, arch: str) -> list[Any]:
    kind = kind[arch] if isinstance(kind, dict) else kind
    a, b = _random(1, m, k).to(kind), _random(2, n, k).to(kind)
    return [a, b, torch.zeros(m, n, dtype=torch.bfloat16), m, n, k, k, k, n]


def _gemm_check(arguments: list[Any], arch: str) -> None:
    a, b, c = arguments[:3]
    close(c, a.double() @ b.double().T, BF16_ULP, 1e-4)


def _scaled_arguments(arch: str) -> list[Any]:
    m, n, k, group = 50, 64, 256, 128
    a, b = _random(3, m, k).to(FP8[arch]), _random(4, n, k).to(FP8[arch])
    scale_a, scale_b = _random(5, m, k // group).abs() + 0.5, _random(6, 1, k // group).abs() + 0.5
    c = torch.zeros(m, n, dtype=torch.bfloat16)
    return [a, b, c, scale_a, scale_b, m, n, k, k, k, n, k // group, k // group]


def _scaled_check(arguments: list[Any], arch: str) -> None:
    a, b, c, scale_a, scale_b = arguments[:5]
    x = a.double() * scale_a.double().repeat_interleave(128, 1)
    y = b.double() * scale_b.double().repeat_interleave(128, 1)
    close(c, x @ y.T, BF16_ULP, 1e-3)


def _grouped_arguments(kind: Any, block: int, n: int, k: int, arch: str) -> list[Any]:
    kind = kind[arch] if isinstance(kind, dict) else kind
    tokens, topk, experts = 3, 8, 2
    x, w = _random(7, tokens, k).to(kind), _random(8, experts, n, k).to(kind)
    chosen = torch.randint(0, experts, (tokens * topk,), generator=torch.Generator().manual_seed(9))
    slots, owners = [], []
    for expert in range(experts):
        mine = (chosen == expert).nonzero().flatten().tolist()
        mine += [tokens * topk] * (-len(mine) % block)
        slots += mine
        owners += [expert] * (len(mine) // block)
    spare = [tokens * topk] * block  # a block beyond `filled`: nothing may come of it
    weights, out = _random(10, tokens * topk).abs(), torch.zeros(tokens * topk, n, dtype=torch.bfloat16)
    ids = [torch.tensor(each, dtype=torch.int32) for each in (slots + spare, [*owners, 0], [len(slots)])]
    return [x, w, out, ids[0], ids[1], weights, ids[2], tokens, n, k, k, n * k, k, n, chosen]


def _grouped_check(arguments: list[Any], arch: str) -> None:
    x, w, out, weights, chosen = (arguments[at] for at in (0, 1, 2, 5, 14))
    expected = torch.stack(
        [x[slot // 8].double() @ w[expert].double().T * weights[slot] for slot, expert in enumerate(chosen.tolist())]
    )
    close(out, expected, BF16_ULP, 1e-4)


def _tile(name: str, m: int, n: int, k: int, kind: Any = torch.bfloat16, **options: Any) -> Case:
    """Two steps along K, and three rows less than the tile has, except in fp8."""
    rows = m if isinstance(kind, dict) else m - 3
    arguments = partial(_gemm_arguments, rows, n, 2 * k, kind)
    return Case(name, gemm, (1, 1), arguments, _gemm_check, {"BM": m, "BN": n, "BK": k, **options})


def _grouped(name: str, kind: Any, bm: int, bn: int, bk: int, blocks: int) -> Case:
    def arguments(arch: str) -> list[Any]:
        return _grouped_arguments(kind, bm, bn, 2 * bk, arch)

    return Case(name, grouped_gemm, (blocks, 1), arguments, _grouped_check, {"TOPK": 8, "BM": bm, "BN": bn, "BK": bk})


CASES = [
    _tile("gemm_bf16_16x16x128", 16, 16, 128, num_warps=1),
    _tile("gemm_bf16_32x32x64", 32, 32, 64),
    _tile("gemm_bf16_64x64x64", 64, 64, 64),
    _tile("gemm_bf16_128x128x64", 128, 128, 64),
    _tile("gemm_bf16_mfma_of_32", 64, 64, 64, matrix_instr_nonkdim=32),
    _tile("gemm_fp8_32x32x64", 32, 32, 64, FP8, num_warps=1),
    Case(
        "gemm_fp8_in_scaled_blocks",
        gemm_block_scaled,
        (1, 1),
        _scaled_arguments,
        _scaled_check,
        {"BM": 64, "BN": 64, "GROUP": 128},
    ),
    _grouped("grouped_gemm_bf16", torch.bfloat16, 32, 32, 64, 3),
    _grouped("grouped_gemm_fp8", FP8, 16, 64, 128, 4),
]
