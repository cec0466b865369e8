"""Whether a model's chat template opens the thinking itself: what every engine's reasoning parser has to know."""

from __future__ import annotations

from typing import Any

_OPENS_THINKING: dict[str, bool] = {}
"""Answers of `opens_thinking` by template: it is asked several times per request."""


def opens_thinking(tokenizer: Any) -> bool:
    """Whether the chat template ends the prompt with `<think>`, as GLM-4.7's does."""
    template = getattr(tokenizer, "chat_template", None)
    if not isinstance(template, str):
        return False
    if template not in _OPENS_THINKING:
        turn = [{"role": "user", "content": "?"}]
        prompt = str(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))
        _OPENS_THINKING[template] = prompt.rstrip().endswith("<think>")
    return _OPENS_THINKING[template]
