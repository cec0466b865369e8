"""Norm and rope kernels against the reference."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from glm_rocm.backends.declare import EXACT
from glm_rocm.numerics import compare
from glm_rocm.ops.kernel import Tolerance
from glm_rocm.reference.attention import store_kv
from glm_rocm.reference.norm_rope import cos_sin_table
from glm_rocm.reference.norm_rope import norm_rope as reference
from glm_rocm.reference.norm_rope import rms_norm as reference_rms_norm
from glm_rocm.reference.quant import quantize_per_token
from glm_rocm_kernels.norm_rope import bias_norm_rope_store, norm_rope, rms_norm

DTYPES = [torch.bfloat16, torch.float16, torch.float32]
CACHE_FP8 = Tolerance(calc_diff=1e-5, max_abs=1e-1)
"""A code on the border between two may fall to either side, after sums in another order."""


def tolerance(dtype: torch.dtype) -> Tolerance:
    return EXACT[str(dtype).removeprefix("torch.")]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("norm", [True, False], ids=["qk norm", "rope only"])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "rotary_dim"), [(12, 1, 64), (96, 8, 64), (4, 2, 128), (2, 1, 0), (3, 1, 6)]
)
def test_views_of_a_fused_projection(
    device: torch.device, heads: int, kv_heads: int, rotary_dim: int, norm: bool, dtype: torch.dtype
) -> None:
    fused = torch.randn(3, heads + 2 * kv_heads, 128).to(dtype)
    fused[:, heads + kv_heads :] = float("nan")
    positions = torch.tensor([299, 0, 17])
    weights = {"q_weight": torch.randn(128).to(dtype), "k_weight": torch.randn(128).to(dtype)} if norm else {}
    table = cos_sin_table(300, rotary_dim, 1e6)
    there = fused.to(device)
    got = norm_rope(
        there[:, :heads],
        there[:, heads : heads + kv_heads],
        positions.to(device),
        table.to(device),
        **{key: value.to(device) for key, value in weights.items()},
        eps=1e-5,
    )
    q, k = fused[:, :heads], fused[:, heads : heads + kv_heads]
    want = reference(q, k, positions, table, **weights, eps=1e-5)
    for label, mine, theirs in zip("qk", got, want, strict=True):
        assert mine.dtype == dtype
        compare(mine.cpu(), theirs, tolerance(dtype), label=label)


@pytest.mark.parametrize("tokens", [0, 1, 40])
def test_any_number_of_tokens(device: torch.device, tokens: int) -> None:
    q, k, table = torch.randn(tokens, 2, 16), torch.randn(tokens, 1, 16), cos_sin_table(9, 8, 1e4)
    positions = torch.arange(tokens, dtype=torch.int32) % 9
    got = norm_rope(q.to(device), k.to(device), positions.to(device), table.to(device), eps=1e-5)
    want = reference(q, k, positions, table, eps=1e-5)
    for mine, theirs in zip(got, want, strict=True):
        compare(mine.cpu(), theirs, tolerance(torch.float32))


@dataclass(frozen=True)
class StoreCase:
    """The arguments of the fused call; `skipped` tokens have a negative slot."""

    q: Tensor
    k: Tensor
    v: Tensor
    positions: Tensor
    table: Tensor
    slots: Tensor
    k_cache: Tensor
    v_cache: Tensor
    options: dict[str, Tensor]

    def to(self, device: torch.device) -> StoreCase:
        moved = {name: x.to(device) for name, x in vars(self).items() if isinstance(x, Tensor)}
        # `.to` gives the very tensor back where it is there already: caches are written, so they are copied.
        caches = {name: clone_view(moved[name]) for name in ("k_cache", "v_cache")}
        return replace(self, **moved | caches, options={name: x.to(device) for name, x in self.options.items()})


def clone_view(x: Tensor) -> Tensor:
    """A copy with the same strides, gaps included."""
    bits = x.view(torch.uint8) if x.element_size() == 1 else x
    copy = torch.empty(x.untyped_storage().nbytes() // x.element_size(), dtype=bits.dtype, device=x.device)
    whole = bits.as_strided((copy.numel(),), (1,), 0)
    copy.copy_(whole)
    return copy.as_strided(x.shape, x.stride(), x.storage_offset()).view(x.dtype)


def store_case(
    tokens: int,
    *,
    heads: int = 12,
    kv_heads: int = 1,
    block_size: int = 16,
    dtype: torch.dtype = torch.bfloat16,
    cache: torch.dtype | None = None,
    bias: bool = True,
    norm: bool = True,
    d: int = 128,
    rotary_dim: int = 64,
    seed: int = 0,
) -> StoreCase:
    """K and V of a page side by side, as vLLM has them; the cache is NaN; each third token is skipped."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random).to(dtype)

    fused = normal(tokens, (heads + 2 * kv_heads) * d).view(tokens, heads + 2 * kv_heads, d)
    q, k, v = fused.split([heads, kv_heads, kv_heads], 1)
    blocks = tokens // block_size + 3
    joined = torch.full((blocks, kv_heads, block_size, 2 * d), float("nan")).to(cache or dtype).transpose(1, 2)
    slots = torch.randperm(blocks * block_size, generator=random)[:tokens]
    slots[::3] = -1
    options: dict[str, Tensor] = {}
    if bias:
        options |= {"q_bias": normal(heads * d), "k_bias": normal(kv_heads * d), "v_bias": normal(kv_heads * d)}
    if norm:
        options |= {"q_weight": normal(d), "k_weight": normal(d)}
    positions = torch.randint(0, 50, (tokens,), generator=random)
    table = cos_sin_table(50, rotary_dim, 1e6)
    return StoreCase(q, k, v, positions, table, slots, joined[..., :d], joined[..., d:], options)


