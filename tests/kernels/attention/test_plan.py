"""How a batch is cut into launches, from its shapes alone."""

from __future__ import annotations

import math
from types import MappingProxyType

import pytest

from glm_rocm_kernels.attention import ANY, Part, count_splits, count_tiles, plan
from glm_rocm_kernels.launch import LaunchChoice

UNITS = 304


def choice(**constants: int) -> LaunchChoice:
    return LaunchChoice("attention", "gfx942", MappingProxyType(constants), MappingProxyType({}), "test")


FEW = choice(TILE=16, MOST_TILES=3, SHORTEST=32, MOST_SPLITS=256, PROGRAMS=2)
MANY = choice(TILE=64, MOST_TILES=3, SHORTEST=256, MOST_SPLITS=64, PROGRAMS=1)


def launches(tokens: int, sequences: int, bound: int, heads: int = 12, kv_heads: int = 1) -> list[Part]:
    return plan(FEW, MANY, tokens, sequences, heads, kv_heads, bound, UNITS)


def test_decode_of_one_sequence_is_one_tile_split_as_its_table_allows() -> None:
    assert launches(1, 1, 512) == [Part(FEW, 1, ANY, False, 1, 1, 16)]
    assert launches(1, 1, 202_752)[0].splits == 256


def test_decode_of_many_sequences_is_not_split() -> None:
    assert [part.splits for part in launches(608, 608, 8192)] == [1]


def test_verify_of_four_queries_is_three_full_tiles() -> None:
    assert launches(4, 1, 512) == [Part(FEW, 1, ANY, False, 3, 1, 16)]


def test_prefill_of_one_sequence_is_one_launch() -> None:
    assert launches(128, 1, 128) == [Part(MANY, 1, ANY, False, 3, 8, 1)]


def test_a_chunk_of_a_long_context_is_split() -> None:
    assert launches(512, 1, 131_072)[0].splits == 8


def test_a_batch_that_may_hold_both_gets_both_launches() -> None:
    many, few = launches(600, 4, 4096)
    assert (many.choice, many.fewest, many.most, many.by_sequence) == (MANY, 5, ANY, False)
    assert (few.choice, few.fewest, few.most, few.by_sequence, few.programs) == (FEW, 1, 4, True, 4)


def test_more_heads_per_key_head_than_the_tiles_have_rows() -> None:
    assert [part.choice for part in launches(2, 2, 512, heads=50)] == [MANY]


@pytest.mark.parametrize("ratio", [1, 5, 12, 16, 50])
@pytest.mark.parametrize("rows", [16, 48, 192])
@pytest.mark.parametrize("queries", [[1], [1, 1, 1], [4, 4], [0, 7, 0, 1], [100, 1, 33], [16, 15, 17]])
def test_every_row_has_a_tile_of_its_own_within_the_grid(queries: list[int], rows: int, ratio: int) -> None:
    """`find_tile`'s rule in plain integers: a sequence's tiles end before the next one's begin."""
    starts = [sum(queries[:i]) for i in range(len(queries) + 1)]
    slack = rows - math.gcd(rows, ratio)
    begins = [(start * ratio + i * slack) // rows for i, start in enumerate(starts)]
    for i, count in enumerate(queries):
        assert begins[i] + -(-count * ratio // rows) <= begins[i + 1]
    assert begins[-1] == count_tiles(starts[-1], len(queries), ratio, rows)


@pytest.mark.parametrize(
    ("programs", "bound", "splits"), [(1, 1, 1), (1, 64, 2), (1, 100, 4), (19, 1024, 32), (700, 10**6, 1)]
)
def test_splits_are_a_power_of_two_that_the_table_and_the_card_have_room_for(
    programs: int, bound: int, splits: int
) -> None:
    assert count_splits(FEW, programs, bound, UNITS) == splits
