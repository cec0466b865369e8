"""A real vLLM whose attention and experts are our Triton kernels, run as a card's machine code or by the interpreter.

In float32 its greedy tokens are those of vLLM alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glm_rocm.backends import emulation
from glm_rocm.pocket import checkpoint_path

pytestmark = [pytest.mark.slow, pytest.mark.vllm]

QUESTIONS = ("What is 48 + 27?", "Who are you?", "My key is in the blue box. Where is the key?")
AMOUNT = {"gfx942": (3, 16), "gfx950": (3, 16), "interpret": (1, 3)}
"""Prompts and tokens; the interpreter runs about one token in three seconds."""


@pytest.fixture(scope="module")
def generate(child: Callable[..., Any]) -> Callable[..., Any]:
    from transformers import AutoTokenizer

    read = AutoTokenizer.from_pretrained(checkpoint_path())
    prompts = [
        read.encode(
            read.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False),
            add_special_tokens=False,
        )
        for text in QUESTIONS
    ]

    def run(count: int, tokens: int, *, plan: Path | None = None, word: str = "") -> Any:
        asked = json.dumps({"prompts": prompts[:count], "tokens": tokens, "once": True})
        env = emulation.environment(word)
        pages = json.dumps({"block_size": 16} if plan else {})
        return child("generate", str(checkpoint_path()), pages, plan=plan, env=env, stdin=asked)

    return run


@pytest.fixture(scope="module")
def vllm_alone(generate: Callable[..., Any]) -> list[list[int]]:
    tokens: list[list[int]] = generate(*AMOUNT["gfx942"])["tokens"]
    return tokens


@pytest.mark.parametrize("word", emulation.CARDS)
def test_emulated_kernels_give_the_tokens_of_vllm_alone(
    word: str, generate: Callable[..., Any], vllm_alone: list[list[int]], plan_for: Callable[..., Path]
) -> None:
    count, tokens = AMOUNT[word]
    ours = generate(count, tokens, plan=plan_for(dtype="float32", emulate=word), word=word)
    assert ours["tokens"] == [one[:tokens] for one in vllm_alone[:count]]
    assert ours["calls"]["attention"] == ours["calls"]["store_kv"] >= tokens
    assert ours["calls"]["experts"] >= tokens
