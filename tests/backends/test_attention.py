"""The torch attention against the reference, on batches and caches that break kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from glm_rocm.backends import by_name
from glm_rocm.backends.torch_kernels.attention import attention, store_kv
from glm_rocm.numerics import compare
from glm_rocm.reference import attention as reference

KERNEL = by_name("cpu.attention")
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
MIXED = [(1, 5), (1, 70), (33, 33), (2, 100), (0, 0), (17, 90), (1, 1), (2, 2), (1, 16)]
Build = Callable[..., Any]


def hold(case: Any, dtype: str) -> None:
    """The kernel's result, padding included, against the reference on the same bits."""
    got = attention(*case.arguments, **case.options)
    want = reference.attention(*case.arguments, **case.options)
    compare(got, want, KERNEL.tolerance[dtype], label=KERNEL.name, valid=case.valid)
    assert got.dtype == case.arguments[0].dtype
    assert not got[case.valid :].any(), "padding rows are zero without `out`"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("block_size", [1, 16, 48, 64, 128])
def test_prefill_chunk_decode_and_verify_in_one_batch(
    attention_case: Build, block_size: int, dtype: torch.dtype
) -> None:
    hold(attention_case(MIXED, block_size=block_size, dtype=dtype), str(dtype).removeprefix("torch."))


@pytest.mark.parametrize("layout", ["vllm", "separate", "heads first"])
@pytest.mark.parametrize(("heads", "kv_heads"), [(12, 1), (24, 2), (96, 8)])
def test_gqa_ratio_12_in_every_cache_layout(attention_case: Build, heads: int, kv_heads: int, layout: str) -> None:
    sequences = [(1, 9), (3, 20), (18, 35), (1, 17)]
    hold(attention_case(sequences, heads=heads, kv_heads=kv_heads, layout=layout), "float32")


@pytest.mark.parametrize("queries", [*range(1, 18), 31, 32, 33, 64, 128, 129, 300])
def test_query_counts_around_the_kernel_s_thresholds(attention_case: Build, queries: int) -> None:
    hold(attention_case([(queries, queries + 5)], heads=4, head_dim=16), "float32")


@pytest.mark.parametrize("batch", [2, 8, 16])
def test_decode_of_contexts_far_apart(attention_case: Build, batch: int) -> None:
    sequences = [(1, 1 + (index * 337) % 1500) for index in range(batch)]
    hold(attention_case(sequences, heads=12, head_dim=32, block_size=64), "float32")


def test_decode_of_a_full_group_and_one_more(attention_case: Build) -> None:
    hold(attention_case([(1, 1024)] * 5, heads=2, head_dim=16, block_size=64), "float32")


@pytest.mark.parametrize("kv_dtype", [torch.float8_e4m3fn, torch.float8_e4m3fnuz], ids=str)
@pytest.mark.parametrize("layout", ["vllm", "separate"])
def test_fp8_cache_with_scales(attention_case: Build, kv_dtype: torch.dtype, layout: str) -> None:
    case = attention_case(MIXED, dtype=torch.bfloat16, kv_dtype=kv_dtype, layout=layout, k_scale=0.02, v_scale=0.03)
    hold(case, "float8")


def test_out_keeps_what_stands_in_padding_rows(attention_case: Build) -> None:
    case = attention_case([(1, 5), (3, 9)], padding=4)
    out = torch.full(case.arguments[0].shape, 7.0)
    returned = attention(*case.arguments, **case.options, out=out)
    assert returned is out
    assert bool((out[case.valid :] == 7.0).all())
    want = reference.attention(*case.arguments, **case.options)
    compare(out[: case.valid], want[: case.valid], KERNEL.tolerance["float32"])


def test_batch_without_a_query_gives_zeros(attention_case: Build) -> None:
    case = attention_case([(1, 5)])
    q, k_cache, v_cache, table, _, contexts = case.arguments
    got = attention(q, k_cache, v_cache, table, torch.zeros(2, dtype=torch.int32), contexts, **case.options)
    assert not got.any()


def test_same_inputs_give_same_bits(attention_case: Build) -> None:
    case = attention_case(MIXED, dtype=torch.bfloat16)
    first, second = (attention(*case.arguments, **case.options) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("layout", ["vllm", "separate", "heads first"])
@pytest.mark.parametrize("block_size", [1, 16, 48])
def test_store_writes_its_slots_and_no_other(attention_case: Build, block_size: int, layout: str) -> None:
    options = {"kv_heads": 2, "heads": 24, "head_dim": 16, "block_size": block_size, "layout": layout}
    case, untouched = (attention_case([(1, 30)], **options) for _ in range(2))
    (_, k_cache, v_cache, *_), (_, k_before, v_before, *_) = case.arguments, untouched.arguments
    slots = torch.tensor([5, -1, 17, 0, -1, 29])
    fused = torch.randn(6, 3, 2, 16)
    k, v = fused[:, 0], fused[:, 2]  # strided
    store_kv(k, v, k_cache, v_cache, slots)
    reference.store_kv(k, v, k_before, v_before, slots)
    for got, want in ((k_cache, k_before), (v_cache, v_before)):
        torch.testing.assert_close(got, want, rtol=0, atol=0, equal_nan=True)


def test_store_into_an_fp8_cache_saturates(attention_case: Build) -> None:
    case = attention_case([(1, 20)], kv_dtype=torch.float8_e4m3fn, k_scale=1.0, v_scale=0.5)
    _, k_cache, v_cache, *_ = case.arguments
    loud = torch.full((1, 1, 128), 1e6)
    store_kv(loud, -loud, k_cache, v_cache, torch.tensor([0]), k_scale=1.0, v_scale=0.5)
    assert bool((k_cache[0, 0].float() == 448).all())
    assert bool((v_cache[0, 0].float() == -448).all())


def test_store_of_no_token_does_nothing(attention_case: Build) -> None:
    _, k_cache, v_cache, *_ = attention_case([(1, 20)]).arguments
    before = k_cache.clone()
    store_kv(torch.empty(0, 1, 128), torch.empty(0, 1, 128), k_cache, v_cache, torch.empty(0, dtype=torch.int64))
    torch.testing.assert_close(k_cache, before, rtol=0, atol=0, equal_nan=True)
