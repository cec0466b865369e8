"""Greedy fp32 tokens by our kernels equal stock transformers', token by token, and every layer's kernel was called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from glm_rocm.engines.transformers.active import NAME
from glm_rocm.engines.transformers.install import install
from glm_rocm.plan import Plan

NEW = 32
LENGTHS = (1, 2, 3, 7, 16, 17, 33, 64)


def prompts() -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(1, 96, (1, length), generator=generator) for length in LENGTHS]


def stock(folder: Path) -> Any:
    from transformers import Glm4MoeForCausalLM

    model = Glm4MoeForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="sdpa", experts_implementation="grouped_mm"
    )
    return model.eval().requires_grad_(False)


def ours(folder: Path, plan: Plan) -> Any:
    model = stock(folder)
    install(plan)
    model.set_attn_implementation(NAME)
    model.set_experts_implementation(NAME)
    return model


def greedy(model: Any, ids: Tensor, mask: Tensor | None = None) -> list[list[int]]:
    out = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids) if mask is None else mask,
        max_new_tokens=NEW,
        min_new_tokens=NEW,
        do_sample=False,
        pad_token_id=0,
    )
    tokens: list[list[int]] = out[:, ids.shape[1] :].tolist()
    return tokens


@lru_cache
def answers(folder: Path) -> list[list[int]]:
    """Stock transformers' tokens for each prompt alone."""
    model = stock(folder)
    return [greedy(model, ids)[0] for ids in prompts()]


def padded(side: str) -> tuple[Tensor, Tensor]:
    """All prompts in one batch, padded on one side with a token that is not the padding token's embedding alone."""
    rows = prompts()
    longest = max(LENGTHS)
    ids, mask = torch.full((len(rows), longest), 42), torch.zeros(len(rows), longest, dtype=torch.long)
    for index, row in enumerate(rows):
        place = slice(longest - row.shape[1], None) if side == "left" else slice(0, row.shape[1])
        ids[index, place], mask[index, place] = row[0], 1
    return ids, mask


@pytest.mark.slow
def test_eight_prompts_of_other_lengths_one_by_one(
    checkpoint: Path, plan_for: Callable[..., Plan], calls: Callable[[], Counter[str]]
) -> None:
    want = answers(checkpoint)
    assert len({tuple(tokens) for tokens in want}) == len(want), "the model must not repeat one answer"
    model = ours(checkpoint, plan_for(checkpoint))
    counter = calls()
    assert [greedy(model, ids)[0] for ids in prompts()] == want
    steps = len(LENGTHS) * NEW
    assert counter == {"attention": 3 * steps, "moe.experts": 2 * steps}


@pytest.mark.parametrize("name", ["checkpoint", "two_heads"])
def test_a_left_padded_batch_of_other_lengths(
    name: str, request: pytest.FixtureRequest, plan_for: Callable[..., Plan], calls: Callable[[], Counter[str]]
) -> None:
    folder: Path = request.getfixturevalue(name)
    model = ours(folder, plan_for(folder))
    counter = calls()
    assert greedy(model, *padded("left")) == answers(folder)
    assert counter == {"attention": 3 * NEW, "moe.experts": 2 * NEW}


@pytest.mark.parametrize("side", ["left", "right"])
def test_logits_of_a_padded_batch_equal_those_of_each_prompt_alone(
    checkpoint: Path, plan_for: Callable[..., Plan], side: str
) -> None:
    alone = stock(checkpoint)
    model = ours(checkpoint, plan_for(checkpoint))
    ids, mask = padded(side)
    # Positions as generate() makes them: a prompt counts from its own first token.
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    batch = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits
    assert torch.isfinite(batch).all()
    for index, row in enumerate(prompts()):
        torch.testing.assert_close(batch[index, mask[index].bool()], alone(row).logits[0], rtol=1e-4, atol=1e-4)


def test_padding_that_holds_nan_in_the_cache_never_leaks(checkpoint: Path, plan_for: Callable[..., Plan]) -> None:
    model = ours(checkpoint, plan_for(checkpoint))
    ids, mask = padded("left")
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    clean = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits
    embeddings = model.model.embed_tokens(ids)
    embeddings[mask == 0] = float("nan")
    dirty = model(inputs_embeds=embeddings, attention_mask=mask, position_ids=positions).logits
    assert torch.equal(dirty[mask.bool()], clean[mask.bool()])


def test_a_prompt_in_chunks_equals_the_prompt_at_once(checkpoint: Path, plan_for: Callable[..., Plan]) -> None:
    from transformers import DynamicCache

    model = ours(checkpoint, plan_for(checkpoint))
    ids = prompts()[-1]
    whole = model(ids).logits
    cache, parts = DynamicCache(config=model.config), []
    for chunk in ids.split([1, 30, 2, 31], dim=1):
        parts.append(model(chunk, past_key_values=cache).logits)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-4, atol=1e-4)


def test_implementations_are_switched_at_run_time(
    checkpoint: Path, plan_for: Callable[..., Plan], calls: Callable[[], Counter[str]]
) -> None:
    model = ours(checkpoint, plan_for(checkpoint))
    counter = calls()
    ids = prompts()[3]
    mine = greedy(model, ids)
    after_ours = counter.copy()
    model.set_attn_implementation("sdpa")
    model.set_experts_implementation("batched_mm")
    assert greedy(model, ids) == mine
    assert counter == after_ours, "stock implementations must not call our kernels"
    model.set_attn_implementation(NAME)
    model.set_experts_implementation(NAME)
    assert greedy(model, ids) == mine
    assert counter == {op: 2 * count for op, count in after_ours.items()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_as_near_to_fp32_as_stock_ones(
    checkpoint: Path, plan_for: Callable[..., Plan], dtype: torch.dtype
) -> None:
    ids = prompts()[-1]
    exact = stock(checkpoint)(ids).logits[0]

    def error(model: Any) -> float:
        """Of the median token: in some tokens rounding sends a row to another expert, with any implementation."""
        wrong = (model(ids).logits[0].float() - exact).norm(dim=-1) / exact.norm(dim=-1)
        return float(wrong.median())

    stock_error = error(stock(checkpoint).to(dtype))
    assert 0 < error(ours(checkpoint, plan_for(checkpoint)).to(dtype)) < 1.2 * stock_error
