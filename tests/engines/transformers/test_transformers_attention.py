"""The translation from transformers' cache to pages: by strides alone, whatever the layout; and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from glm_rocm.engines.transformers.attention import attend, padding_mask, slot_numbers, slot_view
from glm_rocm.engines.transformers.install import install
from glm_rocm.errors import UsageError
from glm_rocm.plan import Plan

B, HEADS, KV, L, D = 3, 24, 2, 7, 16


def layouts() -> dict[str, Tensor]:
    """`[B, Hkv, L, D]` in the layouts that caches come in."""
    values = torch.randn(B, KV, L, D, generator=torch.Generator().manual_seed(3))
    roomy = torch.full((B, KV, 2 * L, D), float("nan"))
    roomy[:, :, :L] = values
    wide = torch.full((B, L, KV, 3 * D), float("nan"))
    wide[..., D : 2 * D] = values.transpose(1, 2)
    return {
        "contiguous": values,
        "tokens first": values.transpose(1, 2).contiguous().transpose(1, 2),
        "cut from a larger cache": roomy[:, :, :L],
        "a third of fused rows": wide[..., D : 2 * D].transpose(1, 2),
        "one sequence expanded": values[:1].expand(B, KV, L, D),
        "one token": values[:, :, :1],
        "head dimension strided": torch.stack([values, values + 1], -1)[..., 0],
    }


@pytest.mark.parametrize("name", list(layouts()))
def test_slots_find_every_token_without_a_copy(name: str) -> None:
    cache = layouts()[name]
    view, numbers = slot_view(cache), slot_numbers(cache)
    assert view.untyped_storage().data_ptr() == cache.untyped_storage().data_ptr()
    assert view.shape[1:] == (1, cache.shape[1], D)
    found = view[numbers.long()].squeeze(2)  # [B, L, Hkv, D]
    assert torch.equal(found, cache.transpose(1, 2))


def expected(query: Tensor, key: Tensor, value: Tensor, real: Tensor) -> Tensor:
    """Attention written out: one product per query, over the real positions up to its own. `[B, Q, Hq, D]`."""
    batch, heads, queries, _ = query.shape
    out = torch.zeros(batch, queries, heads, value.shape[-1])
    for b in range(batch):
        for j in range(queries):
            position = key.shape[2] - queries + j
            if not real[b, position]:
                continue
            seen = [p for p in range(position + 1) if real[b, p]]
            for h in range(heads):
                kv = h // (heads // key.shape[1])
                scores = torch.stack([query[b, h, j] @ key[b, kv, p] for p in seen]) * D**-0.5
                out[b, j, h] = scores.softmax(0) @ value[b, kv, seen]
    return out


MASKS = {
    "none": [[1, 1, 1, 1, 1, 1, 1]] * 3,
    "left": [[0, 0, 0, 0, 0, 0, 1], [1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1]],
    "right": [[1, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0]],
    "holes": [[1, 0, 1, 0, 1, 1, 0], [0, 1, 1, 0, 0, 1, 1], [1, 1, 0, 0, 0, 0, 1]],
    "one sequence is all padding": [[0, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1]],
}


@pytest.mark.parametrize("queries", [1, 3, L])
@pytest.mark.parametrize("name", list(MASKS))
def test_each_query_sees_the_real_tokens_up_to_its_own(
    name: str, queries: int, checkpoint: Path, plan_for: Callable[..., Plan]
) -> None:
    install(plan_for(checkpoint))
    generator = torch.Generator().manual_seed(4)
    query = torch.randn(B, queries, HEADS, D, generator=generator).transpose(1, 2)
    key, value = (torch.randn(B, KV, L, D, generator=generator) for _ in range(2))
    real = torch.tensor(MASKS[name], dtype=torch.bool)
    mask = padding_mask(B, queries, L, q_offset=L - queries, attention_mask=real)
    assert (mask is None) == (name == "none")
    got, weights = attend(torch.nn.Module(), query, key, value, mask, D**-0.5)
    assert weights is None
    assert got.is_contiguous()
    torch.testing.assert_close(got, expected(query, key, value, real), rtol=1e-5, atol=1e-5)


def test_keys_and_values_of_different_strides(checkpoint: Path, plan_for: Callable[..., Plan]) -> None:
    install(plan_for(checkpoint))
    generator = torch.Generator().manual_seed(6)
    query, key = (torch.randn(B, heads, L, D, generator=generator) for heads in (HEADS, KV))
    value = torch.randn(B, L, KV, D, generator=generator).transpose(1, 2)
    got, _ = attend(torch.nn.Module(), query, key, value, None, D**-0.5)
    real = torch.ones(B, L, dtype=torch.bool)
    torch.testing.assert_close(got, expected(query, key, value, real), rtol=1e-5, atol=1e-5)


def refusal(run: Callable[..., Any], *args: Any, **kwargs: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        run(*args, **kwargs)
    assert caught.value.required
    assert caught.value.hint
    return caught.value


def test_a_mask_that_is_not_plainly_causal_is_refused() -> None:
    from transformers.masking_utils import sliding_window_causal_mask_function

    error = refusal(padding_mask, 1, 4, 4, mask_function=sliding_window_causal_mask_function(2))
    assert "causal" in error.found


def test_a_cache_with_room_behind_the_last_query_is_refused() -> None:
    assert "32 positions" in refusal(padding_mask, 1, 4, 32, q_offset=torch.tensor(4)).found


def test_a_four_dimensional_mask_is_refused() -> None:
    q, kv = torch.zeros(1, HEADS, 2, D), torch.zeros(1, KV, 2, D)
    mask = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    assert "(1, 1, 2, 2)" in refusal(attend, torch.nn.Module(), q, kv, kv, mask, 1.0).found


def test_dropout_is_refused() -> None:
    q, kv = torch.zeros(1, HEADS, 2, D), torch.zeros(1, KV, 2, D)
    assert "dropout" in refusal(attend, torch.nn.Module(), q, kv, kv, None, 1.0, dropout=0.1).found
