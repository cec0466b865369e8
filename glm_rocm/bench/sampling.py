"""Large batches in the emulator: a part of the workgroups, chosen so that whole results come of it.

A `moe` case with `sample` = S deals its tokens into S groups. The tokens of a group all go to the same experts, which
no other group goes to, so every expert has as many tokens as in evenly spread routing, and running the blocks of the
first group's experts gives the first group's tokens whole: those are held to the reference. Where a grid has more
blocks than the batch fills, the same share of the rest runs too. Launches that route, align or quantise run whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from glm_rocm.bench.cases import Case

if TYPE_CHECKING:
    from cdna_emulator import Device

Grid = tuple[int, int, int]
Predicate = Callable[[int, int, int], bool]
Chooser = Callable[[Grid], Predicate]
"""Which workgroups of a launch of this grid run."""

MOST_CHECKED = 16
"""Tokens of the group that are held to the reference, which goes expert by expert."""


def device(arch: str, choosers: Mapping[str, Chooser]) -> AbstractContextManager[Device]:
    """The emulator, running of the named kernels what their choosers choose and of all others everything."""
    import cdna_emulator

    class Sampling(cdna_emulator.Device):
        def run(self, program: Any, grid: Grid, *rest: Any) -> None:
            chooser = choosers.get(program.kernel.name)
            self.options = replace(self.options, sample=chooser(grid) if chooser else None)
            super().run(program, grid, *rest)

    return Sampling(arch, cdna_emulator.Options())


def group_of(case: Case) -> int:
    """Tokens of one group."""
    return case.tokens // case.sample


def checked_rows(case: Case) -> torch.Tensor:
    """Numbers of the tokens that are held to the reference: the first group's, or some of them from first to last."""
    size = group_of(case)
    return torch.linspace(0, size - 1, min(size, MOST_CHECKED)).round().long()


def blocks_chosen(case: Case, block: int) -> Callable[[int], bool]:
    """Whether a block of `block` rows runs: blocks stand in the order of their experts."""
    each = -(-group_of(case) // block)
    filled = case.experts * each
    first = case.spec.top_k * each

    def chosen(number: int) -> bool:
        return number < first or (number >= filled and (number - filled) % case.sample == 0)

    return chosen


def ours(case: Case, block: int) -> dict[str, Chooser]:
    """Choosers for our kernels; `block`: rows of a block, `BLOCK_M` of the launch choice."""
    chosen, size = blocks_chosen(case, block), group_of(case)

    def of_blocks(grid: Grid) -> Predicate:
        return lambda x, y, z: chosen(y)

    def of_tokens(grid: Grid) -> Predicate:
        return lambda x, y, z: x < size

    return {"gate_up_kernel": of_blocks, "down_kernel": of_blocks, "sum_kernel": of_tokens}


def vllm(case: Case, block: int, group: int) -> dict[str, Chooser]:
    """Choosers for vLLM's grouped product.

    Args:
        block: rows of a block, `BLOCK_SIZE_M` of the configuration.
        group: `GROUP_SIZE_M`: workgroups walk through so many blocks before they take the next columns.
    """
    chosen = blocks_chosen(case, block)
    pairs = case.tokens * case.spec.top_k
    room = pairs + case.experts * (block - 1)
    blocks = -(-(min(pairs * block, room) if pairs < case.experts else room) // block)

    def grouped(grid: Grid) -> Predicate:
        columns = grid[0] // blocks

        def predicate(x: int, y: int, z: int) -> bool:
            first = x // (group * columns) * group
            return chosen(first + x % (group * columns) % min(blocks - first, group))

        return predicate

    return {"fused_moe_kernel": grouped}
