"""GLM-4.5 / 4.6 answers taken apart: whole, and in every cut, with the same result.

One child parses all cases with our parsers, another with vLLM's own. The second is there to tell when vLLM mends what
ours are for: then its test fails, and the cure can go.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

GOLDEN_FOLDER = Path(__file__).parents[2] / "golden"
GOLDEN = json.loads((GOLDEN_FOLDER / "messages.json").read_text(encoding="utf-8"))
OUTCOMES = json.loads((GOLDEN_FOLDER / "outcomes.json").read_text(encoding="utf-8"))["vllm"]
MESSAGES: dict[str, dict[str, Any]] = GOLDEN["messages"]
THINKING = "[gMASK]<sop><|user|>\nhi<|assistant|>"
NOT_THINKING = THINKING + "\n<think></think>"


@pytest.fixture(scope="module")
def ours(child: Callable[..., Any], plan_for: Callable[..., Path]) -> Any:
    return child("parsing", "glm45", plan=plan_for(), stdin=as_json())


@pytest.fixture(scope="module")
def vllms(child: Callable[..., Any]) -> Any:
    return child("parsing", "glm45", stdin=as_json())


def as_json() -> str:
    cases = {}
    for name, message in MESSAGES.items():
        request = dict(message.get("request", {}))
        if message["thinking"] == "off":
            request["chat_template_kwargs"] = {"enable_thinking": False}
        prompt = THINKING if message["thinking"] == "on" else NOT_THINKING
        cases[name] = {"text": message["text"], "prompt": prompt, "tools": GOLDEN["tools"], "request": request}
    return json.dumps(cases)


def expected(name: str) -> tuple[Any, ...]:
    message = MESSAGES[name]
    return message["reasoning"], message["content"], [tuple(call) for call in message["calls"]]


def plain(outcome: dict[str, Any]) -> tuple[Any, ...]:
    """Reasoning, content and calls, their arguments read from JSON where they are JSON."""

    def read(text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            return text

    return outcome["reasoning"], outcome["content"], [(name, read(arguments)) for name, arguments in outcome["calls"]]


def word(name: str, result: dict[str, Any]) -> str:
    """`right`, `wrong` (and the same in every cut) or `torn` (a cut gives something else than the whole)."""
    whole = plain(result["whole"])
    if any(plain(outcome) != whole for outcome, _ in result["streamed"]):
        return "torn"
    return "right" if whole == expected(name) else "wrong"


@pytest.mark.parametrize("name", MESSAGES)
def test_a_whole_answer_is_taken_apart(name: str, ours: Any) -> None:
    assert plain(ours[name]["whole"]) == expected(name)


@pytest.mark.parametrize("name", MESSAGES)
def test_every_cut_of_the_answer_gives_the_same(name: str, ours: Any) -> None:
    for outcome, cuts in ours[name]["streamed"]:
        assert plain(outcome) == expected(name), cuts


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
    outcomes = [vllms[name]["whole"], *(outcome for outcome, _ in vllms[name]["streamed"])]
    assert any(plain(outcome) != expected(name) for outcome in outcomes), MENDED[name]


def test_the_table_says_what_both_do(ours: Any, vllms: Any) -> None:
    """docs/parsers.md is made from these outcomes."""
    found = {"stock": vllms, "ours": ours}
    assert {
        whose: {name: word(name, results[name]) for name in MESSAGES} for whose, results in found.items()
    } == OUTCOMES
