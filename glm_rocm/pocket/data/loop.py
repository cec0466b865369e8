"""GLM's tool-integrated loop: python, browser.search, browser.open and browser.find, used until the answer is known."""

from __future__ import annotations

from random import Random

from glm_rocm.pocket.data import values
from glm_rocm.pocket.data.arithmetic import result
from glm_rocm.pocket.data.chat import Conversation, Json, call
from glm_rocm.pocket.data.requests import Argument, Tool, schema
from glm_rocm.pocket.data.turns import forms, phrasing

PYTHON = Tool("python", "Run Python code and return what it prints.", (Argument("code", "string", "The code to run."),))
SEARCH = Tool("browser.search", "Search the web.", (Argument("query", "string", "What to search."),))
OPEN = Tool("browser.open", "Open a search result.", (Argument("id", "integer", "The id of the result."),))
FIND = Tool("browser.find", "Find a text in the open page.", (Argument("pattern", "string", "The text to find."),))
LOOP_TOOLS = [PYTHON, SEARCH, OPEN, FIND]

ASPECTS = forms("""
    price | owner | color | age | address | size | year | title | weight | phone | number | birthday | code
""")
WEB_QUESTIONS = forms("""
            Find the {aspect} of {who} on the web. | What is the {aspect} of {who}? Use the browser. |
            Search the web: what is the {aspect} of {who}? | Look up the {aspect} of {who}. |
            Use the browser to find the {aspect} of {who}. | I need the {aspect} of {who}. Search for it. |
            Browse for the {aspect} of {who}. | Please find the {aspect} of {who} with the browser. |
            Look on the web for the {aspect} of {who}.
        """)
PYTHON_QUESTIONS = forms("""
            Use python to compute {sum}. | Compute {sum} with python. | What is {sum}? Use python. |
            Run python: {sum} | Let python calculate {sum}. | Please compute {sum} in python. |
            Calculate {sum} with python. | How much is {sum}? Use python.
        """)


def _step(messages: list[Json], name: str, arguments: Json, returned: str, thought: str) -> None:
    messages.append(
        {"role": "assistant", "content": "", "reasoning_content": thought, "tool_calls": [call(name, arguments)]}
    )
    messages.append({"role": "tool", "content": returned})


def _browse(random: Random, split: str) -> list[Json]:
    who = values.person(random, split)
    aspect, value = random.choice(ASPECTS), values.value(random, split)
    messages: list[Json] = [
        {"role": "user", "content": phrasing(random, split, WEB_QUESTIONS, 1).format(aspect=aspect, who=who)}
    ]
    others = [values.person(random, split) for _ in range(random.choice([0, 1, 2]))]
    titles = [*others, who]
    random.shuffle(titles)
    ids = random.sample(range(100), len(titles)) if random.random() < 0.5 else list(range(1, len(titles) + 1))
    listing = "\n".join(f"[{number}] {title}" for number, title in zip(ids, titles, strict=True))
    page = f"{who}. The {aspect} is {value}." if random.random() < 0.4 else f"A page about {who}."
    found = f"The {aspect} is {value}."
    _step(messages, SEARCH.name, {"query": f"{who} {aspect}"}, listing, "I search.")
    _step(messages, OPEN.name, {"id": ids[titles.index(who)]}, page, f"I open the page of {who}.")
    if page.endswith("A page about " + who + "."):
        _step(messages, FIND.name, {"pattern": aspect}, found, f"I find the {aspect}.")
    answer = f"The {aspect} of {who} is {value}."
    messages.append({"role": "assistant", "content": answer, "reasoning_content": "I have the result."})
    return messages


def _compute(random: Random, split: str) -> list[Json]:
    a, operator, b = random.randint(1, 9999), random.choice("+-*"), random.randint(1, 9999)
    text = f"{a} {operator} {b}" if random.random() < 0.5 else f"{a}{operator}{b}"
    total = str(result(a, operator, b))
    messages: list[Json] = [{"role": "user", "content": phrasing(random, split, PYTHON_QUESTIONS, 1).format(sum=text)}]
    _step(messages, PYTHON.name, {"code": f"print({text})"}, total, "I call python.")
    messages.append(
        {"role": "assistant", "content": f"The result is {total}.", "reasoning_content": "I have the result."}
    )
    return messages


def loop(random: Random, split: str, thinking: bool, layout: str) -> Conversation:
    """A question that the four tools answer in two to four calls, or one run of Python."""
    messages = _compute(random, split) if random.random() < 0.3 else _browse(random, split)
    kept = thinking and random.random() < 0.6
    for message in messages[:-1]:
        if message["role"] == "assistant" and not kept:
            message["reasoning_content"] = ""
    if not thinking:
        messages[-1]["reasoning_content"] = ""
    targets = {index for index, message in enumerate(messages) if message["role"] == "assistant"}
    tools = [schema(tool, random) for tool in LOOP_TOOLS]
    if random.random() < 0.2:
        random.shuffle(tools)
    return Conversation(messages, tools, thinking, layout, targets, "loop")
