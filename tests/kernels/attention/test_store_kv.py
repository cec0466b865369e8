"""The store that fills the cache: bit for bit the reference's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from glm_rocm.reference import attention as reference
from glm_rocm_kernels import attention as module
from glm_rocm_kernels.attention import store_kv
from glm_rocm_kernels.errors import KernelArgumentError

Caches = Callable[..., tuple[Tensor, Tensor]]
Plant = Callable[[Any, str, str, str], None]


def hold(caches: Caches, device: torch.device, dtype: torch.dtype, kv_dtype: torch.dtype, **shape: Any) -> None:
    """Rows of a wider tensor, in any order, to a cache of NaN; a negative slot is skipped, nothing else is touched."""
    layout, block_size, kv_heads = (
        shape.get("layout", "separate"),
        shape.get("block_size", 16),
        shape.get("kv_heads", 3),
    )
    head_dim = shape.get("head_dim", 128)
    random = torch.Generator().manual_seed(0)
    wide = torch.randn(7, kv_heads, 2 * head_dim, generator=random) * 3
    wide[0, 0, :4] = torch.tensor([1e4, -1e4, 0.0, float("nan")])
    k, v = wide.to(dtype).split(head_dim, dim=-1)
    places = 4 * block_size
    slots = torch.randperm(places, generator=random)[:7]
    slots = torch.where(torch.tensor([0, 1, 0, 0, 0, 0, 0]) > 0, -1, slots) if places >= 7 else slots
    k, v = k[: slots.shape[0]], v[: slots.shape[0]]
    scales = {"k_scale": 0.05, "v_scale": 0.3} if kv_dtype != dtype else {}
    found, want = (caches(layout, (4, block_size, kv_heads, head_dim), kv_dtype) for _ in range(2))
    reference.store_kv(k, v, *want, slots, **scales)
    on = [x.to(device) for x in (k, v, *found)]
    store_kv(*on, slots.to(device), **scales)
    for got, expected in zip(on[2:], want, strict=True):
        torch.testing.assert_close(got.cpu().float(), expected.float(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("fp8", [False, True], ids=["same dtype", "FP8"])
@pytest.mark.parametrize("layout", ["joined", "separate", "heads first"])
def test_every_dtype_in_every_layout(
    nan_cache: Caches, device: torch.device, target: Any, dtype: torch.dtype, fp8: bool, layout: str
) -> None:
    hold(nan_cache, device, dtype, target.fp8 if fp8 else dtype, layout=layout)


@pytest.mark.parametrize("block_size", [1, 3, 64])
@pytest.mark.parametrize(("kv_heads", "head_dim"), [(1, 64), (8, 128), (5, 40)])
def test_other_pages_and_heads(
    nan_cache: Caches, device: torch.device, block_size: int, kv_heads: int, head_dim: int
) -> None:
    shape = {"block_size": block_size, "kv_heads": kv_heads, "head_dim": head_dim}
    hold(nan_cache, device, torch.bfloat16, torch.bfloat16, **shape)


def test_no_tokens(device: torch.device) -> None:
    cache = torch.zeros(2, 16, 1, 128, device=device)
    empty = torch.empty(0, 1, 128, device=device)
    store_kv(empty, empty, cache, cache.clone(), torch.empty(0, dtype=torch.int64, device=device))
    assert not cache.any()


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("slot // BLOCK_SIZE", "slot // BLOCK_SIZE * 0"),
        ("slot % BLOCK_SIZE", "slot % BLOCK_SIZE * 0"),
        ("v = encode(v, v_scale", "v = encode(v, k_scale"),
        ("if LIMIT > 0:", "if LIMIT < 0:"),
    ],
)
def test_faults_are_seen(
    plant: Plant, nan_cache: Caches, device: torch.device, target: Any, right: str, wrong: str
) -> None:
    plant(module, "store", right, wrong)
    with pytest.raises(AssertionError):
        hold(nan_cache, device, torch.bfloat16, target.fp8)


@pytest.mark.parametrize(
    ("argument", "wrong", "message"),
    [
        ("k", lambda k: k[..., ::2], "`k` is of strides"),
        ("v", lambda v: v[1:], "`v` is of shape"),
        ("k_cache", lambda c: c.half(), "`k_cache` is float16"),
        ("v_cache", lambda c: c[:, :8], "`v_cache` is of shape"),
        ("slots", lambda s: s.int(), "`slots` is int32; required: int64"),
        ("slots", lambda s: s[:-1], "`slots` is of shape"),
    ],
)
def test_arguments_that_it_cannot_take(
    device: torch.device, argument: str, wrong: Callable[[Any], Any], message: str
) -> None:
    arguments = {
        "k": torch.zeros(3, 2, 128, dtype=torch.bfloat16, device=device),
        "v": torch.zeros(3, 2, 128, dtype=torch.bfloat16, device=device),
        "k_cache": torch.zeros(2, 16, 2, 128, dtype=torch.bfloat16, device=device),
        "v_cache": torch.zeros(2, 16, 2, 128, dtype=torch.bfloat16, device=device),
        "slots": torch.tensor([3, -1, 31], device=device),
    }
    arguments[argument] = wrong(arguments[argument])
    with pytest.raises(KernelArgumentError, match=message):
        store_kv(**arguments)


def test_slot_outside_the_cache_is_named(device: torch.device, target: Any) -> None:
    if target.name in ("cuda", "rocm"):
        pytest.skip("values of slots on a card are not read")
    cache = torch.zeros(2, 2, 16, 1, 128)
    k = torch.zeros(2, 1, 128)
    with pytest.raises(KernelArgumentError, match=r"`slots\[1\]` is 32; required: any below 0, or 0 to 31"):
        store_kv(k, k, cache[0], cache[1], torch.tensor([3, 32]))
