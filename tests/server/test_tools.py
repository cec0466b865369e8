"""Tool calls through a real vLLM: whole and typed in every mode, and GLM's loop with its four tools."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import OpenAI

pytestmark = pytest.mark.vllm

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CURRENCY = {
    "type": "function",
    "function": {
        "name": "convert_currency",
        "description": "Convert money.",
        "parameters": {
            "type": "object",
            "properties": {"amount": {"type": "number"}, "from": {"type": "string"}, "to": {"type": "string"}},
            "required": ["amount", "from", "to"],
        },
    },
}
TIMER = {
    "type": "function",
    "function": {
        "name": "set_timer",
        "description": "Set a timer.",
        "parameters": {"type": "object", "properties": {"minutes": {"type": "integer"}}, "required": ["minutes"]},
    },
}
TIME = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "Get the time.",
        "parameters": {"type": "object", "properties": {}},
    },
}
CHOICES: dict[str, Any] = {
    "auto": "auto",
    "required": "required",
    "named": {"type": "function", "function": {"name": "get_weather"}},
}
THINKING = [pytest.param(True, id="thinking"), pytest.param(False, id="no-thinking")]


def create(client: OpenAI, model: str, question: str, tools: list[Any], thinking: bool = False, **more: Any) -> Any:
    return client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        tools=tools,
        temperature=0,
        max_tokens=200,
        extra_body={"chat_template_kwargs": {"enable_thinking": thinking}},
        **more,
    )


def streamed_call(client: OpenAI, model: str, question: str, tools: list[Any], **more: Any) -> tuple[str, str, str]:
    """(name, arguments, finish reason) put together from the deltas as a client does it."""
    name = arguments = reason = ""
    for chunk in create(client, model, question, tools, stream=True, **more):
        for choice in chunk.choices:
            reason = choice.finish_reason or reason
            for call in choice.delta.tool_calls or []:
                assert call.index == 0
                name += (call.function.name or "") if call.function else ""
                arguments += (call.function.arguments or "") if call.function else ""
    return name, arguments, reason


@pytest.mark.parametrize("thinking", THINKING)
@pytest.mark.parametrize("mode", CHOICES)
def test_arguments_arrive_whole_in_every_mode(client: OpenAI, model: str, mode: str, thinking: bool) -> None:
    question = "What is the weather in Vrontaka?"
    choice = create(client, model, question, [WEATHER], thinking, tool_choice=CHOICES[mode]).choices[0]
    (call,) = choice.message.tool_calls
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Vrontaka"}
    assert not (choice.message.content or "").strip()
    # OpenAI says `stop` for a call that the client forced by name.
    assert choice.finish_reason in (("tool_calls", "stop") if mode == "named" else ("tool_calls",))


@pytest.mark.parametrize("mode", CHOICES)
def test_streamed_call_equals_the_whole_one(client: OpenAI, model: str, mode: str) -> None:
    question = "What is the weather in Vrontaka?"
    whole = create(client, model, question, [WEATHER], tool_choice=CHOICES[mode]).choices[0]
    name, arguments, _ = streamed_call(client, model, question, [WEATHER], tool_choice=CHOICES[mode])
    (call,) = whole.message.tool_calls
    assert (name, json.loads(arguments)) == (call.function.name, json.loads(call.function.arguments))
    assert json.loads(arguments) == {"city": "Vrontaka"}


@pytest.mark.parametrize(
    ("question", "name", "arguments"),
    [
        ("Set a timer for 17 minutes.", "set_timer", {"minutes": 17}),
        ("How much is 12.5 USD in EUR?", "convert_currency", {"amount": 12.5, "from": "USD", "to": "EUR"}),
    ],
    ids=["integer", "number-and-strings"],
)
def test_arguments_have_the_types_of_the_schema(
    client: OpenAI, model: str, question: str, name: str, arguments: dict[str, Any]
) -> None:
    choice = create(client, model, question, [WEATHER, TIMER, CURRENCY]).choices[0]
    (call,) = choice.message.tool_calls
    assert call.function.name == name
    assert json.loads(call.function.arguments) == arguments


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_tool_without_arguments_is_called(client: OpenAI, model: str, stream: bool) -> None:
    question = "What time is it?"
    if stream:
        name, arguments, reason = streamed_call(client, model, question, [TIME, WEATHER])
    else:
        choice = create(client, model, question, [TIME, WEATHER]).choices[0]
        (call,) = choice.message.tool_calls
        name, arguments, reason = call.function.name, call.function.arguments, choice.finish_reason
    assert (name, json.loads(arguments or "{}"), reason) == ("get_time", {}, "tool_calls")


def test_no_tool_is_called_where_none_is_needed(client: OpenAI, model: str) -> None:
    choice = create(client, model, "What is 12 + 30?", [WEATHER]).choices[0]
    assert not choice.message.tool_calls
    assert "42" in choice.message.content


def test_round_trip_ends_in_an_answer_made_of_the_result(client: OpenAI, model: str) -> None:
    messages: list[Any] = [{"role": "user", "content": "What is the weather in Vrontaka?"}]
    first = create(client, model, messages[0]["content"], [WEATHER]).choices[0].message
    messages.append(first.model_dump(exclude_none=True, include={"role", "content", "tool_calls"}))
    messages.append(
        {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": '{"temperature": 17, "sky": "clear"}'}
    )
    answer = client.chat.completions.create(
        model=model, messages=messages, tools=[WEATHER], temperature=0, max_tokens=120
    )
    assert answer.choices[0].finish_reason == "stop"
    assert "17" in answer.choices[0].message.content
    assert "clear" in answer.choices[0].message.content


@pytest.mark.parametrize(
    ("question", "expected", "answer"),
    [
        ("Use python to compute 2834 * 57.", ["python"], "161538"),
        (
            "What is the weight of Brimo? Use the browser.",
            ["browser.search", "browser.open", "browser.find"],
            "317",
        ),
    ],
    ids=["python", "browser"],
)
def test_loop_with_the_four_tools_until_no_call_is_left(
    pocket: Any, question: str, expected: list[str], answer: str
) -> None:
    done = pocket.run_example("tool_loop.py", question)
    assert done.returncode == 0, done.stderr
    assert [line.partition("(")[0] for line in done.stderr.splitlines()] == expected
    assert answer in done.stdout
