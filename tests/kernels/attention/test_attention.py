"""Attention against the reference, token by token, on batches and caches that break kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from glm_rocm_kernels.attention import attention
from glm_rocm_kernels.errors import KernelArgumentError, LaunchRefusedError

Build = Callable[..., Any]
DTYPES = [torch.bfloat16, torch.float16, torch.float32]
MIXED = [(1, 5), (1, 40), (19, 19), (2, 50), (0, 0), (7, 45), (1, 1), (3, 16)]
"""Prefill, chunked prefill, decode, verify and a sequence without a query."""
TILES = {1: [(1, 70), (1, 33)], 2: [(2, 70), (2, 33)], 3: [(4, 70), (3, 33)]}
"""Batches of few queries whose 12 heads fill that many tiles of 16 rows, without rows of padding."""


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("block_size", [16, 1])
def test_prefill_chunk_decode_and_verify_in_one_batch(
    attention_case: Build, block_size: int, dtype: torch.dtype
) -> None:
    attention_case(MIXED, block_size=block_size, dtype=dtype).hold(attention)


@pytest.mark.parametrize("tiles", TILES)
@pytest.mark.parametrize("block_size", [1, 3, 16, 64, *(pytest.param(n, marks=pytest.mark.slow) for n in (8, 48, 128))])
def test_every_kind_of_page(attention_case: Build, block_size: int, tiles: int) -> None:
    attention_case(TILES[tiles], block_size=block_size, padding=0).hold(attention)


@pytest.mark.parametrize("tiles", TILES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_every_dtype(attention_case: Build, dtype: torch.dtype, tiles: int) -> None:
    attention_case(TILES[tiles], dtype=dtype, padding=0).hold(attention)


@pytest.mark.parametrize("block_size", [1, 16])
@pytest.mark.parametrize("sequences", [*TILES.values(), [(40, 70), (1, 20)]], ids=str)
def test_fp8_cache_with_scales(
    attention_case: Build, target: Any, sequences: list[tuple[int, int]], block_size: int
) -> None:
    options = {"kv_dtype": target.fp8, "k_scale": 0.02, "v_scale": 0.03, "padding": 0}
    attention_case(sequences, block_size=block_size, **options).hold(attention)


def test_fp8_cache_under_fp32_queries(attention_case: Build, target: Any) -> None:
    case = attention_case([(1, 40), (3, 20)], dtype=torch.float32, kv_dtype=target.fp8, k_scale=0.02, v_scale=0.03)
    case.hold(attention)


@pytest.mark.parametrize("layout", ["joined", "separate", "heads first"])
@pytest.mark.parametrize(("heads", "kv_heads"), [(12, 1), (24, 2), (96, 8)])
def test_ratio_12_in_every_cache_layout(attention_case: Build, heads: int, kv_heads: int, layout: str) -> None:
    attention_case([(1, 9), (3, 20)], heads=heads, kv_heads=kv_heads, layout=layout).hold(attention)


@pytest.mark.parametrize("ratio", [1, 7, 50, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 16, 20, 48))])
def test_other_ratios(attention_case: Build, ratio: int) -> None:
    attention_case([(1, 20), (2, 17), (9, 9)], heads=ratio).hold(attention)


@pytest.mark.parametrize("head_dim", [32, 64])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_other_head_dimensions(attention_case: Build, head_dim: int, dtype: torch.dtype) -> None:
    attention_case([(1, 40), (4, 21)], head_dim=head_dim, dtype=dtype).hold(attention)


@pytest.mark.parametrize("queries", [1, 2, 3, 4, 5, 16, 17, 33])
def test_query_counts_around_the_tiles(attention_case: Build, queries: int) -> None:
    attention_case([(queries, queries + 5)], padding=0).hold(attention)


@pytest.mark.parametrize("context", [1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 513])
def test_contexts_around_the_turns_and_splits(attention_case: Build, context: int) -> None:
    attention_case([(1, context)], padding=0).hold(attention)


def test_contexts_far_apart(attention_case: Build) -> None:
    attention_case([(1, 1 + (index * 337) % 900) for index in range(5)], block_size=64, padding=0).hold(attention)


def test_more_splits_than_the_combination_adds_at_once(attention_case: Build) -> None:
    attention_case([(1, 1300)], block_size=64, padding=0).hold(attention)


@pytest.mark.parametrize("queries", [1, 4])
def test_a_table_far_wider_than_the_context(attention_case: Build, queries: int) -> None:
    """What an engine passes that captured a graph for its longest context: most splits have no work."""
    case = attention_case([(queries, 40)], padding=0)
    q, k_cache, v_cache, table, *rest = case.arguments
    wide = torch.full((1, 512), 2**30, dtype=torch.int32, device=table.device)
    wide[:, : table.shape[1]] = table
    type(case)((q, k_cache, v_cache, wide, *rest), case.options, case.valid).hold(attention)


@pytest.mark.parametrize("sequences", [[(21, 700), (1, 300), (2, 600)], [(9, 600)]], ids=str)
def test_chunks_of_long_contexts_are_split_too(attention_case: Build, sequences: list[tuple[int, int]]) -> None:
    attention_case(sequences, block_size=64).hold(attention)


def test_long_sequences_in_a_batch_taken_for_decode(attention_case: Build) -> None:
    """Eight sequences, eight tokens, and seven of those of one sequence: shapes alone do not tell."""
    attention_case([(7, 30), *[(0, 9)] * 6, (1, 20)], padding=0).hold(attention)


def test_padding_of_a_captured_graph(attention_case: Build) -> None:
    """Sequences without queries at the end of the batch, their table rows and rows of q garbage."""
    attention_case([(1, 20), (1, 30), (0, 0), (0, 0)], padding=2).hold(attention)


def test_out_keeps_what_stands_in_padding_rows(attention_case: Build) -> None:
    case = attention_case([(1, 5), (3, 70)], padding=4)
    q = case.arguments[0]
    out = torch.full((*q.shape[:2], 2, q.shape[2]), 7.0, dtype=q.dtype, device=q.device)[:, :, 1]
    assert attention(*case.arguments, **case.options, out=out) is out
    assert bool((out[case.valid :] == 7.0).all())
    torch.testing.assert_close(out[: case.valid], attention(*case.arguments, **case.options)[: case.valid])


def test_large_scores_do_not_overflow(attention_case: Build) -> None:
    case = attention_case([(1, 70), (4, 40)])
    type(case)(case.arguments, case.options | {"scale": 20.0}, case.valid).hold(attention)


@pytest.mark.parametrize("sequences", [[(0, 0), (0, 7)], [], [(0, 0)]], ids=str)
def test_batch_without_a_query_gives_zeros(attention_case: Build, sequences: list[tuple[int, int]]) -> None:
    case = attention_case(sequences, spare_pages=1)
    assert not attention(*case.arguments, **case.options).any()


def test_results_are_equal_bit_for_bit_however_often(attention_case: Build) -> None:
    case = attention_case([(1, 200), (4, 100), (12, 20)])
    first = attention(*case.arguments, **case.options)
    assert torch.equal(first, attention(*case.arguments, **case.options))


@pytest.mark.parametrize("sequences", [*TILES.values(), [(40, 40)]], ids=str)
def test_no_race_no_undefined_value_no_missing_wait(
    case_on: Build, target: Any, sequences: list[tuple[int, int]]
) -> None:
    if target.name not in ("gfx942", "gfx950"):
        pytest.skip("only the emulator checks races, undefined values and waits")
    with target.run(check_races=True, check_undefined=True, check_waits=True):
        case_on(target.device, sequences, padding=0).hold(attention)


@pytest.mark.parametrize(
    ("argument", "wrong", "message"),
    [
        ("q", lambda q: q[..., ::2], "`q` is of strides"),
        ("q", lambda q: q[0], "`q` is of shape"),
        ("q", lambda q: q.double(), "`q` is float64; required: bfloat16 or float16 or float32"),
        ("q", lambda q: q[..., :96], r"`q.shape\[2\]` is `96`; required: `32` or `64` or `128`"),
        ("q", lambda q: q[:, :7], "a divisor of q.shape"),
        ("k_cache", lambda k: k.half(), "`k_cache` is float16; required: bfloat16 or float8_e4m3fn"),
        ("k_cache", lambda k: k.transpose(2, 3), "`k_cache` is of shape"),
        ("v_cache", lambda v: v[:-1], "`v_cache` is of shape"),
        ("block_table", lambda t: t.long(), "`block_table` is int64; required: int32"),
        ("block_table", lambda t: t[:, :1], r"`context_len\[0\]` is 40; required: at most 16, the row's pages"),
        ("query_start", lambda s: s[1:], "`query_start` is of shape"),
        ("context_len", lambda c: c.long(), "`context_len` is int64; required: int32"),
    ],
)
def test_arguments_that_it_cannot_take(
    attention_case: Build, target: Any, argument: str, wrong: Callable[[Any], Any], message: str
) -> None:
    if "pages" in message and target.name in ("cuda", "rocm"):
        pytest.skip("values of a table on a card are not read")
    names = ("q", "k_cache", "v_cache", "block_table", "query_start", "context_len")
    case = attention_case([(2, 40), (1, 20)], heads=24, kv_heads=2)
    arguments = dict(zip(names, case.arguments, strict=True))
    arguments[argument] = wrong(arguments[argument])
    with pytest.raises(KernelArgumentError, match=message):
        attention(**arguments, **case.options)


def test_page_outside_the_cache_is_named(attention_case: Build, target: Any) -> None:
    if target.name in ("cuda", "rocm"):
        pytest.skip("values of a table on a card are not read")
    case = attention_case([(1, 20), (1, 40)], spare_pages=1)
    case.arguments[3][1, 2] = 6
    with pytest.raises(KernelArgumentError, match=r"`block_table\[1, 2\]` is 6; required: 0 to 5"):
        attention(*case.arguments, **case.options)


@pytest.mark.parametrize("name", ["scale", "k_scale", "v_scale"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_scales_are_above_zero(attention_case: Build, name: str, value: float) -> None:
    case = attention_case([(1, 3)])
    with pytest.raises(KernelArgumentError, match=f"`{name}` is"):
        attention(*case.arguments, **(case.options | {name: value}))


def test_fp8_that_the_card_cannot_convert_is_refused(attention_case: Build, target: Any) -> None:
    if target.name not in ("gfx942", "gfx950"):
        pytest.skip("the interpreter knows both formats; a card's refusals are its launch data's")
    other = {torch.float8_e4m3fn, torch.float8_e4m3fnuz} - {target.fp8}
    case = attention_case([(1, 3)], kv_dtype=other.pop())
    with pytest.raises(LaunchRefusedError, match="give the cache that dtype"):
        attention(*case.arguments, **case.options)
