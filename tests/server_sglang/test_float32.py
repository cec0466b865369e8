"""One server in float32: the tokens of transformers, and what a client of the OpenAI API asks for; then its end."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.sglang

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture(scope="module")
def server(serve: Callable[..., Any]) -> Any:
    return serve("pocket", "--dtype", "float32", "--context", "1024", "--max-seqs", "8", "--drain", "120")


def ask(server: Any, text: str, **options: Any) -> Any:
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 120}
    return server.client().chat.completions.create(model=server.model, **asked | options).choices[0].message


def test_greedy_tokens_are_those_of_transformers(
    server: Any, prompts: list[list[int]], golden: list[list[int]]
) -> None:
    found = server.generate(prompts, len(golden[0]))
    assert [answer["output_ids"] for answer in found] == golden


def test_a_prefix_in_the_cache_changes_no_token(server: Any, prompts: list[list[int]], golden: list[list[int]]) -> None:
    again = server.generate([prompts[-1]], len(golden[-1]))[0]
    assert again["meta_info"]["cached_tokens"] >= 128
    assert again["output_ids"] == golden[-1]


def test_thinks_and_then_answers(server: Any) -> None:
    message = ask(server, "What is 12 + 30?")
    assert message.content.strip() == "12+30=42."
    assert "42" in message.reasoning_content


def test_answers_without_thinking(server: Any) -> None:
    message = ask(server, "What is 12 + 30?", extra_body={"chat_template_kwargs": {"enable_thinking": False}})
    assert message.content.strip() == "12+30=42."
    assert not message.reasoning_content


def test_streams_the_same_words(server: Any) -> None:
    whole = ask(server, "Who are you?")
    pieces = [piece.choices[0].delta for piece in ask_in_pieces(server, "Who are you?") if piece.choices]
    assert len(pieces) > 10
    assert "".join(piece.content or "" for piece in pieces).strip() == whole.content.strip()


def ask_in_pieces(server: Any, text: str, **options: Any) -> Any:
    return server.client().chat.completions.create(
        model=server.model,
        messages=[{"role": "user", "content": text}],
        temperature=0,
        stream=True,
        **{"max_tokens": 120} | options,
    )


def test_calls_a_tool_and_uses_what_it_returns(server: Any) -> None:
    question = {"role": "user", "content": "What is the weather in Paris?"}
    message = ask(server, "", messages=[question], tools=[WEATHER])
    (call,) = message.tool_calls
    assert call.function.name == "get_weather"
    assert call.function.arguments.replace(" ", "") == '{"city":"Paris"}'
    result = {"role": "tool", "tool_call_id": call.id, "content": '{"weather": "sunny", "temperature": 21}'}
    said = {"role": "assistant", "content": message.content or "", "tool_calls": [call.model_dump()]}
    final = ask(server, "", messages=[question, said, result], tools=[WEATHER])
    assert "sunny" in final.content
    assert "21" in final.content


def test_a_stranger_without_the_key_is_turned_away(server: Any) -> None:
    from openai import AuthenticationError

    client = server.client().with_options(api_key="another")
    with pytest.raises(AuthenticationError):
        client.chat.completions.create(model=server.model, messages=[{"role": "user", "content": "?"}], max_tokens=1)


def test_the_key_stands_in_no_command_line(server: Any) -> None:
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in server.pids()]
    assert len(lines) >= 4
    assert not [line for line in lines if b"test-key" in line]


def test_sigterm_in_the_middle_of_an_answer_lets_it_end_and_leaves_nothing(server: Any) -> None:
    pids = server.pids()
    reason = None
    pieces = ask_in_pieces(server, "Who are you?", max_tokens=60, extra_body={"ignore_eos": True})
    for number, chunk in enumerate(pieces):
        if number == 5:
            server.process.send_signal(signal.SIGTERM)
        reason = chunk.choices[0].finish_reason if chunk.choices else reason
    assert reason == "length"
    assert server.stop() == 0
    deadline = time.monotonic() + 10
    while (left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []
