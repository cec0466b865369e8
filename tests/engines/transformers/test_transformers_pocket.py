"""The shipped pocket GLM through `generate`: real prompts, the chat template, text as it comes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from glm_rocm.engines.transformers import generate, plan_generation
from glm_rocm.engines.transformers.generation import Loaded, load
from glm_rocm.errors import UsageError
from glm_rocm.pocket import checkpoint_path
from glm_rocm.quantize import quantize_checkpoint
from glm_rocm.target import parse_target

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
PROMPTS: list[dict[str, Any]] = [
    {"prompt": "What is 12 + 30?"},
    {"prompt": "What is 7 * 8?", "thinking": False},
    {"prompt": "Who are you?"},
    {"prompt": "What is the weather in Lisbon?", "tools": [WEATHER]},
    {"prompt": "The key is under the red mat. Where is the key?", "thinking": False},
    {"prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello."}]},
    {
        "prompt": [
            {"role": "user", "content": "What is 2 + 2?"},
            {"role": "assistant", "content": "4"},
            {"role": "user", "content": "And one more?"},
        ]
    },
    {"prompt": "a"},
]


@pytest.fixture(scope="module")
def pocket() -> Loaded:
    return load(plan_generation("pocket", parse_target("cpu"), dtype="float32"))


@pytest.mark.slow
def test_eight_chats_of_32_tokens_equal_stock_transformers(pocket: Loaded) -> None:
    from transformers import GenerationConfig, Glm4MoeForCausalLM

    stock = Glm4MoeForCausalLM.from_pretrained(checkpoint_path(), dtype=torch.float32).eval()
    assert (stock.config._attn_implementation, pocket.model.config._attn_implementation) == ("sdpa", "glm_rocm")
    want, got = [], []
    for chat in PROMPTS:
        ids = pocket.prompt_ids(**chat)
        config = GenerationConfig(max_new_tokens=32, do_sample=False, eos_token_id=pocket.end_tokens, pad_token_id=0)
        for model, answers in ((stock, want), (pocket.model, got)):
            out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
            answers.append(out[0, ids.shape[1] :].tolist())
    assert got == want
    assert len({tuple(tokens) for tokens in want}) > 4, "the prompts must lead to different answers"


def test_streamed_pieces_are_the_text_and_no_special_token_shows(pocket: Loaded) -> None:
    pieces: list[str] = []
    answer = pocket.generate("What is 12 + 30?", stream=pieces.append)
    assert len(pieces) > 3
    assert "".join(pieces) == answer.text
    assert answer.text.lstrip().startswith("<think>")
    assert "<|" not in answer.text
    assert (answer.finish_reason, answer.tokens[-1] in pocket.end_tokens) == ("stop", True)


def test_without_thinking_the_template_says_so(pocket: Loaded) -> None:
    asked = pocket.tokenizer.decode(pocket.prompt_ids("What is 12 + 30?", thinking=False)[0])
    assert "/nothink" in asked
    assert "<think>" not in pocket.generate("What is 12 + 30?", thinking=False).text


def test_tools_reach_the_template_and_the_model_calls_one(pocket: Loaded) -> None:
    answer = pocket.generate("What is the weather in Lisbon?", tools=[WEATHER])
    assert "<tool_call>get_weather" in answer.text
    assert '"get_weather"' in pocket.tokenizer.decode(pocket.prompt_ids("Hi", tools=[WEATHER])[0])


def test_a_limit_ends_the_answer_with_reason_length(pocket: Loaded) -> None:
    answer = pocket.generate("What is 12 + 30?", max_new_tokens=3)
    assert (len(answer.tokens), answer.finish_reason) == (3, "length")


def test_more_than_the_context_is_refused_with_what_would_fit(pocket: Loaded) -> None:
    length = pocket.prompt_ids("Hello").shape[1]
    with pytest.raises(UsageError) as caught:
        pocket.generate("Hello", max_new_tokens=pocket.plan.context)
    assert f"{length} prompt tokens" in caught.value.found
    assert f"--max-new-tokens {pocket.plan.context - length}" in caught.value.hint


@pytest.mark.parametrize("prompt", [[], [{"content": "no role"}]])
def test_a_chat_that_is_none_is_refused(pocket: Loaded, prompt: list[dict[str, Any]]) -> None:
    with pytest.raises(UsageError, match="role"):
        pocket.generate(prompt)


@pytest.mark.parametrize("scheme", ["fp8_channel_token", "fp8_block"])
def test_it_answers_from_its_fp8_twin(scheme: str, tmp_path: Path, calls: Callable[[], Counter[str]]) -> None:
    quantize_checkpoint("pocket", tmp_path / "fp8", scheme)
    loaded = load(plan_generation(str(tmp_path / "fp8"), parse_target("cpu")))
    counter = calls()
    answer = loaded.generate("What is 12 + 30?")
    assert answer.finish_reason == "stop"
    assert "42" in answer.text.rpartition("</think>")[2]
    assert counter["linear"] == len(answer.tokens) * (4 * 4 + 3 + 3 * 3)


def test_one_call_plans_loads_and_answers() -> None:
    answer = generate("pocket", "What is 12 + 30?", thinking=False, max_new_tokens=4)
    assert answer.prompt_tokens > 10
    assert len(answer.tokens) == 4
