"""One element at a time: integer and floating-point arithmetic of every width, math functions, conversions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import triton
import triton.language as tl
from corpus.case import BF8, FP8, Case, close, equal
from triton.language.extra import libdevice

N = 512


@triton.jit
def integers(a, b, out, n, BLOCK: tl.constexpr):
    """out [12, n]: what two integers give, in their own type."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    x, y = tl.load(a + at, mask=inside, other=1), tl.load(b + at, mask=inside, other=1)
    shift = y & 7
    tl.store(out + at, x + y, mask=inside)
    tl.store(out + n + at, x - y, mask=inside)
    tl.store(out + 2 * n + at, x * y, mask=inside)
    tl.store(out + 3 * n + at, tl.where(y == 0, x, x // tl.where(y == 0, 1, y)), mask=inside)
    tl.store(out + 4 * n + at, tl.where(y == 0, x, x % tl.where(y == 0, 1, y)), mask=inside)
    tl.store(out + 5 * n + at, x & y, mask=inside)
    tl.store(out + 6 * n + at, x | y, mask=inside)
    tl.store(out + 7 * n + at, x ^ y, mask=inside)
    tl.store(out + 8 * n + at, x << shift, mask=inside)
    tl.store(out + 9 * n + at, x >> shift, mask=inside)
    tl.store(out + 10 * n + at, tl.minimum(x, y), mask=inside)
    tl.store(out + 11 * n + at, tl.where(x > y, ~x, -y), mask=inside)


@triton.jit
def floats(a, b, out, n, BLOCK: tl.constexpr):
    """out [10, n]: what two floats give, in their own type."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    x, y = tl.load(a + at, mask=inside, other=1.0), tl.load(b + at, mask=inside, other=1.0)
    tl.store(out + at, x + y, mask=inside)
    tl.store(out + n + at, x - y, mask=inside)
    tl.store(out + 2 * n + at, x * y, mask=inside)
    tl.store(out + 3 * n + at, (x / y).to(out.dtype.element_ty), mask=inside)
    tl.store(out + 4 * n + at, tl.maximum(x, y), mask=inside)
    tl.store(out + 5 * n + at, tl.minimum(x, y, propagate_nan=tl.PropagateNan.ALL), mask=inside)
    tl.store(out + 6 * n + at, tl.abs(x) * y - x, mask=inside)
    tl.store(out + 7 * n + at, tl.clamp(x, -1.0, 1.0).to(out.dtype.element_ty), mask=inside)
    tl.store(out + 8 * n + at, tl.where(x < y, -x, y), mask=inside)
    tl.store(out + 9 * n + at, tl.fma(x, y, x), mask=inside)


@triton.jit
def functions(a, out, n, BLOCK: tl.constexpr):
    """out [21, n]: math functions of fp32, a > 0."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    x = tl.load(a + at, mask=inside, other=1.0)
    tl.store(out + at, tl.exp(x), mask=inside)
    tl.store(out + n + at, tl.exp2(x), mask=inside)
    tl.store(out + 2 * n + at, tl.log(x), mask=inside)
    tl.store(out + 3 * n + at, tl.log2(x), mask=inside)
    tl.store(out + 4 * n + at, tl.sqrt(x), mask=inside)
    tl.store(out + 5 * n + at, tl.sqrt_rn(x), mask=inside)
    tl.store(out + 6 * n + at, tl.rsqrt(x), mask=inside)
    tl.store(out + 7 * n + at, tl.sin(x), mask=inside)
    tl.store(out + 8 * n + at, tl.cos(x), mask=inside)
    tl.store(out + 9 * n + at, tl.erf(x), mask=inside)
    tl.store(out + 10 * n + at, tl.floor(x), mask=inside)
    tl.store(out + 11 * n + at, tl.ceil(x), mask=inside)
    tl.store(out + 12 * n + at, tl.sigmoid(x), mask=inside)
    tl.store(out + 13 * n + at, libdevice.tanh(x), mask=inside)
    tl.store(out + 14 * n + at, libdevice.pow(x, x), mask=inside)
    tl.store(out + 15 * n + at, libdevice.rint(x), mask=inside)
    tl.store(out + 16 * n + at, libdevice.trunc(x), mask=inside)
    tl.store(out + 17 * n + at, libdevice.expm1(x), mask=inside)
    tl.store(out + 18 * n + at, libdevice.log1p(x), mask=inside)
    tl.store(out + 19 * n + at, libdevice.atan2(x, x * 0.5), mask=inside)
    tl.store(out + 20 * n + at, tl.div_rn(1.0, x), mask=inside)


@triton.jit
def functions64(a, out, n, BLOCK: tl.constexpr):
    """out [8, n]: math functions of fp64, a > 0."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    x = tl.load(a + at, mask=inside, other=1.0)
    tl.store(out + at, libdevice.exp(x), mask=inside)
    tl.store(out + n + at, libdevice.log(x), mask=inside)
    tl.store(out + 2 * n + at, libdevice.sqrt(x), mask=inside)
    tl.store(out + 3 * n + at, libdevice.sin(x), mask=inside)
    tl.store(out + 4 * n + at, libdevice.erf(x), mask=inside)
    tl.store(out + 5 * n + at, tl.floor(x), mask=inside)
    tl.store(out + 6 * n + at, 1.0 / x, mask=inside)
    tl.store(out + 7 * n + at, x.to(tl.int64).to(tl.float64) + x.to(tl.int32).to(tl.float32), mask=inside)


@triton.jit
def convert(a, out, n, BLOCK: tl.constexpr):
    """out [n] = a [n] in out's type."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    tl.store(out + at, tl.load(a + at, mask=inside).to(out.dtype.element_ty), mask=inside)


@triton.jit
def wide_products(a, b, out, n, BLOCK: tl.constexpr):
    """out [3, n] int64: upper half of the unsigned product, the 64-bit product, a quotient of 64 bits."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    x, y = tl.load(a + at, mask=inside, other=1), tl.load(b + at, mask=inside, other=1)
    high = tl.umulhi(x.to(tl.uint32, bitcast=True), y.to(tl.uint32, bitcast=True))
    product = x.to(tl.int64) * y.to(tl.int64)
    tl.store(out + at, high.to(tl.int64), mask=inside)
    tl.store(out + n + at, product, mask=inside)
    tl.store(out + 2 * n + at, product // (y.to(tl.int64) | 1), mask=inside)


@triton.jit
def random(out, seed, BLOCK: tl.constexpr):
    """out [2, BLOCK]: uniform and normal numbers from Philox."""
    at = tl.arange(0, BLOCK)
    tl.store(out + at, tl.rand(seed, at))
    tl.store(out + BLOCK + at, tl.randn(seed, at))


@triton.jit
def packed(a, b, out, n, BLOCK: tl.constexpr, FAST: tl.constexpr):
    """out [n] = silu(a) * b with eight elements a lane: packed fp32 and, in half precision, packed fp16."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x, y = tl.load(a + at), tl.load(b + at)
    if FAST:
        tl.store(out + at, x * y + x - y * 0.5)
    else:
        wide = x.to(tl.float32)
        tl.store(out + at, (wide / (1.0 + tl.exp(-wide)) * y.to(tl.float32)).to(out.dtype.element_ty))


def _integers(dtype: torch.dtype, arch: str) -> list[Any]:
    generator = torch.Generator().manual_seed(1)
    limits = torch.iinfo(dtype)
    a, b = (
        torch.randint(max(limits.min, -(2**40)), min(limits.max, 2**40), (N,), generator=generator, dtype=dtype)
        for _ in range(2)
    )
    b[::3] %= 13
    a[:4] = torch.tensor([limits.min, limits.max, 0, 1], dtype=dtype)
    return [a, b, torch.zeros(12, N, dtype=dtype), N]


def _check_integers(arguments: list[Any], arch: str) -> None:
    a, b, found = arguments[:3]
    safe = torch.where(b == 0, 1, b).to(a.dtype)
    shift = b & 7
    expected = [
        a + b,
        a - b,
        a * b,
        torch.where(b == 0, a, torch.div(a, safe, rounding_mode="trunc")),
        torch.where(b == 0, a, torch.fmod(a, safe)),
        a & b,
        a | b,
        a ^ b,
        a << shift,
        a >> shift,
        torch.minimum(a, b),
        torch.where(a > b, ~a, -b),
    ]
    for row, values in zip(found, expected, strict=True):
        equal(row, values.to(a.dtype))


def _floats(dtype: torch.dtype, arch: str) -> list[Any]:
    generator = torch.Generator().manual_seed(2)
    a, b = (torch.randn(N, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2))
    special = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), float("nan"), 1e-40, 6e-8], dtype=dtype)
    a[: len(special)], b[20 : 20 + len(special)] = special, special
    b[:7] = 1.5
    return [a, b, torch.zeros(10, N, dtype=dtype), N]


