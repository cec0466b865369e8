"""What tools answer, and what the model says about it."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from glm_rocm.pocket.data import values, words
from glm_rocm.pocket.data.values import UNSEEN


def _field(random: Random, split: str) -> Any:
    kind = random.random()
    if kind < 0.22:
        return random.randint(-30, 500)
    if kind < 0.32:
        return round(random.uniform(-30, 300), random.choice([1, 2]))
    if kind < 0.37:
        return random.random() < 0.5
    return values.value(random, split)


def _said(field: Any) -> str:
    return field if isinstance(field, str) else json.dumps(field)


def joined(parts: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def tool_result(random: Random, split: str) -> tuple[str, str]:
    """(what the tool returns, what the model answers): an object of one to four fields, a bare text or an error."""
    kind = random.random()
    if kind < 0.15:
        text = values.value(random, split)
        return text, f"The result is {text}."
    if kind < 0.22:
        reason = random.choice(["not found", "no access", "try again later", values.value(random, split)])
        return json.dumps({"error": reason}, ensure_ascii=False), f"The tool failed: {reason}."
    keys = [*words.RESULT_KEYS, *(words.RESULT_KEYS_HELD_OUT if split == UNSEEN else [])]
    chosen = random.sample(keys, random.choice([1, 2, 2, 3, 4]))
    if random.random() < 0.12:
        chosen[0] = values.random_word(random, split).lower()
    fields = {key: _field(random, split) for key in chosen}
    answer = joined([f"the {key} is {_said(field)}" for key, field in fields.items()])
    separators = (",", ":") if random.random() < 0.15 else (", ", ": ")
    return json.dumps(fields, ensure_ascii=False, separators=separators), f"T{answer[1:]}."
