"""The torch QK norm and rope against the reference."""

from __future__ import annotations

import pytest
import torch

from glm_rocm.backends import by_name
from glm_rocm.backends.torch_kernels.norm_rope import norm_rope
from glm_rocm.numerics import compare
from glm_rocm.reference.norm_rope import cos_sin_table
from glm_rocm.reference.norm_rope import norm_rope as reference

KERNEL = by_name("cpu.norm_rope")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("norm", [True, False], ids=["qk norm", "rope only"])
@pytest.mark.parametrize(("heads", "kv_heads", "rotary_dim"), [(12, 1, 64), (96, 8, 64), (4, 2, 128), (2, 1, 0)])
@pytest.mark.parametrize("tokens", [0, 1, 17])
def test_views_of_a_fused_projection(
    tokens: int, heads: int, kv_heads: int, rotary_dim: int, norm: bool, dtype: torch.dtype
) -> None:
    fused = torch.randn(tokens, heads + 2 * kv_heads, 128).to(dtype)
    q, k = fused[:, :heads], fused[:, heads : heads + kv_heads]
    positions = torch.randint(0, 300, (tokens,))
    weights = {"q_weight": torch.randn(128).to(dtype), "k_weight": torch.randn(128).to(dtype)} if norm else {}
    table = cos_sin_table(300, rotary_dim, 1e6)
    got = norm_rope(q, k, positions, table, **weights, eps=1e-5)
    want = reference(q, k, positions, table, **weights, eps=1e-5)
    for name, mine, theirs in zip("qk", got, want, strict=True):
        compare(mine, theirs, KERNEL.tolerance[str(dtype).removeprefix("torch.")], label=name)
        assert mine.dtype == dtype


def test_inputs_are_left_as_they_were() -> None:
    q, k = torch.randn(3, 4, 16), torch.randn(3, 1, 16)
    before = q.clone(), k.clone()
    norm_rope(q, k, torch.arange(3), cos_sin_table(3, 8, 1e4), eps=1e-5)
    assert torch.equal(q, before[0])
    assert torch.equal(k, before[1])


def test_int32_positions() -> None:
    q, k, table = torch.randn(3, 4, 16), torch.randn(3, 1, 16), cos_sin_table(9, 8, 1e4)
    positions = torch.tensor([7, 0, 3])
    wide, _ = norm_rope(q, k, positions, table, eps=1e-5)
    narrow, _ = norm_rope(q, k, positions.int(), table, eps=1e-5)
    assert torch.equal(wide, narrow)
