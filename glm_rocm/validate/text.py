"""The text of the model and server levels: held-out questions of the pocket GLM with their right answers.

Any GLM's tokenizer can read them. For the pocket GLM they are what it was trained for, so its accuracy means something:
a greedy model writes the answer exactly if, given the right beginning, each next token is its best guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from torch import Tensor

from glm_rocm.errors import CheckpointError
from glm_rocm.pocket.data.chat import prompt_and_answer
from glm_rocm.pocket.data.heldout import SEED, TASKS
from glm_rocm.reference.block import Batch

PAGE = 16
TOKENIZER = "tokenizer.json"
DRAWS = 8
"""Questions drawn for each one wanted: those that are too long are passed over."""


@dataclass(frozen=True)
class Sequence:
    """One question: its tokens, and how many of them are the prompt's."""

    task: str
    tokens: tuple[int, ...]
    prompt: int


@dataclass(frozen=True)
class Packed:
    """Several sequences as one batch.

    Attributes:
        tokens: `[T]`.
        batch: positions, pages (in falling order) and lengths.
        answer: `[T]` bool, rows whose next token belongs to an answer.
        last: `[T]` bool, a sequence's last row, which has no next token.
        owner: `[T]` the sequence of each row.
        pages: pages in all.
    """

    sequences: tuple[Sequence, ...]
    tokens: Tensor
    batch: Batch
    answer: Tensor
    last: Tensor
    owner: Tensor
    pages: int


def questions(folder: Path, per_task: int, *, longest: int = 400) -> tuple[Sequence, ...]:
    """`per_task` questions of each held-out set, read by the checkpoint's own tokenizer; longer ones are left out.

    Raises:
        CheckpointError: the checkpoint has no tokenizer.
    """
    from tokenizers import Tokenizer

    if not (folder / TOKENIZER).is_file():
        raise CheckpointError(
            f"no `{TOKENIZER}` in `{folder}`",
            required="the tokenizer that came with the checkpoint",
            hint="glm-rocm validate MODEL --level ops",
        )
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    found = []
    for name, task in TASKS.items():
        random, taken = Random(f"{name}/{SEED}"), 0
        for _ in range(DRAWS * per_task):
            if taken == per_task:
                break
            prompt, answer = prompt_and_answer(task.make(random))
            ids = tokenizer.encode(prompt, add_special_tokens=False).ids
            whole = ids + tokenizer.encode(answer, add_special_tokens=False).ids
            if len(whole) <= longest:
                found.append(Sequence(name, tuple(whole), len(ids)))
                taken += 1
    return tuple(found)


def pack(sequences: tuple[Sequence, ...]) -> Packed:
    """One batch of them all, each from its beginning."""
    lengths = torch.tensor([len(one.tokens) for one in sequences])
    counts = (lengths + PAGE - 1) // PAGE
    table = torch.zeros(len(sequences), int(counts.max()), dtype=torch.int32)
    free = int(counts.sum())
    positions, slots, answer, last, owner = [], [], [], [], []
    for index, one in enumerate(sequences):
        count = int(counts[index])
        table[index, :count] = torch.arange(free - 1, free - 1 - count, -1, dtype=torch.int32)
        free -= count
        at = torch.arange(len(one.tokens))
        positions.append(at)
        slots.append(table[index, at // PAGE].long() * PAGE + at % PAGE)
        answer.append((at >= one.prompt - 1) & (at < len(one.tokens) - 1))
        last.append(at == len(one.tokens) - 1)
        owner.append(torch.full_like(at, index))
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    batch = Batch(torch.cat(positions), table, starts.to(torch.int32), lengths.to(torch.int32), torch.cat(slots))
    tokens = torch.tensor([token for one in sequences for token in one.tokens])
    return Packed(sequences, tokens, batch, torch.cat(answer), torch.cat(last), torch.cat(owner), int(counts.sum()))
