"""Arithmetic on bf16 and FP8 in the interpreter against torch. Run by test_exact.py with `TRITON_INTERPRET=1`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

import exact_interpreter

exact_interpreter.install()


@triton.jit
def elementwise(x, y, out, truth, OP: tl.constexpr, COUNT: tl.constexpr):
    at = tl.arange(0, COUNT)
    a, b = tl.load(x + at), tl.load(y + at)
    if OP == "add":
        r = a + b
    elif OP == "subtract":
        r = a - b
    elif OP == "multiply":
        r = a * b
    elif OP == "negate":
        r = -a
    elif OP == "absolute":
        r = tl.abs(a)
    elif OP == "maximum":
        r = tl.maximum(a, b)
    elif OP == "minimum":
        r = tl.minimum(a, b)
    elif OP == "fma":
        r = tl.fma(a, b, a)
    elif OP == "clamp":
        r = tl.clamp(a, -1.0, 1.0)
    elif OP == "constant":
        r = a * 0.3 + 1.7
    else:
        r = tl.where(a < b, a, b)
    tl.store(out + at, r.to(a.dtype))
    tl.store(truth + at, ((a < b) & (a >= -1.0) & (a != 0.0)).to(tl.int8))


ELEMENTWISE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "negate": lambda a, b: -a,
    "absolute": lambda a, b: a.abs(),
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "fma": lambda a, b: (a.double() * b.double() + a.double()).bfloat16(),
    "clamp": lambda a, b: a.clamp(-1, 1),
    "constant": lambda a, b: a * torch.tensor(0.3).bfloat16() + torch.tensor(1.7).bfloat16(),
    "select": torch.minimum,
}


def random_bf16(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    exponents = torch.randint(-6, 6, shape, generator=generator)
    return (torch.randn(shape, generator=generator) * 2.0**exponents).bfloat16()


@pytest.mark.parametrize("op", ELEMENTWISE)
def test_elementwise(op: str) -> None:
    x, y = random_bf16(4096), random_bf16(4096, seed=1)
    out, truth = torch.empty_like(x), torch.empty(4096, dtype=torch.int8)
    elementwise[(1,)](x, y, out, truth, op, 4096)
    assert torch.equal(out, ELEMENTWISE[op](x, y))
    assert torch.equal(truth.bool(), (x < y) & (x >= -1) & (x != 0))


@triton.jit
def functions(x, out, OP: tl.constexpr, COUNT: tl.constexpr):
    at = tl.arange(0, COUNT)
    a = tl.load(x + at).to(tl.float32)
    if OP == "exp2":
        r = tl.exp2(a)
    elif OP == "rsqrt":
        r = tl.rsqrt(a)
    elif OP == "sigmoid":
        r = tl.sigmoid(a)
    elif OP == "erf":
        r = tl.erf(a)
    else:
        r = tl.sqrt_rn(a)
    tl.store(out + at, r)


@pytest.mark.parametrize("op", ["exp2", "rsqrt", "sigmoid", "erf", "sqrt"])
def test_functions_in_fp32(op: str) -> None:
    x, out = random_bf16(1024).abs(), torch.empty(1024)
    functions[(1,)](x, out, op, 1024)
    torch.testing.assert_close(out, getattr(torch, op)(x.float()), rtol=1e-6, atol=1e-7)


@triton.jit
def reduce(x, out, ids, OP: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    row, column = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    block = tl.load(x + row[:, None] * COLUMNS + column)
    if OP == "sum":
        r = tl.sum(block, 1)
    elif OP == "amax":
        r = tl.max(block, 1)
    elif OP == "amin":
        r = tl.min(block, 1)
    elif OP == "argmax":
        r, at = tl.max(block, 1, return_indices=True)
        tl.store(ids + row, at)
    elif OP == "prod":
        r = tl.reduce(block, 1, _product)
    else:
        r = tl.max(tl.sort(block, 1), 1)
    tl.store(out + row, r.to(x.dtype.element_ty))


@triton.jit
def _product(a, b):
    return a * b


def product_rounded_each_step(x: Tensor, _: int) -> Tensor:
    total = x[:, 0]
    for column in range(1, x.shape[1]):
        total = total * x[:, column]
    return total


REDUCTIONS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "sum": torch.sum,
    "amax": torch.amax,
    "amin": torch.amin,
    "argmax": torch.amax,
    "prod": product_rounded_each_step,
    "sort": torch.amax,
}


@pytest.mark.parametrize("op", REDUCTIONS)
def test_reductions(op: str) -> None:
    x = random_bf16(8, 64)
    out, ids = torch.empty(8, dtype=torch.bfloat16), torch.empty(8, dtype=torch.int32)
    reduce[(1,)](x, out, ids, op, 8, 64)
    assert torch.equal(out, REDUCTIONS[op](x, 1))
    if op == "argmax":
        assert torch.equal(ids.long(), x.float().argmax(1))


@triton.jit
def scan(x, out, OP: tl.constexpr, COUNT: tl.constexpr):
    at = tl.arange(0, COUNT)
    block = tl.load(x + at)
    if OP == "cumsum":
        r = tl.cumsum(block, 0)
    elif OP == "cumprod":
        r = tl.cumprod(block, 0)
    else:
        r = tl.sort(block)
    tl.store(out + at, r.to(x.dtype.element_ty))


@pytest.mark.parametrize("op", ["cumsum", "cumprod", "sort"])
def test_scans(op: str) -> None:
    x, out = random_bf16(64), torch.empty(64, dtype=torch.bfloat16)
    scan[(1,)](x, out, op, 64)
    want = x.sort().values if op == "sort" else getattr(torch, op)(x.float(), 0).bfloat16()
    assert torch.equal(out, want)


@triton.jit
def dot(a, b, out, BATCH: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    batch, m, n, k = tl.arange(0, BATCH), tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    if BATCH == 1:
        r = tl.dot(tl.load(a + m[:, None] * K + k), tl.load(b + k[:, None] * N + n))
        tl.store(out + m[:, None] * N + n, r)
    else:
        left = tl.load(a + batch[:, None, None] * M * K + m[None, :, None] * K + k[None, None, :])
        right = tl.load(b + batch[:, None, None] * K * N + k[None, :, None] * N + n[None, None, :])
        tl.store(out + batch[:, None, None] * M * N + m[None, :, None] * N + n[None, None, :], tl.dot(left, right))


DOTS = [torch.bfloat16, torch.float16, torch.float32, torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2]


@pytest.mark.parametrize("dtype", DOTS, ids=str)
@pytest.mark.parametrize("batch", [1, 2])
def test_dot(dtype: torch.dtype, batch: int) -> None:
    a, b = torch.randn(batch, 16, 64).to(dtype), torch.randn(batch, 64, 32).to(dtype)
    out = torch.empty(batch, 16, 32)
    dot[(1,)](a, b, out, batch, 16, 32, 64)
    torch.testing.assert_close(out.double(), a.double() @ b.double(), rtol=1e-5, atol=2e-5)


@triton.jit
def scaled_dot(a, b, scale, out, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    m, n, k = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    group = tl.arange(0, K // 32)
    left, right = tl.load(a + m[:, None] * K + k), tl.load(b + k[:, None] * N + n)
    scales = tl.load(scale + m[:, None] * (K // 32) + group)
    ones = tl.full((N, K // 32), 127, tl.uint8)
    tl.store(out + m[:, None] * N + n, tl.dot_scaled(left, scales, "e4m3", right, ones, "e4m3"))


def test_scaled_dot() -> None:
    a, b = torch.randn(16, 64).to(torch.float8_e4m3fn), torch.randn(64, 16).to(torch.float8_e4m3fn)
    scale, out = torch.randint(120, 134, (16, 2), dtype=torch.uint8), torch.empty(16, 16)
    scaled_dot[(1,)](a, b, scale, out, 16, 16, 64)
    wide = a.double() * torch.exp2(scale.double() - 127).repeat_interleave(32, 1)
    torch.testing.assert_close(out.double(), wide @ b.double(), rtol=1e-5, atol=1e-4)


@triton.jit
def spread_nan(x, out, COUNT: tl.constexpr):
    at = tl.arange(0, COUNT)
    a = tl.load(x + at)
    tl.store(out + at, a + 1.0)


@pytest.mark.parametrize("special", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_infinity_stay_what_they_are(special: float) -> None:
    x, out = torch.tensor([1.0, special] * 8).bfloat16(), torch.empty(16, dtype=torch.bfloat16)
    spread_nan[(1,)](x, out, 16)
    torch.testing.assert_close(out, x + 1, equal_nan=True)


def test_without_the_mending_bf16_is_garbage() -> None:
    """What the patch is for: the interpreter's own product of bf16, called past it."""
    import triton.runtime.interpreter as interpreter

    original: Any = interpreter.InterpreterBuilder.create_dot.__closure__[0].cell_contents
    a, b = random_bf16(16, 32), random_bf16(32, 16)

    def handle(x: Tensor, ty: Any) -> Any:
        return interpreter.TensorHandle(x.view(torch.uint16).numpy() if ty == tl.bfloat16 else x.numpy(), ty)

    zero = handle(torch.zeros(16, 16), tl.float32)
    got = original(interpreter.interpreter_builder, handle(a, tl.bfloat16), handle(b, tl.bfloat16), zero, None, 0)
    assert float((torch.from_numpy(got.data) - a.float() @ b.float()).abs().max()) > 1e6
