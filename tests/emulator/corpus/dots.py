"""Matrix products: every element type, tile and compile option that reaches another matrix instruction."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import triton
import triton.language as tl
from corpus.case import BF8, FP8, Case, equal


@triton.jit
def matmul(
    a, b, c, M, N, K, stride_a, stride_b, stride_c,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, PRECISION: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """c [M, N] = a [M, K] @ b [N, K].T"""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    columns = tl.program_id(1) * BN + tl.arange(0, BN)
    inner = tl.arange(0, BK)
    total = tl.zeros((BM, BN), dtype=ACC)
    for start in range(0, K, BK):
        inside = start + inner < K
        x = tl.load(
            a + rows[:, None] * stride_a + start + inner[None, :],
            mask=(rows[:, None] < M) & inside[None, :],
            other=0.0,
        )
        y = tl.load(
            b + columns[None, :] * stride_b + start + inner[:, None],
            mask=(columns[None, :] < N) & inside[:, None],
            other=0.0,
        )
        total = tl.dot(x, y, total, input_precision=PRECISION, out_dtype=ACC)
    place = c + rows[:, None] * stride_c + columns[None, :]
    tl.store(place, total.to(c.dtype.element_ty), mask=(rows[:, None] < M) & (columns[None, :] < N))


@triton.jit
def matmul_scaled(
    a, a_scale, b, b_scale, c, stride_c,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, A: tl.constexpr, B: tl.constexpr,
    PACK_A: tl.constexpr, PACK_B: tl.constexpr,
):  # fmt: skip
    """c [BM, BN] = (a * 2^(a_scale - 127)) @ (b * 2^(b_scale - 127)); one scale for 32 elements along K."""
    rows, columns = tl.arange(0, BM), tl.arange(0, BN)
    inner_a, inner_b, groups = tl.arange(0, BK // PACK_A), tl.arange(0, BK // PACK_B), tl.arange(0, BK // 32)
    x = tl.load(a + rows[:, None] * (BK // PACK_A) + inner_a[None, :])
    y = tl.load(b + columns[None, :] * (BK // PACK_B) + inner_b[:, None])
    x_scale = tl.load(a_scale + rows[:, None] * (BK // 32) + groups[None, :])
    y_scale = tl.load(b_scale + columns[:, None] * (BK // 32) + groups[None, :])
    total = tl.dot_scaled(x, x_scale, A, y, y_scale, B)
    tl.store(c + rows[:, None] * stride_c + columns[None, :], total)


E4M3_OR_BITS = {"e4m3": (torch.float8_e4m3fn, 1), "e5m2": (torch.float8_e5m2, 1), "e2m1": (torch.uint8, 2)}
FP4 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


def _operand(generator: torch.Generator, shape: tuple[int, int], kind: Any, arch: str) -> torch.Tensor:
    kind = kind[arch] if isinstance(kind, dict) else kind
    if kind == torch.int8:
        return torch.randint(-128, 128, shape, generator=generator, dtype=torch.int8)
    wide = torch.randn(shape, generator=generator, dtype=torch.float64)
    return wide.to(torch.float32).to(kind) if kind != torch.float64 else wide


def _arguments(
    shape: tuple[int, int, int], kinds: tuple[Any, Any], result: torch.dtype, odd: int, arch: str
) -> list[Any]:
    m, n, k = shape
    generator = torch.Generator().manual_seed(m * n + k)
    a, b = (_operand(generator, (rows, k + odd), kind, arch)[:, :k] for rows, kind in ((m, kinds[0]), (n, kinds[1])))
    c = torch.zeros(m, n, dtype=result)
    return [a, b, c, m, n, k, k + odd, k + odd, n]


def _check(relative: float, arguments: list[Any], arch: str) -> None:
    a, b, c = arguments[:3]
    if c.dtype == torch.int32:
        equal(c, (a.long() @ b.long().T).to(torch.int32))
        return
    exact = a.double() @ b.double().T
    scale = a.double().abs() @ b.double().abs().T
    assert ((c.double() - exact).abs() <= relative * scale + 1e-30).all()


def _dot(
    name: str,
    kinds: Any,
    shape: tuple[int, int, int],
    tile: tuple[int, int, int],
    *,
    result: torch.dtype = torch.float32,
    acc: Any = tl.float32,
    precision: str = "ieee",
    relative: float = 1e-6,
    odd: int = 0,
    archs: tuple[str, ...] = ("gfx942", "gfx950"),
    **options: Any,
) -> Case:
    pair = kinds if isinstance(kinds, tuple) else (kinds, kinds)
    grid = (-(-shape[0] // tile[0]), -(-shape[1] // tile[1]))
    constants = {"BM": tile[0], "BN": tile[1], "BK": tile[2], "PRECISION": precision, "ACC": acc}
    return Case(
        name,
        matmul,
        grid,
        partial(_arguments, shape, pair, result, odd),
        partial(_check, relative),
        {"num_warps": 4, "matrix_instr_nonkdim": 0} | constants | options,
        archs,
    )


def _mx_operand(generator: torch.Generator, rows: int, k: int, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The codes, and their values [rows, k] in double."""
    dtype, pack = E4M3_OR_BITS[kind]
    if pack == 1:
        codes = torch.randn(rows, k, generator=generator).to(dtype)
        return codes, codes.double()
    codes = torch.randint(0, 256, (rows, k // 2), generator=generator, dtype=torch.uint8)
    halves = torch.stack([codes & 15, codes >> 4], dim=-1).long()  # the low nibble first
    return codes, FP4[halves].reshape(rows, k).double()


def _mx(a: str, b: str, tile: tuple[int, int, int], archs: tuple[str, ...] = ("gfx950",)) -> Case:
    m, n, k = tile

    def make() -> tuple[Any, ...]:
        generator = torch.Generator().manual_seed(m + n + k)
        x, x_values = _mx_operand(generator, m, k, a)
        y, y_values = _mx_operand(generator, n, k, b)
        x_scale = torch.randint(120, 134, (m, k // 32), generator=generator, dtype=torch.uint8)
        y_scale = torch.randint(120, 134, (n, k // 32), generator=generator, dtype=torch.uint8)
        return x, x_scale, y, y_scale, x_values, y_values

    def arguments(arch: str) -> list[Any]:
        x, x_scale, y, y_scale, _, _ = make()
        # Triton takes fp8 operands of dot_scaled as they are, fp4 as bytes.
        return [x, x_scale, y, y_scale, torch.zeros(m, n), n]

    def check(found: list[Any], arch: str) -> None:
        _, x_scale, _, y_scale, x, y = make()
        x = x * torch.exp2(x_scale.double() - 127).repeat_interleave(32, 1)
        y = y * torch.exp2(y_scale.double() - 127).repeat_interleave(32, 1)
        assert ((found[4].double() - x @ y.T).abs() <= 1e-6 * (x.abs() @ y.abs().T) + 1e-30).all()

    constants = {"BM": m, "BN": n, "BK": k, "A": a, "B": b, "PACK_A": E4M3_OR_BITS[a][1], "PACK_B": E4M3_OR_BITS[b][1]}
    return Case(
        f"dot_scaled_{a}_{b}_{m}x{n}x{k}", matmul_scaled, (1,), arguments, check, {"num_warps": 4} | constants, archs
    )


HALF, BFLOAT = torch.float16, torch.bfloat16
CASES = [
    _dot("f16_32x32x64", HALF, (45, 40, 128), (32, 32, 64)),
    _dot("f16_result_f16", HALF, (32, 32, 64), (32, 32, 64), result=HALF, relative=1e-3),
    _dot("bf16_16x16x128_one_warp", BFLOAT, (16, 16, 256), (16, 16, 128), num_warps=1),
    _dot("bf16_64x64x64", BFLOAT, (61, 64, 128), (64, 64, 64), result=BFLOAT, relative=4e-3),
    _dot("bf16_128x128x64_eight_warps", BFLOAT, (125, 128, 128), (128, 128, 64), num_warps=8),
    _dot("bf16_nonkdim16", BFLOAT, (64, 64, 128), (64, 64, 64), matrix_instr_nonkdim=16),
    _dot("bf16_nonkdim32", BFLOAT, (64, 64, 128), (64, 64, 64), matrix_instr_nonkdim=32),
    _dot("bf16_kpack2", BFLOAT, (64, 64, 128), (64, 64, 64), kpack=2, archs=("gfx942",)),
    _dot("bf16_stages1", BFLOAT, (64, 64, 256), (64, 64, 64), num_stages=1),
    _dot("bf16_stages3", BFLOAT, (64, 64, 320), (64, 64, 64), num_stages=3),
    _dot("bf16_waves_per_eu2", BFLOAT, (64, 64, 128), (64, 64, 64), waves_per_eu=2),
    _dot("bf16_no_divisibility", BFLOAT, (61, 57, 131), (64, 64, 64), odd=3),
    _dot("bf16_four_rows", BFLOAT, (4, 64, 128), (4, 64, 64), num_warps=1),
    _dot("bf16_one_row", BFLOAT, (1, 64, 128), (1, 64, 64), num_warps=1),
    _dot("bf16_two_warps", BFLOAT, (32, 64, 128), (32, 64, 64), num_warps=2),
    _dot("bf16_spills", BFLOAT, (256, 256, 64), (256, 256, 64), num_warps=4),
    _dot("f32_ieee", torch.float32, (32, 32, 64), (32, 32, 32)),
    _dot("f32_xf32", torch.float32, (32, 32, 64), (32, 32, 32), precision="tf32", relative=2e-3, archs=("gfx942",)),
    _dot("f64", torch.float64, (32, 32, 32), (16, 16, 16), result=torch.float64, acc=tl.float64, relative=1e-14),
    _dot("i8", torch.int8, (64, 64, 128), (64, 64, 64), result=torch.int32, acc=tl.int32),
    _dot("i8_16x16", torch.int8, (16, 16, 128), (16, 16, 64), result=torch.int32, acc=tl.int32, num_warps=1),
    _dot("fp8_32x32x64", FP8, (32, 32, 128), (32, 32, 64)),
    _dot("fp8_16x64x128", FP8, (16, 64, 256), (16, 64, 128)),
    _dot("bf8_32x32x64", BF8, (32, 32, 128), (32, 32, 64)),
    _dot("fp8_bf8", (FP8, BF8), (32, 32, 128), (32, 32, 64)),
    _dot("bf8_fp8_stages3", (BF8, FP8), (64, 64, 384), (64, 64, 128), num_stages=3),
    _mx("e4m3", "e4m3", (32, 32, 128)),
    _mx("e5m2", "e4m3", (16, 16, 128)),
    _mx("e2m1", "e2m1", (32, 32, 128), ("gfx942", "gfx950")),
    _mx("e4m3", "e2m1", (64, 64, 256)),
]
