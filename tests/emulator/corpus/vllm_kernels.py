"""vLLM's own Triton kernels at GLM's shapes, through vLLM's launchers: `python -m corpus.vllm_kernels gfx942`.

A process of its own: in one without a GPU vLLM would import none of its Triton code.
"""

from __future__ import annotations

import sys
import types
from typing import Any

import torch
from corpus.case import FP8

import cdna_emulator

HEADS, KV_HEADS, HEAD_DIM, PAGE = 12, 1, 128, 16
EXPERTS, TOP_K, WIDTH, HIDDEN = 160, 8, 384, 256  # gate and up of N = 192


def import_triton_into_vllm() -> None:
    """Let vLLM take Triton for usable, before it looks for a GPU."""
    verdict: Any = types.ModuleType("vllm.triton_utils.importing")
    verdict.HAS_TRITON = True
    verdict.TritonPlaceholder = verdict.TritonLanguagePlaceholder = None
    sys.modules[verdict.__name__] = verdict


def worst(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest error over the largest expected magnitude."""
    return float((found.double() - expected.double()).abs().max() / expected.double().abs().max())


def attention(arch: str, queries: list[int], contexts: list[int], segments: int | None) -> float:
    """Paged attention of a batch; with `segments`, split over the context and reduced."""
    from vllm.v1.attention.ops.triton_unified_attention import unified_attention

    generator = torch.Generator().manual_seed(sum(contexts))
    pages = [-(-length // PAGE) for length in contexts]
    table = torch.zeros(len(contexts), max(pages), dtype=torch.int32)
    order = torch.randperm(sum(pages) + 3, generator=generator)[: sum(pages)].to(torch.int32)
    for row, (count, start) in enumerate(zip(pages, [sum(pages[:n]) for n in range(len(pages))], strict=True)):
        table[row, :count] = order[start : start + count]
    q = torch.randn(sum(queries), HEADS, HEAD_DIM, generator=generator).to(torch.bfloat16)
    k, v = (
        torch.randn(sum(pages) + 3, PAGE, KV_HEADS, HEAD_DIM, generator=generator).to(torch.bfloat16) for _ in range(2)
    )
    out = torch.full_like(q, float("nan"))
    buffers: dict[str, Any] = {}
    if segments:
        buffers = {
            "seq_threshold_3D": 64,
            "num_par_softmax_segments": segments,
            "softmax_segm_output": torch.empty(len(q), HEADS, segments, HEAD_DIM),
            "softmax_segm_max": torch.empty(len(q), HEADS, segments),
            "softmax_segm_expsum": torch.empty(len(q), HEADS, segments),
        }
    starts = torch.tensor([0, *queries]).cumsum(0).to(torch.int32)
    with cdna_emulator.device(arch):
        unified_attention(
            q, k, v, out, starts, max(queries), torch.tensor(contexts, dtype=torch.int32), max(contexts),
            HEAD_DIM**-0.5, True, (-1, -1), table, 0.0, None, None, None, **buffers,
        )  # fmt: skip
    expected = torch.empty(q.shape, dtype=torch.float64)
    for row, (count, context) in enumerate(zip(queries, contexts, strict=True)):
        at = slice(int(starts[row]), int(starts[row]) + count)
        keys, values = (cache[table[row].long()].reshape(-1, HEAD_DIM)[:context].double() for cache in (k, v))
        scores = torch.einsum("qhd,cd->hqc", q[at].double(), keys) * HEAD_DIM**-0.5
        seen = torch.arange(context) <= torch.arange(context - count, context)[:, None]
        expected[at] = torch.einsum("hqc,cd->qhd", scores.masked_fill(~seen, -torch.inf).softmax(-1), values)
    return worst(out, expected)


def experts(arch: str, tokens: int, tile: tuple[int, int, int], kind: str) -> float:
    """One grouped GEMM with the routing weights: bf16, fp8 per channel and token, or fp8 in blocks of 128 x 128."""
    import triton.language as tl
    from vllm.model_executor.layers.fused_moe.fused_moe import invoke_fused_moe_triton_kernel

    generator = torch.Generator().manual_seed(tokens)
    a = torch.randn(tokens, HIDDEN, generator=generator)
    b = torch.randn(EXPERTS, WIDTH, HIDDEN, generator=generator)
    ids = torch.stack([torch.randperm(EXPERTS, generator=generator)[:TOP_K] for _ in range(tokens)])
    weights = torch.rand(tokens, TOP_K, generator=generator)
    block = [128, 128] if kind == "fp8_block" else None
    a_scale = b_scale = None
    wide_a, wide_b = torch.ones(tokens, 1), torch.ones(EXPERTS, WIDTH, 1)
    if kind == "fp8_block":
        a_scale = torch.rand(tokens, HIDDEN // 128, generator=generator) + 0.5
        b_scale = torch.rand(EXPERTS, WIDTH // 128, HIDDEN // 128, generator=generator) + 0.5
        wide_a = a_scale.repeat_interleave(128, 1)
        wide_b = b_scale.repeat_interleave(128, 1).repeat_interleave(128, 2)
    elif kind == "fp8":
        a_scale = wide_a = torch.rand(tokens, 1, generator=generator) + 0.5
        b_scale = wide_b = torch.rand(EXPERTS, WIDTH, 1, generator=generator) + 0.5
    dtype = torch.bfloat16 if kind == "bf16" else FP8[arch]
    a, b = a.to(dtype), b.to(dtype)
    c = torch.zeros(tokens, TOP_K, WIDTH, dtype=torch.bfloat16)
    sorted_ids, expert_ids = _sorted(ids, tile[0])
    config = {"BLOCK_SIZE_M": tile[0], "BLOCK_SIZE_N": tile[1], "BLOCK_SIZE_K": tile[2], "GROUP_SIZE_M": 1}
    with cdna_emulator.device(arch):
        invoke_fused_moe_triton_kernel(
            a, b, c, a_scale, b_scale, weights, sorted_ids, expert_ids,
            torch.tensor([len(sorted_ids)], dtype=torch.int32), True, TOP_K, config | {"num_warps": 4, "num_stages": 2},
            tl.bfloat16, kind != "bf16", False, False, False, kind == "fp8", block,
        )  # fmt: skip
    chosen = (b.double() * wide_b)[ids]  # [tokens, TOP_K, WIDTH, HIDDEN]
    expected = torch.einsum("th,tkwh->tkw", a.double() * wide_a, chosen) * weights[..., None]
    return worst(c, expected)


def _sorted(ids: torch.Tensor, block: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token slots by expert, each expert's padded to whole blocks, and the expert of each block."""
    slots: list[int] = []
    owners: list[int] = []
    flat = ids.flatten()
    for expert in range(EXPERTS):
        mine = (flat == expert).nonzero().flatten().tolist()
        mine += [flat.numel()] * (-len(mine) % block)
        slots += mine
        owners += [expert] * (len(mine) // block)
    return torch.tensor(slots, dtype=torch.int32), torch.tensor(owners, dtype=torch.int32)


def main(arch: str) -> None:
    import_triton_into_vllm()
    print("attention_2d", attention(arch, [5, 1, 19], [37, 50, 19], None))
    print("attention_3d", attention(arch, [1, 1], [83, 16], 4))
    for kind in ("bf16", "fp8", "fp8_block"):
        print(f"experts_{kind}", experts(arch, 3, (16, 64, 128), kind))
    print("experts_bf16_wide", experts(arch, 5, (64, 128, 64), "bf16"))


if __name__ == "__main__":
    main(sys.argv[1])
