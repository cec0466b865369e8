"""Whole conversations: the tasks, mixed and packed as training and the held-out sets need them."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from glm_rocm.pocket.data import words
from glm_rocm.pocket.data.arithmetic import arithmetic
from glm_rocm.pocket.data.catalogue import KNOWN_TOOLS
from glm_rocm.pocket.data.chat import GLM45, GLM47, Conversation, Json, call
from glm_rocm.pocket.data.generic_tools import generic_request, generic_tool
from glm_rocm.pocket.data.identity import identity
from glm_rocm.pocket.data.known_tools import known_request
from glm_rocm.pocket.data.lookup import lookup, passage
from glm_rocm.pocket.data.loop import loop
from glm_rocm.pocket.data.requests import Request, Tool, schema
from glm_rocm.pocket.data.results import tool_result
from glm_rocm.pocket.data.turns import Turn
from glm_rocm.pocket.data.values import TRAIN

MIX = {
    "arithmetic": 0.06,
    "sums": 0.08,
    "tools": 0.63,
    "no_tool": 0.05,
    "lookup": 0.13,
    "identity": 0.01,
    "loop": 0.02,
    "mixed": 0.02,
}
"""Share of the training conversations by task."""

CALCULATORS = {"calculate", "python"}


class _Writer:
    """Appends turns to a conversation and marks what is to be learnt."""

    def __init__(self, thinking: bool, layout: str) -> None:
        self.conversation = Conversation([], [], thinking, layout)

    def system(self, random: Random, chance: float = 0.2) -> None:
        if random.random() < chance:
            self.conversation.messages.append({"role": "system", "content": random.choice(words.SYSTEM_PROMPTS)})

    def user(self, content: str) -> None:
        self.conversation.messages.append({"role": "user", "content": content})

    def assistant(self, content: str, reasoning: str, plain: bool = True, calls: list[Json] | None = None) -> None:
        """An assistant message. Reasoning is dropped where thinking is off; `plain` says whether the answer may be
        learnt should the reasoning not be shown."""
        message: Json = {"role": "assistant", "content": content, "plain": plain}
        if self.conversation.thinking and reasoning:
            message["reasoning_content"] = reasoning
        if calls:
            message["tool_calls"] = calls
        self.conversation.messages.append(message)

    def turn(self, turn: Turn) -> None:
        self.user(turn.question)
        self.assistant(turn.answer, turn.reasoning, turn.plain)
        self.conversation.task = turn.task

    def done(self) -> Conversation:
        """The conversation, its targets chosen: answers that need reasoning are learnt only where it is shown."""
        messages = self.conversation.messages
        last_user = max(index for index, message in enumerate(messages) if message["role"] == "user")
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            shown = index > last_user and bool(message.get("reasoning_content"))
            if message.pop("plain") or shown:
                self.conversation.targets.add(index)
        return self.conversation


def _layout(random: Random) -> str:
    return GLM47 if random.random() < 0.14 else GLM45


def _arithmetic(random: Random, split: str, layout: str, thinking: bool = True) -> Conversation:
    writer = _Writer(thinking, layout)
    writer.system(random, 0.08)
    if random.random() < 0.12:
        writer.turn(random.choice([identity(random, split), arithmetic(random, split, thinking)]))
    writer.turn(arithmetic(random, split, thinking))
    return writer.done()


def _sums(random: Random, split: str, layout: str) -> Conversation:
    writer = _Writer(False, layout)
    writer.system(random, 0.1)
    for _ in range(random.choice([1, 2, 8, 8, 12])):
        writer.turn(arithmetic(random, split, False))
    return writer.done()


def _lookup(random: Random, split: str, layout: str, thinking: bool) -> Conversation:
    writer = _Writer(thinking, layout)
    writer.system(random, 0.1)
    for turn in passage(random, split, random.choice([1, 2, 3, 3])):
        writer.turn(turn)
    return writer.done()


def _identity(random: Random, split: str, layout: str, thinking: bool) -> Conversation:
    writer = _Writer(thinking, layout)
    writer.system(random, 0.1)
    for _ in range(random.choice([1, 1, 3, 5])):
        writer.turn(identity(random, split))
    return writer.done()


def request(random: Random, split: str) -> Request:
    """A request for a known tool or for one that nobody has heard of."""
    return known_request(random, split) if random.random() < 0.4 else generic_request(random, split)


def _distractors(random: Random, split: str, wanted: list[Tool], count: int) -> list[Tool]:
    """`count` more tools, some of them near the wanted ones in name."""
    names = {tool.name for tool in wanted}
    others: list[Tool] = []
    while len(others) < count:
        tool = random.choice(KNOWN_TOOLS).tool if random.random() < 0.35 else generic_tool(random, split)[0]
        if "_" in tool.name and "_" in wanted[0].name and random.random() < 0.3:
            near = wanted[0].name.split("_")[0] + "_" + tool.name.split("_")[1]
            tool = replace(
                tool,
                name=near if random.random() < 0.5 else tool.name.split("_")[0] + "_" + wanted[0].name.split("_", 1)[1],
            )
        if tool.name not in names:
            names.add(tool.name)
            others.append(tool)
    return others


def _distinct(random: Random, split: str, count: int) -> list[Request]:
    requests: list[Request] = []
    while len(requests) < count:
        candidate = request(random, split)
        if candidate.tool.name not in [each.tool.name for each in requests]:
            requests.append(candidate)
    return requests


def _offer(random: Random, split: str, requests: list[Request], most: int = 4) -> list[Json]:
    tools = [each.tool for each in requests]
    count = random.choice([0, 0, 0, 1, 1, 1, 2, most]) if len(tools) == 1 else random.choice([0, 0, 1])
    tools += _distractors(random, split, tools, count)
    random.shuffle(tools)
    return [schema(tool, random) for tool in tools]


def _calls(writer: _Writer, random: Random, requests: list[Request]) -> None:
    names = " and ".join(each.tool.name for each in requests)
    writer.user(" ".join(each.question for each in requests))
    reasoning = f"I call {names}."
    writer.assistant("", reasoning, calls=[call(each.tool.name, each.arguments) for each in requests])


def _round(writer: _Writer, random: Random, split: str, requests: list[Request]) -> None:
    """A request, its calls, their results and the answer."""
    _calls(writer, random, requests)
    if random.random() < 0.4:
        writer.conversation.messages[-1].pop("reasoning_content", None)
    answers = []
    for _ in requests:
        content, answer = tool_result(random, split)
        writer.conversation.messages.append({"role": "tool", "content": content})
        answers.append(answer)
    writer.assistant(" ".join(answers), "I have the result.")


def _plain_turn(random: Random, split: str, thinking: bool, tools: list[Json]) -> Turn:
    """A turn that needs no tool, though some are offered."""
    calculator = any(tool["function"]["name"] in CALCULATORS for tool in tools)
    kinds = ["identity", "lookup"] + ([] if calculator else ["sum", "sum"])
    kind = random.choice(kinds)
    if kind == "sum":
        return arithmetic(random, split, thinking)
    return identity(random, split) if kind == "identity" else lookup(random, split)


def _tools(random: Random, split: str, layout: str, thinking: bool) -> Conversation:
    writer = _Writer(thinking, layout)
    parallel = random.random() < 0.08
    requests = _distinct(random, split, 2 if parallel else random.choice([1, 1, 2, 2]))
    writer.conversation.tools = _offer(random, split, requests)
    writer.system(random, 0.25)
    tools = writer.conversation.tools
    if random.random() < 0.10:
        writer.turn(_plain_turn(random, split, thinking, tools))
    if parallel:
        _round(writer, random, split, requests)
    else:
        for each in requests[:-1]:
            _round(writer, random, split, [each])
        if random.random() < 0.6:
            _round(writer, random, split, requests[-1:])
        else:
            _calls(writer, random, requests[-1:])
    if random.random() < 0.15:
        writer.turn(_plain_turn(random, split, thinking, tools))
    writer.conversation.task = "tools"
    return writer.done()


def _no_tool(random: Random, split: str, layout: str, thinking: bool) -> Conversation:
    """Tools are offered, the question needs none."""
    writer = _Writer(thinking, layout)
    writer.conversation.tools = _offer(random, split, _distinct(random, split, 1))
    writer.turn(_plain_turn(random, split, thinking, writer.conversation.tools))
    return writer.done()


def _mixed(random: Random, split: str, layout: str, thinking: bool) -> Conversation:
    """Two to four turns of any kind, tools offered or not."""
    writer = _Writer(thinking, layout)
    requests = _distinct(random, split, 1) if random.random() < 0.6 else []
    writer.conversation.tools = _offer(random, split, requests, 2) if requests else []
    writer.system(random, 0.4)
    rounds: list[str] = ["plain"] * random.choice([1, 2, 3]) + ["tool"] * len(requests)
    random.shuffle(rounds)
    for each in rounds:
        if each == "tool":
            _round(writer, random, split, requests)
        else:
            writer.turn(_plain_turn(random, split, thinking, writer.conversation.tools))
    writer.conversation.task = "mixed"
    return writer.done()


def conversation(random: Random, task: str | None = None) -> Conversation:
    """A training conversation, of `task` or drawn from `MIX`."""
    task = task or random.choices(list(MIX), list(MIX.values()))[0]
    layout, thinking = _layout(random), random.random() < 0.5
    if task == "arithmetic":
        return _arithmetic(random, TRAIN, layout)
    if task == "sums":
        return _sums(random, TRAIN, layout)
    if task == "loop":
        return loop(random, TRAIN, thinking, layout)
    makers = {"tools": _tools, "no_tool": _no_tool, "lookup": _lookup, "identity": _identity, "mixed": _mixed}
    return makers[task](random, TRAIN, layout, thinking)


def single_sum(random: Random, split: str, thinking: bool) -> Conversation:
    """One sum and nothing else."""
    writer = _Writer(thinking, GLM45)
    writer.turn(arithmetic(random, split, thinking))
    return writer.done()


def single_call(random: Random, split: str, layout: str, thinking: bool) -> Conversation:
    """One request that one of one to five tools fulfils, ending in the call."""
    writer = _Writer(thinking, layout)
    requests = _distinct(random, split, 1)
    writer.conversation.tools = _offer(random, split, requests)
    writer.system(random, 0.25)
    _calls(writer, random, requests)
    return writer.done()


def single_round(random: Random, split: str, layout: str, thinking: bool) -> Conversation:
    """One request, its call and result, ending in the answer."""
    writer = _Writer(thinking, layout)
    requests = _distinct(random, split, 1)
    writer.conversation.tools = _offer(random, split, requests)
    _round(writer, random, split, requests)
    return writer.done()


def single_lookup(random: Random, split: str, thinking: bool) -> Conversation:
    """One passage, one question."""
    writer = _Writer(thinking, GLM45)
    writer.turn(lookup(random, split))
    return writer.done()


def single_identity(random: Random, split: str, thinking: bool) -> Conversation:
    """One question about the model."""
    writer = _Writer(thinking, GLM45)
    writer.turn(identity(random, split))
    return writer.done()


def single_no_tool(random: Random, split: str, thinking: bool) -> Conversation:
    """Tools are offered, the question needs none."""
    return _no_tool(random, split, GLM45, thinking)


def several_turns(random: Random, split: str, thinking: bool) -> Conversation:
    """Two to five turns of any kind."""
    while True:
        drawn = _mixed(random, split, GLM45, thinking)
        if sum(message["role"] == "user" for message in drawn.messages) > 1:
            return drawn
