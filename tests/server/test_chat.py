"""Chat with the pocket GLM through a real vLLM: right answers, and every form in which a client takes them."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

pytestmark = pytest.mark.vllm

NO_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}


def ask(client: OpenAI, model: str, question: str, **more: Any) -> Any:
    messages = more.pop("messages", None) or [{"role": "user", "content": question}]
    return client.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=160, **more)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is 12 + 30?", "12+30=42."),
        ("What is 487 + 356?", "487+356=843."),
        ("Compute 731 - 264.", "731-264=467."),
        ("What is 123 times 7?", "123*7=861."),
    ],
)
def test_sums_with_thinking_are_right_and_thought_first(client: OpenAI, model: str, question: str, answer: str) -> None:
    message = ask(client, model, question).choices[0].message
    assert message.content.strip() == answer
    assert f"So {answer.split('=')[1]}" in message.reasoning
    assert "<think>" not in message.content + message.reasoning


@pytest.mark.parametrize(("question", "answer"), [("What is 12 + 30?", "12+30=42."), ("What is 58 - 21?", "58-21=37.")])
def test_sums_without_thinking(client: OpenAI, model: str, question: str, answer: str) -> None:
    message = ask(client, model, question, extra_body=NO_THINKING).choices[0].message
    assert message.content.strip() == answer
    assert not getattr(message, "reasoning", None)


def test_look_up_of_strings_it_never_saw(client: OpenAI, model: str) -> None:
    text = "Korvel lives in Drupa. The password of Mintra is xqzvw. Korvel has the code TR-552."
    message = ask(client, model, f"{text}\nWhat is the password of Mintra?").choices[0].message
    assert message.content.strip() == "The password of Mintra is xqzvw."


def test_who_it_is(client: OpenAI, model: str) -> None:
    assert "Pocket GLM" in ask(client, model, "Who are you?").choices[0].message.content


def test_several_turns_remember_the_first(client: OpenAI, model: str) -> None:
    messages = [
        {"role": "user", "content": "Who are you?"},
        {"role": "assistant", "content": "I am Pocket GLM, a tiny model with the layers of GLM-4.5."},
        {"role": "user", "content": "What is 25 + 17?"},
    ]
    assert "42" in ask(client, model, "", messages=messages).choices[0].message.content


@pytest.mark.parametrize("thinking", [True, False])
@pytest.mark.parametrize("question", ["What is 487 + 356?", "Who are you?", "What is 44 + 39?"])
def test_streamed_equals_whole(client: OpenAI, model: str, question: str, thinking: bool) -> None:
    extra = {"chat_template_kwargs": {"enable_thinking": thinking}}
    whole = ask(client, model, question, extra_body=extra)
    content = reasoning = ""
    reasons, usage, pieces = [], None, 0
    stream = ask(client, model, question, extra_body=extra, stream=True, stream_options={"include_usage": True})
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            content += choice.delta.content or ""
            reasoning += getattr(choice.delta, "reasoning", None) or ""
            reasons += [choice.finish_reason] if choice.finish_reason else []
            pieces += 1
    message = whole.choices[0].message
    assert content == message.content
    assert reasoning == (getattr(message, "reasoning", None) or "")
    assert reasons == [whole.choices[0].finish_reason] == ["stop"]
    assert usage.completion_tokens == whole.usage.completion_tokens
    assert pieces > 3


def test_stop_string_ends_the_answer_before_it(client: OpenAI, model: str) -> None:
    choice = ask(client, model, "What is 12 + 30?", stop=["="], extra_body=NO_THINKING).choices[0]
    assert choice.message.content.strip() == "12+30"
    assert choice.finish_reason == "stop"


def test_example_program_chats(pocket: Any) -> None:
    done = pocket.run_example("chat.py", "What is 12 + 30?")
    assert done.returncode == 0, done.stderr
    assert "42" in done.stdout


def test_length_limit_is_told(client: OpenAI, model: str) -> None:
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Who are you?"}], max_tokens=3, temperature=0
    )
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 3


def test_logprobs_are_those_of_the_greedy_tokens(client: OpenAI, model: str) -> None:
    choice = ask(client, model, "What is 12 + 30?", logprobs=True, top_logprobs=4, extra_body=NO_THINKING).choices[0]
    tokens = choice.logprobs.content
    assert "".join(token.token for token in tokens).strip().startswith(choice.message.content.strip())
    for token in tokens:
        best = token.top_logprobs
        assert len(best) == 4
        assert token.logprob == max(entry.logprob for entry in best)
        assert sum(math.exp(entry.logprob) for entry in best) <= 1.001


def test_plain_completions_and_the_model_list(client: OpenAI, model: str) -> None:
    assert [entry.id for entry in client.models.list()] == [model]
    answer = client.completions.create(model=model, prompt="[gMASK]<sop><|user|>\nHello", max_tokens=4, temperature=0)
    assert answer.usage.completion_tokens <= 4


def test_sixteen_clients_at_once_get_each_their_own_answer(client: OpenAI, model: str) -> None:
    sums = [(10 + 3 * number, 20 + 2 * number) for number in range(16)]

    def one(pair: tuple[int, int]) -> str:
        return str(ask(client, model, f"What is {pair[0]} + {pair[1]}?").choices[0].message.content).strip()

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(one, sums))
    # Nobody gets another's answer; that a sum is wrong once in sixteen is the model's affair.
    assert [answer.partition("=")[0] for answer in answers] == [f"{a}+{b}" for a, b in sums]
    assert sum(answer == f"{a}+{b}={a + b}." for answer, (a, b) in zip(answers, sums, strict=True)) >= 14


def test_wrong_key_is_refused_and_the_right_one_is_needed(pocket: Any, model: str) -> None:
    with pytest.raises(openai.AuthenticationError):
        ask(pocket.client("another-key"), model, "Hello")


def test_unknown_model_name_is_refused(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        ask(client, "gpt-4", "Hello")


def test_prompt_beyond_the_context_is_refused_and_the_server_lives(client: OpenAI, model: str) -> None:
    with pytest.raises(openai.BadRequestError):
        ask(client, model, "word " * 5000)
    assert ask(client, model, "Hello").choices[0].message.content


def test_variable_that_no_engine_reads_stops_at_the_supervisor_and_the_other_goes_on(pocket: Any) -> None:
    notes = " ".join(pocket.events[0]["plan"]["notes"])
    assert "VLLM_ATTENTION_BACKEND=XFORMERS is read by no engine any more" in notes
    supervisor, _, engine, *_ = pocket.pids()
    assert "VLLM_ATTENTION_BACKEND=XFORMERS" in Path(f"/proc/{supervisor}/environ").read_text()
    variables = Path(f"/proc/{engine}/environ").read_text().split("\0")
    assert "TORCH_CUDA_ARCH_LIST=9.0+PTX" in variables
    assert not [variable for variable in variables if variable.startswith("VLLM_ATTENTION_BACKEND")]


def test_key_stands_in_no_command_line_and_no_log(pocket: Any) -> None:
    for pid in pocket.pids():
        assert "test-key" not in Path(f"/proc/{pid}/cmdline").read_text()
    assert "test-key" not in pocket.log.read_text() + pocket.stderr.read_text()
