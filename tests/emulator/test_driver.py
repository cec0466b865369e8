"""Triton's JIT on the emulator: argument kinds, views, several launches, tuning, limits, and the driver put back."""

from __future__ import annotations

import collections
import gc
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from triton.runtime.errors import OutOfResources

import cdna_emulator
from cdna_emulator import LaunchError, OutOfBoundsError, TrapError, UndefinedReadError

Pair = collections.namedtuple("Pair", ["source", "factor"])


@triton.jit
def scale(x, out, n, factor, stride, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + at * stride, at < n)
    tl.store(out + at * stride, (value * factor).to(out.dtype.element_ty), at < n)


@triton.jit
def store_scalar(out, value):
    tl.store(out, value.to(out.dtype.element_ty))


@triton.jit
def add_pair(pair, out, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(out + at, tl.load(pair.source + at) * pair.factor)


@triton.jit
def add_optional(x, bias, out, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    value = tl.load(x + at)
    if bias is not None:
        value += tl.load(bias + at)
    tl.store(out + at, value)


@triton.jit
def through_pointers(table, out, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    source = tl.load(table).to(tl.pointer_type(tl.float32))
    tl.store(out + at, tl.load(source + at))


@triton.jit
def no_tensor(n):
    tl.device_assert(n < 10, "n is too large")


@triton.jit
def described(x, out, M: tl.constexpr, N: tl.constexpr):
    descriptor = tl.make_tensor_descriptor(x, shape=[M, N], strides=[N, 1], block_shape=[16, 16])
    block = descriptor.load([16, 0])
    rows, columns = tl.arange(0, 16), tl.arange(0, 16)
    tl.store(out + rows[:, None] * 16 + columns[None, :], block)


@triton.jit
def copy_described(descriptor, out):
    rows, columns = tl.arange(0, 16), tl.arange(0, 16)
    tl.store(out + rows[:, None] * 16 + columns[None, :], descriptor.load([0, 16]))


@triton.jit
def transpose(x, out, SIZE: tl.constexpr):
    at = tl.arange(0, SIZE)
    tl.store(out + at[:, None] * SIZE + at[None, :], tl.load(x + at[:, None] + at[None, :] * SIZE))


@pytest.fixture(params=["gfx942", "gfx950"])
def gpu(request: pytest.FixtureRequest) -> Any:
    with cdna_emulator.device(request.param) as device:
        yield device


def test_strided_views_of_one_storage(gpu: Any) -> None:
    storage = torch.arange(600, dtype=torch.float32)
    expected = storage.clone()
    expected[1:300:3] = expected[300:600:3] * 0.5
    scale[(1,)](storage[300::3], storage[1:300:3], 100, 0.5, 3, BLOCK=128, num_warps=2)
    assert torch.equal(storage, expected)
    assert gpu.launches[0].traffic["x, out"].load_bytes == 400


def test_launches_are_recorded_in_order(gpu: Any) -> None:
    x, out = torch.ones(100), torch.zeros(100)
    for blocks in (1, 2):
        scale[(blocks,)](x, out, 100, 2.0, 1, BLOCK=64, num_warps=blocks)
    store_scalar[(1,)](out, 7.0)
    names = [(record.name, record.grid, record.warps) for record in gpu.launches]
    assert names == [("scale", (1, 1, 1), 1), ("scale", (2, 1, 1), 2), ("store_scalar", (1, 1, 1), 4)]
    assert out.tolist() == [7.0] + [2.0] * 99


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        *((value, torch.int64) for value in (0, 17, -1, 2**31 - 1, -(2**31), 2**31, 2**40, -(2**63))),
        (2**63 + 5, torch.uint64),
        (True, torch.int32),
        (False, torch.int32),
        (1.5, torch.float64),
        (float("inf"), torch.float32),
        (0.1, torch.float32),
    ],
)
def test_scalar(gpu: Any, value: Any, dtype: torch.dtype) -> None:
    out = torch.zeros(1, dtype=dtype)
    store_scalar[(1,)](out, value)
    assert out.item() == (np.float32(value) if isinstance(value, float) else value)


def test_named_tuple_of_tensor_and_scalar(gpu: Any) -> None:
    x, out = torch.randn(64), torch.zeros(64)
    add_pair[(1,)](Pair(x, 3.0), out, BLOCK=64)
    assert torch.equal(out, x * 3)
    assert set(gpu.launches[0].traffic) == {"pair[source]", "out"}


def test_argument_that_is_none(gpu: Any) -> None:
    x, out = torch.randn(64), torch.zeros(64)
    add_optional[(1,)](x, None, out, BLOCK=64)
    assert torch.equal(out, x)
    add_optional[(1,)](x, x, out, BLOCK=64)
    assert torch.equal(out, x + x)


def test_kernel_without_a_tensor(gpu: Any) -> None:
    no_tensor[(3,)](5)
    assert gpu.launches[0].counters.workgroups == 3


def test_grid_without_workgroups_launches_nothing(gpu: Any) -> None:
    scale[(0,)](torch.ones(1), torch.ones(1), 1, 2.0, 1, BLOCK=64)
    assert gpu.launches == []


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int8, torch.int64]
)
def test_dtype_of_tensors(gpu: Any, dtype: torch.dtype) -> None:
    x = torch.arange(-40, 60).to(dtype)
    out = torch.zeros(100, dtype=dtype)
    scale[(2,)](x, out, 100, 2, 1, BLOCK=64)
    assert torch.equal(out, x * 2)