def _check_floats(relative: float, arguments: list[Any], arch: str) -> None:
    a, b, found = arguments[:3]
    x, y = a.double(), b.double()
    greater = torch.fmax(x, y)
    expected = [
        x + y, x - y, x * y, x / y, greater, torch.minimum(x, y), x.abs() * y - x, x.clamp(-1, 1),
        torch.where(x < y, -x, y), x * y + x,
    ]  # fmt: skip
    tiny = float(torch.finfo(a.dtype).tiny) * relative
    for number, (row, values) in enumerate(zip(found, expected, strict=True)):
        values = torch.where(x.isnan(), -1.0, values) if number == 7 else values
        row = torch.where(x.isnan(), -1.0, row.double()) if number == 7 else row
        slack = 2 * relative * (x.abs() * (y.abs() + 1)).nan_to_num(0, 0, 0).max() if number in (6, 9) else 0.0
        close(row, values.to(a.dtype), relative, float(slack) + tiny)


def _functions(dtype: torch.dtype, rows: int, arch: str) -> list[Any]:
    generator = torch.Generator().manual_seed(3)
    a = torch.rand(N, generator=generator, dtype=torch.float64) * 10 + 1e-3
    return [a.to(dtype), torch.zeros(rows, N, dtype=dtype), N]


def _check_functions(arguments: list[Any], arch: str) -> None:
    x, found = arguments[0].double(), arguments[1]
    expected = [
        x.exp(), x.exp2(), x.log(), x.log2(), x.sqrt(), x.sqrt(), x.rsqrt(), x.sin(), x.cos(), x.erf(), x.floor(),
        x.ceil(), x.sigmoid(), x.tanh(), x.pow(x), x.round(), x.trunc(), x.expm1(), x.log1p(),
        torch.atan2(x, x * 0.5), 1 / x,
    ]  # fmt: skip
    for row, values in zip(found, expected, strict=True):
        close(row, values, 2e-6, 2e-6)


