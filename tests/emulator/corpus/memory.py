"""Memory and control flow: atomics of every type, odd addresses, scratch, calls, loops, early exits."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import triton
import triton.language as tl
from corpus.case import Case, close, equal


@triton.jit
def scatter_add(values, index, out, n, BLOCK: tl.constexpr):
    """out [index[i]] += values[i]."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    where = tl.load(index + at, mask=inside, other=0)
    tl.atomic_add(out + where, tl.load(values + at, mask=inside, other=0), mask=inside)


@triton.jit
def integer_atomics(values, out, before, n, BLOCK: tl.constexpr):
    """out [7]: max, min, and, or, xor, xchg's last, sum; before [n]: a distinct ticket for each element."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    x = tl.load(values + at, mask=inside, other=0)
    tl.atomic_max(out + 0 + tl.zeros_like(at), x, mask=inside)
    tl.atomic_min(out + 1 + tl.zeros_like(at), x, mask=inside)
    tl.atomic_and(out + 2 + tl.zeros_like(at), x, mask=inside)
    tl.atomic_or(out + 3 + tl.zeros_like(at), x, mask=inside)
    tl.atomic_xor(out + 4 + tl.zeros_like(at), x, mask=inside)
    tl.atomic_xchg(out + 5 + tl.zeros_like(at), x, mask=inside)
    ticket = tl.atomic_add(out + 6 + tl.zeros_like(at), tl.full(at.shape, 1, x.dtype), mask=inside)
    tl.store(before + at, ticket, mask=inside)


@triton.jit
def float_extremes(values, out, n, BLOCK: tl.constexpr):
    """out [2]: the largest and the smallest of values."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(values + at, mask=at < n, other=0.0)
    tl.atomic_max(out + tl.zeros_like(at), x, mask=at < n)
    tl.atomic_min(out + 1 + tl.zeros_like(at), x, mask=at < n)


@triton.jit
def locked_sum(values, lock, out, BLOCK: tl.constexpr):
    """out [BLOCK] += values, one workgroup at a time behind a lock."""
    at = tl.arange(0, BLOCK)
    x = tl.load(values + tl.program_id(0) * BLOCK + at)
    while tl.atomic_cas(lock, 0, 1) == 1:
        pass
    tl.store(out + at, tl.load(out + at) + x)
    tl.debug_barrier()
    tl.atomic_xchg(lock, 0)


@triton.jit
def copy_strided(source, target, rows, columns, stride_source, stride_target, BLOCK: tl.constexpr):
    """target = source, any strides; a persistent loop over the rows."""
    for row in range(tl.program_id(0), rows, tl.num_programs(0)):
        for start in range(0, columns, BLOCK):
            at = start + tl.arange(0, BLOCK)
            values = tl.load(source + row * stride_source + at, mask=at < columns)
            tl.store(target + row * stride_target + at, values, mask=at < columns)


@triton.jit
def gather_rows(table, ids, out, width, WIDTH: tl.constexpr, LONG: tl.constexpr):
    """out [i] = table[ids[i]], or zeros for a negative id; nothing for an id of 1000 (an early exit)."""
    row, at = tl.program_id(0), tl.arange(0, WIDTH)
    chosen = tl.load(ids + row)
    if chosen == 1000:
        return
    if LONG:
        chosen = chosen.to(tl.int64)
    if chosen < 0:
        tl.store(out + row * width + at, tl.zeros((WIDTH,), out.dtype.element_ty), mask=at < width)
    else:
        tl.store(out + row * width + at, tl.load(table + chosen * width + at, mask=at < width), mask=at < width)


@triton.jit(noinline=True)
def _polynomial(x, degree):
    result = x * 0.0
    for _ in range(degree):
        result = result * x + 1.0
    return result


@triton.jit
def called(values, out, degree):
    """out [i] = 1 + x + x^2 ...; by a function that is called, not inlined."""
    x = tl.load(values + tl.program_id(0))
    tl.store(out + tl.program_id(0), _polynomial(x, degree) + _polynomial(x, 2))


@triton.jit
def asserted(values, out, BLOCK: tl.constexpr):
    """out = values, all of which must be positive."""
    at = tl.arange(0, BLOCK)
    x = tl.load(values + at)
    tl.device_assert(x > 0, "positive")
    tl.store(out + at, x)