def by_the_reference(case: StoreCase, k_scale: float, v_scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """q, and both caches, from the reference's own pieces in fp32."""
    options = dict(case.options)

    def biased(x: Tensor, name: str) -> Tensor:
        return x.float() + options.pop(name).float().view(x.shape[1:]) if name in options else x.float()

    q, k, v = biased(case.q, "q_bias"), biased(case.k, "k_bias"), biased(case.v, "v_bias")
    q, k = reference(q, k, case.positions, case.table, **options, eps=1e-5)
    k_cache, v_cache = clone_view(case.k_cache), clone_view(case.v_cache)
    store_kv(k, v, k_cache, v_cache, case.slots, k_scale=k_scale, v_scale=v_scale)
    return q, k_cache, v_cache


def check_store(case: StoreCase, device: torch.device, k_scale: float = 1.0, v_scale: float = 1.0) -> None:
    there = case.to(device)
    got_q = bias_norm_rope_store(
        *(there.q, there.k, there.v, there.positions, there.table, there.slots, there.k_cache, there.v_cache),
        **there.options,
        eps=1e-5,
        k_scale=k_scale,
        v_scale=v_scale,
    )
    q, k_cache, v_cache = by_the_reference(case, k_scale, v_scale)
    compare(got_q.cpu(), q, tolerance(case.q.dtype), label="q")
    written = torch.zeros(case.k_cache.shape[:2], dtype=torch.bool)
    written.view(-1)[case.slots[case.slots >= 0]] = True
    bound = CACHE_FP8 if case.k_cache.element_size() == 1 else tolerance(case.q.dtype)
    for label, got, want in (("k", there.k_cache, k_cache), ("v", there.v_cache, v_cache)):
        mine, theirs = got.cpu().float(), want.float()
        compare(mine[written], theirs[written], bound, label=label)
        assert bool(mine[~written].isnan().all()), f"{label}: a slot that nobody owns was written"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("bias", "norm"), [(True, True), (True, False), (False, True), (False, False)])
def test_one_launch_from_projection_to_cache(device: torch.device, dtype: torch.dtype, bias: bool, norm: bool) -> None:
    check_store(store_case(5, dtype=dtype, bias=bias, norm=norm), device)


@pytest.mark.parametrize("block_size", [1, 3, 64])
@pytest.mark.parametrize(("heads", "kv_heads"), [(12, 1), (96, 8)])
def test_head_counts_and_pages(device: torch.device, heads: int, kv_heads: int, block_size: int) -> None:
    check_store(store_case(4, heads=heads, kv_heads=kv_heads, block_size=block_size), device)


