"""How a mixed attention batch is cut into groups that run as one product each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

GROUP_TOKENS = 4096
"""Cached tokens gathered at once: beyond it the widened pages leave a CPU's L2 and a group gains nothing."""
PADDING_TOKENS = 1024
"""Cached tokens times queries of padding that cost about as much as one more group."""


@dataclass(frozen=True)
class Group:
    """Sequences that run as one: `queries` each, starting at rows `starts`, with `contexts` tokens in the cache."""

    queries: int
    sequences: tuple[int, ...]
    starts: tuple[int, ...]
    contexts: tuple[int, ...]

    @property
    def longest(self) -> int:
        return max(self.contexts)

    @property
    def shortest(self) -> int:
        return min(self.contexts)


def plan_groups(starts: Sequence[int], contexts: Sequence[int]) -> list[Group]:
    """Cut a batch into groups; sequences without queries fall away.

    Args:
        starts: first query row of each sequence, and the end of the last (B + 1 numbers).
        contexts: tokens in the cache of each sequence (B numbers; may be anything where there is no query).
    """
    counts = [end - start for start, end in pairwise(starts)]
    members = [index for index, count in enumerate(counts) if count > 0]
    if len(members) == 1 or (members and _one_group(members, counts, contexts)):
        return [_group(members, counts, starts, contexts)]
    groups: list[Group] = []
    current: list[int] = []
    for index in sorted(members, key=lambda index: (counts[index], contexts[index])):
        if current:
            last = current[-1]
            padding = (contexts[index] - contexts[last]) * len(current) * counts[index]
            full = (len(current) + 1) * contexts[index] > GROUP_TOKENS
            if counts[index] != counts[last] or padding > PADDING_TOKENS or full:
                groups.append(_group(current, counts, starts, contexts))
                current = []
        current.append(index)
    return [*groups, _group(current, counts, starts, contexts)] if current else groups


def take(x: Tensor, firsts: tuple[int, ...], length: int) -> Tensor:
    """Rows first:first + length of every first; a view where they follow each other."""
    if _follow(firsts, length):
        return x[firsts[0] : firsts[0] + length * len(firsts)]
    return x.index_select(0, _rows(firsts, length, x.device))


def put(x: Tensor, firsts: tuple[int, ...], length: int, rows: Tensor) -> None:
    """The inverse of `take`: write rows first:first + length of every first."""
    if _follow(firsts, length):
        x[firsts[0] : firsts[0] + length * len(firsts)] = rows
    else:
        x.index_copy_(0, _rows(firsts, length, x.device), rows.to(x.dtype))


def _one_group(members: Sequence[int], counts: Sequence[int], contexts: Sequence[int]) -> bool:
    """Whether a batch may run as one group in the order it stands."""
    queries = counts[members[0]]
    if any(counts[index] != queries for index in members):
        return False
    lengths = [contexts[index] for index in members]
    padded = max(lengths) * len(lengths)
    return padded <= GROUP_TOKENS and (padded - sum(lengths)) * queries <= PADDING_TOKENS


def _group(members: Sequence[int], counts: Sequence[int], starts: Sequence[int], contexts: Sequence[int]) -> Group:
    return Group(
        counts[members[0]],
        tuple(members),
        tuple(starts[index] for index in members),
        tuple(contexts[index] for index in members),
    )


def _follow(firsts: tuple[int, ...], length: int) -> bool:
    return all(later - earlier == length for earlier, later in pairwise(firsts))


def _rows(firsts: tuple[int, ...], length: int, device: torch.device) -> Tensor:
    first = torch.tensor(firsts, device=device)
    return first if length == 1 else (first[:, None] + torch.arange(length, device=device)).view(-1)
