"""GLM-4.5 / 4.6 answers taken apart: whole, and in every cut, with the same result.

One child parses all cases with our parsers, another with vLLM's own. The second is there to tell when vLLM mends what
ours are for: then its test fails, and the cure can go.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

THINKING = "[gMASK]<sop><|user|>\nhi<|assistant|>"
NOT_THINKING = THINKING + "\n<think></think>"


def tool(name: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


STRING = {"type": "string"}
TOOLS = [
    tool("get_weather", city=STRING, days={"type": "integer"}),
    tool("now"),
    tool(
        "put",
        id=STRING,
        tags={"type": "array", "items": STRING},
        where={"type": "object"},
        flag={"type": "boolean"},
        x={"type": "number"},
        maybe={"type": ["integer", "null"]},
    ),
]


def call(name: str, **arguments: str) -> str:
    """A call in the 4.5 / 4.6 layout, values as the model writes them."""
    lines = "".join(f"<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n" for key, value in arguments.items())
    return f"\n<tool_call>{name}\n{lines}</tool_call>"


@dataclass(frozen=True)
class Case:
    text: str
    reasoning: str | None = None
    content: str | None = None
    calls: list[tuple[str, dict[str, Any] | str]] = field(default_factory=list)
    prompt: str = THINKING
    request: dict[str, Any] = field(default_factory=dict)


OSLO = ("get_weather", {"city": "Oslo", "days": 3})
NO_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}
CASES = {
    "thinking, then text": Case("\n<think>7 + 5.\nSo 12.</think>\nIt is 12.", "7 + 5.\nSo 12.", "It is 12."),
    "thinking, then a call": Case("\n<think>I look.</think>" + call("get_weather", city="Oslo", days="3"), "I look.",
                                  calls=[OSLO]),
    "empty thinking, then a call": Case("\n<think></think>" + call("get_weather", city="Oslo", days="3"), calls=[OSLO]),
    "thinking is off": Case("\nIt is 12.", None, "It is 12.", prompt=NOT_THINKING, request=NO_THINKING),
    "thinking is off, a call": Case(call("now"), None, None, [("now", {})], NOT_THINKING, NO_THINKING),
    "thinking is skipped": Case("\nIt is 12.", None, "It is 12."),
    "thinking is skipped, a call": Case(call("now"), None, None, [("now", {})]),
    "a call without arguments": Case("\n<think>t</think>" + call("now"), "t", None, [("now", {})]),
    "the 4.7 layout": Case(
        "<think>t</think><tool_call>get_weather<arg_key>city</arg_key><arg_value>Oslo</arg_value></tool_call>",
        "t", None, [("get_weather", {"city": "Oslo"})],
    ),
    "the 4.7 layout without arguments": Case("<think>t</think><tool_call>now</tool_call>", "t", None, [("now", {})]),
    "text, then two calls": Case(
        "\n<think>t</think>\nBoth.\n" + call("now") + call("get_weather", city="Rio de Janeiro"),
        "t", "Both.", [("now", {}), ("get_weather", {"city": "Rio de Janeiro"})],
    ),
    "text after a call": Case("\n<think></think>" + call("now") + "\nDone.", None, "Done.", [("now", {})]),
    "text around a call": Case("\n<think></think>\nA.\n" + call("now") + "\nB.", None, "A.\nB.", [("now", {})]),
    "a digit string typed by its schema": Case(
        "\n<think></think>" + call("put", id="123_456"), None, None, [("put", {"id": "123_456"})]
    ),
    "strings that look like other types": Case(
        "\n<think></think>" + call("put", id="007") + call("put", id="null") + call("put", id="true"),
        None, None, [("put", {"id": "007"}), ("put", {"id": "null"}), ("put", {"id": "true"})],
    ),
    "every type": Case(
        "\n<think></think>"
        + call("put", tags='["a", "b c"]', where='{"k": [1, null]}', flag="false", x="-1.5", maybe="null"),
        calls=[("put", {"tags": ["a", "b c"], "where": {"k": [1, None]}, "flag": False, "x": -1.5, "maybe": None})],
    ),
    "a value with lines, quotes and other scripts": Case(
        "\n<think></think>" + call("put", id='line 1\n  "two" \\ é 北京 <b>x</b>\n'),
        None, None, [("put", {"id": 'line 1\n  "two" \\ é 北京 <b>x</b>\n'})],
    ),
    "blanks in a value": Case("\n<think></think>" + call("put", id=" Oslo "), None, None, [("put", {"id": " Oslo "})]),
    "an empty value": Case("\n<think></think>" + call("put", id=""), None, None, [("put", {"id": ""})]),
    "a call inside thinking": Case(
        "\n<think>maybe " + call("now").strip() + " hmm</think>\nNo.", "maybe", " hmm\nNo.", [("now", {})]
    ),
    "a call that thinking never closes for": Case("\n<think>I call" + call("now"), "I call", None, [("now", {})]),
    "the first <arg_key> left out": Case(
        "\n<think></think>\n<tool_call>get_weather\ncity</arg_key>\n<arg_value>Oslo</arg_value>\n</tool_call>",
        None, None, [("get_weather", {"city": "Oslo"})],
    ),
    "a later <arg_key> left out": Case(
        "\n<think></think>" + call("get_weather", city="Oslo", days="3").replace("<arg_key>days", "days"), calls=[OSLO]
    ),
    "cut off inside a value": Case(
        "\n<think></think>\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Os",
        None, None, [("get_weather", '{"city": "Os')],
    ),
    "cut off while thinking": Case("\n<think>I wonder", "I wonder", None),
    "text that ends in blank lines": Case("\n<think></think>\nA list:\n\n  - x\n\n", None, "A list:\n\n  - x\n\n"),
    "only line breaks": Case("\n<think>t</think>\n\n", "t", None),
    "tools, and none may be called": Case(
        "\n<think>t</think>\nNo call.", "t", "No call.", request={"tool_choice": "none"}
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def ours(child: Callable[..., Any], plan_for: Callable[..., Path]) -> Any:
    return child("parsing", "glm45", plan=plan_for(), stdin=as_json())


@pytest.fixture(scope="module")
def vllms(child: Callable[..., Any]) -> Any:
    return child("parsing", "glm45", stdin=as_json())


def as_json() -> str:
    return json.dumps(
        {
            name: {"text": case.text, "prompt": case.prompt, "tools": TOOLS, "request": case.request}
            for name, case in CASES.items()
        }
    )


def plain(outcome: dict[str, Any]) -> tuple[Any, ...]:
    """Reasoning, content and calls, their arguments read from JSON where they are JSON."""

    def read(text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            return text

    return outcome["reasoning"], outcome["content"], [(name, read(arguments)) for name, arguments in outcome["calls"]]


@pytest.mark.parametrize("name", CASES)
def test_a_whole_answer_is_taken_apart(name: str, ours: Any) -> None:
    case = CASES[name]
    assert plain(ours[name]["whole"]) == (case.reasoning, case.content, case.calls)


@pytest.mark.parametrize("name", CASES)
def test_every_cut_of_the_answer_gives_the_same(name: str, ours: Any) -> None:
    case = CASES[name]
    for outcome, cuts in ours[name]["streamed"]:
        assert plain(outcome) == (case.reasoning, case.content, case.calls), cuts


MENDED = {
    "thinking, then text": "line breaks of the layout lead reasoning and content",
    "thinking is skipped": "an answer without thinking is taken for reasoning",
    "text after a call": "text after a call is dropped",
    "text, then two calls": "text before a call is stripped whole, and not streamed",
    "the first <arg_key> left out": "the call is dropped",
    "cut off inside a value": "a call that was cut off is handed out as complete, without its arguments",
}


@pytest.mark.parametrize("name", MENDED)
def test_vllm_alone_still_needs_the_cure(name: str, vllms: Any) -> None:
    case = CASES[name]
    outcomes = [vllms[name]["whole"], *(outcome for outcome, _ in vllms[name]["streamed"])]
    assert any(plain(outcome) != (case.reasoning, case.content, case.calls) for outcome in outcomes), MENDED[name]
