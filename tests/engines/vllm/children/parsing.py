"""Parse answers with the parsers of a name, whole and in every cut: `parsing.py NAME` reads the cases from stdin.

Each case: {"text", "prompt", "tools", "request": {...}}. Answer per case: what the whole text gives, and each different
thing that some cut gives, with the cuts.
"""

import json
import sys
from typing import Any

from transformers import AutoTokenizer
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.parser.parser_manager import ParserManager
from vllm.plugins import load_general_plugins

from glm_rocm.pocket import checkpoint_path

load_general_plugins()
tokenizer = AutoTokenizer.from_pretrained(checkpoint_path())


def outcome(reasoning: str | None, content: str | None, calls: list[list[str]]) -> dict[str, Any]:
    return {"reasoning": reasoning or None, "content": content or None, "calls": calls}


def whole(parser: Any, text: str, request: Any) -> dict[str, Any]:
    ids = tokenizer.encode(text, add_special_tokens=False)
    reasoning, content, calls = parser.parse(text, request, enable_auto_tools=True, model_output_token_ids=ids)
    return outcome(reasoning, content, [[call.name, call.arguments] for call in calls or []])


def pieces(parser: Any, chunks: list[list[int]], request: Any, prompt: list[int]) -> dict[str, Any]:
    reasoning = content = shown = ""
    calls: dict[int, list[str]] = {}
    so_far: list[int] = []
    for number, chunk in enumerate(chunks):
        so_far = so_far + chunk
        text = tokenizer.decode(so_far).rstrip("\ufffd")  # a character cut in two waits for its rest, as in vLLM
        last = number == len(chunks) - 1
        delta = parser.parse_delta(text[len(shown) :], chunk, request, prompt_token_ids=prompt, finished=last)
        shown = text
        if delta is None:
            continue
        reasoning += delta.reasoning or ""
        content += delta.content or ""
        for call in delta.tool_calls or []:
            known = calls.setdefault(call.index, ["", ""])
            known[0] += call.function.name or ""
            known[1] += call.function.arguments or ""
    return outcome(reasoning, content, [calls[index] for index in sorted(calls)])


def cuts(ids: list[int]) -> dict[str, list[list[int]]]:
    """Every cut in two, and every constant number of tokens per piece (MTP and stream intervals give several)."""
    by_size = {
        f"by {size}": [ids[at : at + size] for at in range(0, len(ids), size)]
        for size in (1, 2, 3, 4, 5, 8, 13, len(ids))
    }
    in_two = {f"at {at}": [ids[:at], ids[at:]] for at in range(1, len(ids))}
    return by_size | in_two


def run(case: dict[str, Any], name: str) -> dict[str, Any]:
    made = ParserManager.get_parser(
        tool_parser_name=name, reasoning_parser_name="glm45", enable_auto_tools=True, tokenizer=tokenizer
    )
    request = ChatCompletionRequest(
        model="glm", messages=[{"role": "user", "content": "?"}], tools=case["tools"], **case.get("request", {})
    )
    kwargs = request.chat_template_kwargs or {}
    prompt = tokenizer.encode(case["prompt"], add_special_tokens=False)

    def parser() -> Any:
        return made(tokenizer, request.tools, chat_template_kwargs=kwargs)

    streamed: dict[str, list[str]] = {}
    for cut, chunks in cuts(tokenizer.encode(case["text"], add_special_tokens=False)).items():
        streamed.setdefault(json.dumps(pieces(parser(), chunks, request, prompt)), []).append(cut)
    return {
        "whole": whole(parser(), case["text"], request),
        "streamed": [[json.loads(k), v] for k, v in streamed.items()],
    }


cases = json.load(sys.stdin)
print("RESULT " + json.dumps({name: run(case, sys.argv[1]) for name, case in cases.items()}))
