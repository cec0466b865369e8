"""Calls of the wrappers at GLM's shapes, with tensors that nobody reads: what is compiled ahead, and what is checked.

`empty` tensors are never touched, so a weight of any size costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from glm_rocm_kernels.attention import attention, store_kv
from glm_rocm_kernels.linear import linear
from glm_rocm_kernels.moe import experts, moe, route
from glm_rocm_kernels.norm_rope import bias_norm_rope_store, norm_rope, rms_norm
from glm_rocm_kernels.quant import fnuz_from_fn, quantize_per_token, quantize_token_groups

HIDDEN, QKV = 5120, 1792
"""GLM-4.5 at TP 8: (12 + 2) heads of 128 from a hidden state."""
TENSOR_PARALLEL = {8: (12, 1), 1: (96, 8)}
"""Query and KV heads of a rank, of GLM-4.5 and of GLM-4.5-Air alike."""
BATCHES = {"decode": (4, 4), "verify": (16, 4), "prefill": (512, 1), "mixed": (600, 4)}
"""Tokens and sequences."""
GLM = {"hidden": 5120, "count": 160}
AIR = {"hidden": 4096, "count": 128}
WIDTHS = [(GLM, width) for width in (192, 384, 768, 1536)] + [(AIR, width) for width in (176, 352, 704, 1408)]
"""Hidden size and experts, and the width of an expert at TP 8, 4, 2 and 1."""
QUANTS = ("none", "channel_token", "block")
ROWS = (1, 16, 64, 4096)


@dataclass(frozen=True)
class Call:
    """One call of a wrapper. `op`: the wrapper's module."""

    op: str
    name: str
    run: Callable[[], object]


