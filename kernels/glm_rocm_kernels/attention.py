"""Causal attention over a paged cache, and the store that fills the cache. `glm_rocm.ops.attention` states the calls.

One kernel does prefill, chunked prefill, decode and MTP verify. It is launched for sequences of few queries (one warp a
program, the matrix operands straight from memory) and for sequences of many (four warps that share a tile through LDS);
which of the two a batch needs follows from its shapes, and a batch that may hold both gets both launches. The context
is split among programs where sequences alone would leave the card idle; how long a split is, each program takes from
the context itself, so that nothing is read back from the device and a captured graph stays right as contexts grow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from glm_rocm_kernels._triton import current_arch
from glm_rocm_kernels.attention_details._combine import combine
from glm_rocm_kernels.attention_details._paged import attend
from glm_rocm_kernels.attention_details._store import store
from glm_rocm_kernels.checks import (
    FLOATS,
    FP8_FINITE_MAX,
    check_block_table,
    check_divides,
    check_indices,
    check_one_of,
    check_positive,
    check_range,
    check_tensor,
)
from glm_rocm_kernels.launch import LaunchChoice, choose, device, launch

HEAD_DIMS = (32, 64, 128)
MAX_BLOCK_SIZE = 128
ANY = 2**31 - 1


@dataclass(frozen=True)
class Part:
    """One launch of `attend`, and of `combine` where the context is split.

    Attributes:
        fewest, most: queries of the sequences that it is for.
        by_sequence: each sequence has one tile, counted by the grid; else tiles are found by search.
        tiles: of `choice["TILE"]` rows that one program works on at once.
        programs: extent of the grid in tiles of rows.
        splits: a power of two, the most parts that a context is cut into.
    """

    choice: LaunchChoice
    fewest: int
    most: int
    by_sequence: bool
    tiles: int
    programs: int
    splits: int


def attention(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    block_table: Tensor,
    query_start: Tensor,
    context_len: Tensor,
    *,
    scale: float,
    k_scale: float = 1.0,
    v_scale: float = 1.0,
    out: Tensor | None = None,
) -> Tensor:
    """Attend each query to its sequence's cached tokens up to its own position.

    Query j of a sequence with n queries sees cache positions <= context_len - n + j.

    Args:
        q: `[T, Hq, D]` bf16, fp16 or fp32, strided; D 32, 64 or 128.
        k_cache, v_cache: `[num_blocks, block_size, Hkv, D]`, strided, block_size 1 to 128; of q's dtype, or FP8 with
            `k = code * k_scale` and `v = code * v_scale`. Cache slots that no sequence owns never reach the result.
        block_table: `[B, max_blocks]` int32; entries past a sequence's last page may be anything.
        query_start: `[B + 1]` int32, rising from 0; sequence b owns rows query_start[b]:query_start[b + 1] of q.
        context_len: `[B]` int32, tokens in the cache, the sequence's own queries included.
        scale: factor of q . k, above 0.
        out: `[T, Hq, D]` of q's dtype to write to; rows past query_start[-1] are left as they are. Without it they
            are 0.

    Returns:
        `[T, Hq, D]` of q's dtype, `out` where given.

    Raises:
        KernelArgumentError: rank, shape, dtype, device, stride, a scale that is not above 0, or, where the table lies
            on the CPU, a page that the cache does not have.
    """
    check_arguments(q, k_cache, v_cache, block_table, query_start, context_len, out)
    check_positive("scale", scale)
    check_positive("k_scale", k_scale)
    check_positive("v_scale", v_scale)
    if out is None:
        out = torch.zeros(q.shape, dtype=q.dtype, device=q.device)
    tokens, heads, _ = q.shape
    if tokens == 0 or block_table.shape[0] == 0:
        return out
    arch = current_arch()
    kinds = [str(x.dtype).removeprefix("torch.") for x in (q, k_cache)]
    few, many = (choose(f"attention.{size}", arch, kinds[0], cache=kinds[1]) for size in ("few", "many"))
    bound = block_table.shape[1] * k_cache.shape[1]
    parts = plan(few, many, tokens, block_table.shape[0], heads, k_cache.shape[2], bound, device(arch).compute_units)
    for part in parts:
        _run(part, q, k_cache, v_cache, block_table, query_start, context_len, scale * k_scale, v_scale, out)
    return out


def plan(
    few: LaunchChoice,
    many: LaunchChoice,
    tokens: int,
    sequences: int,
    heads: int,
    kv_heads: int,
    bound: int,
    compute_units: int,
) -> list[Part]:
    """The launches of a batch, from its shapes alone.

    Up to a mean of as many queries as one tile of `few` holds, `few` does all of the batch: what is longer than the
    mean takes several of its tiles. Above that a batch of one is `many`'s, and any other may hold both.

    Args:
        few, many: the launch choices.
        tokens: T.
        sequences: B.
        heads, kv_heads: Hq, Hkv.
        bound: tokens that a row of the block table has room for.
        compute_units: of the card.
    """
    ratio = heads // kv_heads
    mean = -(-tokens // sequences)
    packed = few["TILE"] * few["MOST_TILES"] // ratio
    if mean <= packed:
        tiles = -(-mean * ratio // few["TILE"])
        programs = count_tiles(tokens, sequences, ratio, few["TILE"] * tiles)
        splits = count_splits(few, programs * kv_heads, bound, compute_units)
        return [Part(few, 1, ANY, False, tiles, programs, splits)]
    mixed = sequences > 1 and packed > 0
    programs = count_tiles(tokens, sequences, ratio, many["TILE"] * many["MOST_TILES"])
    splits = count_splits(many, programs * kv_heads, bound, compute_units)
    parts = [Part(many, packed + 1 if mixed else 1, ANY, False, many["MOST_TILES"], programs, splits)]
    if mixed:
        splits = count_splits(few, sequences * kv_heads, bound, compute_units)
        parts.append(Part(few, 1, packed, True, few["MOST_TILES"], sequences, splits))
    return parts


def count_tiles(tokens: int, sequences: int, ratio: int, rows: int) -> int:
    """The most tiles that T tokens in B sequences can fill, as `find_tile` deals them out."""
    return (tokens * ratio + sequences * (rows - math.gcd(rows, ratio))) // rows


def count_splits(choice: LaunchChoice, programs: int, bound: int, compute_units: int) -> int:
    """Into how many parts contexts are cut: enough programs for the card, none of them for nothing; a power of two."""
    wanted = min(choice["PROGRAMS"] * compute_units // programs, -(-bound // choice["SHORTEST"]), choice["MOST_SPLITS"])
    return int(2 ** math.floor(math.log2(max(1, wanted))))


def check_arguments(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    block_table: Tensor,
    query_start: Tensor,
    context_len: Tensor,
    out: Tensor | None,
) -> None:
    """Raise KernelArgumentError for what the kernels cannot take."""
    check_tensor("q", q, shape=(None, None, None), dtypes=FLOATS, unit_stride=2)
    tokens, heads, head_dim = q.shape
    check_one_of("q.shape[2]", head_dim, HEAD_DIMS)
    check_caches(k_cache, v_cache, head_dim, q.dtype, q.device)
    check_divides("k_cache.shape[2]", k_cache.shape[2], "q.shape[1]", heads)
    sequences = block_table.shape[0] if block_table.dim() else 0
    for name, x, shape in (
        ("block_table", block_table, (None, None)),
        ("query_start", query_start, (sequences + 1,)),
        ("context_len", context_len, (sequences,)),
    ):
        check_tensor(name, x, shape=shape, dtypes=(torch.int32,), device=q.device, unit_stride=-1)
    if out is not None:
        check_tensor("out", out, shape=(tokens, heads, head_dim), dtypes=(q.dtype,), device=q.device, unit_stride=2)
    check_block_table(block_table, query_start, context_len, k_cache.shape[0], k_cache.shape[1])


def check_caches(
    k_cache: Tensor, v_cache: Tensor, head_dim: int, dtype: torch.dtype, on: torch.device, kv_heads: int | None = None
) -> None:
    """Raise KernelArgumentError unless the two are pages of one shape, of `dtype` or FP8."""
    check_tensor(
        "k_cache",
        k_cache,
        shape=(None, None, kv_heads, head_dim),
        dtypes=(dtype, *FP8_FINITE_MAX),
        device=on,
        unit_stride=3,
    )
    check_tensor("v_cache", v_cache, shape=k_cache.shape, dtypes=(k_cache.dtype,), device=on, unit_stride=3)
    check_range("k_cache.shape[1]", k_cache.shape[1], 1, MAX_BLOCK_SIZE)


def _run(
    part: Part,
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    block_table: Tensor,
    query_start: Tensor,
    context_len: Tensor,
    scale: float,
    v_scale: float,
    out: Tensor,
) -> None:
    tokens, heads, head_dim = q.shape
    sequences, kv_heads, choice = block_table.shape[0], k_cache.shape[2], part.choice
    ratio, rows = heads // kv_heads, part.tiles * choice["TILE"]
    slots = sequences * part.most if part.by_sequence else tokens
    plane = slots * heads * part.splits if part.splits > 1 else 0
    partial = torch.empty(plane * head_dim, dtype=torch.float32, device=q.device)
    statistics = torch.empty(2 * plane, dtype=torch.float32, device=q.device)
    launch(
        attend,
        (part.splits, kv_heads, part.programs),
        choice,
        q,
        k_cache,
        v_cache,
        out,
        block_table,
        query_start,
        context_len,
        partial,
        statistics,
        scale * math.log2(math.e),
        v_scale,
        sequences,
        part.fewest,
        part.most,
        q.stride(0),
        q.stride(1),
        *k_cache.stride()[:3],
        *v_cache.stride()[:3],
        out.stride(0),
        out.stride(1),
        block_table.stride(0),
        plane,
        RATIO=ratio,
        HEADS=heads,
        D=head_dim,
        BLOCK_SIZE=k_cache.shape[1],
        TILES=part.tiles,
        TILE=choice["TILE"],
        SLACK=-1 if part.by_sequence else rows - math.gcd(rows, ratio),
        SPLITS=part.splits,
        SHORTEST=choice["SHORTEST"],
        PAIRED=part.tiles <= choice["PAIRED_TILES"],
        PEELED=part.tiles <= choice["PEELED_TILES"],
        BF16_BY_HAND=bool(choice["BF16_BY_HAND"]),
        FP8_DOT=choice["FP8_DOT"] > 0 and part.tiles <= choice["PAIRED_TILES"],
    )
    if part.splits == 1:
        return
    combining = choose("attention.combine", choice.arch, "float32")
    launch(
        combine,
        (head_dim // 32, kv_heads, slots),
        combining,
        partial,
        statistics,
        out,
        query_start,
        context_len,
        v_scale,
        sequences,
        part.fewest,
        part.most,
        out.stride(0),
        out.stride(1),
        plane,
        RATIO=ratio,
        HEADS=heads,
        D=head_dim,
        SPLITS=part.splits,
        SHORTEST=choice["SHORTEST"],
        ROWS=triton.next_power_of_2(ratio),
        PARTS=min(part.splits, combining["PARTS"]),
        BF16_BY_HAND=bool(combining["BF16_BY_HAND"]),
        BY_SEQUENCE=part.by_sequence,
    )


def store_kv(
    k: Tensor,
    v: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    slots: Tensor,
    *,
    k_scale: float = 1.0,
    v_scale: float = 1.0,
) -> None:
    """Scatter rows into cache slots; an FP8 cache gets `code = x / scale`, saturated to the format's finite range.

    Args:
        k, v: `[T, Hkv, D]` bf16, fp16 or fp32, strided.
        k_cache, v_cache: `[num_blocks, block_size, Hkv, D]` of their dtype or FP8, strided, written in place.
        slots: `[T]` int64, page * block_size + offset; a negative slot is skipped. No slot twice.

    Raises:
        KernelArgumentError: rank, shape, dtype, device, stride, a scale that is not above 0, or, where the slots lie on
            the CPU, one that the cache does not have.
    """
    check_tensor("k", k, shape=(None, None, None), dtypes=FLOATS, unit_stride=2)
    check_tensor("v", v, shape=k.shape, dtypes=(k.dtype,), device=k.device, unit_stride=2)
    tokens, kv_heads, head_dim = k.shape
    check_caches(k_cache, v_cache, head_dim, k.dtype, k.device, kv_heads)
    check_tensor("slots", slots, shape=(tokens,), dtypes=(torch.int64,), device=k.device, unit_stride=0)
    check_positive("k_scale", k_scale)
    check_positive("v_scale", v_scale)
    check_indices("slots", slots, k_cache.shape[0] * k_cache.shape[1], negative=True)
    kinds = [str(x.dtype).removeprefix("torch.") for x in (k, k_cache)]
    launch(
        store,
        (tokens,),
        choose("attention.store", current_arch(), kinds[0], cache=kinds[1]),
        k,
        v,
        k_cache,
        v_cache,
        slots,
        k_scale,
        v_scale,
        k.stride(0),
        k.stride(1),
        v.stride(0),
        v.stride(1),
        *k_cache.stride()[:3],
        *v_cache.stride()[:3],
        HEADS=kv_heads,
        D=head_dim,
        PADDED_HEADS=triton.next_power_of_2(kv_heads),
        PADDED_D=triton.next_power_of_2(head_dim),
        BLOCK_SIZE=k_cache.shape[1],
        LIMIT=FP8_FINITE_MAX.get(k_cache.dtype, 0.0),
    )