@triton.jit
def collatz(values, steps, BLOCK: tl.constexpr):
    """steps: how often n -> n / 2 or 3 n + 1 until all of the block are 1."""
    at = tl.arange(0, BLOCK)
    x = tl.load(values + at)
    taken = tl.zeros_like(x)
    while tl.max(x, axis=0) > 1:
        moving = x > 1
        x = tl.where(moving, tl.where(x % 2 == 0, x // 2, 3 * x + 1), x)
        taken += moving.to(taken.dtype)
    tl.store(steps + at, taken)


@triton.jit
def cached(source, target, n, BLOCK: tl.constexpr):
    """target = source + source, with every cache hint."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(source + at, mask=at < n, cache_modifier=".cg", eviction_policy="evict_first")
    x += tl.load(source + at, mask=at < n, cache_modifier=".ca", volatile=True)
    tl.store(target + at, x, mask=at < n, cache_modifier=".wt")


@triton.jit
def scalars(out, flag, small, number, large, real, double):
    """out [6] fp64: the arguments by value."""
    tl.store(out + 0, flag.to(tl.float64))
    tl.store(out + 1, small.to(tl.float64))
    tl.store(out + 2, number.to(tl.float64))
    tl.store(out + 3, large.to(tl.float64))
    tl.store(out + 4, real.to(tl.float64))
    tl.store(out + 5, tl.num_programs(0).to(tl.float64) + double)


def _scatter(dtype: torch.dtype, arch: str) -> list[Any]:
    generator = torch.Generator().manual_seed(21)
    values = torch.randint(-8, 8, (500,), generator=generator).to(dtype)
    index = torch.randint(0, 40, (500,), generator=generator, dtype=torch.int32)
    return [values, index, torch.zeros(40, dtype=dtype), 500]


def _check_scatter(arguments: list[Any], arch: str) -> None:
    values, index, out, _ = arguments
    equal(out.double(), torch.zeros(40, dtype=torch.float64).index_add(0, index.long(), values.double()))


def _atomics(dtype: torch.dtype, arch: str) -> list[Any]:
    values = torch.randint(1, 2**20, (500,), generator=torch.Generator().manual_seed(22)).to(dtype)
    out = torch.tensor([0, 2**30, -1, 0, 0, -7, 0]).to(dtype)
    return [values, out, torch.zeros(500, dtype=dtype), 500]


def _check_atomics(arguments: list[Any], arch: str) -> None:
    values, out, before, _ = arguments
    every, some, odd = -1, 0, 0
    for value in values.tolist():
        every, some, odd = every & value, some | value, odd ^ value
    equal(out[:5], torch.tensor([values.max(), values.min(), every, some, odd]).to(out.dtype))
    assert out[5] in values
    assert out[6] == 500
    equal(before.sort().values, torch.arange(500).to(before.dtype))


def _extremes(dtype: torch.dtype, arch: str) -> list[Any]:
    values = torch.randn(500, generator=torch.Generator().manual_seed(23), dtype=torch.float64).to(dtype)
    return [values, torch.zeros(2, dtype=dtype), 500]


def _check_extremes(arguments: list[Any], arch: str) -> None:
    equal(arguments[1], torch.stack([arguments[0].amax(), arguments[0].amin()]))


def _locked(arch: str) -> list[Any]:
    return [torch.arange(4 * 64, dtype=torch.float32), torch.zeros(1, dtype=torch.int32), torch.zeros(64)]


def _check_locked(arguments: list[Any], arch: str) -> None:
    equal(arguments[2], arguments[0].reshape(4, 64).sum(0))


def _copy(dtype: torch.dtype, stride: int, arch: str) -> list[Any]:
    source = torch.randint(0, 100, (7, stride), generator=torch.Generator().manual_seed(24)).to(dtype)
    return [source, torch.zeros(7, stride + 1, dtype=dtype), 7, 70, stride, stride + 1]


def _check_copy(arguments: list[Any], arch: str) -> None:
    source, target = arguments[:2]
    equal(target[:, :70], source[:, :70])
    assert (target[:, 70:] == 0).all()


def _gather(dtype: torch.dtype, arch: str) -> list[Any]:
    table = torch.randn(9, 50, generator=torch.Generator().manual_seed(25)).to(dtype)
    return [table, torch.tensor([3, -1, 8, 1000, 0], dtype=torch.int32), torch.full((5, 50), 7.0).to(dtype), 50]


def _check_gather(arguments: list[Any], arch: str) -> None:
    table, _, out, _ = arguments
    rows = [table[3], torch.zeros(50), table[8], torch.full((50,), 7.0), table[0]]
    equal(out, torch.stack([row.to(table.dtype) for row in rows]))


def _check_called(arguments: list[Any], arch: str) -> None:
    x = arguments[0].double()
    close(arguments[1], sum(x**power for power in range(5)) + 1 + x, 1e-6)


def _check_same(arguments: list[Any], arch: str) -> None:
    equal(arguments[1], arguments[0])


def _check_collatz(arguments: list[Any], arch: str) -> None:
    def steps(n: int) -> int:
        return 0 if n <= 1 else 1 + steps(n // 2 if n % 2 == 0 else 3 * n + 1)

    equal(arguments[1], torch.tensor([steps(n) for n in arguments[0].tolist()], dtype=torch.int32))


def _check_cached(arguments: list[Any], arch: str) -> None:
    equal(arguments[1], 2 * arguments[0])


def _check_scalars(arguments: list[Any], arch: str) -> None:
    equal(arguments[0], torch.tensor([1, -5, 1000003, 2**40 + 1, 0.5, 3 + 0.25], dtype=torch.float64))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _values(arch: str) -> list[Any]:
    return [torch.rand(128) + 0.1, torch.zeros(128)]


def _starts(arch: str) -> list[Any]:
    return [torch.arange(1, 65, dtype=torch.int32), torch.zeros(64, dtype=torch.int32)]


def _by_value(arch: str) -> list[Any]:
    return [torch.zeros(6, dtype=torch.float64), True, -5, 1000003, 2**40 + 1, 0.5, 0.25]


def _points(arch: str) -> list[Any]:
    return [torch.tensor([-1.0, 0.5, 2.0]), torch.zeros(3), 5]


_BLOCK = {"BLOCK": 256, "num_warps": 4}
_ONE_WARP = {"num_warps": 1}
CASES = [
    *(
        Case(f"scatter_add_{_name(dtype)}", scatter_add, (2,), partial(_scatter, dtype), _check_scatter, _BLOCK)
        for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int32, torch.int64)
    ),
    *(
        Case(f"atomics_{_name(dtype)}", integer_atomics, (2,), partial(_atomics, dtype), _check_atomics, _BLOCK)
        for dtype in (torch.int32, torch.int64)
    ),
    *(
        Case(f"extremes_{_name(dtype)}", float_extremes, (2,), partial(_extremes, dtype), _check_extremes, _BLOCK)
        for dtype in (torch.float32, torch.float64)
    ),
    Case("lock_by_cas", locked_sum, (4,), _locked, _check_locked, {"BLOCK": 64} | _ONE_WARP),
    *(
        Case(
            f"copy_{_name(dtype)}_stride_{stride}",
            copy_strided,
            (3,),
            partial(_copy, dtype, stride),
            _check_copy,
            {"BLOCK": 64} | _ONE_WARP,
        )
        for dtype, stride in ((torch.int8, 73), (torch.int16, 80), (torch.float32, 71), (torch.float64, 80))
    ),
    *(
        Case(
            f"gather_rows_{'long' if long else 'short'}",
            gather_rows,
            (5,),
            partial(_gather, torch.bfloat16),
            _check_gather,
            {"WIDTH": 64, "LONG": long} | _ONE_WARP,
        )
        for long in (False, True)
    ),
    Case("called_function", called, (3,), _points, _check_called, _ONE_WARP),
    Case("assert_holds", asserted, (1,), _values, _check_same, {"BLOCK": 128, "num_warps": 2, "debug": True}),
    Case("while_loop", collatz, (1,), _starts, _check_collatz, {"BLOCK": 64} | _ONE_WARP),
    Case("cache_hints", cached, (2,), lambda arch: [torch.rand(300), torch.zeros(300), 300], _check_cached, _BLOCK),
    Case("scalar_arguments", scalars, (3,), _by_value, _check_scalars, _ONE_WARP),
]
