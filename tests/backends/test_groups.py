"""How a batch is cut: whatever it holds, every sequence with a query runs exactly once, with its own numbers."""

from __future__ import annotations

from itertools import accumulate

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glm_rocm.backends.torch_kernels.groups import GROUP_TOKENS, plan_groups, put, take

SEQUENCE = st.tuples(st.integers(0, 40), st.integers(0, 3000)).map(lambda pair: (pair[0], sum(pair)))


@settings(deadline=None)
@given(st.lists(SEQUENCE, max_size=24))
def test_every_sequence_runs_once_with_its_own_numbers(sequences: list[tuple[int, int]]) -> None:
    starts = [0, *accumulate(queries for queries, _ in sequences)]
    contexts = [context for _, context in sequences]
    groups = plan_groups(starts, contexts)
    ran = [sequence for group in groups for sequence in group.sequences]
    assert sorted(ran) == [index for index, (queries, _) in enumerate(sequences) if queries]
    for group in groups:
        for sequence, start, context in zip(group.sequences, group.starts, group.contexts, strict=True):
            assert (group.queries, context, start) == (*sequences[sequence], starts[sequence])


@settings(deadline=None)
@given(st.lists(SEQUENCE, max_size=24))
def test_a_group_of_several_stays_within_its_bounds(sequences: list[tuple[int, int]]) -> None:
    starts = [0, *accumulate(queries for queries, _ in sequences)]
    for group in plan_groups(starts, [context for _, context in sequences]):
        if len(group.sequences) > 1:
            assert group.longest * len(group.sequences) <= GROUP_TOKENS


def test_similar_decodes_are_one_group() -> None:
    contexts = [100 + index for index in range(16)]
    assert [group.sequences for group in plan_groups(range(17), contexts)] == [tuple(range(16))]


def test_a_long_context_does_not_pad_the_short_ones() -> None:
    assert [group.contexts for group in plan_groups([0, 1, 2, 3], [2000, 10, 12])] == [(10, 12), (2000,)]


def test_take_and_put_of_scattered_rows_are_inverse() -> None:
    x = torch.arange(24.0).view(12, 2)
    rows = take(x, (8, 0, 3), 2)
    assert rows[:, 0].tolist() == [16, 18, 0, 2, 6, 8]
    target = torch.zeros(12, 2)
    put(target, (8, 0, 3), 2, rows)
    written = [0, 1, 3, 4, 8, 9]
    assert torch.equal(target[written], x[written])
    assert not target[[2, 5, 6, 7, 10, 11]].any()
