"""One question and its answer: the unit that conversations are made of."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from glm_rocm.pocket.data.values import TRAIN


@dataclass(frozen=True)
class Turn:
    """A question that needs no tool.

    Attributes:
        question: what the user says.
        reasoning: what the model thinks when thinking is on.
        answer: what it says.
        task: name of the task.
        plain: whether the answer may be learnt without the reasoning before it.
    """

    question: str
    reasoning: str
    answer: str
    task: str
    plain: bool = True


def phrasing(random: Random, split: str, forms: list[str], held_out: int = 2) -> str:
    """One of `forms`. The last `held_out` of them are never seen in training, and are half of the others' questions."""
    if split == TRAIN:
        return random.choice(forms[:-held_out])
    return random.choice(forms[-held_out:] if random.random() < 0.5 else forms[:-held_out])


def forms(text: str) -> list[str]:
    """The phrases of `text`, which stand between bars."""
    return [" ".join(form.split()) for form in text.split("|")]
