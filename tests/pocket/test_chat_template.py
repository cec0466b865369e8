"""The chat template renders what the generator writes by hand, in both layouts, for every shape of message."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

import pytest
from transformers import AutoTokenizer

from glm_rocm.pocket import checkpoint_path
from glm_rocm.pocket.data.chat import GLM45, GLM47, Conversation, call, prompt_and_answer, segments
from glm_rocm.pocket.data.dialogue import MIX, conversation
from glm_rocm.pocket.export import CHAT_TEMPLATE


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    loaded = AutoTokenizer.from_pretrained(checkpoint_path())
    loaded.chat_template = CHAT_TEMPLATE.read_text(encoding="utf-8")
    return loaded


def rendered(tokenizer: Any, drawn: Conversation, messages: list[dict[str, Any]] | None = None, **options: Any) -> str:
    text = tokenizer.apply_chat_template(
        drawn.messages if messages is None else messages,
        tools=drawn.tools or None, tokenize=False, enable_thinking=drawn.thinking, call_layout=drawn.layout, **options,
    )  # fmt: skip
    assert isinstance(text, str)
    return text


def whole(drawn: Conversation) -> str:
    """The generator's rendering without the stop token at its end."""
    return "".join(part.text for part in segments(drawn)[:-1])


@pytest.mark.parametrize("task", list(MIX))
def test_template_renders_what_the_generator_writes(tokenizer: Any, task: str) -> None:
    random, layouts = Random(task), set()
    for _ in range(60):
        drawn = conversation(random, task)
        layouts.add(drawn.layout)
        assert rendered(tokenizer, drawn) == whole(drawn)
        prompt, _ = prompt_and_answer(drawn)
        assert rendered(tokenizer, drawn, drawn.messages[:-1], add_generation_prompt=True) == prompt
    assert layouts == {GLM45, GLM47}


def test_arguments_as_a_json_string_render_as_the_object_does(tokenizer: Any) -> None:
    """OpenAI clients send them back as text; escapes, nesting, separators and empty objects included."""
    awkward = {
        "text": 'say "hi", {now}: [x]\\n\tsøren', "count": -3, "ok": True, "none": None, "list": ["a, b", "c: d"],
        "empty": "", "nested": {"a": {"b": "}"}},
    }  # fmt: skip
    for arguments in (awkward, {}, {"a": 1.5}):
        for layout in (GLM45, GLM47):
            drawn = Conversation(
                [{"role": "assistant", "content": "", "tool_calls": [call("f", arguments)]}], layout=layout
            )
            for ascii_only in (True, False):
                messages = copy.deepcopy(drawn.messages)
                messages[0]["tool_calls"][0]["function"]["arguments"] = json.dumps(arguments, ensure_ascii=ascii_only)
                assert rendered(tokenizer, drawn, messages) == rendered(tokenizer, drawn), (arguments, ascii_only)


def test_content_as_parts_renders_as_the_string_does(tokenizer: Any) -> None:
    drawn = Conversation([{"role": "user", "content": "Hi there"}, {"role": "tool", "content": "42"}])
    parts = [
        {"role": "user", "content": [{"type": "text", "text": "Hi "}, {"type": "text", "text": "there"}]},
        {"role": "tool", "content": [{"type": "text", "text": "42"}]},
    ]
    assert rendered(tokenizer, drawn, parts) == rendered(tokenizer, drawn)


def test_thoughts_before_the_last_user_turn_are_dropped_unless_asked_for(tokenizer: Any) -> None:
    drawn = Conversation(
        [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello", "reasoning_content": "first"},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello", "reasoning_content": "second"},
        ]
    )
    text = rendered(tokenizer, drawn)
    assert "first" not in text
    assert "<think>second</think>" in text
    assert "<think>first</think>" in rendered(tokenizer, drawn, clear_thinking=False)


@pytest.mark.parametrize(
    "message",
    [
        {"content": "Hello", "reasoning_content": "so"},
        {"content": "Hello", "reasoning": "so"},
        {"content": "\n<think>so</think>\nHello"},
    ],
    ids=["reasoning_content", "reasoning, as vLLM names it", "reasoning left in the content"],
)
def test_reasoning_is_found_wherever_the_client_keeps_it(tokenizer: Any, message: dict[str, str]) -> None:
    drawn = Conversation([{"role": "user", "content": "Hi"}, {"role": "assistant", **message}])
    assert rendered(tokenizer, drawn) == "[gMASK]<sop><|user|>\nHi<|assistant|>\n<think>so</think>\nHello"


def test_nothink_is_appended_once(tokenizer: Any) -> None:
    drawn = Conversation([{"role": "user", "content": "Hi/nothink"}], thinking=False)
    expected = "[gMASK]<sop><|user|>\nHi/nothink<|assistant|>\n<think></think>"
    assert rendered(tokenizer, drawn, add_generation_prompt=True) == expected


def test_generation_prompts_of_the_four_modes(tokenizer: Any) -> None:
    ends = {
        (GLM45, True): "\nHi<|assistant|>",
        (GLM45, False): "\nHi/nothink<|assistant|>\n<think></think>",
        (GLM47, True): "Hi<|assistant|><think>",
        (GLM47, False): "Hi<|assistant|></think>",
    }
    for (layout, thinking), end in ends.items():
        drawn = Conversation([{"role": "user", "content": "Hi"}], thinking=thinking, layout=layout)
        assert rendered(tokenizer, drawn, add_generation_prompt=True) == "[gMASK]<sop><|user|>" + end


def test_shipped_template_is_the_source() -> None:
    assert (checkpoint_path() / "chat_template.jinja").read_text(encoding="utf-8") == CHAT_TEMPLATE.read_text(
        encoding="utf-8"
    )
