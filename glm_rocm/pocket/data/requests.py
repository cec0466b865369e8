"""What a tool call is made of: typed arguments, the call a user asks for, the tool's schema as clients send it."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Argument:
    """One parameter of a tool; `type` is a JSON schema type, `items` that of an array's elements."""

    name: str
    type: str = "string"
    description: str = ""
    enum: tuple[str, ...] = ()
    required: bool = True
    items: str = "string"


@dataclass(frozen=True)
class Tool:
    """A tool as a client declares it."""

    name: str
    description: str
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class Request:
    """A user's wish that one call of `tool` fulfils."""

    tool: Tool
    question: str
    arguments: Json = field(default_factory=dict)


def _property(argument: Argument, described: bool) -> Json:
    declared: Json = {"type": argument.type}
    if argument.type == "array":
        declared["items"] = {"type": argument.items}
    if described and argument.description:
        declared["description"] = argument.description
    if argument.enum:
        declared["enum"] = list(argument.enum)
    return declared


def schema(tool: Tool, random: Random) -> Json:
    """The OpenAI definition of `tool`, with the small differences that clients show.

    Parameters are described or not; `required` may be missing when nothing is required; `strict` and
    `additionalProperties` come along with structured outputs; vLLM writes a missing description or missing parameters
    as null.
    """
    described = random.random() < 0.4
    strict = random.random() < 0.12
    parameters: Json = {
        "type": "object",
        "properties": {each.name: _property(each, described) for each in tool.arguments},
    }
    required = [each.name for each in tool.arguments if each.required]
    if required or random.random() < 0.5:
        parameters["required"] = required
    if strict or random.random() < 0.06:
        parameters["additionalProperties"] = False
    function: Json = {"name": tool.name}
    if tool.description and random.random() < 0.9:
        function["description"] = tool.description
    elif random.random() < 0.5:
        function["description"] = None
    if tool.arguments or random.random() < 0.7:
        function["parameters"] = parameters
    elif random.random() < 0.5:
        function["parameters"] = None
    if strict:
        function["strict"] = True
    return {"type": "function", "function": function}
