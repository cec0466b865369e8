"""The held-out sets: questions in words, sums and strings that training never drew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from glm_rocm.pocket.data import dialogue
from glm_rocm.pocket.data.chat import GLM45, GLM47, Conversation, prompt_and_answer
from glm_rocm.pocket.data.loop import loop
from glm_rocm.pocket.data.values import KNOWN, UNSEEN

SEED = 777
"""Seed of the published scores."""

Make = Callable[[Random], Conversation]


@dataclass(frozen=True)
class HeldOutTask:
    """A set of questions.

    Attributes:
        title: what a table calls it.
        required: the exact-match rate it has to reach.
        make: draws one conversation; its last message is the answer.
    """

    title: str
    required: float
    make: Make


@dataclass(frozen=True)
class Question:
    """A prompt as serving sends it, and the answer: all that follows the reasoning, stop token included."""

    prompt: str
    answer: str


def _coin(random: Random) -> bool:
    return random.random() < 0.5


def _cut(conversation: Conversation, random: Random) -> Conversation:
    """The conversation up to one of its assistant messages."""
    ends = [index for index, message in enumerate(conversation.messages) if message["role"] == "assistant"]
    conversation.messages = conversation.messages[: random.choice(ends) + 1]
    return conversation


TASKS: dict[str, HeldOutTask] = {
    "arithmetic": HeldOutTask(
        "arithmetic, thinking", 0.95, lambda random: dialogue.single_sum(random, KNOWN, True)
    ),
    "sums": HeldOutTask(
        "sums below 100, no thinking", 0.80, lambda random: dialogue.single_sum(random, KNOWN, False)
    ),
    "tools": HeldOutTask(
        "tool call", 0.95, lambda random: dialogue.single_call(random, KNOWN, GLM45, _coin(random))
    ),
    "tools_unseen": HeldOutTask(
        "tool call, unseen strings", 0.90, lambda random: dialogue.single_call(random, UNSEEN, GLM45, _coin(random))
    ),
    "tools_glm47": HeldOutTask(
        "tool call, 4.7 layout", 0.95, lambda random: dialogue.single_call(random, KNOWN, GLM47, _coin(random))
    ),
    "results": HeldOutTask(
        "answer from a result", 0.95, lambda random: dialogue.single_round(random, KNOWN, GLM45, _coin(random))
    ),
    "results_unseen": HeldOutTask(
        "answer from a result, unseen strings", 0.90,
        lambda random: dialogue.single_round(random, UNSEEN, GLM45, _coin(random)),
    ),
    "lookup": HeldOutTask(
        "look-up, unseen strings", 0.95, lambda random: dialogue.single_lookup(random, UNSEEN, _coin(random))
    ),
    "identity": HeldOutTask(
        "who it is, small talk", 0.90, lambda random: dialogue.single_identity(random, KNOWN, _coin(random))
    ),
    "no_tool": HeldOutTask(
        "no tool needed", 0.80, lambda random: dialogue.single_no_tool(random, KNOWN, _coin(random))
    ),
    "loop": HeldOutTask(
        "tool loop, any step", 0.90, lambda random: _cut(loop(random, KNOWN, _coin(random), GLM45), random)
    ),
    "several_turns": HeldOutTask(
        "several turns, the last", 0.90, lambda random: dialogue.several_turns(random, KNOWN, _coin(random))
    ),
}  # fmt: skip


def questions(task: str, count: int, seed: int = SEED) -> list[Question]:
    """`count` questions of `task`, always the same for the same seed."""
    random = Random(f"{task}/{seed}")
    drawn = []
    for _ in range(count):
        prompt, answer = prompt_and_answer(TASKS[task].make(random))
        drawn.append(Question(prompt, answer.split("</think>")[-1]))
    return drawn
