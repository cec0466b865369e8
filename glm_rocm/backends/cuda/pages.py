"""A paged batch in FlashInfer's words: which pages each sequence has, one list after another, and how full the last is.

FlashInfer's documentation calls it the page table layout (docs/tutorials/kv_layout): sequence b owns
`indices[indptr[b]:indptr[b + 1]]`, of whose last page `last_page_len[b]` slots hold tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PagedBatch:
    """A batch, int32 throughout.

    Attributes:
        query_indptr: `[B + 1]` on the CPU, the first row of q of each sequence.
        page_indptr: `[B + 1]` on the CPU, the first entry of `page_indices` of each sequence.
        page_indices: `[page_indptr[-1]]` on the device.
        last_page_len: `[B]` on the CPU, 1 to block_size (block_size where a sequence has no page).
        rows: query_indptr[-1], the rows of q that are real.
        longest: the most queries that a sequence has.
    """

    query_indptr: Tensor
    page_indptr: Tensor
    page_indices: Tensor
    last_page_len: Tensor
    rows: int
    longest: int


def paged_batch(block_table: Tensor, query_start: Tensor, context_len: Tensor, block_size: int) -> PagedBatch:
    """The batch that a block table and lengths describe. Reads nothing back from the device.

    Args:
        block_table: `[B, max_blocks]` int32, on the device.
        query_start: `[B + 1]`, on the CPU.
        context_len: `[B]`, on the CPU; of a sequence without queries it may be anything.
        block_size: tokens per page.
    """
    queries = query_start.diff()
    lengths = torch.where(queries > 0, context_len, 0)
    counts = (lengths + block_size - 1) // block_size
    page_indptr = torch.zeros(len(counts) + 1, dtype=torch.int32)
    page_indptr[1:] = counts.cumsum(0)
    last_page_len = torch.where(counts > 0, lengths - (counts - 1) * block_size, block_size)
    return PagedBatch(
        query_indptr=query_start.to(torch.int32),
        page_indptr=page_indptr,
        page_indices=entries_of(block_table, counts),
        last_page_len=last_page_len.to(torch.int32),
        rows=int(query_start[-1]),
        longest=int(queries.max()) if len(queries) else 0,
    )


def entries_of(block_table: Tensor, counts: Tensor) -> Tensor:
    """The first `counts[b]` entries of each row of the table, one row after another, on the table's device.

    Where they stand is worked out on the CPU, so that the device is told and never asked.
    """
    total = int(counts.sum())
    row = torch.repeat_interleave(torch.arange(len(counts)), counts, output_size=total)
    first = torch.repeat_interleave(counts.cumsum(0) - counts, counts, output_size=total)
    place = row * block_table.shape[1] + torch.arange(total) - first
    return block_table.reshape(-1).index_select(0, place.to(block_table.device, non_blocking=True))
