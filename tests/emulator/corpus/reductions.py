"""Across lanes and warps: reductions, scans, sorts, gathers, transposes."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import triton
import triton.language as tl
from corpus.case import Case, close, equal


@triton.jit
def reduce_rows(x, total, largest, where, ones, stride, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Of each row of x [ROWS, COLUMNS]: sum, maximum, its index, xor of the bits."""
    rows, columns = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    values = tl.load(x + rows[:, None] * stride + columns[None, :])
    best, index = tl.max(values, axis=1, return_indices=True)
    tl.store(total + rows, tl.sum(values, axis=1))
    tl.store(largest + rows, best)
    tl.store(where + rows, index)
    tl.store(ones + rows, tl.xor_sum(values.to(tl.int32), axis=1))


@triton.jit
def reduce_columns(x, total, smallest, stride, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Of each column of x [ROWS, COLUMNS]: sum and minimum."""
    rows, columns = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    values = tl.load(x + rows[:, None] * stride + columns[None, :])
    tl.store(total + columns, tl.sum(values, axis=0))
    tl.store(smallest + columns, tl.min(values, axis=0))


@triton.jit
def softmax(x, out, stride, n, BLOCK: tl.constexpr):
    """out [rows, n] = softmax(x), one row a workgroup."""
    row, columns = tl.program_id(0), tl.arange(0, BLOCK)
    values = tl.load(x + row * stride + columns, mask=columns < n, other=-float("inf")).to(tl.float32)
    values = tl.exp(values - tl.max(values, axis=0))
    tl.store(out + row * stride + columns, values / tl.sum(values, axis=0), mask=columns < n)


@triton.jit
def scans(x, sums, products, last, BLOCK: tl.constexpr):
    """Prefix sums, prefix products of 1 + x / 64, and an associative scan that keeps the last non-zero."""
    at = tl.arange(0, BLOCK)
    values = tl.load(x + at)
    tl.store(sums + at, tl.cumsum(values, axis=0))
    tl.store(products + at, tl.cumprod(1.0 + values.to(tl.float32) / 64.0, axis=0))
    tl.store(last + at, tl.associative_scan(values, 0, _keep))


@triton.jit
def _keep(left, right):
    return tl.where(right != 0, right, left)


@triton.jit
def sort_rows(x, ascending, descending, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Each row of x [ROWS, COLUMNS] sorted."""
    at = tl.arange(0, ROWS)[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    values = tl.load(x + at)
    tl.store(ascending + at, tl.sort(values, dim=1))
    tl.store(descending + at, tl.sort(values, dim=1, descending=True))


@triton.jit
def largest(x, out, COLUMNS: tl.constexpr, K: tl.constexpr):
    """out [K]: the K largest of x [COLUMNS], in order."""
    values = tl.load(x + tl.arange(0, COLUMNS))
    tl.store(out + tl.arange(0, K), tl.topk(values, K))


@triton.jit
def count(x, out, n, BLOCK: tl.constexpr, BINS: tl.constexpr):
    """out [BINS] += histogram of x [n]."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    values = tl.load(x + at, mask=at < n, other=0)
    counts = tl.histogram(values, BINS, mask=at < n)
    tl.atomic_add(out + tl.arange(0, BINS), counts)


@triton.jit
def rearrange(x, transposed, gathered, index, interleaved, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """x [ROWS, COLUMNS] transposed, gathered along its rows, and its halves interleaved."""
    rows, columns = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None, :]
    values = tl.load(x + rows * COLUMNS + columns)
    tl.store(transposed + tl.arange(0, COLUMNS)[:, None] * ROWS + tl.arange(0, ROWS)[None, :], tl.trans(values))
    picks = tl.load(index + rows * COLUMNS + columns)
    tl.store(gathered + rows * COLUMNS + columns, tl.gather(values, picks, axis=1))
    left, right = tl.split(tl.reshape(values, (ROWS, COLUMNS // 2, 2)))
    tl.store(interleaved + rows * COLUMNS + columns, tl.interleave(right, left))


@triton.jit
def rms_norm(x, weight, out, n, epsilon, BLOCK: tl.constexpr):
    """out [rows, n] = x / rms(x) * weight."""
    row, at = tl.program_id(0), tl.arange(0, BLOCK)
    values = tl.load(x + row * n + at, mask=at < n, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(values * values, axis=0) / n + epsilon)
    w = tl.load(weight + at, mask=at < n, other=0.0).to(tl.float32)
    tl.store(out + row * n + at, (values * scale * w).to(out.dtype.element_ty), mask=at < n)


def _random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 11) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator, dtype=torch.float64).mul(8).to(dtype)
    return torch.randint(-1000, 1000, shape, generator=generator).to(dtype)


def _rows(rows: int, columns: int, dtype: torch.dtype, arch: str) -> list[Any]:
    x = _random(rows, columns, dtype=dtype)
    index = torch.zeros(rows, dtype=torch.int32)
    return [x, torch.zeros(rows, dtype=dtype), torch.zeros(rows, dtype=dtype), index, index.clone(), columns]


def _check_rows(arguments: list[Any], arch: str) -> None:
    x, total, best, index, ones = arguments[:5]
    close(total, x.double().sum(1), 1e-6, 1e-4 if x.dtype.is_floating_point else 0)
    equal(best, x.amax(1))
    equal(x.gather(1, index.long()[:, None])[:, 0], x.amax(1))
    expected = x.to(torch.int32)
    while expected.shape[1] > 1:
        expected = expected[:, ::2] ^ expected[:, 1::2]
    equal(ones, expected[:, 0])


def _columns(rows: int, columns: int, arch: str) -> list[Any]:
    return [_random(rows, columns), torch.zeros(columns), torch.zeros(columns), columns]


def _check_columns(arguments: list[Any], arch: str) -> None:
    x, total, smallest = arguments[:3]
    close(total, x.double().sum(0), 1e-6, 1e-4)
    equal(smallest, x.amin(0))


def _softmax(arch: str) -> list[Any]:
    x = _random(3, 400, dtype=torch.bfloat16)
    return [x, torch.zeros_like(x), 400, 400]


def _check_softmax(arguments: list[Any], arch: str) -> None:
    close(arguments[1], arguments[0].double().softmax(-1), 4e-3, 1e-9)


def _scan(dtype: torch.dtype, arch: str) -> list[Any]:
    x = _random(256, dtype=dtype) % 7
    return [x, torch.zeros_like(x), torch.zeros(256), torch.zeros_like(x)]


def _check_scan(arguments: list[Any], arch: str) -> None:
    x, sums, products, last = arguments
    close(sums, x.double().cumsum(0), 1e-5, 1e-4 if x.dtype.is_floating_point else 0)
    close(products, (1 + x.double() / 64).cumprod(0), 1e-4)
    positions = torch.where(x != 0, torch.arange(256), 0).cummax(0).values
    equal(last, x[positions])


def _sort(rows: int, columns: int, dtype: torch.dtype, arch: str) -> list[Any]:
    x = _random(rows, columns, dtype=dtype)
    return [x, torch.zeros_like(x), torch.zeros_like(x)]


def _check_sort(arguments: list[Any], arch: str) -> None:
    x, ascending, descending = arguments
    equal(ascending, x.sort(1).values)
    equal(descending, x.sort(1, descending=True).values)


def _check_largest(arguments: list[Any], arch: str) -> None:
    equal(arguments[1], arguments[0].topk(8).values)


def _check_count(arguments: list[Any], arch: str) -> None:
    equal(arguments[1], torch.bincount(arguments[0], minlength=32).to(torch.int32))


def _rearrange(dtype: torch.dtype, arch: str) -> list[Any]:
    x = _random(16, 64, dtype=dtype)
    index = torch.randint(0, 64, (16, 64), generator=torch.Generator().manual_seed(6), dtype=torch.int32)
    return [x, torch.zeros(64, 16, dtype=dtype), torch.zeros_like(x), index, torch.zeros_like(x)]


def _check_rearrange(arguments: list[Any], arch: str) -> None:
    x, transposed, gathered, index, interleaved = arguments
    equal(transposed, x.T)
    equal(gathered, x.gather(1, index.long()))
    equal(interleaved, x.reshape(16, 32, 2).flip(2).reshape(16, 64))


def _norm(n: int, arch: str) -> list[Any]:
    x = _random(2, n, dtype=torch.bfloat16)
    return [x, _random(n, dtype=torch.bfloat16, seed=12), torch.zeros_like(x), n, 1e-5]


def _check_norm(arguments: list[Any], arch: str) -> None:
    x, weight = arguments[0].double(), arguments[1].double()
    close(arguments[2], x * (x.pow(2).mean(-1, keepdim=True) + 1e-5).rsqrt() * weight, 5e-3)


def _halves(arch: str) -> list[Any]:
    return [_random(256, dtype=torch.float16), torch.zeros(8, dtype=torch.float16)]


def _ids(arch: str) -> list[Any]:
    ids = torch.randint(0, 32, (500,), generator=torch.Generator().manual_seed(8), dtype=torch.int32)
    return [ids, torch.zeros(32, dtype=torch.int32), 500]


CASES = [
    *(
        Case(
            f"reduce_rows_{warps}_warps_{str(dtype)[6:]}",
            reduce_rows,
            (1,),
            partial(_rows, 16, 128, dtype),
            _check_rows,
            {"ROWS": 16, "COLUMNS": 128, "num_warps": warps},
        )
        for warps, dtype in ((1, torch.float32), (2, torch.int32), (4, torch.float32), (8, torch.float32))
    ),
    Case("reduce_rows_int64", reduce_rows, (1,), partial(_rows, 4, 128, torch.int64), _check_rows,
         {"ROWS": 4, "COLUMNS": 128, "num_warps": 2}),
    Case("reduce_columns", reduce_columns, (1,), partial(_columns, 64, 32), _check_columns,
         {"ROWS": 64, "COLUMNS": 32, "num_warps": 4}),
    Case("softmax", softmax, (3,), _softmax, _check_softmax, {"BLOCK": 512, "num_warps": 4}),
    Case("scan_float", scans, (1,), partial(_scan, torch.float32), _check_scan, {"BLOCK": 256, "num_warps": 2}),
    Case("scan_int", scans, (1,), partial(_scan, torch.int32), _check_scan, {"BLOCK": 256, "num_warps": 1}),
    Case("sort_float", sort_rows, (1,), partial(_sort, 4, 64, torch.float32), _check_sort,
         {"ROWS": 4, "COLUMNS": 64, "num_warps": 1}),
    Case("sort_int64", sort_rows, (1,), partial(_sort, 2, 128, torch.int64), _check_sort,
         {"ROWS": 2, "COLUMNS": 128, "num_warps": 4}),
    Case("topk", largest, (1,), lambda arch: [_random(128), torch.zeros(8)], _check_largest,
         {"COLUMNS": 128, "K": 8, "num_warps": 1}),
    Case("topk_float16", largest, (1,), _halves, _check_largest, {"COLUMNS": 256, "K": 8, "num_warps": 2}),
    Case("histogram", count, (2,), _ids, _check_count, {"BLOCK": 256, "BINS": 32, "num_warps": 4}),
    *(
        Case(f"rearrange_{str(dtype)[6:]}", rearrange, (1,), partial(_rearrange, dtype), _check_rearrange,
             {"ROWS": 16, "COLUMNS": 64, "num_warps": 2})
        for dtype in (torch.float32, torch.float16, torch.int8)
    ),
    Case("rms_norm_4096", rms_norm, (2,), partial(_norm, 4096), _check_norm, {"BLOCK": 4096, "num_warps": 4}),
    Case("rms_norm_5120", rms_norm, (2,), partial(_norm, 5120), _check_norm, {"BLOCK": 8192, "num_warps": 8}),
]  # fmt: skip