def test_fp8_cache_with_scales(target: object, device: torch.device) -> None:
    case = store_case(5, cache=target.fp8)  # type: ignore[attr-defined]
    check_store(case, device, k_scale=0.037, v_scale=0.011)


def test_fp8_cache_saturates(target: object, device: torch.device) -> None:
    case = store_case(5, cache=target.fp8)  # type: ignore[attr-defined]
    check_store(case, device, k_scale=1e-3, v_scale=1e-3)


@pytest.mark.parametrize("tokens", [0, pytest.param(300, marks=pytest.mark.slow)])
def test_any_number_of_tokens_in_one_launch(device: torch.device, tokens: int) -> None:
    check_store(store_case(tokens, heads=2, d=16, rotary_dim=8, dtype=torch.float32), device)


@settings(max_examples=4, deadline=None, database=None)
@given(
    tokens=st.integers(1, 6),
    kv_heads=st.integers(1, 3),
    ratio=st.sampled_from([1, 12]),
    block_size=st.integers(1, 20),
    half=st.integers(0, 16),
)
def test_any_geometry(target: object, tokens: int, kv_heads: int, ratio: int, block_size: int, half: int) -> None:
    shape = {"heads": ratio * kv_heads, "kv_heads": kv_heads, "d": 32, "rotary_dim": 2 * half}
    with target.run():  # type: ignore[attr-defined]
        check_store(store_case(tokens, block_size=block_size, **shape), target.device)  # type: ignore[attr-defined]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("columns", [256, 1000, 1])
def test_rms_norm(device: torch.device, columns: int, dtype: torch.dtype) -> None:
    x = torch.full((5, columns + 4), float("nan"), dtype=dtype)[:, 4:]
    x.copy_(torch.randn(5, columns))
    weight = torch.randn(columns).to(dtype)
    got = rms_norm(x.to(device), weight.to(device), 1e-5)
    assert got.scale is None
    assert got.residual is None
    compare(got.y.cpu(), reference_rms_norm(x, weight, 1e-5), tolerance(dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rms_norm_after_a_residual(device: torch.device, dtype: torch.dtype) -> None:
    x, residual, weight = torch.randn(3, 256).to(dtype), torch.randn(3, 256).to(dtype), torch.randn(256).to(dtype)
    got = rms_norm(x.to(device), weight.to(device), 1e-5, residual=residual.to(device))
    total = x + residual
    assert got.residual is not None
    assert torch.equal(got.residual.cpu(), total)
    compare(got.y.cpu(), reference_rms_norm(total, weight, 1e-5), tolerance(dtype))


def test_rms_norm_to_fp8_is_what_norm_then_quantisation_is(target: object, device: torch.device) -> None:
    x, residual, weight = (x.bfloat16().to(device) for x in torch.randn(3, 4, 640).unbind(0))
    fp8 = target.fp8  # type: ignore[attr-defined]
    got = rms_norm(x, weight[0], 1e-5, residual=residual, quant_dtype=fp8)
    apart = rms_norm(x, weight[0], 1e-5, residual=residual)
    codes, scale = quantize_per_token(apart.y.cpu(), fp8)
    assert got.scale is not None
    assert torch.equal(got.scale.cpu(), scale)
    assert torch.equal(got.y.cpu().view(torch.uint8), codes.view(torch.uint8))


def test_rms_norm_of_a_hidden_state(device: torch.device) -> None:
    x, weight = torch.randn(2, 5120).bfloat16(), torch.randn(5120).bfloat16()
    compare(
        rms_norm(x.to(device), weight.to(device), 1e-5).y.cpu(), reference_rms_norm(x, weight, 1e-5), EXACT["bfloat16"]
    )


def test_rms_norm_of_a_row_of_zeros_and_of_none(device: torch.device) -> None:
    weight = torch.ones(64, device=device)
    assert not rms_norm(torch.zeros(2, 64, device=device), weight, 1e-5).y.any()
    assert rms_norm(torch.zeros(0, 64, device=device), weight, 1e-5).y.shape == (0, 64)
