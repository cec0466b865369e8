"""GLM's chat format, written out by hand, so that the chat template has something independent to agree with.

A conversation is rendered to *segments*: pieces of text, each marked as a target (the model must learn to
write it) or not (the model only reads it).

Two layouts exist. `GLM45` is that of GLM-4.5 and GLM-4.6: a newline after each role and inside a tool call, an
empty `<think></think>` where nothing is thought, `/nothink` after the user's words. `GLM47` is that of GLM-4.7: no
newlines, a lone `</think>` where nothing is thought, and a prompt that already opens `<think>`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

GLM45 = "glm45"
GLM47 = "glm47"

TOOLS_HEAD = (
    "<|system|>\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n"
)
_TOOLS_TAIL = (
    "</tools>\n\nFor each function call, output the function name and arguments within the following XML format:\n"
)
TOOLS_TAIL = {
    GLM45: _TOOLS_TAIL + "<tool_call>{function-name}\n<arg_key>{arg-key-1}</arg_key>\n<arg_value>{arg-value-1}"
    "</arg_value>\n<arg_key>{arg-key-2}</arg_key>\n<arg_value>{arg-value-2}</arg_value>\n...\n</tool_call>",
    GLM47: _TOOLS_TAIL + "<tool_call>{function-name}<arg_key>{arg-key-1}</arg_key><arg_value>{arg-value-1}"
    "</arg_value><arg_key>{arg-key-2}</arg_key><arg_value>{arg-value-2}</arg_value>...</tool_call>",
}

Json = dict[str, Any]


@dataclass
class Conversation:
    """A conversation in the shape of an OpenAI request, plus what the trainer needs to know of it.

    Attributes:
        messages: OpenAI messages. `reasoning_content` of an assistant is what it thinks, `tool_calls` carry their
            arguments as a dict.
        tools: OpenAI tool definitions.
        thinking: what `enable_thinking` would be.
        layout: `GLM45` or `GLM47`.
        targets: indices of the assistant messages that the model must learn; the rest is only read.
        task: name of the task that the last answer belongs to.
    """

    messages: list[Json]
    tools: list[Json] = field(default_factory=list)
    thinking: bool = True
    layout: str = GLM45
    targets: set[int] = field(default_factory=set)
    task: str = ""


ROLE_TOKEN = {"system": "<|system|>", "user": "<|user|>", "tool": "<|observation|>"}


@dataclass(frozen=True)
class Segment:
    """A piece of rendered text; `target` says whether the model must learn to write it."""

    text: str
    target: bool


def call(name: str, arguments: Json) -> Json:
    """An OpenAI tool call with its arguments as a dict."""
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def render_call(name: str, arguments: Json, layout: str) -> str:
    """The text of one tool call: strings stand bare, every other value as JSON."""
    newline = "\n" if layout == GLM45 else ""
    pairs = "".join(
        f"<arg_key>{key}</arg_key>{newline}<arg_value>"
        f"{value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}</arg_value>{newline}"
        for key, value in arguments.items()
    )
    return f"{newline}<tool_call>{name}{newline}{pairs}</tool_call>"


def render_tools(tools: list[Json], layout: str) -> str:
    """The system turn that offers `tools`, or nothing."""
    if not tools:
        return ""
    lines = "".join(json.dumps(tool, ensure_ascii=False) + "\n" for tool in tools)
    return TOOLS_HEAD + lines + TOOLS_TAIL[layout]


def _thought(message: Json, open_turn: bool, conversation: Conversation) -> tuple[str, str]:
    """What stands between `<|assistant|>` and the answer: (given by the prompt, written by the model).

    Reasoning is kept only in turns after the last user message (`open_turn`), as GLM's template does.
    """
    reasoning = message.get("reasoning_content", "") if open_turn else ""
    if conversation.layout == GLM45:
        return ("", f"\n<think>{reasoning}</think>") if reasoning else ("\n<think></think>", "")
    return ("<think>", f"{reasoning}</think>") if reasoning else ("</think>", "")


def _assistant(index: int, message: Json, last_user: int, conversation: Conversation) -> Iterator[Segment]:
    target = index in conversation.targets
    given, thought = _thought(message, index > last_user, conversation)
    yield Segment("<|assistant|>" + given, False)
    newline = "\n" if conversation.layout == GLM45 else ""
    text = thought + (newline + message["content"] if message.get("content") else "")
    for item in message.get("tool_calls", []):
        function = item["function"]
        text += render_call(function["name"], function["arguments"], conversation.layout)
    yield Segment(text, target)


def _other(message: Json, previous: Json | None, ends_target: bool, conversation: Conversation) -> Iterator[Segment]:
    """A system, user or tool message. Results of parallel calls share one `<|observation|>`."""
    newline = "\n" if conversation.layout == GLM45 else ""
    role, content = message["role"], message["content"]
    if role != "tool" or previous is None or previous["role"] != "tool":
        yield Segment(ROLE_TOKEN[role], ends_target)
    if role == "tool":
        yield Segment(f"{newline}<tool_response>{newline}{content}{newline}</tool_response>", False)
    else:
        switch = "/nothink" if role == "user" and conversation.layout == GLM45 and not conversation.thinking else ""
        yield Segment(newline + content + switch, False)


def segments(conversation: Conversation) -> list[Segment]:
    """Render `conversation` for training.

    The role token that ends a target answer (`<|user|>` after an answer, `<|observation|>` after a tool call) is a
    target too: it is how the model stops.
    """
    messages = conversation.messages
    last_user = max((i for i, message in enumerate(messages) if message["role"] == "user"), default=-1)
    parts = [Segment("[gMASK]<sop>" + render_tools(conversation.tools, conversation.layout), False)]
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            parts += _assistant(index, message, last_user, conversation)
        else:
            previous = messages[index - 1] if index else None
            parts += _other(message, previous, index - 1 in conversation.targets, conversation)
    last = len(messages) - 1
    if messages[last]["role"] == "assistant":
        stop = "<|observation|>" if messages[last].get("tool_calls") else "<|user|>"
        parts.append(Segment(stop, last in conversation.targets))
    return parts


def prompt_and_answer(conversation: Conversation) -> tuple[str, str]:
    """The prompt that serving would send for the last assistant message, and the text expected of the model."""
    parts = segments(conversation)
    prompt = "".join(part.text for part in parts[:-2])
    return prompt, parts[-2].text + parts[-1].text