def test_tensor_descriptors_of_host_and_kernel(gpu: Any) -> None:
    from triton.tools.tensor_descriptor import TensorDescriptor

    x, out = torch.randn(32, 32), torch.zeros(16, 16)
    described[(1,)](x, out, 32, 32)
    assert torch.equal(out, x[16:, :16])
    copy_described[(1,)](TensorDescriptor.from_tensor(x, [16, 16]), out)
    assert torch.equal(out, x[:16, 16:])


def test_memory_behind_pointers_in_memory_is_exposed(gpu: Any) -> None:
    x, out = torch.randn(64), torch.zeros(64)
    table = torch.tensor([x.data_ptr()])
    with pytest.raises(OutOfBoundsError):
        through_pointers[(1,)](table, out, BLOCK=64)
    gpu.expose(x=x)
    through_pointers[(1,)](table, out, BLOCK=64)
    assert torch.equal(out, x)


def test_autotuner_goes_by_instructions(gpu: Any) -> None:
    configs = [triton.Config({"BLOCK": 1024}, num_warps=1), triton.Config({"BLOCK": 128}, num_warps=1)]
    tuned = triton.autotune(configs, key=["n"])(scale)
    x, out = torch.randn(100), torch.zeros(100)
    tuned[lambda meta: (triton.cdiv(100, meta["BLOCK"]),)](x, out, 100, 2.0, 1)
    assert torch.equal(out, x * 2)
    assert tuned.best_config.kwargs == {"BLOCK": 128}
    assert len(gpu.launches) == 1  # trial runs are not among them


def test_launches_from_several_threads_follow_one_another(gpu: Any) -> None:
    total = torch.zeros(64, dtype=torch.int64)

    def work() -> None:
        for _ in range(20):
            scale_in_place[(1,)](total, BLOCK=64)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert total.tolist() == [80] * 64
    assert len(gpu.launches) == 80


