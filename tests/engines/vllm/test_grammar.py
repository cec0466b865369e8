"""What a tool choice lets the model write: GLM-4.5 / 4.6's layout above all, which vLLM's own grammar masks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
# xgrammar has no way to say what a property's name may be besides; the call must be guaranteed nevertheless.
INEXPRESSIBLE = {"type": "object", "properties": {"x": {"$ref": "#/nowhere"}}, "required": ["x"]}


def tool(name: str, schema: Any = None, **options: Any) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": name, "parameters": schema or {"type": "object", "properties": {}}, **options},
    }


TOOLS = [tool("get_weather", WEATHER), tool("now")]
NEW = "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n</tool_call>"
BOTH = NEW.replace("\n</tool", "\n<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool")
OLD = "<tool_call>get_weather<arg_key>city</arg_key><arg_value>Oslo</arg_value></tool_call>"
NOW = "<tool_call>now\n</tool_call>"
EMPTY = "<tool_call>get_weather\n</tool_call>"
WRONG_TYPE = BOTH.replace(">3<", ">three<")
UNKNOWN = "<tool_call>shutdown\n</tool_call>"
TEXT = "It is sunny."
THOUGHT = "\n<think>I look it up.</think>\n"
TEXTS = [
    NEW,
    BOTH,
    OLD,
    NOW,
    EMPTY,
    WRONG_TYPE,
    UNKNOWN,
    TEXT,
    "\n" + NEW,
    f"{NEW}\n{NOW}",
    THOUGHT + NEW,
    THOUGHT + TEXT,
]


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


CASES: dict[str, dict[str, Any]] = {
    "auto": {"request": {"tool_choice": "auto"}},
    "auto, one tool strict": {
        "request": {"tool_choice": "auto"},
        "tools": [tool("get_weather", WEATHER, strict=True), tool("now")],
    },
    "required": {"request": {"tool_choice": "required"}},
    "required, one call": {"request": {"tool_choice": "required", "parallel_tool_calls": False}},
    "named": {"request": {"tool_choice": named("get_weather")}},
    "named, no arguments": {"request": {"tool_choice": named("now")}},
    "inexpressible": {"request": {"tool_choice": "required"}, "tools": [tool("now", INEXPRESSIBLE)]},
}


def as_json() -> str:
    return json.dumps({name: {"tools": TOOLS, "texts": TEXTS, **case} for name, case in CASES.items()})


@pytest.fixture(scope="module")
def ours(child: Callable[..., Any], plan_for: Callable[..., Path]) -> Any:
    return child("grammar", "glm45", plan=plan_for(), stdin=as_json())


@pytest.fixture(scope="module")
def vllms(child: Callable[..., Any]) -> Any:
    return child("grammar", "glm45", stdin=as_json())


def test_auto_masks_nothing(ours: Any) -> None:
    assert not ours["auto"]["masked"]


def test_a_strict_tool_under_auto_admits_text_and_calls_in_both_layouts(ours: Any) -> None:
    assert set(ours["auto, one tool strict"]["accepted"]) >= {NEW, BOTH, OLD, NOW, TEXT, "\n" + NEW, f"{NEW}\n{NOW}"}
    assert not {EMPTY, WRONG_TYPE, UNKNOWN} & set(ours["auto, one tool strict"]["accepted"])


def test_required_admits_calls_whole_and_typed_and_nothing_else(ours: Any) -> None:
    assert ours["required"]["accepted"] == [NEW, BOTH, OLD, NOW, "\n" + NEW, f"{NEW}\n{NOW}", THOUGHT + NEW]


def test_a_forced_call_is_held_to_its_grammar_from_the_first_token(ours: Any) -> None:
    assert ours["required"]["from first token"]
    assert ours["named"]["from first token"]
    assert not ours["auto"]["from first token"]


def test_one_call_is_one_call(ours: Any) -> None:
    assert ours["required, one call"]["accepted"] == [NEW, BOTH, OLD, NOW, "\n" + NEW, THOUGHT + NEW]


def test_a_named_tool_is_the_one_called(ours: Any) -> None:
    assert ours["named"]["accepted"] == [NEW, BOTH, OLD, "\n" + NEW, THOUGHT + NEW]
    assert ours["named, no arguments"]["accepted"] == [NOW]


def test_a_schema_that_the_grammar_cannot_say_still_guarantees_the_call(ours: Any) -> None:
    assert ours["inexpressible"]["accepted"] == [NOW]


def test_vllm_alone_still_masks_the_new_line_layout(vllms: Any) -> None:
    """The loss that the cure is for: arguments of GLM-4.5 / 4.6 are masked, calls without any are not."""
    for choice in ("auto", "required", "named"):
        assert vllms[choice]["masked"], choice
        assert NEW not in vllms[choice]["accepted"], choice
        assert OLD in vllms[choice]["accepted"], choice