def attention_call(batch: str, dtype: torch.dtype, cache: torch.dtype, block_size: int, tp: int) -> Tensor:
    """Attention of a batch with room for 4096 tokens a sequence. K and V of a page lie side by side, as in vLLM."""
    (heads, kv_heads), (tokens, sequences) = TENSOR_PARALLEL[tp], BATCHES[batch]
    pages = torch.empty(64, kv_heads, block_size, 256, dtype=cache).transpose(1, 2)
    return attention(
        torch.empty(tokens, heads, 128, dtype=dtype),
        pages[..., :128],
        pages[..., 128:],
        torch.zeros(sequences, 4096 // block_size, dtype=torch.int32),
        torch.zeros(sequences + 1, dtype=torch.int32),
        torch.zeros(sequences, dtype=torch.int32),
        scale=0.1,
    )


def store_call(dtype: torch.dtype, cache: torch.dtype) -> None:
    """K and V of 64 tokens into a paged cache."""
    k = torch.empty(64, 1, 128, dtype=dtype)
    pages = torch.empty(2, 64, 16, 1, 128, dtype=cache)
    store_kv(k, k, pages[0], pages[1], torch.arange(64))


def moe_call(
    tokens: int, dtype: torch.dtype, product: torch.dtype, quant: str, model: dict[str, int], width: int
) -> Tensor:
    """From logits to the sum where one launch routes too; else the experts alone, whose ids must be some."""
    given = _expert_weights(product, quant, **model, width=width)
    x = torch.empty(tokens, model["hidden"], dtype=dtype)
    if tokens <= 64:
        return moe(x, torch.empty(tokens, model["count"]), torch.empty(model["count"]), **given, top_k=8)
    return experts(x, ids=torch.zeros(tokens, 8, dtype=torch.int32), weights=torch.empty(tokens, 8), **given)


def route_call(tokens: int = 4096, count: int = 160) -> tuple[Tensor, Tensor]:
    """The router alone."""
    return route(torch.empty(tokens, count), torch.empty(count), top_k=8)


def linear_call(
    rows: int, dtype: torch.dtype, product: torch.dtype, quant: str, outputs: int, inner: int, bias: bool = True
) -> Tensor:
    """A linear layer; `product` is the weight's dtype."""
    blocks = (-(-outputs // 128), -(-inner // 128))
    scale = (
        None if quant == "none" else empty(*((outputs, 1) if quant == "channel_token" else blocks), dtype=torch.float32)
    )
    x, w = empty(rows, inner, dtype=dtype), empty(outputs, inner, dtype=product)
    return linear(x, w, w_scale=scale, bias=empty(outputs, dtype=dtype) if bias else None, quant=quant)


def empty(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """A tensor of bf16 by default, never touched."""
    return torch.empty(shape, dtype=dtype)


def small_calls(dtype: torch.dtype, fp8: torch.dtype) -> dict[str, Callable[[], object]]:
    """One call of each kernel that multiplies no matrices, but for attention's and the experts' own."""
    q, k, v, positions, table, slots, k_cache, v_cache = _heads(dtype, dtype)
    *_, k_fp8, v_fp8 = _heads(dtype, fp8)
    weight = empty(128, dtype=dtype)
    q_bias, kv_bias = empty(1536, dtype=dtype), empty(128, dtype=dtype)
    given: dict[str, Any] = {"q_weight": weight, "k_weight": weight, "eps": 1e-5}
    store: dict[str, Any] = given | {"q_bias": q_bias, "k_bias": kv_bias, "v_bias": kv_bias}
    heads = (q, k, v, positions, table, slots)
    x, norm = empty(64, HIDDEN, dtype=dtype), empty(HIDDEN, dtype=dtype)
    return {
        "rope": lambda: norm_rope(q, k, positions, table, eps=1e-5),
        "norm and rope": lambda: norm_rope(q, k, positions, table, **given),
        "store": lambda: bias_norm_rope_store(*heads, k_cache, v_cache, **store),
        "store, FP8": lambda: bias_norm_rope_store(*heads, k_fp8, v_fp8, **store, k_scale=0.1),
        "rms norm": lambda: rms_norm(x, norm, 1e-5),
        "rms norm of a sum": lambda: rms_norm(x, norm, 1e-5, residual=x),
        "rms norm of a sum to FP8": lambda: rms_norm(x, norm, 1e-5, residual=x, quant_dtype=fp8),
        "per token": lambda: quantize_per_token(x, fp8),
        "per token, a dense layer": lambda: quantize_per_token(empty(8, 12288, dtype=dtype), fp8),
        "per group": lambda: quantize_token_groups(x, 128, fp8),
        "conversion": lambda: fnuz_from_fn(empty(256, 256, dtype=torch.float8_e4m3fn), empty(1, dtype=torch.float32)),
    }


def served_calls(fp8: torch.dtype) -> Iterator[Call]:
    """What a rank of GLM-4.5, 4.6 or 4.5-Air launches in bf16, and in FP8 per channel and token or per block.

    Args:
        fp8: the format that the architecture multiplies, `float8_e4m3fn` or `float8_e4m3fnuz`.
    """
    bf16 = torch.bfloat16
    for cache in (bf16, fp8):
        for batch in BATCHES:
            yield Call("attention", f"{batch}, {cache} cache", _bound(attention_call, batch, bf16, cache, 16, 8))
        yield Call("attention", f"store, {cache} cache", _bound(store_call, bf16, cache))
    for quant in QUANTS:
        product = bf16 if quant == "none" else fp8
        for model, width in (WIDTHS[0], WIDTHS[4]) if quant != "block" else WIDTHS[:1]:
            for rows in ROWS:
                what = f"M {rows}, H {model['hidden']}, N {width}, {quant}"
                yield Call("moe", what, _bound(moe_call, rows, bf16, product, quant, model, width))
        for outputs, inner, bias in ((QKV, HIDDEN, True), (HIDDEN, QKV - 256, False)):
            for rows in ROWS:
                what = f"M {rows}, N {outputs}, K {inner}, {quant}"
                yield Call("linear", what, _bound(linear_call, rows, bf16, product, quant, outputs, inner, bias))
    yield Call("moe", "route", _bound(route_call))
    for name, run in small_calls(bf16, fp8).items():
        yield Call("quant" if name.startswith(("per ", "conversion")) else "norm_rope", name, run)


def _bound(function: Callable[..., object], *given: Any) -> Callable[[], object]:
    return lambda: function(*given)


def _expert_weights(product: torch.dtype, quant: str, hidden: int, count: int, width: int) -> dict[str, Any]:
    """Both weights, never touched, and their scales."""

    def blocks(size: int) -> int:
        return -(-size // 128)

    shapes = {
        "none": (None, None),
        "channel_token": ((count, 2 * width, 1), (count, hidden, 1)),
        "block": ((count, 2 * blocks(width), blocks(hidden)), (count, blocks(hidden), blocks(width))),
    }
    scales = [None if shape is None else torch.empty(shape) for shape in shapes[quant]]
    w13 = torch.empty(count, 2 * width, hidden, dtype=product)
    w2 = torch.empty(count, hidden, width, dtype=product)
    return {"w13": w13, "w2": w2, "w13_scale": scales[0], "w2_scale": scales[1], "quant": quant}


def _heads(dtype: torch.dtype, cache: torch.dtype, tokens: int = 64) -> list[Tensor]:
    fused = empty(tokens, 14, 128, dtype=dtype)
    pages = empty(100, 16, 1, 256, dtype=cache)
    index = torch.zeros(tokens, dtype=torch.int64)
    table = empty(1000, 64, dtype=torch.float32)
    return [fused[:, :12], fused[:, 12:13], fused[:, 13:], index, table, index, pages[..., :128], pages[..., 128:]]
