"""GLM's tool-integrated reasoning: call tools until the model has its answer.

    make serve                                                                 # in one terminal
    python examples/tool_loop.py "Use python to compute 2834 * 57."            # in another
    python examples/tool_loop.py "What is the weight of Brimo? Use the browser."

The loop is that of GLM's guide (resources/glm_4.6_tir_guide.md): send the conversation, run each tool call, append its
result, until the finish reason is another than `tool_calls`. The four tools are those of the guide: `python`, here a
calculator, since code that a model wrote belongs in a sandbox, and a browser, here over three pages in this file.

Needs `pip install openai`.
"""

from __future__ import annotations

import ast
import json
import operator
import os
import sys
from collections.abc import Callable
from typing import Any

from openai import OpenAI

PAGES = {
    "Anna": "The price is 52. The owner is Tom.",
    "Brimo": "The weight is 317. The color is green.",
    "Zelka": "The code is QX4T. The street is Maple Road.",
}
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}
MOST_TURNS = 16


def python(code: str) -> str:
    """The value of an arithmetic expression, bare or inside `print(...)`."""
    node = ast.parse(code.strip(), mode="eval").body
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print" and len(node.args) == 1:
        node = node.args[0]
    return str(value(node))


def value(node: ast.expr) -> int | float:
    """An expression of numbers, +, - and *."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        result: int | float = OPERATORS[type(node.op)](value(node.left), value(node.right))
        return result
    raise ValueError(f"this python only adds, subtracts and multiplies, not `{ast.unparse(node)}`")


class Browser:
    """Search, open, find over PAGES."""

    def __init__(self) -> None:
        self.page = ""

    def search(self, query: str) -> str:
        """The pages whose title the query names, else all of them, each with its id."""
        numbered = list(enumerate(PAGES, 1))
        hits = [(number, title) for number, title in numbered if title.lower() in query.lower()]
        return "\n".join(f"[{number}] {title}" for number, title in hits or numbered)

    def open(self, id: int) -> str:
        """Open the page with this id."""
        self.page = list(PAGES)[id - 1]
        return f"A page about {self.page}."

    def find(self, pattern: str) -> str:
        """The sentences of the open page that hold the pattern."""
        sentences = PAGES.get(self.page, "").split(". ")
        found = [sentence.strip(".") + "." for sentence in sentences if pattern.lower() in sentence.lower()]
        return " ".join(found) or f"no `{pattern}` on this page"


def schema(name: str, description: str, argument: str, kind: str) -> dict[str, Any]:
    """A tool with one argument, in OpenAI's form."""
    parameters = {"type": "object", "properties": {argument: {"type": kind}}, "required": [argument]}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


TOOLS: Any = [
    schema("python", "Run Python code and return what it prints.", "code", "string"),
    schema("browser.search", "Search the web.", "query", "string"),
    schema("browser.open", "Open a search result.", "id", "integer"),
    schema("browser.find", "Find a text in the open page.", "pattern", "string"),
]


def run(name: str, arguments: str, browser: Browser) -> str:
    """One call as the model made it. A tool that fails says so in its result, and the model may try again."""
    known: dict[str, Callable[..., str]] = {
        "python": python,
        "browser.search": browser.search,
        "browser.open": browser.open,
        "browser.find": browser.find,
    }
    try:
        return str(known[name](**json.loads(arguments)))
    except (KeyError, IndexError, SyntaxError, TypeError, ValueError) as error:
        return f"error: {error}"


def answer(client: OpenAI, model: str, question: str) -> str:
    """The loop. Thoughts travel back with their calls: within a turn, GLM goes on from what it thought."""
    browser = Browser()
    messages: list[Any] = [{"role": "user", "content": question}]
    for _ in range(MOST_TURNS):
        reply: Any = client.chat.completions.create(model=model, messages=messages, tools=TOOLS, temperature=0)
        choice = reply.choices[0]
        if choice.finish_reason != "tool_calls":
            return choice.message.content or ""
        said = choice.message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"})
        messages.append({**said, "reasoning": getattr(choice.message, "reasoning", None) or ""})
        for call in choice.message.tool_calls:
            result = run(call.function.name, call.function.arguments, browser)
            print(f"{call.function.name}({call.function.arguments}) -> {result}", file=sys.stderr)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    raise SystemExit(f"no answer after {MOST_TURNS} turns")


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit('usage: python examples/tool_loop.py "QUESTION"')
    client = OpenAI(
        base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1"),
        api_key=os.environ.get("OPENAI_API_KEY", "none"),
    )
    print(answer(client, client.models.list().data[0].id, sys.argv[1]))


if __name__ == "__main__":
    main()