@triton.jit
def scale_in_place(x, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(x + at, tl.load(x + at) + 1)


def test_more_lds_than_the_card_has_is_refused_as_on_a_card(gpu: Any) -> None:
    size = 256
    with pytest.raises(OutOfResources, match="shared memory"):
        transpose[(1,)](torch.zeros(size, size), torch.zeros(size, size), SIZE=size, num_warps=8)


def test_lds_of_gfx950_is_larger() -> None:
    x, out = torch.randn(128, 128), torch.zeros(128, 128)
    with cdna_emulator.device("gfx950") as gpu:
        transpose[(1,)](x, out, SIZE=128, num_warps=8)
    assert torch.equal(out, x.T)
    assert 65536 - 4096 <= gpu.launches[0].shared <= 163840


def test_previous_driver_comes_back_and_contexts_nest() -> None:
    before = triton.runtime.driver._active
    x, out = torch.ones(8), torch.zeros(8)
    with cdna_emulator.device("gfx942") as outer:
        with cdna_emulator.device("gfx950") as inner:
            scale[(1,)](x, out, 8, 2.0, 1, BLOCK=64)
        scale[(1,)](x, out, 8, 2.0, 1, BLOCK=64)
        with pytest.raises(ZeroDivisionError), cdna_emulator.device("gfx950"):
            _ = 1 // 0
        assert triton.runtime.driver.active.get_current_target().arch == "gfx942"
    assert triton.runtime.driver._active is before
    assert [outer.launches[0].arch, inner.launches[0].arch] == ["gfx942", "gfx950"]
    assert len(outer.launches) == len(inner.launches) == 1


def test_history_bounds_what_is_kept() -> None:
    x, out = torch.ones(8), torch.zeros(8)
    with cdna_emulator.device("gfx942", history=2) as gpu:
        for n in (1, 2, 3):
            scale[(n,)](x, out, 8, 2.0, 1, BLOCK=64)
        assert [record.grid[0] for record in gpu.launches] == [2, 3]
    with cdna_emulator.device("gfx942", history=0) as gpu:
        scale[(1,)](x, out, 8, 2.0, 1, BLOCK=64)
        assert gpu.launches == []


def test_unknown_architecture_is_refused() -> None:
    with pytest.raises(LaunchError, match="device `gfx90a`; `gfx942` or `gfx950`"):
        cdna_emulator.device("gfx90a")


def test_unknown_order_is_refused() -> None:
    with pytest.raises(LaunchError, match="order `sideways`"):
        cdna_emulator.device("gfx942", order="sideways")  # type: ignore[arg-type]


def test_tensor_that_is_not_on_the_cpu_is_refused(gpu: Any) -> None:
    with pytest.raises(LaunchError, match="`x` is on device `meta`"):
        scale[(1,)](torch.ones(8, device="meta"), torch.zeros(8), 8, 2.0, 1, BLOCK=64)


@pytest.mark.parametrize(("n", "tensor", "verb", "byte"), [(40, "out", "stores", 128), (60, "x", "loads", 200)])
def test_access_beyond_a_tensor_names_it(gpu: Any, n: int, tensor: str, verb: str, byte: int) -> None:
    x, out = torch.ones(50), torch.zeros(32)
    with pytest.raises(OutOfBoundsError) as caught:
        scale[(1,)](x, out, n, 2.0, 1, BLOCK=64, num_warps=1)
    error, text = caught.value, str(caught.value)
    shape = "[50]" if tensor == "x" else "[32]"
    assert (error.tensor, error.offset) == (tensor, byte)
    assert f"{verb} 4 bytes at byte {byte} of `{tensor}` (float32 {shape})" in text
    assert (error.place.kernel, error.place.lane, error.place.workgroup) == ("scale", byte // 4, (0, 0, 0))
    assert error.place.source is not None
    line = Path(__file__).read_text().splitlines()[error.place.source[1] - 1]
    assert ("tl.load" if tensor == "x" else "tl.store") in line


def test_failed_device_assertion_is_a_trap(gpu: Any) -> None:
    no_tensor[(1,)](5, debug=True)
    with pytest.raises(TrapError, match="device_assert") as caught:
        no_tensor[(1,)](50, debug=True)
    assert caught.value.place.source is not None
    line = Path(__file__).read_text().splitlines()[caught.value.place.source[1] - 1]
    assert "n is too large" in line


def test_read_of_a_tensor_never_written() -> None:
    x, out = torch.empty(100), torch.empty(100)
    with cdna_emulator.device("gfx942", check_undefined=True) as gpu:
        gpu.undefined(x, out)
        with pytest.raises(UndefinedReadError, match="`x`"):
            scale[(1,)](x, out, 64, 2.0, 1, BLOCK=64)
        x.fill_(1.0)
        gpu.defined(x)
        scale[(1,)](x, out, 64, 2.0, 1, BLOCK=64)
        scale[(1,)](out, x, 64, 2.0, 1, BLOCK=64)  # the first launch wrote it
        with pytest.raises(UndefinedReadError, match="at byte 256 of `x`"):
            scale[(1,)](out, x, 65, 2.0, 1, BLOCK=128)
    del gpu
    gc.collect()


def test_sample_of_the_workgroups_scales_to_all() -> None:
    x, out = torch.ones(64 * 10), torch.zeros(64 * 10)
    with cdna_emulator.device("gfx942") as whole:
        scale[(10,)](x, out, 640, 2.0, 1, BLOCK=64)
    out.zero_()
    with cdna_emulator.device("gfx942", sample=5) as gpu:
        scale[(10,)](x, out, 640, 2.0, 1, BLOCK=64)
    assert out.nonzero().flatten().tolist() == [*range(64), *range(320, 384)]
    with cdna_emulator.device("gfx942", sample=lambda x, y, z: x == 3) as one:
        scale[(10,)](x, out, 640, 2.0, 1, BLOCK=64)
    for sampled, count in ((gpu, 2), (one, 1)):
        record = sampled.launches[0]
        assert (record.counters.workgroups, record.scale) == (count, 10 / count)
        assert record.estimate == whole.launches[0].counters


def test_launch_beyond_its_limit_is_a_deadlock() -> None:
    x, out = torch.ones(640), torch.zeros(640)
    with cdna_emulator.device("gfx942", limit=100), pytest.raises(cdna_emulator.DeadlockError, match="limit"):
        scale[(10,)](x, out, 640, 2.0, 1, BLOCK=64)
