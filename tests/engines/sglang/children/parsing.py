"""Parse answers with SGLang's parsers `glm` and `glm45`, or with ours in their place: `parsing.py stock|ours`.

Answer per golden message on stdin: what the whole text gives, and each different thing that some cut gives.
"""

import json
import sys
from typing import Any

from glm_rocm.engines.sglang import torchvision

torchvision.watch()

from sglang.srt.entrypoints.openai.protocol import Tool  # noqa: E402
from sglang.srt.function_call.function_call_parser import FunctionCallParser  # noqa: E402
from sglang.srt.parser.reasoning_parser import ReasoningParser  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

from glm_rocm.pocket import checkpoint_path  # noqa: E402

golden = json.load(sys.stdin)
tokenizer = AutoTokenizer.from_pretrained(checkpoint_path())
tools = [Tool(**tool) for tool in golden["tools"]]
if sys.argv[1] == "ours":
    from glm_rocm.engines.sglang.parsing import GlmCalls, GlmThinking

    FunctionCallParser.ToolCallParserEnum["glm"] = GlmCalls
    ReasoningParser.DetectorMap["glm45"] = GlmThinking


def parsers(message: dict[str, Any], stream: bool) -> tuple[Any, Any]:
    """As `serving_chat` makes them: thinking is forced wherever it is on."""
    thinking = ReasoningParser("glm45", stream, message["thinking"] == "on", None, tokenizer=tokenizer)
    no_call = message.get("request", {}).get("tool_choice") == "none"
    return thinking, None if no_call else FunctionCallParser(tools, "glm", tokenizer=tokenizer)


def outcome(reasoning: str | None, content: str | None, calls: list[list[str]]) -> dict[str, Any]:
    return {"reasoning": reasoning or None, "content": content or None, "calls": calls}


def whole(message: dict[str, Any]) -> dict[str, Any]:
    thinking, tool_calls = parsers(message, stream=False)
    reasoning, text = thinking.parse_non_stream(message["text"])
    calls = []
    if tool_calls and tool_calls.has_tool_call(text):
        text, calls = tool_calls.parse_non_stream(text)
    return outcome(reasoning, text, [[call.name, call.parameters] for call in calls])


def pieces(message: dict[str, Any], chunks: list[str]) -> dict[str, Any]:
    thinking, tool_calls = parsers(message, stream=True)
    reasoning = content = ""
    calls: dict[int, list[str]] = {}
    for number, chunk in enumerate(chunks):
        last = number == len(chunks) - 1
        parts = [thinking.parse_stream_chunk(chunk)] + ([thinking.parse_stream_end()] if last else [])
        reasoning += "".join(part[0] or "" for part in parts)
        text = "".join(part[1] or "" for part in parts)
        found = []
        if tool_calls:
            text, found = tool_calls.parse_stream_chunk(text)
            if last:
                rest, more = tool_calls.parse_stream_end()
                text, found = (text or "") + rest, [*found, *more]
        content += text or ""
        for call in found:
            known = calls.setdefault(call.tool_index, ["", ""])
            known[0] += call.name or ""
            known[1] += call.parameters or ""
    return outcome(reasoning, content, [calls[index] for index in sorted(calls)])


def cuts(text: str) -> dict[str, list[str]]:
    """Every cut in two, and every constant number of characters per piece."""
    by_size = {
        f"by {size}": [text[at : at + size] for at in range(0, len(text), size)]
        for size in (1, 2, 3, 4, 5, 8, 13, len(text))
    }
    return by_size | {f"at {at}": [text[:at], text[at:]] for at in range(1, len(text))}


def run(message: dict[str, Any]) -> dict[str, Any]:
    streamed: dict[str, list[str]] = {}
    for cut, chunks in cuts(message["text"]).items():
        streamed.setdefault(json.dumps(pieces(message, chunks)), []).append(cut)
    return {"whole": whole(message), "streamed": [[json.loads(key), names] for key, names in streamed.items()]}


print("RESULT " + json.dumps({name: run(message) for name, message in golden["messages"].items()}))
