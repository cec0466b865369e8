"""The reader of GLM's answers by itself: prompts that open thinking, types from schemas, answers that end early."""

from __future__ import annotations

import json
from typing import Any

import pytest

from glm_rocm.engines.sglang.answer import Calls, Thinking, json_types, json_value


def thinking_of(text: str, inside: bool) -> tuple[str, str]:
    """Read whole and character by character, which must give the same."""
    whole = Thinking(inside)
    parts = [whole.feed(text), whole.finish()]
    single = Thinking(inside)
    pieces = [*(single.feed(character) for character in text), single.finish()]
    results = [("".join(part[0] for part in read), "".join(part[1] for part in read)) for read in (parts, pieces)]
    assert results[0] == results[1]
    return results[0]


@pytest.mark.parametrize(
    ("text", "inside", "expected"),
    [
        ("I add.</think>42", True, ("I add.", "42")),
        ("</think>42", True, ("", "42")),
        ("never closed", True, ("never closed", "")),
        ("<tool_call>now</tool_call>", True, ("", "<tool_call>now</tool_call>")),
        ("\n<think>a\n</think>\n\nb <think> c", False, ("a\n", "b <think> c")),
        ("text first, <think>no</think>", False, ("", "text first, <think>no</think>")),
        ("</think>\nearly", False, ("", "early")),
        ("<thin", False, ("", "<thin")),
        ("\n<think>x</thi", False, ("x</thi", "")),
        ("", False, ("", "")),
    ],
)
def test_thinking_and_the_rest(text: str, inside: bool, expected: tuple[str, str]) -> None:
    assert thinking_of(text, inside) == expected


@pytest.mark.parametrize(
    ("raw", "schema", "value"),
    [
        ("007", {"type": "string"}, "007"),
        ("null", {"type": ["string", "null"]}, None),
        ("12", {"type": ["string", "null"]}, "12"),
        ("12", {"anyOf": [{"type": "string"}, {"type": "integer"}]}, 12),
        ("12", {"enum": ["12", "13"]}, "12"),
        ("12", {}, 12),
        ("twelve", {}, "twelve"),
        ("twelve", {"type": "integer"}, "twelve"),
        ("NaN", {"type": "number"}, "NaN"),
        ('{"a": "é"}', {"type": "object"}, {"a": "é"}),
        ("true", "no schema", True),
    ],
)
def test_a_value_is_what_its_schema_says(raw: str, schema: Any, value: object) -> None:
    assert json.loads(json_value(raw, json_types(schema))) == value


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("<tool_call>f\n</tool_call>", "{}"),
        ("<tool_call>f\n<arg_key>a</arg_key></tool_call>", '{"a": null}'),
        ("<tool_call>f\n<arg_key>a</arg_key><arg_value>1</arg_value>", '{"a": 1'),
        ("<tool_call>f\n<arg_key>a</arg_key><arg_value>12", '{"a": '),
        ("<tool_call>\nf\n<arg_key> a </arg_key>\n\n<arg_value>[]</arg_value></tool_call>", '{"a": []}'),
    ],
)
def test_a_call_of_an_unknown_tool_or_with_something_left_out(text: str, arguments: str) -> None:
    reader = Calls({})
    pieces = [*(reader.feed(character) for character in text), reader.finish()]
    assert "".join(piece.text for piece in pieces) == ""
    assert [delta.name for piece in pieces for delta in piece.deltas if delta.name is not None] == ["f"]
    assert "".join(delta.arguments for piece in pieces for delta in piece.deltas) == arguments


def test_a_call_without_its_name_is_none() -> None:
    reader = Calls({})
    assert (reader.feed("<tool_call>nam").deltas, reader.finish().text) == ([], "")
