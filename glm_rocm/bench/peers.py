"""vLLM's own kernels on a case's tensors, through vLLM's own launchers with the tiles and splits that they choose.

On a card everything is vLLM's. In the emulator its Triton kernels are: attention whole, of the experts the two grouped
products; its C++ operators between them (alignment, activation, quantisation, sum) are computed in torch, counted as
launches and not as instructions, which favours vLLM.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from glm_rocm.bench import sampling
from glm_rocm.bench.inputs import Inputs
from glm_rocm.numerics import quantize_rows
from glm_rocm.reference.moe import route
from glm_rocm.target import Target

SEGMENTS, LEAST_GRID = 16, 128
"""Splits of a context, and the grid from which vLLM no longer splits (v1/attention/backends/triton_attn.py)."""
SPARSITY = 4
"""Up to E / 4 pairs vLLM aligns nothing: one block a pair (fused_moe.py, `_prepare_expert_assignment`)."""
STREAMED = {"attention": frozenset({"key_cache_ptr", "value_cache_ptr"}), "moe": frozenset({"b_ptr"})}
"""The kernels' arguments whose bytes are held against `Inputs.ideal_bytes`."""


def has(op: str) -> bool:
    """Whether vLLM has Triton kernels for the op."""
    return op in _CALLS


def run(inputs: Inputs) -> tuple[Tensor, ...]:
    """One call of vLLM's kernels, on the card or in the emulator, whichever Triton launches on."""
    return _CALLS[inputs.case.op](inputs)


def choosers(inputs: Inputs, target: Target) -> dict[str, sampling.Chooser]:
    """Which workgroups of a sampled case run."""
    from vllm.model_executor.layers.fused_moe.fused_moe import try_get_optimal_moe_config

    case, t = inputs.case, inputs.tensors
    shapes = (tuple(t[name].shape) for name in ("w13", "w2"))
    config = try_get_optimal_moe_config(*shapes, case.spec.top_k, "fp8_w8a8" if case.fp8 else None, case.tokens)
    return sampling.vllm(case, config["BLOCK_SIZE_M"], config["GROUP_SIZE_M"])


def further_launches(inputs: Inputs) -> int:
    """Launches around the Triton kernels that the emulator cannot count: C++ operators, by vLLM's source.

    Router (the four fused kernels and three of top-k that inductor makes of it), alignment, sum and scaling; in FP8 two
    quantisations more.
    """
    case = inputs.case
    if case.op != "moe":
        return 0
    aligned = case.tokens * case.spec.top_k * SPARSITY > case.experts
    return 7 + (2 if aligned else 1) + 1 + 1 + 1 + (2 if case.fp8 else 0)


def _attention(inputs: Inputs) -> tuple[Tensor, ...]:
    from vllm.v1.attention.ops.triton_unified_attention import unified_attention
    from vllm.v1.kv_cache_interface import KVQuantMode

    case, t = inputs.case, inputs.tensors
    q = t["q"]
    out = torch.empty_like(q)
    tokens, heads, d = q.shape
    threshold = LEAST_GRID // t["k_cache"].shape[2]
    rows = min(threshold, tokens)
    scale = torch.ones(1, device=q.device) if case.fp8 else None
    unified_attention(
        q=q,
        k=t["k_cache"],
        v=t["v_cache"],
        out=out,
        cu_seqlens_q=t["query_start"],
        max_seqlen_q=case.queries,
        seqused_k=t["context_len"],
        max_seqlen_k=case.context,
        softmax_scale=inputs.options["scale"],
        causal=True,
        window_size=(-1, -1),
        block_table=t["block_table"],
        softcap=0.0,
        q_descale=None,
        k_descale=scale,
        v_descale=scale,
        seq_threshold_3D=threshold,
        num_par_softmax_segments=SEGMENTS,
        softmax_segm_output=torch.empty(rows, heads, SEGMENTS, d, device=q.device),
        softmax_segm_max=torch.empty(rows, heads, SEGMENTS, device=q.device),
        softmax_segm_expsum=torch.empty(rows, heads, SEGMENTS, device=q.device),
        kv_quant_mode=KVQuantMode.FP8_PER_TENSOR if case.fp8 else KVQuantMode.NONE,
    )
    return (out,)


def _moe(inputs: Inputs) -> tuple[Tensor, ...]:
    from vllm.model_executor.layers.fused_moe import fused_moe

    t = inputs.tensors
    routing = {name: value for name, value in inputs.options.items() if name != "quant"}
    ids, weights = route(t["logits"], t["bias"], **routing)
    fp8 = inputs.case.fp8
    with _operators(fused_moe, t["x"].device):
        out = fused_moe.fused_experts_impl(
            t["x"],
            t["w13"],
            t["w2"],
            weights,
            ids,
            use_fp8_w8a8=fp8,
            per_channel_quant=fp8,
            w1_scale=t.get("w13_scale"),
            w2_scale=t.get("w2_scale"),
        )
    return (out,)


@contextmanager
def _operators(fused_moe: Any, device: torch.device) -> Iterator[None]:
    """Torch in the place of the C++ operators where their library is not: on a CPU."""
    if device.type != "cpu":
        yield
        return
    stand_ins = {
        "moe_align_block_size": _align,
        "apply_moe_activation": _activate,
        "moe_kernel_quantize_input": _quantize,
        "ops": _Sum,
    }
    own = {name: getattr(fused_moe, name) for name in stand_ins}
    for name, stand_in in stand_ins.items():
        setattr(fused_moe, name, stand_in)
    try:
        yield
    finally:
        for name, operator in own.items():
            setattr(fused_moe, name, operator)


def _align(ids: Tensor, block: int, experts: int, expert_map: None = None, **_: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs by expert, each expert's padded to whole blocks with the number of pairs; the operator's own sizes."""
    flat = ids.flatten()
    pairs = flat.numel()
    room = pairs + experts * (block - 1)
    if pairs < experts:
        room = min(pairs * block, room)
    order = torch.full((room,), pairs, dtype=torch.int32)
    owners = torch.zeros(-(-room // block), dtype=torch.int32)
    at = 0
    for expert in sorted(set(flat.tolist())):
        mine = (flat == expert).nonzero().flatten()
        order[at : at + len(mine)] = mine.to(torch.int32)
        blocks = -(-len(mine) // block)
        owners[at // block : at // block + blocks] = expert
        at += blocks * block
    return order, owners, torch.tensor([at], dtype=torch.int32)


def _activate(activation: Any, out: Tensor, gate_up: Tensor) -> None:
    gate, up = gate_up.chunk(2, -1)
    out.copy_(torch.nn.functional.silu(gate.float()) * up.float())


def _quantize(A: Tensor, quant_dtype: torch.dtype | None, **_: Any) -> tuple[Tensor, Tensor | None]:
    return (A, None) if quant_dtype is None else quantize_rows(A, quant_dtype)


class _Sum:
    @staticmethod
    def moe_sum(rows: Tensor, out: Tensor) -> None:
        out.copy_(rows.sum(1, dtype=torch.float32))


_CALLS: dict[str, Callable[[Inputs], tuple[Tensor, ...]]] = {"attention": _attention, "moe": _moe}
