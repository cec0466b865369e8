"""Awkward inputs for the torch kernels: NaN wherever nothing was written, strides, garbage in what nobody may read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from glm_rocm.backends.torch_kernels.attention import store_kv
from glm_rocm.reference import quant as reference_quant

GARBAGE = 2**30


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices this small lose more to a second thread than it gives, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass(frozen=True)
class AttentionCase:
    """The arguments of one attention call; `valid` rows of q are real, the rest is NaN."""

    arguments: tuple[Tensor, ...]
    options: dict[str, float]
    valid: int


def empty_caches(layout: str, shape: tuple[int, int, int, int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """K and V views `[blocks, block_size, Hkv, D]` full of NaN, by memory layout."""
    blocks, block_size, kv_heads, head_dim = shape
    nan = float("nan")  # made in fp32 and cast: not every dtype can be filled
    if layout == "vllm":  # K and V side by side, heads before tokens
        joined = torch.full((blocks, kv_heads, block_size, 2 * head_dim), nan).to(dtype).transpose(1, 2)
        return joined[..., :head_dim], joined[..., head_dim:]
    if layout == "separate":
        k, v = torch.full((2, *shape), nan).to(dtype)
        return k, v
    k, v = torch.full((2, blocks, kv_heads, block_size, head_dim), nan).to(dtype).transpose(2, 3)
    return k, v


@pytest.fixture
def attention_case() -> Callable[..., AttentionCase]:
    """Build a batch from (queries, context) pairs; every cache slot that no sequence owns is NaN."""

    def build(
        sequences: Sequence[tuple[int, int]],
        *,
        heads: int = 12,
        kv_heads: int = 1,
        head_dim: int = 128,
        block_size: int = 16,
        dtype: torch.dtype = torch.float32,
        kv_dtype: torch.dtype | None = None,
        layout: str = "vllm",
        padding: int = 3,
        seed: int = 0,
        **scales: float,
    ) -> AttentionCase:
        random = torch.Generator().manual_seed(seed)
        needed = [-(-context // block_size) for _, context in sequences]
        pages = torch.randperm(sum(needed) + 3, generator=random).int()
        shape = (pages.shape[0], block_size, kv_heads, head_dim)
        k_cache, v_cache = empty_caches(layout, shape, kv_dtype or dtype)
        table = torch.full((len(sequences), max(needed) + 2), GARBAGE, dtype=torch.int32)
        taken, slots = 0, []
        for row, (count, (_, context)) in enumerate(zip(needed, sequences, strict=True)):
            table[row, :count] = pages[taken : taken + count]
            taken += count
            slots += [int(table[row, i // block_size]) * block_size + i % block_size for i in range(context)]
        k, v = torch.randn(2, len(slots), kv_heads, head_dim, generator=random).to(dtype)
        store_kv(k, v, k_cache, v_cache, torch.tensor(slots), **scales)
        valid = sum(queries for queries, _ in sequences)
        fused = torch.full((valid + padding, heads + 2 * kv_heads, head_dim), float("nan"), dtype=dtype)
        q = fused[:, :heads]
        q[:valid] = torch.randn(valid, heads, head_dim, generator=random).to(dtype)
        starts = torch.tensor([0, *[queries for queries, _ in sequences]]).cumsum(0).int()
        contexts = torch.tensor([context if queries else GARBAGE for queries, context in sequences], dtype=torch.int32)
        options = {"scale": head_dim**-0.5, **scales}
        return AttentionCase((q, k_cache, v_cache, table, starts, contexts), options, valid)

    return build


@dataclass(frozen=True)
class ExpertsCase:
    """The arguments of one experts call and, beside them, the weights before quantisation."""

    arguments: tuple[Tensor, ...]
    options: dict[str, Any]
    plain: tuple[Tensor, ...]


def quantize(w: Tensor, quant: str, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """A weight in a scheme, by the reference."""
    if quant == "none":
        return w, None
    if quant == "channel_token":
        return reference_quant.quantize_per_channel(w, dtype)
    return reference_quant.quantize_blocks(w, (128, 128), dtype)


def quantize_pair(w13: Tensor, quant: str, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Gate and up quantised apart, as a checkpoint holds them, then one below the other."""
    (gate, gate_scale), (up, up_scale) = (quantize(part, quant, dtype) for part in w13.chunk(2, 1))
    if gate_scale is None or up_scale is None:
        return w13, None
    bits = torch.cat([gate.view(torch.uint8), up.view(torch.uint8)], 1)
    return bits.view(dtype), torch.cat([gate_scale, up_scale], 1)


@pytest.fixture
def quantized() -> Callable[[Tensor, str, torch.dtype], tuple[Tensor, Tensor | None]]:
    """The function that quantises a weight by the reference."""
    return quantize


@pytest.fixture
def experts_case() -> Callable[..., ExpertsCase]:
    """Build an experts call; x is a strided view whose neighbours are NaN."""

    def build(
        tokens: int,
        *,
        experts: int = 8,
        top_k: int = 2,
        hidden: int = 192,
        intermediate: int = 192,
        dtype: torch.dtype = torch.float32,
        quant: str = "none",
        fp8: torch.dtype = torch.float8_e4m3fn,
        seed: int = 0,
    ) -> ExpertsCase:
        random = torch.Generator().manual_seed(seed)
        w13 = torch.randn(experts, 2 * intermediate, hidden, generator=random) / hidden**0.5
        w2 = torch.randn(experts, hidden, intermediate, generator=random) / intermediate**0.5
        w13, w2 = w13.to(dtype), w2.to(dtype)
        (codes13, scale13), (codes2, scale2) = quantize_pair(w13, quant, fp8), quantize(w2, quant, fp8)
        x = torch.full((tokens, hidden + 8), float("nan"), dtype=dtype)[:, 4 : 4 + hidden]
        x.copy_(torch.randn(tokens, hidden, generator=random))
        ids = torch.rand(tokens, experts, generator=random).argsort(-1)[:, :top_k].int()
        weights = torch.rand(tokens, top_k, generator=random)
        options = {"w13_scale": scale13, "w2_scale": scale2, "quant": quant}
        return ExpertsCase((x, codes13, codes2, ids, weights), options, (x, w13, w2, ids, weights))

    return build
