"""Batches that break attention kernels: NaN wherever nothing was written, garbage where nobody may read, strides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from glm_rocm.numerics import calc_diff
from glm_rocm.reference import attention as reference

GARBAGE = 2**30
LIMITS = {torch.float32: 1e-10, torch.float16: 1e-5, torch.bfloat16: 1e-5}
FP8_LIMIT = 1e-3


@dataclass(frozen=True)
class AttentionCase:
    """The arguments of one call; `valid` rows of q are real, the rest is NaN."""

    arguments: tuple[Tensor, ...]
    options: dict[str, float]
    valid: int

    def hold(self, attention: Callable[..., Tensor]) -> Tensor:
        """Run a kernel, require the reference's result of each token and zeros in the padding; give what it gave."""
        q, k_cache = self.arguments[:2]
        got = attention(*self.arguments, **self.options)
        want = reference.attention(*(x.cpu() for x in self.arguments), **self.options)
        found = got.cpu()
        assert found.dtype == q.dtype
        assert found.shape == q.shape
        assert bool(found.isfinite().all()), "no NaN or Inf, in valid rows or beyond"
        assert not found[self.valid :].any(), "padding rows are zero without `out`"
        limit = LIMITS[q.dtype] if k_cache.dtype == q.dtype else FP8_LIMIT
        worst = float(calc_diff(found[: self.valid], want[: self.valid]).max()) if self.valid else 0.0
        assert worst <= limit, f"calc_diff of the worst token is {worst:.2e}; at most {limit:.0e}"
        return got


def nan_caches(layout: str, shape: tuple[int, int, int, int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """K and V views `[blocks, block_size, Hkv, D]` full of NaN, by memory layout."""
    blocks, block_size, kv_heads, head_dim = shape
    nan = float("nan")  # made in fp32 and cast: not every dtype can be filled
    if layout == "joined":  # K and V side by side, heads before tokens: vLLM on a CPU
        joined = torch.full((blocks, kv_heads, block_size, 2 * head_dim), nan).to(dtype).transpose(1, 2)
        return joined[..., :head_dim], joined[..., head_dim:]
    if layout == "separate":  # vLLM on ROCm, SGLang
        k, v = torch.full((2, *shape), nan).to(dtype)
        return k, v
    assert layout == "heads first"
    k, v = torch.full((2, blocks, kv_heads, block_size, head_dim), nan).to(dtype).transpose(2, 3)
    return k, v


@pytest.fixture
def attention_case(device: torch.device) -> Callable[..., AttentionCase]:
    """Build a batch from (queries, context) pairs on the target's device."""

    def build(*args: Any, **options: Any) -> AttentionCase:
        return build_case(device, *args, **options)

    return build


@pytest.fixture
def case_on() -> Callable[..., AttentionCase]:
    """The same, for a test that enters the target by itself: the device comes first."""
    return build_case


@pytest.fixture
def nan_cache() -> Callable[..., tuple[Tensor, Tensor]]:
    """`nan_caches`, for a test that fills them itself."""
    return nan_caches


def build_case(
    device: torch.device,
    sequences: Sequence[tuple[int, int]],
    *,
    heads: int = 12,
    kv_heads: int = 1,
    head_dim: int = 128,
    block_size: int = 16,
    dtype: torch.dtype = torch.bfloat16,
    kv_dtype: torch.dtype | None = None,
    layout: str = "separate",
    padding: int = 3,
    spare_pages: int = 2,
    k_scale: float = 1.0,
    v_scale: float = 1.0,
    seed: int = 0,
) -> AttentionCase:
    """Pages are dealt out at random, q is a view of a wider tensor and the table's rows are longer than needed."""
    random = torch.Generator().manual_seed(seed)
    pages = [-(-context // block_size) for _, context in sequences]
    blocks = sum(pages) + spare_pages
    order = torch.randperm(blocks, generator=random).to(torch.int32)
    shape = (blocks, block_size, kv_heads, head_dim)
    k_cache, v_cache = nan_caches(layout, shape, kv_dtype or dtype)
    table = torch.full((len(sequences), max(pages, default=0) + 2), GARBAGE, dtype=torch.int32)[:, :-1]
    for row, (count, (_, context)) in enumerate(zip(pages, sequences, strict=True)):
        table[row, :count] = order[sum(pages[:row]) :][:count]
        slots = (
            (table[row, :count, None] * block_size + torch.arange(block_size, dtype=torch.int32))
            .flatten()[:context]
            .long()
        )
        k, v = torch.randn(2, context, kv_heads, head_dim, generator=random)
        reference.store_kv(k, v, k_cache, v_cache, slots, k_scale=k_scale, v_scale=v_scale)
    queries = [count for count, _ in sequences]
    valid = sum(queries)
    q = torch.full((valid + padding, heads, head_dim + 8), float("nan"))
    q[:valid] = torch.randn(valid, heads, head_dim + 8, generator=random) * 2
    starts = torch.tensor([0, *queries]).cumsum(0).to(torch.int32)
    contexts = torch.tensor([context for _, context in sequences], dtype=torch.int32)
    arguments = (q.to(dtype)[..., :head_dim], k_cache, v_cache, table, starts, contexts)
    options = {"scale": head_dim**-0.5, "k_scale": k_scale, "v_scale": v_scale}
    return AttentionCase(tuple(moved(x, device) for x in arguments), options, valid)


def moved(x: Tensor, device: torch.device) -> Tensor:
    """`x` on the device with its strides and the memory between its elements, which `.to` would drop."""
    whole = torch.empty(0, dtype=x.dtype).set_(x.untyped_storage()).to(device)
    return whole.as_strided(x.shape, x.stride(), x.storage_offset())