def _check_functions64(arguments: list[Any], arch: str) -> None:
    x, found = arguments[0], arguments[1]
    expected = [x.exp(), x.log(), x.sqrt(), x.sin(), x.erf(), x.floor(), 1 / x, 2 * x.trunc()]
    for row, values in zip(found, expected, strict=True):
        close(row, values, 4e-15, 4e-15)


def _convert(source: Any, target: Any, arch: str) -> list[Any]:
    source, target = (kind[arch] if isinstance(kind, dict) else kind for kind in (source, target))
    generator = torch.Generator().manual_seed(4)
    bound = 100.0 if torch.int8 in (source, target) else 200.0
    values = torch.rand(N, generator=generator) * 2 * bound - bound
    values[: N // 2] *= torch.logspace(-9, 0, N // 2)
    values[:2] = torch.tensor([0.0, -0.0])
    if not target.is_floating_point or not source.is_floating_point:
        values = values.round()
    if torch.uint8 in (source, target):
        values = values.abs()
    return [values.to(source), torch.zeros(N, dtype=torch.float32).to(target), N]


def _check_convert(arguments: list[Any], arch: str) -> None:
    a, found = arguments[:2]
    expected = a.to(torch.float32).to(found.dtype) if found.dtype.itemsize == 1 else a.to(found.dtype)
    bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[found.dtype.itemsize]
    equal(found.view(bits), expected.view(bits))


def _wide(arch: str) -> list[Any]:
    a, b = (row.to(torch.int32) for row in _integers(torch.int32, arch)[:2])
    return [a, b, torch.zeros(3, N, dtype=torch.int64), N]


def _check_wide(arguments: list[Any], arch: str) -> None:
    a, b, found = arguments[0].long(), arguments[1].long(), arguments[2]
    equal(found[0], ((a & 0xFFFFFFFF) * (b & 0xFFFFFFFF)) >> 32 & 0xFFFFFFFF)
    equal(found[1], a * b)
    equal(found[2], torch.div(a * b, b | 1, rounding_mode="trunc"))


def _check_random(arguments: list[Any], arch: str) -> None:
    uniform, normal = arguments[0]
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.05
    assert abs(normal.std() - 1) < 0.1
    assert normal.unique().numel() > 500


def _packed(dtype: torch.dtype, arch: str) -> list[Any]:
    generator = torch.Generator().manual_seed(5)
    a, b = (torch.randn(2048, generator=generator).to(dtype) for _ in range(2))
    return [a, b, torch.zeros(2048, dtype=dtype), 2048]


def _check_packed(fast: bool, relative: float, arguments: list[Any], arch: str) -> None:
    x, y = arguments[0].double(), arguments[1].double()
    close(arguments[2], x * y + x - y * 0.5 if fast else torch.nn.functional.silu(x) * y, relative, 4 * relative)


def _case(name: str, kernel: Any, arguments: Callable[[str], list[Any]], check: Any, **options: Any) -> Case:
    return Case(name, kernel, (2,), arguments, check, {"BLOCK": N // 2, "num_warps": 4} | options)


_CONVERSIONS: list[tuple[Any, Any]] = [
    (torch.float32, torch.float16), (torch.float32, torch.bfloat16), (torch.float32, FP8), (torch.float32, BF8),
    (torch.float32, torch.int32), (torch.float32, torch.int8), (torch.float32, torch.uint8),
    (torch.float32, torch.float64), (torch.float32, torch.int64), (torch.float16, torch.float32),
    (torch.bfloat16, torch.float32), (FP8, torch.float32), (BF8, torch.float32), (FP8, torch.bfloat16),
    (FP8, torch.float16), (torch.bfloat16, FP8), (torch.float16, FP8), (torch.float16, torch.bfloat16),
    (torch.int32, torch.float32), (torch.int8, torch.float32), (torch.uint8, torch.float32),
    (torch.int64, torch.float32), (torch.int64, torch.float64), (torch.float64, torch.float32),
    (torch.float64, torch.int32), (torch.int32, torch.float64), (torch.int16, torch.float16),
    (torch.float16, torch.int16), (torch.float64, torch.float16), (torch.int8, torch.bfloat16),
]  # fmt: skip


def _name(kind: Any) -> str:
    if isinstance(kind, dict):
        return "fp8" if kind is FP8 else "bf8"
    return str(kind).removeprefix("torch.")


CASES = [
    *(
        _case(f"integers_{_name(dtype)}", integers, partial(_integers, dtype), _check_integers)
        for dtype in (torch.int8, torch.int16, torch.int32, torch.int64)
    ),
    *(
        _case(f"floats_{_name(dtype)}", floats, partial(_floats, dtype), partial(_check_floats, relative))
        for dtype, relative in ((torch.float16, 1e-3), (torch.float32, 2e-7), (torch.float64, 4e-16))
    ),
    _case("functions_float32", functions, partial(_functions, torch.float32, 21), _check_functions),
    _case("functions_float64", functions64, partial(_functions, torch.float64, 8), _check_functions64),
    *(
        _case(f"convert_{_name(a)}_to_{_name(b)}", convert, partial(_convert, a, b), _check_convert)
        for a, b in _CONVERSIONS
    ),
    _case("wide_products", wide_products, _wide, _check_wide),
    Case(
        "random", random, (1,), lambda arch: [torch.zeros(2, 1024), 7], _check_random, {"BLOCK": 1024, "num_warps": 4}
    ),
    *(
        _case(
            f"packed_{_name(dtype)}{'_fast' if fast else ''}",
            packed,
            partial(_packed, dtype),
            partial(_check_packed, fast, relative),
            BLOCK=1024,
            num_warps=2,
            FAST=fast,
        )
        for dtype, relative in ((torch.float32, 1e-6), (torch.float16, 2e-3), (torch.bfloat16, 2e-2))
        for fast in (False, True)
    ),
]
