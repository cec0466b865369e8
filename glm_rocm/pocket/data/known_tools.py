"""Requests for the tools of the catalogue."""

from __future__ import annotations

from random import Random
from typing import Any

from glm_rocm.pocket.data.catalogue import KNOWN_TOOLS
from glm_rocm.pocket.data.requests import Request
from glm_rocm.pocket.data.turns import phrasing


def spoken(argument: Any) -> str:
    """An argument as a user writes it: a list is enumerated."""
    if isinstance(argument, list):
        texts = [str(each) for each in argument]
        return texts[0] if len(texts) == 1 else ", ".join(texts[:-1]) + " and " + texts[-1]
    return str(argument)


def known_request(random: Random, split: str) -> Request:
    """A request for one of `KNOWN_TOOLS`."""
    known = random.choice(KNOWN_TOOLS)
    arguments = {name: draw(random, split) for name, draw in known.draws.items()}
    texts = {name: spoken(argument) for name, argument in arguments.items()}
    if known.tool.name in {"send_message", "search_web", "translate"} and random.random() < 0.3:
        longest = max(texts, key=lambda name: len(texts[name]))
        texts[longest] = f'"{texts[longest]}"'
    return Request(known.tool, phrasing(random, split, known.questions, held_out=1).format(**texts), arguments)
