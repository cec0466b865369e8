"""What a tool of the catalogue is, and how its arguments are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from glm_rocm.pocket.data import values
from glm_rocm.pocket.data.requests import Argument, Tool
from glm_rocm.pocket.data.turns import forms

Draw = Callable[[Random, str], Any]
CURRENCIES = forms("USD | EUR | GBP | JPY | CNY | CHF | SEK | INR | KRW | BRL")
LANGUAGES = forms("French | German | Spanish | Chinese | Italian | Japanese | Korean | Polish")
ROOMS = forms("kitchen | bedroom | bathroom | office | garden | garage | hall")


@dataclass(frozen=True)
class KnownTool:
    """A tool, how to draw each argument, and ways to ask for it (`{argument}` stands for what the user writes)."""

    tool: Tool
    draws: dict[str, Draw]
    questions: list[str]


def declared(name: str, description: str, *arguments: Argument) -> Tool:
    return Tool(name, description, arguments)


def one_of(options: list[str]) -> Draw:
    return lambda random, split: random.choice(options)


def integer(low: int, high: int) -> Draw:
    return lambda random, split: random.randint(low, high)


def amount(random: Random, split: str) -> int | float:
    return random.choice([random.randint(1, 1000), round(random.uniform(0.5, 500), 1), round(random.uniform(1, 99), 2)])


def message(random: Random, split: str) -> str:
    return " ".join(values.value(random, split) for _ in range(random.choice([1, 1, 2])))


def symbol(random: Random, split: str) -> str:
    return values.drawn(
        split, lambda: "".join(random.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(random.choice([3, 4])))
    )


def expression(random: Random, split: str) -> str:
    parts = [str(random.randint(1, 999))]
    for _ in range(random.choice([1, 1, 2])):
        parts += [random.choice("+-*/"), str(random.randint(1, 999))]
    return random.choice([" ", ""]).join(parts)


def item_ids(random: Random, split: str) -> list[str]:
    return [values.code(random, split) for _ in range(random.choice([1, 2, 2, 3]))]


def order_id(random: Random, split: str) -> str:
    return values.drawn(split, lambda: random.choice(["#W", "#", "W"]) + str(random.randint(1000, 9999999)))
