"""Accesses out of bounds in the interpreter. Run by test_exact.py with `TRITON_INTERPRET=1`."""

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl

import exact_interpreter
from exact_interpreter import OutOfBoundsError

exact_interpreter.install()


@triton.jit
def copy(source, target, count, first, BLOCK: tl.constexpr):
    at = first + tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(target + at, tl.load(source + at, mask=at < count, other=0.0), mask=at < count)


@triton.jit
def count_up(counter, at):
    tl.atomic_add(counter + at, 1)


@triton.jit
def _load(pointers):
    return tl.load(pointers)


@triton.jit
def through_a_function(source, target, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(target + at, _load(source + at))


@triton.jit
def through_a_table(table, target, BLOCK: tl.constexpr):
    source = tl.load(table).to(tl.pointer_type(tl.float32))
    at = tl.arange(0, BLOCK)
    tl.store(target + at, tl.load(source + at))


def test_within_bounds() -> None:
    source, target = torch.randn(100), torch.zeros(100)
    copy[(2,)](source, target, 100, 0, 64)
    assert torch.equal(source, target)


def test_a_load_past_the_end_names_argument_program_and_lanes() -> None:
    with pytest.raises(OutOfBoundsError, match=r"load .* `source`: byte 400 of 400, program \(1, 0, 0\), 28 lanes"):
        copy[(2,)](torch.zeros(100), torch.zeros(128), 128, 0, 64)


def test_a_store_past_the_end() -> None:
    with pytest.raises(OutOfBoundsError, match=r"store .* `target`"):
        copy[(2,)](torch.zeros(128), torch.zeros(100), 128, 0, 64)


def test_before_the_start() -> None:
    with pytest.raises(OutOfBoundsError, match=r"byte -12 of 400.* 3 lanes"):
        copy[(1,)](torch.zeros(100), torch.zeros(100), 100, -3, 64)


def test_a_stray_into_the_next_argument_is_one() -> None:
    """Both lie in one allocation, one after the other, but are storages of their own."""
    bytes_ = torch.zeros(800, dtype=torch.uint8)
    whole = bytes_.untyped_storage()
    first, second = torch.frombuffer(bytearray(800), dtype=torch.float32).split(100)
    copy[(1,)](first, second, 100, 0, 128)  # one storage: allowed
    with pytest.raises(OutOfBoundsError, match="`source`"):
        copy[(1,)](first.clone(), torch.zeros(whole.nbytes()), 128, 0, 128)


def test_a_view_may_read_its_storage_and_no_more() -> None:
    base = torch.randn(10, 20)
    target = torch.zeros(64)
    copy[(1,)](base[3:], target, 64, 0, 64)
    assert torch.equal(target, base.flatten()[60:124])
    with pytest.raises(OutOfBoundsError, match="of 800"):
        copy[(1,)](base[8:], target, 64, 0, 64)


def test_arguments_of_one_storage_are_both_named() -> None:
    base = torch.zeros(64)
    with pytest.raises(OutOfBoundsError, match="`source, target`"):
        copy[(1,)](base[:32], base[32:], 128, 0, 128)


def test_masked_lanes_may_point_anywhere() -> None:
    source, target = torch.ones(4), torch.zeros(4)
    copy[(1,)](source, target, 4, 0, 1 << 16)
    assert torch.equal(source, target)


def test_atomics() -> None:
    counter = torch.zeros(4, dtype=torch.int32)
    count_up[(3,)](counter, 2)
    assert counter.tolist() == [0, 0, 3, 0]
    with pytest.raises(OutOfBoundsError, match="atomic"):
        count_up[(1,)](counter, 4)


def test_inside_a_device_function() -> None:
    with pytest.raises(OutOfBoundsError, match=r"load .* `source`"):
        through_a_function[(1,)](torch.zeros(8), torch.zeros(16), 16)


def test_a_pointer_that_memory_held() -> None:
    source, target = torch.randn(16), torch.zeros(16)
    table = torch.tensor([source.data_ptr()])
    with pytest.raises(OutOfBoundsError):  # the storage is no argument: nothing says how long it is
        through_a_table[(1,)](table, target, 16)


def test_an_empty_tensor() -> None:
    with pytest.raises(OutOfBoundsError, match="byte 0 of 0"):
        copy[(1,)](torch.zeros(0), torch.zeros(16), 16, 0, 16)


def test_a_launch_after_a_failed_one() -> None:
    with pytest.raises(OutOfBoundsError):
        copy[(1,)](torch.zeros(8), torch.zeros(16), 16, 0, 16)
    source, target = torch.randn(16), torch.zeros(16)
    copy[(1,)](source, target, 16, 0, 16)
    assert torch.equal(source, target)
